import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from spade_jax.config.evaluation_config import EvaluationConfig
from spade_jax.errors import UserError
from spade_jax.evaluation import features as features_module
from spade_jax.evaluation.feature_networks import FeatureNetwork, inception
from spade_jax.evaluation.features import Features
from spade_jax.evaluation.image_sets import ImageFolder
from spade_jax.evaluation.weights import WeightsFile
from tests.evaluation.golden_weights import Golden, recipe_state, shapes_of


def brightness(variables, images):
    """Stands in for a network: the mean of each image in both features."""
    return jnp.repeat(images.mean(axis=(1, 2, 3))[:, None], 2, axis=1) + variables


def prepare(image):
    return np.full((4, 4, 3), image.mean(), np.float32)


def write_images(directory, count):
    directory.mkdir(exist_ok=True)
    for i in range(count):
        Image.new('RGB', (8, 6), (10 * i,) * 3).save(directory / f'{i:02}.png')
    return ImageFolder('image_dir', str(directory))


@pytest.fixture
def network(tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, 'BATCH_SIZE', 2)
    (tmp_path / 'weights.npz').write_bytes(b'weights')
    weights = WeightsFile('weights', str(tmp_path / 'weights.npz'), 'give the file')
    return FeatureNetwork('brightness', {}, 4, 2, weights, prepare, lambda: 1.0, brightness)


@pytest.fixture
def features(network, tmp_path):
    return Features(network, str(tmp_path / 'cache'))


def test_features_are_in_the_order_of_the_names(features, tmp_path):
    rows = features.of(write_images(tmp_path / 'images', 7))
    assert rows.shape == (7, 2)
    np.testing.assert_allclose(rows[:, 0], 10 * np.arange(7) + 1, rtol=1e-5)


def test_interrupted_extraction_goes_on(network, features, tmp_path, monkeypatch):
    folder, seen = write_images(tmp_path / 'images', 11), []

    def interrupted(images):
        seen.append(len(images))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return brightness(1.0, images)

    monkeypatch.setattr(Features, '_apply', staticmethod(interrupted))
    with pytest.raises(KeyboardInterrupt):
        features.of(folder)
    rows = features.of(folder)
    per_batch = features_module.BATCH_SIZE * jax.device_count()
    assert len(seen) == 2 + -(-(11 - per_batch) // per_batch)
    np.testing.assert_allclose(rows[:, 0], 10 * np.arange(11) + 1, rtol=1e-5)


def test_unchanged_directory_is_not_read_again(features, tmp_path, monkeypatch):
    folder = write_images(tmp_path / 'images', 3)
    features.of(folder)
    monkeypatch.setattr(features, '_apply', None)
    features.of(folder)
    Image.new('RGB', (8, 8)).save(tmp_path / 'images' / '01.png')
    with pytest.raises(TypeError, match='not callable'):
        features.of(ImageFolder('image_dir', str(tmp_path / 'images')))


@pytest.mark.parametrize(
    'damage',
    [
        lambda content: content[:-8],
        lambda content: content[:9],
        lambda content: b'',
        lambda content: content.replace(b'(3, 2)', b'(3, 1)'),
        lambda content: content[:-4] + np.float32('nan').tobytes(),  # A part of the last row.
    ],
)
def test_damaged_file_is_begun_anew(damage, features, tmp_path):
    folder = write_images(tmp_path / 'images', 3)
    expected = np.array(features.of(folder))
    (file,) = (tmp_path / 'cache').iterdir()
    file.write_bytes(damage(file.read_bytes()))
    np.testing.assert_array_equal(features.of(folder), expected)


def test_cache_that_cannot_be_written_is_named(network, tmp_path):
    (tmp_path / 'file').write_text('')
    features = Features(network, str(tmp_path / 'file' / 'cache'))
    with pytest.raises(UserError, match='feature_cache_dir=.*choose another directory'):
        features.of(write_images(tmp_path / 'images', 1))


def test_features_of_two_networks_are_kept_apart(network, features, tmp_path):
    folder = write_images(tmp_path / 'images', 3)
    features.of(folder)
    other = network._replace(
        name='other', dim=1, apply=lambda variables, images: images[:, 0, 0, :1]
    )
    assert Features(other, features.cache_dir).of(folder).shape == (3, 1)
    assert features.of(folder).shape == (3, 2)


def test_published_weights_over_all_devices_give_golden_features(tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, 'BATCH_SIZE', 1)
    golden = Golden('inception_features')
    state = recipe_state(shapes_of('inception')['shapes'], golden.meta['salt'])
    np.savez(tmp_path / 'weights.npz', **state)
    (tmp_path / 'images').mkdir()
    for i in range(3):
        Image.fromarray(golden[f'in/picture{i}']).save(tmp_path / 'images' / f'{i}.png')
    weights = str(tmp_path / 'weights.npz')
    network = inception(EvaluationConfig(fid_mode='clean', inception_weights=weights))
    features = Features(network, str(tmp_path / 'cache'))
    for i, row in enumerate(features.of(ImageFolder('image_dir', str(tmp_path / 'images')))):
        golden.check(row, f'out/clean/{i}/2048')
