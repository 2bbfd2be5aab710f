import functools

import jax
import pytest

from spade_jax.layers.convolution import xla_conv
from spade_jax.layers.cpu.conv_algorithms import blocked_conv, fastest_on_cpu, from_autodiff

XLA = from_autodiff(functools.partial(xla_conv, strides=1, padding=1))
ALL = 'result input_gradient weight_gradient'


@pytest.mark.parametrize(
    'dtype, grid, channels, strides, blocked',
    [
        ('float32', 256, (128, 64), 1, 'weight_gradient'),
        ('float32', 32, (512, 512), 1, ''),
        ('bfloat16', 256, (128, 64), 1, 'result weight_gradient'),
        ('bfloat16', 64, (512, 256), 1, ALL),
        ('bfloat16', 256, (64, 3), 1, 'weight_gradient'),
        ('bfloat16', 256, (128, 64), 2, ''),
    ],
)
def test_cpu_uses_blocks_where_they_are_faster(dtype, grid, channels, strides, blocked):
    algorithm = choose((1, grid, grid, channels[0]), (3, 3, *channels), strides, dtype)
    blocks = blocked_conv(1)
    assert [
        part
        for part in algorithm._fields
        if code_of(getattr(algorithm, part)) is code_of(getattr(blocks, part))
    ] == blocked.split()


def test_cpu_uses_im2col_for_large_kernels_on_small_grids():
    algorithm = choose((2, 8, 8, 512), (3, 3, 512, 512))
    assert algorithm.result.func.__name__ == 'im2col_convolution'


def test_exported_programs_use_no_blocks():
    (batch,) = jax.export.symbolic_shape('batch')
    assert choose((batch, 256, 256, 128), (3, 3, 128, 64)) is XLA


def choose(x_shape, kernel_shape, strides=1, dtype='float32'):
    x, kernel = jax.ShapeDtypeStruct(x_shape, dtype), jax.ShapeDtypeStruct(kernel_shape, dtype)
    return fastest_on_cpu(XLA, x, kernel, strides, 1)


def code_of(function):
    return getattr(function, 'func', function).__code__
