"""Scores during training, with the toy model."""

import numpy as np
import pytest

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config import model_options
from spade_jax.config.config import Config
from spade_jax.data.pipeline.input_pipeline import Skipped
from spade_jax.data.sources.open_source import open_source
from spade_jax.errors import UserError
from spade_jax.evaluation.comparison import Result, Score
from spade_jax.evaluation.run_data import check_styles
from spade_jax.evaluation.scores import SCORES
from spade_jax.reports.run_log import read_scalars
from spade_jax.training import train_loop
from spade_jax.training.evaluation import Evaluator
from spade_jax.training.session import TrainingData
from spade_jax.training.train_loop import train
from tests.models.toy_model_test import ROW, config_of
from tests.program import write_folders


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(model_options.MODELS, 'toy', ROW)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp('data'), count=16, size=(16, 16))


def trained(workdir, data, **options):
    workdir.mkdir()
    config = config_of(data, constant_epochs=3, checkpoint_every=100, log_every=100, **options)
    train(config, str(workdir))
    return {int(record['step']): record for record in read_scalars(str(workdir))}


def test_scores_are_logged_and_their_weights_saved(data, tmp_path):
    options = dict(evaluate_every=4, evaluate='l1,psnr', evaluate_examples=3, keep_checkpoints=9)
    log = trained(tmp_path / 'run', data, **options)
    assert [*log] == [4, 6]
    assert all(record['l1'] > 0 and record['psnr'] > 0 for record in log.values())
    with Checkpointer(str(tmp_path / 'run'), read_only=True) as checkpointer:
        assert checkpointer.steps() == [4, 6]
        assert checkpointer.metadata(4).metrics['l1'] == log[4]['l1']


@pytest.mark.parametrize('is_better, best', [('lower', 4), ('higher', 2)])
def test_best_checkpoint_is_kept_in_the_direction_of_the_score(
    is_better, best, data, tmp_path, monkeypatch
):
    values = iter([3.0, 1.0, 2.0])
    images = []

    def score(comparison):
        images.append(comparison.images.read(1))
        return Result(next(values), None, {})

    monkeypatch.setitem(SCORES, 'count', Score(score, 'a test', is_better))
    options = dict(evaluate_every=2, evaluate='count', keep_best='count', keep_checkpoints=1)
    trained(tmp_path / 'run', data, **options)
    with Checkpointer(str(tmp_path / 'run'), read_only=True) as checkpointer:
        assert checkpointer.steps() == [best, 6]
    assert np.any(images[0] != images[2])  # They are those of the current weights.


def test_step_whose_scores_fail_is_saved(data, tmp_path, monkeypatch):
    def fail(*_):
        raise UserError('val_img/3.jpg is truncated', 'remove it')

    monkeypatch.setattr(Evaluator, '__call__', fail)
    with pytest.raises(UserError, match='truncated'):
        trained(tmp_path / 'run', data, evaluate_every=2, evaluate='l1')
    with Checkpointer(str(tmp_path / 'run'), read_only=True) as checkpointer:
        assert checkpointer.steps() == [2]


def test_validation_photos_that_cannot_be_read_are_skipped(tmp_path):
    data = write_folders(tmp_path / 'data', count=16, size=(16, 16))
    photo = data / 'val_img' / '7.jpg'
    photo.write_bytes(photo.read_bytes()[:-200])
    options = dict(evaluate_every=6, evaluate='l1', on_bad_example='skip')
    log = trained(tmp_path / 'run', data, **options)
    assert 'l1' in log[6]


def test_rate_includes_waiting_for_the_devices_and_no_evaluation(data, tmp_path, monkeypatch):
    calls = []

    def recorded(owner, name):
        function = getattr(owner, name)

        def call(*arguments):
            calls.append(name)
            return function(*arguments)

        monkeypatch.setattr(owner, name, call)

    recorded(train_loop, '_means')
    recorded(train_loop.Stopwatch, 'rates')
    recorded(train_loop, '_scores')
    trained(tmp_path / 'run', data, evaluate_every=6, evaluate='l1')
    assert calls == ['_means', 'rates', '_scores']


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(keep_best='fid'), 'add --evaluate_every=N and --evaluate=fid'),
        (dict(evaluate_every=2, evaluate='fit'), 'evaluate=fit is no score'),
        (
            dict(evaluate_every=2, evaluate='lite0_kernel'),
            'kid_subset_size=1000 with 16 images on one side; use --kid_subset_size=16 or less',
        ),
        (
            dict(evaluate_every=2, evaluate='miou', segmentation_network='drn_d_105'),
            'val_label/0.png: the id 2 without any of 19 to 33 looks like trainIds',
        ),
        (dict(evaluate_every=2), 'fid and kid need the weights of Inception; download'),
        (dict(evaluate_every=2, evaluate='l1', style_rule='fixed'), 'style_rule=fixed, but this'),
    ],
)
def test_what_cannot_be_scored_is_refused_at_the_start(options, message, data, tmp_path):
    with pytest.raises(UserError, match=message):
        trained(tmp_path / 'run', data, **options)


@pytest.mark.parametrize(
    'options, rule, names, message',
    [
        ({}, 'photo', [], 'style_rule=photo, but this model has no style latent; use --style_rule'),
        (dict(generator_start='noise'), 'photo', [], 'style_rule=photo, but .* no style encoder'),
        ({}, 'random', ['lpips_diversity'], 'lpips_diversity compares styles, but this model has'),
    ],
)
def test_styles_that_a_model_cannot_have_are_refused(options, rule, names, message):
    with pytest.raises(UserError, match=message):
        check_styles(Config.create(**options).model, rule, names)
    check_styles(Config.create(style_encoder=True).model, rule, names)


def test_random_features_wait_for_their_clusters(tmp_path):
    data = write_folders(tmp_path / 'data', count=2, size=(16, 16))
    options = dict(dataset='folders', data_dir=str(data), crop_size=16, load_size=16)
    options |= dict(generator_downsamplings=1, encoder_downsamplings=1, num_classes=3)
    options |= dict(instance_features=True, feature_regions='labels')
    config = Config.create('pix2pixhd', **options)
    config = config.replace(evaluate_every=2, evaluate='l1')
    source = open_source(config.data, 'validation')
    with pytest.raises(UserError, match='random styles, whose clusters come after the training'):
        Evaluator(config, TrainingData(source, None, Skipped(), source))


def test_scores_need_a_validation_set(tmp_path):
    data = write_folders(tmp_path / 'data', size=(16, 16), splits=('train',))
    with pytest.raises(UserError, match='evaluate_every=2 without a validation set'):
        trained(tmp_path / 'run', data, evaluate_every=2, evaluate='l1')
