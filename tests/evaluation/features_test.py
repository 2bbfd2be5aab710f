import jax
import numpy as np
import pytest
from PIL import Image

from spade_jax.evaluation import features as features_module
from spade_jax.evaluation.features import InceptionFeatures
from spade_jax.evaluation.image_sets import ImageFolder
from tests.evaluation.golden_weights import Golden, recipe_state, shapes_of


def brightness(images):
    """Stands in for the network: the mean of each image in all features."""
    return np.repeat(images.mean(axis=(1, 2, 3))[:, None], features_module.DIM, axis=1)


def write_images(directory, count):
    directory.mkdir(exist_ok=True)
    for i in range(count):
        Image.new('RGB', (8, 6), (10 * i,) * 3).save(directory / f'{i:02}.png')
    return ImageFolder('image_dir', str(directory))


@pytest.fixture
def inception(tmp_path, monkeypatch):
    monkeypatch.setattr(InceptionFeatures, '_network', staticmethod(brightness))
    monkeypatch.setattr(features_module, 'BATCH_SIZE', 2)
    (tmp_path / 'weights.npz').write_bytes(b'weights')
    return InceptionFeatures('pytorch_fid', str(tmp_path / 'weights.npz'), str(tmp_path / 'cache'))


def test_features_are_in_the_order_of_the_names(inception, tmp_path):
    features = inception.of(write_images(tmp_path / 'images', 7))
    assert features.shape == (7, features_module.DIM)
    np.testing.assert_allclose(features[:, 0], 20 * np.arange(7) / 255 - 1, rtol=1e-5)


def test_interrupted_extraction_goes_on(inception, tmp_path, monkeypatch):
    folder, seen = write_images(tmp_path / 'images', 11), []

    def interrupted(images):
        seen.append(len(images))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return brightness(images)

    monkeypatch.setattr(InceptionFeatures, '_network', staticmethod(interrupted))
    with pytest.raises(KeyboardInterrupt):
        inception.of(folder)
    features = inception.of(folder)
    per_batch = features_module.BATCH_SIZE * jax.device_count()
    assert len(seen) == 2 + -(-(11 - per_batch) // per_batch)
    np.testing.assert_allclose(features[:, 0], 20 * np.arange(11) / 255 - 1, rtol=1e-5)


def test_unchanged_directory_is_not_read_again(inception, tmp_path, monkeypatch):
    folder = write_images(tmp_path / 'images', 3)
    inception.of(folder)
    monkeypatch.setattr(InceptionFeatures, '_network', None)
    inception.of(folder)
    Image.new('RGB', (8, 8)).save(tmp_path / 'images' / '01.png')
    with pytest.raises(TypeError, match='not callable'):
        inception.of(ImageFolder('image_dir', str(tmp_path / 'images')))


def test_published_weights_over_all_devices_give_golden_features(tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, 'BATCH_SIZE', 1)
    golden = Golden('inception_features')
    state = recipe_state(shapes_of('inception')['shapes'], golden.meta['salt'])
    np.savez(tmp_path / 'weights.npz', **state)
    (tmp_path / 'images').mkdir()
    for i in range(3):
        Image.fromarray(golden[f'in/picture{i}']).save(tmp_path / 'images' / f'{i}.png')
    inception = InceptionFeatures('clean', str(tmp_path / 'weights.npz'), str(tmp_path / 'cache'))
    for i, row in enumerate(inception.of(ImageFolder('image_dir', str(tmp_path / 'images')))):
        golden.check(row, f'out/clean/{i}/2048')
