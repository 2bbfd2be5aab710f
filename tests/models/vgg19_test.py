import jax
import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.models.vgg19 import STAGES, Vgg19, load_vgg19, prepare, torchvision_names
from tests.fixtures.torch_files import write_tensors

DIVISOR = 32


@pytest.fixture
def state():
    """The entries of torchvision's file with 1/32 of the channels, and one of its classifier."""
    random, channels = np.random.default_rng(0), 3
    state = {'classifier.0.weight': np.zeros((4, 4), np.float32)}
    widths = [width // DIVISOR for stage in STAGES for width in stage]
    for name, width in zip(torchvision_names().values(), widths, strict=True):
        state[f'{name}.weight'] = random.normal(size=(width, channels, 3, 3)).astype(np.float32)
        state[f'{name}.bias'] = random.normal(size=width).astype(np.float32)
        channels = width
    return state


def test_names_are_torchvisions():
    indices = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)
    assert list(torchvision_names().values()) == [f'features.{i}' for i in indices]


BLACK = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]


@pytest.mark.parametrize('input_range, expected', [('imagenet', BLACK), ('raw', [-1, -1, -1])])
def test_input_is_normalized_for_imagenet(input_range, expected):
    np.testing.assert_allclose(prepare(-np.ones(3, np.float32), input_range), expected, rtol=1e-5)


def test_npz_file_is_read(state, tmp_path):
    path = str(tmp_path / 'vgg19.npz')
    np.savez(path, **state)
    variables = load_vgg19(path)
    kernel = variables['params']['conv_3_2']['kernel']
    np.testing.assert_array_equal(kernel, state['features.12.weight'].transpose(2, 3, 1, 0))
    features = Vgg19(DIVISOR).apply(variables, np.zeros((1, 32, 32, 3), np.float32))
    assert [feature.shape for feature in features] == [
        (1, 32, 32, 2),
        (1, 16, 16, 4),
        (1, 8, 8, 8),
        (1, 4, 4, 16),
        (1, 2, 2, 16),
    ]


def test_pth_file_equals_npz_file(state, tmp_path):
    pth, npz = str(tmp_path / 'vgg19.pth'), str(tmp_path / 'vgg19.npz')
    write_tensors(tmp_path / 'vgg19.pth', state, 'old')
    np.savez(npz, **state)
    jax.tree.map(np.testing.assert_array_equal, load_vgg19(pth), load_vgg19(npz))


def test_parameter_count_is_that_of_torchvision():
    shapes = jax.eval_shape(Vgg19().init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 12_944_960  # up to features.28


@pytest.mark.parametrize(
    'name, array, message',
    [
        ('features.10.bias', None, 'has no entry features.10.bias'),
        (
            'features.5.weight',
            np.zeros((4, 9, 3, 3), np.float32),
            r'features.5 has weight \(4, 9, 3, 3\)',
        ),
        ('features.0.bias', np.zeros((2, 1), np.float32), r'features.0 has .* bias \(2, 1\)'),
    ],
)
def test_other_weights_are_refused(state, tmp_path, name, array, message):
    state.pop(name)
    if array is not None:
        state[name] = array
    np.savez(tmp_path / 'other.npz', **state)
    with pytest.raises(UserError, match=message):
        load_vgg19(str(tmp_path / 'other.npz'))


def test_missing_path_is_refused():
    with pytest.raises(UserError, match='--perceptual_network=squeezenet'):
        load_vgg19('')


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match='no such file'):
        load_vgg19(str(tmp_path / 'vgg19.npz'))


def test_broken_file_is_refused(tmp_path):
    (tmp_path / 'broken.npz').write_bytes(b'no archive')
    with pytest.raises(UserError, match='not a readable .npz'):
        load_vgg19(str(tmp_path / 'broken.npz'))
