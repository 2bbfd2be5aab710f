import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from spade_jax.layers.convolution import (
    Convolution,
    add_bias,
    bands_form,
    convolve,
    form_for_cpu,
    plain_form,
)


@pytest.mark.parametrize(
    'kernel_size, strides, padding, channels',
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
def test_it_is_the_plain_convolution_with_its_gradients(kernel_size, strides, padding, channels):
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 5, 6, channels[0])).astype(np.float32)
    kernel = (random.normal(size=(kernel_size, kernel_size, *channels)) / channels[0]).astype(
        np.float32
    )

    def plain(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            (strides, strides),
            [(padding, padding)] * 2,
            dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
        )

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradients(conv, x, kernel):
        y, gradients = jax.vjp(conv, x, kernel)
        return y, gradients(jnp.asarray(np.random.default_rng(1).normal(size=y.shape), y.dtype))

    ours, expected = (
        value_and_gradients(lambda x, kernel: convolve(x, kernel, strides, padding), x, kernel),
        value_and_gradients(plain, x, kernel),
    )
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-4), ours, expected
    )


@pytest.mark.parametrize(
    'precision, grid, channels, strides, in_bands',
    [
        ('float32', 256, (128, 64), 1, 'weight_gradient'),
        ('float32', 32, (512, 512), 1, ''),
        ('bfloat16', 256, (128, 64), 1, 'result weight_gradient'),
        ('bfloat16', 64, (512, 256), 1, 'result input_gradient weight_gradient'),
        ('bfloat16', 256, (64, 3), 1, 'weight_gradient'),
        ('bfloat16', 256, (128, 64), 2, ''),
    ],
)
def test_a_cpu_takes_the_bands_where_they_are_faster(precision, grid, channels, strides, in_bands):
    form = form_for_cpu(
        jax.ShapeDtypeStruct((1, grid, grid, channels[0]), precision),
        jax.ShapeDtypeStruct((3, 3, *channels), precision),
        strides,
        1,
    )
    code = {name: getattr(bands_form(1), name) for name in form._fields}
    assert [
        name for name in form._fields if same_code(getattr(form, name), code[name])
    ] == in_bands.split()


def same_code(one, other):
    one, other = (getattr(function, 'func', function) for function in (one, other))
    return one.__code__ is other.__code__


@pytest.mark.parametrize('precision, tolerance', [('float32', 1e-5), ('bfloat16', 1e-2)])
def test_convolutions_of_large_grids_are_the_plain_ones_with_their_gradients(precision, tolerance):
    """Larger than a band, for a batch, in the precision that chooses bands for all three."""
    random = np.random.default_rng(0)
    x, kernel, cotangent = (
        jnp.asarray(random.normal(size=shape), precision)
        for shape in ((2, 70, 66, 128), (3, 3, 128, 128), (2, 70, 66, 128))
    )

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradients(conv, x, kernel, cotangent):
        y, gradients = jax.vjp(conv, x, kernel)
        return y, *gradients(cotangent)

    ours = value_and_gradients(lambda x, kernel: convolve(x, kernel, 1, 1), x, kernel, cotangent)
    plain = value_and_gradients(
        plain_form(1, 1).result, *(array.astype(jnp.float32) for array in (x, kernel, cotangent))
    )
    for array, expected in zip(ours, plain):
        assert array.dtype == precision and array.shape == expected.shape
        array, expected = np.asarray(array, np.float32), np.asarray(expected, np.float32)
        assert np.abs(array - expected).max() <= tolerance * np.abs(expected).max()


def test_padding_is_on_both_sides():
    x = jnp.arange(1.0, 5.0).reshape(1, 1, 4, 1) * jnp.ones((1, 4, 1, 1))
    centre = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
    y = Convolution(1, strides=2, use_bias=False).apply(
        {'params': {'kernel': centre}}, x, train=False
    )
    np.testing.assert_array_equal(y[0, 0, :, 0], [1, 3])  # 'SAME' would give 2, 4


def test_the_gradient_of_a_bias_is_summed_in_float32():
    y, bias = jnp.zeros((1, 128, 128, 2), jnp.bfloat16), jnp.zeros(2)
    biased, gradient = jax.jit(
        lambda y, bias: (add_bias(y, bias), jax.vjp(add_bias, y, bias)[1](jnp.ones_like(y))[1])
    )(y, bias)
    assert biased.dtype == jnp.bfloat16 and gradient.dtype == jnp.float32
    np.testing.assert_array_equal(gradient, [128 * 128] * 2)
