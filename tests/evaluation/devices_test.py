"""A score does not depend on the number of devices."""

import jax
import numpy as np
import pytest

from spade_jax import landscapes
from spade_jax.evaluation.feature_networks import FeatureNetwork
from spade_jax.evaluation.features import Features
from spade_jax.evaluation.frechet import fit_gaussian, frechet_distance
from spade_jax.evaluation.image_sets import ImageFolder
from spade_jax.evaluation.weights import WeightsFile
from spade_jax.files.image_grid import write_png
from spade_jax.models import squeezenet

pytestmark = pytest.mark.usefixtures('eight_devices')


def squeezenet_features(variables, images):
    """The means of the last activations; [B, 32, 32, 3] -> [B, 512]."""
    return squeezenet.SqueezeNet().apply(variables, images)[-1].mean((1, 2))


def distance_between(folders, cache_dir):
    weights = WeightsFile('weights', str(squeezenet.WEIGHTS), 'give the file')
    network = FeatureNetwork(
        *('squeezenet', {}, 32, 512, weights),
        lambda image: np.asarray(squeezenet.prepare(image / np.float32(127.5) - 1)),
        squeezenet.load_squeezenet,
        squeezenet_features,
    )
    rows = [Features(network, str(cache_dir)).of(folder) for folder in folders]
    return rows, frechet_distance(*map(fit_gaussian, rows))


def test_eight_devices_give_the_features_and_the_distance_of_one(tmp_path, monkeypatch):
    for name, first_seed in (('images', 0), ('photos', 100)):
        (tmp_path / name).mkdir()
        for i in range(70):
            scene = landscapes.render_scene(first_seed + i, 32, 32)
            write_png(str(tmp_path / name / f'{i:02}.png'), scene.image)
    folders = [ImageFolder('image_dir', str(tmp_path / name)) for name in ('images', 'photos')]
    devices = jax.local_devices()
    assert len(devices) == 8
    of_eight, distance = distance_between(folders, tmp_path / 'of_eight')
    monkeypatch.setattr(jax, 'local_devices', lambda: devices[:1])
    monkeypatch.setattr(jax, 'local_device_count', lambda: 1)
    of_one, expected = distance_between(folders, tmp_path / 'of_one')
    np.testing.assert_array_equal(of_eight, of_one)
    assert expected > 0
    np.testing.assert_allclose(distance, expected, rtol=1e-6)
