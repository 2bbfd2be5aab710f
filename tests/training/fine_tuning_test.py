import json

import numpy as np
import pytest

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.checkpoints.checksums import named_leaves
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.models.train_state import init_train_state
from spade_jax.training.fine_tuning import (
    from_run,
    layout_axes,
    networks_of,
    renumbered,
    shared_channels,
    transplanted,
    with_layout_channels,
)
from spade_jax.training.resume import initial_state
from tests.fixtures.small import SMALL

OPTIONS = {name: value for name, value in SMALL.items() if name != 'num_classes'}


def networks(**shapes):
    """{'generator': ...} with arrays of these shapes, each full of its index."""
    params = {
        name: np.full(shape, index, np.float32)
        for index, (name, shape) in enumerate(shapes.items())
    }
    return {'generator': {'params': params}}


def test_arrays_of_same_path_and_shape_are_taken():
    ours = networks(a=(2, 3), b=(4,), c=(5,))
    new, report = transplanted(ours, networks(d=(1,), a=(2, 3), b=(3,)))
    params = new['generator']['params']
    np.testing.assert_array_equal(params['a'], np.full((2, 3), 1))
    np.testing.assert_array_equal(params['b'], np.full(4, 1))
    np.testing.assert_array_equal(params['c'], np.full(5, 2))
    assert report[0].split() == ['generator', '1', 'of', '3', 'arrays', 'taken']
    assert report[1:] == [
        '    initialized: generator/params/b: shape (4,), there (3,)',
        '    initialized: generator/params/c: not there',
        '    not used: generator/params/d (1,)',
    ]


def test_transplanting_does_not_change_its_input():
    ours = networks(a=(2, 3))
    transplanted(ours, networks(z=(1,), a=(2, 3)))
    np.testing.assert_array_equal(ours['generator']['params']['a'], np.zeros((2, 3)))


def test_long_report_is_cut():
    ours = networks(a=(1,), **{f'n{i}': (1,) for i in range(30)})
    _, report = transplanted(ours, networks(a=(1,)))
    assert 'and 10 more' in report[-1]


@pytest.fixture(scope='module')
def other(tmp_path_factory):
    """A run with three classes that was saved at step 7, and its state."""
    workdir = tmp_path_factory.mktemp('other')
    config = Config.create(**OPTIONS, num_classes=3, seed=8)
    state = init_train_state(config).replace(step=np.asarray(7, np.int32))
    with Checkpointer(str(workdir)) as checkpointer:
        checkpointer.save(state, config, 12)
    return workdir, state


def test_run_with_other_classes_starts_with_what_fits(other, tmp_path, capsys):
    workdir, theirs = other
    config = Config.create(**OPTIONS, num_classes=5, seed=1, init_from=str(workdir))
    with Checkpointer(str(tmp_path)) as checkpointer:
        initial = initial_state(checkpointer, config, str(tmp_path))
    assert initial.step == 0
    states = (initial.state, theirs, init_train_state(config))
    ours, old, new = (named_leaves(state.networks) for state in states)
    layouts = [path for path in ours if old[path].shape != ours[path].shape]
    assert {path.split('/')[0] for path in layouts} == {'generator', 'discriminator'}
    for path in ours:
        expected = old[path]
        if path in layouts:  # [k, k, 5 or 5 + 3, features]: three classes, two new ones, the image.
            parts = old[path][:, :, :3], new[path][:, :, 3:5], old[path][:, :, 3:]
            expected = np.concatenate(parts, axis=2)
        np.testing.assert_array_equal(ours[path], expected, err_msg=path)
    assert not any(map(np.any, named_leaves(initial.state.optimizers).values()))
    out = capsys.readouterr().out
    assert f'From init_from={workdir}:' in out
    assert '3 of 5 layout channels taken, 2 initialized' in out


@pytest.mark.parametrize(
    'ours, theirs, warned',
    [
        ('128:1,255:2', '255:1', 'the id 255 is class 2 here and 1 there, so it starts with the w'),
        ('255:1,128:2', '255:1', ''),
        ('5:0,7:1', '', ''),
        ('', '255:1', ''),
    ],
)
def test_class_that_another_remap_moves_is_a_warning(ours, theirs, warned):
    data = (Config.create(num_classes=3, label_remap=remap).data for remap in (ours, theirs))
    lines = renumbered(*data)
    assert len(lines) == bool(warned)
    assert all(warned in line and '--label_remap=255:1 and add' in line for line in lines)


EDGES = dict(condition='labels+edges')


@pytest.mark.parametrize(
    'ours, theirs, expected',
    [
        (dict(num_classes=2), dict(num_classes=3), [(0, 0), (1, 1)]),
        (dict(num_classes=3, dontcare=True), dict(num_classes=2, dontcare=True), 'dontcare'),
        (dict(num_classes=4), dict(num_classes=3, dontcare=True), [(0, 0), (1, 1), (2, 2)]),
        (dict(num_classes=2, **EDGES), dict(num_classes=2, dontcare=True, **EDGES), 'edges'),
        (dict(num_classes=2, **EDGES), dict(num_classes=2), [(0, 0), (1, 1)]),
        (dict(condition='rgb'), dict(num_classes=3), []),
        (dict(condition='rgb'), dict(condition='rgb', num_classes=7), [(0, 0), (1, 1), (2, 2)]),
    ],
)
def test_shared_channels(ours, theirs, expected):
    named = {'dontcare': [(0, 0), (1, 1), (3, 2)], 'edges': [(0, 0), (1, 1), (2, 3)]}
    pairs = shared_channels(Config.create(**ours).data, Config.create(**theirs).data)
    assert pairs == (named[expected] if isinstance(expected, str) else expected)


@pytest.mark.parametrize(
    'options', [dict(num_classes=4), dict(num_classes=255, dontcare=True, style_encoder=True)]
)
def test_layout_axes_are_those_of_kernels_over_the_layout(options):
    axes = layout_axes(Config.create(**OPTIONS, **options))
    kernels = {path.removesuffix('/kernel').split('/params/')[1] for path in axes}
    first = set() if 'style_encoder' in options else {'first'}
    scales = {f'scale_{i}/conv_0' for i in range(2)}
    assert kernels - {name for name in kernels if name.endswith('/shared')} == first | scales
    assert set(axes.values()) == {2}


def test_layout_axes_do_not_depend_on_how_label_maps_are_read():
    palette = json.dumps([[i, str(i), f'#{i:06x}'] for i in range(4)])
    config = Config.create(**OPTIONS, num_classes=4, dataset='folders')
    masks = config.replace(palette=palette, palette_tolerance=3)
    assert layout_axes(masks) == layout_axes(config)


def test_images_without_condition_and_rgb_conditions_share_nothing():
    theirs = Config.create('gan', crop_size=16, load_size=16, gan_width=2)
    ours = Config.create(**OPTIONS, condition='rgb')
    networks = init_train_state(theirs).networks
    fitted, report = with_layout_channels(networks, theirs, init_train_state(ours).networks, ours)
    assert fitted is networks and not report


def test_layouts_of_one_size_and_other_channels_are_told_apart(other):
    _, theirs = other
    saved = Config.create(**OPTIONS, num_classes=3)
    config = Config.create(**OPTIONS, num_classes=2, dontcare=True, seed=1)
    new = init_train_state(config).networks
    fitted, _ = with_layout_channels(theirs.networks, saved, new, config)
    kernels = (tree['generator']['params']['first']['kernel'] for tree in (fitted, new))
    ours, initial = (kernel[:, :, 2] for kernel in kernels)
    np.testing.assert_array_equal(ours, initial)


def test_missing_directory_is_refused(tmp_path):
    with pytest.raises(UserError, match='nowhere: no such directory'):
        networks_of(str(tmp_path / 'nowhere'))


def test_directory_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match='has no checkpoint'):
        networks_of(str(tmp_path))


def test_run_that_fits_nowhere_is_refused(other, monkeypatch):
    config = Config.create(**OPTIONS, num_classes=3, init_from=str(other[0]))
    monkeypatch.setattr(
        'spade_jax.training.fine_tuning.networks_of', lambda workdir: (config, networks(z=(1,)))
    )
    with pytest.raises(UserError, match='none of its arrays has the name and shape'):
        from_run(init_train_state(config), config)
