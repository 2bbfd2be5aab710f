import jax
import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.models.vgg19 import STAGES, Vgg19, load_vgg19, torchvision_names

DIVISOR = 32


def narrow_state():
    """The entries of torchvision's file, with 1/32 of the channels, and those of the classifier that the loss does not use."""
    random, state, channels = (
        np.random.default_rng(0),
        {'classifier.0.weight': np.zeros((4, 4), np.float32)},
        3,
    )
    widths = [width // DIVISOR for stage in STAGES for width in stage]
    for name, width in zip(torchvision_names().values(), widths, strict=True):
        state[f'{name}.weight'] = random.normal(size=(width, channels, 3, 3)).astype(np.float32)
        state[f'{name}.bias'] = random.normal(size=width).astype(np.float32)
        channels = width
    return state


def test_names_are_torchvisions():
    assert list(torchvision_names().values()) == [
        f'features.{i}' for i in (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28)
    ]


def test_npz(tmp_path):
    path = str(tmp_path / 'vgg19.npz')
    state = narrow_state()
    np.savez(path, **state)
    variables = load_vgg19(path)
    np.testing.assert_array_equal(
        variables['params']['conv_3_2']['kernel'], state['features.12.weight'].transpose(2, 3, 1, 0)
    )
    features = Vgg19(DIVISOR).apply(variables, np.zeros((1, 32, 32, 3), np.float32))
    assert [feature.shape for feature in features] == [
        (1, 32, 32, 2),
        (1, 16, 16, 4),
        (1, 8, 8, 8),
        (1, 4, 4, 16),
        (1, 2, 2, 16),
    ]


def test_pth(tmp_path):
    torch = pytest.importorskip('torch')
    path = str(tmp_path / 'vgg19.pth')
    state = narrow_state()
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, path)
    np.savez(tmp_path / 'vgg19.npz', **state)
    jax.tree.map(
        np.testing.assert_array_equal, load_vgg19(path), load_vgg19(str(tmp_path / 'vgg19.npz'))
    )


def test_full_size_parameters():
    shapes = jax.eval_shape(Vgg19().init, jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    assert (
        sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 12_944_960
    )  # of torchvision's vgg19 up to features.28


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda state: state.pop('features.10.bias'), 'has no entry features.10.bias'),
        (
            lambda state: state.update({'features.5.weight': np.zeros((4, 9, 3, 3), np.float32)}),
            'features.5 has weight (4, 9, 3, 3)',
        ),
    ],
)
def test_another_file_is_refused(tmp_path, change, message):
    state = narrow_state()
    change(state)
    np.savez(tmp_path / 'other.npz', **state)
    with pytest.raises(UserError) as error:
        load_vgg19(str(tmp_path / 'other.npz'))
    assert message in str(error.value)


def test_a_missing_or_broken_file_is_refused(tmp_path):
    with pytest.raises(UserError, match='--perceptual_weight=0'):
        load_vgg19('')
    (tmp_path / 'broken.npz').write_bytes(b'no archive')
    with pytest.raises(UserError, match='not a readable .npz'):
        load_vgg19(str(tmp_path / 'broken.npz'))
