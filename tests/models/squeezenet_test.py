import jax
import numpy as np

from spade_jax.models.squeezenet import MEAN, WEIGHTS, SqueezeNet, load_squeezenet, prepare


def convolve(x, layer, strides=1):
    """In float64; a padding of 1 with kernels of 3x3. [H, W, I] -> [H', W', O], rectified."""
    kernel = layer['kernel'].astype(np.float64)
    size = len(kernel)
    x = np.pad(x, [(size // 2,) * 2, (size // 2,) * 2, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), (0, 1))
    y = np.einsum('hwikl,klio->hwo', windows[::strides, ::strides], kernel) + layer['bias']
    return np.maximum(y, 0)


def pool(x):
    """Maxima of 3x3 pixels around every other one."""
    x = np.pad(x, [(1, 1), (1, 1), (0, 0)])  # No rectified activation is below 0.
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (0, 1))
    return windows[::2, ::2].max(axis=(-2, -1))


def fire(x, layers):
    x = convolve(x, layers['squeeze'])
    return np.concatenate([convolve(x, layers[f'expand_{size}']) for size in ('1x1', '3x3')], -1)


def test_activations_are_those_of_numpy():
    image = np.random.default_rng(0).integers(0, 256, (22, 17, 3))
    variables = load_squeezenet()
    found = jax.jit(SqueezeNet().apply)(variables, prepare(image[None] / np.float32(127.5) - 1))
    layers = variables['params']
    x = convolve(image[..., ::-1] - np.array(MEAN), layers['conv1'], strides=2)
    expected = [x]
    for first in (2, 4, 6, 8):
        x = pool(x) if first < 8 else x
        x = fire(fire(x, layers[f'fire{first}']), layers[f'fire{first + 1}'])
        expected.append(x)
    assert [x.shape for x in expected] == [
        (11, 9, 64),
        (6, 5, 128),
        (3, 3, 256),
        (2, 2, 384),
        (2, 2, 512),
    ]
    for activations, reference in zip(found, expected, strict=True):
        atol = 1e-5 * reference.max()
        np.testing.assert_allclose(activations[0], reference, rtol=1e-4, atol=atol)


def test_package_has_all_numbers_but_those_of_the_classifier():
    variables = load_squeezenet()
    shapes = jax.eval_shape(SqueezeNet().init, jax.random.key(0), np.zeros((1, 8, 8, 3)))
    jax.tree.map(lambda x, shape: np.testing.assert_equal(x.shape, shape.shape), variables, shapes)
    assert sum(x.size for x in jax.tree.leaves(variables)) == 722_496
    assert WEIGHTS.stat().st_size < 1.5e6
    notices = WEIGHTS.with_suffix('.LICENSE').read_text()
    assert 'BSD' in notices and 'Copyright (c) 2019 Primoz Godec' in notices
