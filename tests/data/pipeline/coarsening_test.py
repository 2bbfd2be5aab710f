"""Which label maps are coarsened, and what happens to their outlines and small parts."""

import numpy as np
import pytest

from spade_jax.config.data_config import DataConfig
from spade_jax.data.pipeline.coarsening import coarsened
from spade_jax.data.pipeline.example_order import coarsening_numbers
from spade_jax.data.pipeline.input_pipeline import read_for_training
from spade_jax.errors import UserError
from tests.data.pipeline.input_pipeline_test import NumberedSource, assert_same, make_config, take

SIZE = 64
BLUR, DROP, STRAIGHTEN = (0.0, 0.5, 0.9, 0.9, 0.5), (0.0, 0.0, 0.0, 0.9, 0.9), (0, 1, 0.9, 0.0, 0)


class WavySource(NumberedSource):
    """A wavy border between 0 and 1."""

    def read(self, index):
        example = super().read(index)
        y, x = np.indices(example.label.shape)
        return example._replace(label=(x < 18 + 6 * (y % 5 - 2)).astype(np.uint8))


def toothed(dtype=np.uint8):
    """3 above, 7 below, with teeth of 4 pixels, and an island of 9 with 16 pixels."""
    y, x = np.indices((SIZE, SIZE))
    label = np.where(y < 32 + 4 * (x // 4 % 2), 3, 7).astype(dtype)
    label[8:12, 8:12] = 9
    return label


def border_length(label):
    return (label[1:] != label[:-1]).sum() + (label[:, 1:] != label[:, :-1]).sum()


@pytest.mark.parametrize('numbers', [BLUR, STRAIGHTEN])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32])
def test_outlines_become_simple(numbers, dtype):
    label = toothed(dtype)
    coarse = coarsened(label, 1.0, numbers)
    assert (coarse.shape, coarse.dtype) == (label.shape, label.dtype)
    assert border_length(coarse) < 0.6 * border_length(label)
    assert (coarse == label).mean() > 0.9
    assert set(np.unique(coarse)) <= {3, 7, 9}


def test_small_components_take_the_nearest_id():
    coarse = coarsened(toothed(), 1.0, DROP)
    assert (coarse[:20] == 3).all()
    kept = coarsened(toothed(), 1.0, (*DROP[:4], 0.0))  # An island above the least area.
    assert kept[10, 10] == 9


@pytest.mark.parametrize('shape', [(1, 1), (2, 40), (32, 48)])
@pytest.mark.parametrize('numbers', [BLUR, DROP, STRAIGHTEN, [0.0] * 5, [1 - 2**-53] * 5])
def test_uniform_map_of_any_size_stays(shape, numbers):
    label = np.full(shape, 5, np.uint8)
    np.testing.assert_array_equal(coarsened(label, 1.0, numbers), label)


def test_map_of_small_parts_alone_keeps_its_ids():
    label = np.arange(64 * 64, dtype=np.int32).reshape(64, 64) // 2
    assert set(np.unique(coarsened(label[:8, :8], 1.0, DROP))) <= set(label[:8, :8].flat)


def test_coarsening_never_changes():
    """A run of today may be resumed with the libraries of tomorrow."""
    expected = [0.850494, 0.927403, 0.401465, 0.270543, 0.205642]
    np.testing.assert_allclose(coarsening_numbers(0, 5), expected, atol=1e-5)


@pytest.mark.parametrize('share', [0.0, 0.3, 1.0])
def test_share_of_the_maps_is_coarsened_and_images_are_not(share):
    source = WavySource(50)
    plain = [read_for_training(source, make_config(), 3, p) for p in range(60)]
    config = make_config(coarsen_labels=share)
    coarse = [read_for_training(source, config, 3, p) for p in range(60)]
    changed = [not np.array_equal(a.label, b.label) for a, b in zip(plain, coarse, strict=True)]
    assert 0.5 * share <= np.mean(changed) <= 1.3 * share  # A faint blur changes nothing.
    for a, b in zip(plain, coarse, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_resumed_run_and_other_readers_see_the_same_maps():
    config = make_config(coarsen_labels=0.5)
    whole = take(WavySource(10), config, 6)
    again = make_config(coarsen_labels=0.5, data_workers=1)
    assert_same(take(WavySource(10), again, 4, first_step=2), whole[2:])
    halves = [take(WavySource(10), config, 6, process_index=i, process_count=2) for i in (0, 1)]
    for step, parts in zip(whole, zip(*halves, strict=True), strict=True):
        np.testing.assert_array_equal(step.label, np.concatenate([part.label for part in parts]))


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(coarsen_labels=1.5), 'coarsen_labels=1.5 is too large; use 1 or less'),
        (dict(coarsen_labels=-0.1), 'coarsen_labels=-0.1 is too small; use 0 or more'),
        (
            dict(coarsen_labels=0.3, condition='labels+edges'),
            'condition=labels.edges has edges that would not fit; use --condition=labels',
        ),
        (dict(coarsen_labels=0.3, condition='rgb'), 'condition=rgb has no label maps'),
    ],
)
def test_illegal_coarsening_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        DataConfig(dataset='folders', **settings)
