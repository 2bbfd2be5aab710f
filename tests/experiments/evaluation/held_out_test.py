"""Reading and sampling the data of a run, with an untrained generator and paired folders."""

import numpy as np
import pytest

from experiments.evaluation.held_out import Run
from spade_jax.errors import UserError
from tests import program
from tests.sampling import tiny


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
    directory = tmp_path_factory.mktemp('run')
    folders = program.write_folders(directory / 'data', num_classes=4)
    config = tiny.PLAIN.replace(dataset='folders', data_dir=str(folders), num_classes=3)
    # The ids 0..3 of the files become 0..2 and "unknown".
    config = config.replace(label_remap='3:255')
    return tiny.write_checkpoint(config, directory / 'run')


def test_read_marks_pixels_without_class(workdir):
    run = Run.load(str(workdir))
    labels = run.read('validation', 4).label
    assert labels.shape == (4, 32, 32)
    assert set(np.unique(labels)) <= {0, 1, 2, 255}


def test_sample_gives_image_of_each_label_map(workdir):
    run = Run.load(str(workdir))
    batch = run.read('validation', 2)
    images = run.sample(batch)
    assert images.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(run.sample(batch, seed=1), images)  # It has no styles.


def test_load_reads_data_from_given_directory(workdir, tmp_path):
    run = Run.load(str(workdir), data_dir=str(tmp_path))
    with pytest.raises(UserError, match=str(tmp_path)):
        run.read('train', 1)


def test_fit_judge_rejects_rgb_condition(workdir):
    run = Run.load(str(workdir))
    rgb = dict(condition='rgb', dontcare=False, label_remap='')
    with pytest.raises(UserError, match='label maps'):
        Run(run.generator, run.config.replace(**rgb)).fit_judge(1)
