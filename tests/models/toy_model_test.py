"""Adding a model is its file and one row: nothing else knows the toy model."""

import json
import os
import pathlib

import jax
import numpy as np
import pytest
from jax import export as jax_export

import spade_jax
from spade_jax import export
from spade_jax.checkpoints.checkpointer import newest_config
from spade_jax.config import model_options
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.memory.step_memory import step_memory
from spade_jax.models.model import build_model
from spade_jax.models.train_state import init_train_state
from spade_jax.training.state_sharding import StateSharding
from spade_jax.training.train_loop import train
from tests.distributed.replicas_test import run
from tests.fixtures.states import final_state
from tests.program import write_folders

ROW = model_options.RegisteredModel(
    options='tests.models.toy_model:ToyOptions', model='tests.models.toy_model:Toy'
)
OPTIONS = dict(model='toy', crop_size=16, load_size=16, learning_rate=1e-2, batch_size=8)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(model_options.MODELS, 'toy', ROW)


def config_of(root, **options) -> Config:
    folders = dict(dataset='folders', data_dir=str(root), num_classes=3, constant_epochs=6)
    return Config.create(**{**OPTIONS, **folders, 'checkpoint_every': 4, **options})


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp('data'), count=16, size=(16, 16))


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    """The work directory of a run of 12 steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(model_options.MODELS, 'toy', ROW)
        workdir = tmp_path_factory.mktemp('run')
        train(config_of(data, ema_decay=0.9), str(workdir))
        yield workdir


def test_toy_model_trains(trained):
    lines = pathlib.Path(trained, 'metrics.jsonl').read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert records[-1]['step'] == 12
    assert {'p_l1', 'p_gradient_norm', 'painter_weight_norm'} <= set(records[-1])
    config = newest_config(str(trained), flag='workdir')
    start = init_train_state(config)
    with pytest.raises(AssertionError):
        jax.tree.map(np.testing.assert_array_equal, final_state(trained).networks, start.networks)


def test_toy_model_resumes_exactly(data, trained, tmp_path):
    train(config_of(data, ema_decay=0.9, max_steps=5), str(tmp_path))
    train(config_of(data, ema_decay=0.9), str(tmp_path))
    states = final_state(tmp_path), final_state(trained)
    jax.tree.map(np.testing.assert_array_equal, *states)


def test_toy_model_samples_its_ema(trained):
    generator = spade_jax.load(str(trained))
    labels = np.random.default_rng(0).integers(0, 3, (2, 16, 16))
    images = generator(labels)
    assert images.shape == (2, 16, 16, 3)
    raw = spade_jax.load(str(trained), use_ema=False)(labels)
    assert np.abs(images.astype(int) - raw).max() > 0


def test_toy_model_is_exported(trained, tmp_path):
    generator, path = spade_jax.load(str(trained)), os.path.join(tmp_path, 'toy.jaxexport')
    assert list(export.export(generator, path)) == ['labels']
    labels = np.random.default_rng(0).integers(0, 3, (3, 16, 16)).astype(np.int32)
    exported = jax_export.deserialize(bytearray(pathlib.Path(path).read_bytes()))
    images = np.asarray(exported.call(labels)).astype(int)
    assert np.abs(images - generator(labels)).max() <= 1


@pytest.mark.usefixtures('eight_devices')
def test_toy_model_shards_its_optimizer_over_eight_devices():
    config = Config.create(**OPTIONS, num_classes=3)
    one, eight = run(config, 1, num_steps=2), run(config, 8, num_steps=2)
    for a, b in zip(one[0], eight[0], strict=True):
        np.testing.assert_allclose(a['p_l1'], b['p_l1'], rtol=1e-5)
    state = init_train_state(config)
    sharding = StateSharding(build_model(config), state, shard=True)
    placed = sharding.to_devices(state)
    moments = jax.tree.leaves(placed.optimizers['painter'].mu)
    assert len(moments) == 1  # One vector.
    assert moments[0].addressable_shards[0].data.size * 8 == moments[0].size


def test_memory_of_toy_model_is_estimated():
    assert step_memory(Config.create(**OPTIONS), 4).peak > 0


def test_option_of_another_model_is_refused_with_its_owner():
    with pytest.raises(UserError, match='toy_width is an option of model=toy, not of model=spade'):
        Config.create(toy_width=3)
    with pytest.raises(
        UserError, match='generator_width is an option of model=spade or .*, not of model=toy'
    ):
        Config.create(model='toy', generator_width=3)
