"""The sheet of runs side by side."""

import numpy as np
import pytest
from PIL import Image

import spade_jax
from experiments.evaluation.held_out import Run
from experiments.figures import compare_runs
from spade_jax.errors import UserError
from tests.program import write_folders
from tests.sampling import tiny

CLASSES = dict(dataset='folders', num_classes=3)


@pytest.fixture
def maps(tmp_path):
    """A directory of three label maps, of one class each."""
    (tmp_path / 'maps').mkdir()
    for number in range(3):
        Image.new('L', (32, 32), number).save(tmp_path / 'maps' / f'{number}.png')
    return str(tmp_path / 'maps')


def run(tmp_path, name, **settings):
    config = tiny.PLAIN.replace(**(CLASSES | settings))
    return str(tiny.write_checkpoint(config, tmp_path / name))


def test_label_maps_have_the_images_of_each_run(tmp_path, maps):
    size = tiny.PLAIN.data.crop_size
    larger = dict(crop_size=2 * size, load_size=2 * size)
    workdirs = [run(tmp_path, 'small'), run(tmp_path, 'large', **larger)]
    labels, *images = compare_runs.panels(workdirs, maps, most=3, seed=0)
    assert [panel.shape for panel in images] == [(3, size, size, 3), (3, 2 * size, 2 * size, 3)]
    assert len(np.unique(labels.reshape(3, -1, 3), axis=1)[:, 0]) == 3
    assert compare_runs.scaled(images[1], size).shape == images[0].shape
    again = compare_runs.panels(workdirs[:1], maps, most=3, seed=0)
    np.testing.assert_array_equal(again[1], images[0])


def test_held_out_label_maps_are_followed_by_their_photos(tmp_path):
    data = write_folders(tmp_path / 'data')
    options = dict(data_dir=str(data), load_size=tiny.PLAIN.data.crop_size)
    workdirs = [run(tmp_path, 'one', **options), run(tmp_path, 'other', seed=1, **options)]
    labels, one, other, photos = compare_runs.panels(workdirs, '', most=3, seed=0)
    assert labels.shape == one.shape == other.shape == photos.shape
    batch = Run.load(workdirs[0]).read('validation', 3)
    np.testing.assert_array_equal(photos, batch.image)
    np.testing.assert_array_equal(one, spade_jax.load(workdirs[0])(batch.label, seed=0))


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(num_classes=4), 'other has 4 classes'),
        (dict(aspect_ratio=2.0), 'other has images of '),
    ],
)
def test_runs_of_other_classes_or_shapes_are_refused(tmp_path, maps, settings, message):
    workdirs = [run(tmp_path, 'one'), run(tmp_path, 'other', **settings)]
    with pytest.raises(UserError, match=message):
        compare_runs.panels(workdirs, maps, most=3, seed=0)
