import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.convolution import (
    Convolution,
    TransposedConvolution,
    Weights,
    add_bias,
    concat_kernels,
    convolve,
    reflection_pad,
    xla_conv,
)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(conv, x, kernel, cotangent):
    y, gradients = jax.vjp(conv, x, kernel)
    return y, *gradients(cotangent)


@pytest.mark.parametrize(
    'size, strides, padding, channels',
    [
        (3, 1, 1, (3, 5)),
        (3, 2, 1, (3, 5)),
        (4, 1, 2, (3, 5)),
        (4, 2, 2, (3, 5)),
        (1, 1, 0, (3, 5)),
        (2, 1, 0, (3, 5)),
        (3, 1, 1, (512, 512)),
        (4, 1, 2, (512, 256)),
    ],
)
def test_convolution_and_gradients_equal_xla(size, strides, padding, channels):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 5, 6, channels[0])).astype(np.float32)
    kernel = random.normal(size=(size, size, *channels)).astype(np.float32) / channels[0]

    def conv(function):
        return lambda x, kernel: function(x, kernel, strides, padding)

    shape = jax.eval_shape(conv(xla_conv), x, kernel).shape
    cotangent = random.normal(size=shape).astype(np.float32)
    ours = value_and_gradients(conv(convolve), x, kernel, cotangent)
    expected = value_and_gradients(conv(xla_conv), x, kernel, cotangent)
    assert_close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4)
    jax.tree.map(assert_close, ours, expected)


@pytest.mark.parametrize('dtype, tolerance', [('float32', 1e-5), ('bfloat16', 1e-2)])
def test_convolution_of_large_grids_equals_xla(dtype, tolerance):
    """Larger than a block, for a batch; in bfloat16 all three parts use blocks on a CPU."""
    random = np.random.default_rng(0)
    shapes = (2, 70, 66, 128), (3, 3, 128, 128), (2, 70, 66, 128)
    arrays = [jnp.asarray(random.normal(size=shape), dtype) for shape in shapes]
    ours = value_and_gradients(lambda x, kernel: convolve(x, kernel, 1, 1), *arrays)
    arrays = [array.astype(jnp.float32) for array in arrays]
    plain = value_and_gradients(lambda x, kernel: xla_conv(x, kernel, 1, 1), *arrays)
    for actual, expected in zip(ours, plain, strict=True):
        assert actual.dtype == dtype
        assert actual.shape == expected.shape
        error = np.abs(np.asarray(actual, np.float32) - expected).max()
        assert error <= tolerance * np.abs(expected).max()


def test_padding_is_on_both_sides():
    x = jnp.arange(1.0, 5.0).reshape(1, 1, 4, 1) * jnp.ones((1, 4, 1, 1))
    identity = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
    conv = Convolution(1, strides=2, use_bias=False)
    y = conv.apply({'params': {'kernel': identity}}, x)
    np.testing.assert_array_equal(y[0, 0, :, 0], [1, 3])  # 'SAME' would give 2, 4


def test_gradient_of_bias_is_summed_in_float32():
    y, bias = jnp.zeros((1, 128, 128, 2), jnp.bfloat16), jnp.zeros(2)
    biased, vjp = jax.vjp(add_bias, y, bias)
    _, gradient = vjp(jnp.ones_like(y))
    assert biased.dtype == jnp.bfloat16
    assert gradient.dtype == jnp.float32
    np.testing.assert_array_equal(gradient, [128 * 128] * 2)


def test_concatenated_kernels_give_concatenated_results():
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 4, 4, 2)).astype(np.float32)
    one, two = (
        Weights(jnp.asarray(random.normal(size=(3, 3, 2, n)), jnp.float32), jnp.arange(1.0 * n))
        for n in (3, 4)
    )
    both = concat_kernels(one, two)
    y = xla_conv(x, both.kernel, 1, 1) + both.bias
    parts = [xla_conv(x, kernel, 1, 1) + bias for kernel, bias in (one, two)]
    np.testing.assert_allclose(y, jnp.concatenate(parts, axis=-1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('size', [3, 4])
def test_transposed_convolution_is_transpose_of_strided_one(size):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 3, 5, 4)).astype(np.float32)
    kernel = random.normal(size=(size, size, 4, 6)).astype(np.float32)
    layer = TransposedConvolution(6, kernel_size=size, use_bias=False)
    ours = layer.apply({'params': {'kernel': kernel}}, x)
    strided = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    _, transpose = jax.vjp(lambda y: xla_conv(y, strided, 2, 1), jnp.zeros((2, 6, 10, 6)))
    np.testing.assert_allclose(ours, transpose(x)[0], rtol=1e-5, atol=1e-5)


def test_transposed_convolution_repeats_pixels_with_kernel_of_ones():
    x = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 2, 2, 1)
    variables = {'params': {'kernel': jnp.ones((3, 3, 1, 1)), 'transposed_bias': jnp.ones(1)}}
    y = TransposedConvolution(1).apply(variables, x)[0, :, :, 0]
    expected = [[1, 3, 2, 2], [4, 10, 6, 6], [3, 7, 4, 4], [3, 7, 4, 4]]
    np.testing.assert_array_equal(y, np.asarray(expected) + 1)


def test_reflection_pad_does_not_repeat_border_pixel():
    x = jnp.asarray([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    padded = reflection_pad(jnp.tile(x, (1, 3, 1, 1)), 2)
    np.testing.assert_array_equal(padded[0, 0, :, 0], [3, 2, 1, 2, 3, 2, 1])


def test_convolution_pads_with_reflection():
    x = jnp.arange(3.0).reshape(1, 1, 3, 1).repeat(3, axis=1)
    variables = {'params': {'kernel': jnp.ones((3, 3, 1, 1)), 'bias': jnp.zeros(1)}}
    y = Convolution(1, reflect=True).apply(variables, x)
    np.testing.assert_array_equal(y[0, 0, :, 0], [6, 9, 12])  # Thrice 1+0+1, 0+1+2, 1+2+1.
