import numpy as np
import pytest

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.checkpoints.checksums import named_leaves
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.spade.model import build_networks
from spade_jax.models.train_state import init_train_state
from spade_jax.training.fine_tuning import from_run, networks_of, transplanted
from spade_jax.training.resume import start

SMALL = dict(
    crop_size=32,
    load_size=36,
    generator_width=2,
    spade_hidden=4,
    discriminator_width=4,
    discriminator_depth=2,
    num_discriminators=1,
    perceptual_weight=0,
    batch_size=4,
)


def networks(**shapes):
    """{'generator': ...} of arrays of these shapes, each full of the number of its place."""
    return {
        'generator': {
            'params': {
                name: np.full(shape, number, np.float32)
                for number, (name, shape) in enumerate(shapes.items())
            }
        }
    }


def test_arrays_of_the_same_name_and_shape_are_taken():
    ours, theirs = networks(a=(2, 3), b=(4,), c=(5,)), networks(d=(1,), a=(2, 3), b=(3,))
    new, table = transplanted(ours, theirs)
    params = new['generator']['params']
    assert (
        (params['a'] == 1).all()
        and (params['b'] == 1).all()
        and params['b'].shape == (4,)
        and (params['c'] == 2).all()
    )
    assert table[0].split() == ['generator', '1', 'of', '3', 'arrays', 'taken']
    assert table[1:4] == [
        '    fresh: generator/params/b: shape (4,), there (3,)',
        '    fresh: generator/params/c: not there',
        '    not used: generator/params/d (1,)',
    ]
    assert (ours['generator']['params']['a'] == 0).all()


def test_a_long_table_is_cut():
    _, table = transplanted(
        networks(a=(1,), **{f'n{i}': (1,) for i in range(30)}), networks(a=(1,))
    )
    assert 'and 10 more' in table[-3]


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    """A run with three classes that was saved at step 7, and its state."""
    workdir = tmp_path_factory.mktemp('other')
    config = Config.create(**SMALL, num_classes=3, seed=8)
    state = init_train_state(config, build_networks(config)).replace(step=np.asarray(7, np.int32))
    with Checkpointer(workdir) as checkpoints:
        checkpoints.save(state, config, 12)
    return workdir, state


def test_a_run_with_other_classes_begins_with_what_fits(other, tmp_path, capsys):
    workdir, theirs = other
    config = Config.create(**SMALL, num_classes=5, seed=1, init_from=str(workdir))
    with Checkpointer(tmp_path) as checkpoints:
        begin = start(checkpoints, config, str(tmp_path))
    assert (begin.step, begin.resumed) == (0, False)
    fresh = init_train_state(config, build_networks(config))
    ours, old, new = (
        named_leaves({'generator': state.generator, 'discriminator': state.discriminator})
        for state in (begin.state, theirs, fresh)
    )
    fitting = [path for path in ours if path in old and old[path].shape == ours[path].shape]
    assert 0 < len(fitting) < len(ours)
    for path in ours:
        np.testing.assert_array_equal(
            ours[path], (old if path in fitting else new)[path], err_msg=path
        )
    assert not any(np.any(leaf) for leaf in named_leaves(begin.state.generator_optimizer).values())
    out = capsys.readouterr().out
    assert f'From init_from={workdir}:' in out and ', there (3, 3, 3, 4)' in out


def test_bad_directories_are_refused(other, tmp_path):
    with pytest.raises(UserError, match='nowhere: no such directory'):
        networks_of(str(tmp_path / 'nowhere'))
    with pytest.raises(UserError, match='has no checkpoint'):
        networks_of(str(tmp_path))


def test_networks_of_which_nothing_fits_are_refused(other, monkeypatch):
    config = Config.create(**SMALL, num_classes=3, init_from=str(other[0]))
    monkeypatch.setattr(
        'spade_jax.training.fine_tuning.networks_of', lambda workdir: networks(z=(1,))
    )
    with pytest.raises(UserError, match='none of its arrays has the name and shape'):
        from_run(init_train_state(config, build_networks(config)), config)
