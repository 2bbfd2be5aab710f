import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.convolution import Weights
from spade_jax.layers.cpu.fast_modulation import FastModulation
from spade_jax.layers.cpu.patch_dedup import (
    CAPACITIES,
    conv_relu_conv,
    index_patches,
    pixel_codes,
    should_dedup,
    unique_ids,
)
from spade_jax.models.spade.generator import SpadeGenerator

DENSE = len(CAPACITIES)  # the branch
jitted_index_patches = jax.jit(index_patches)


def one_hot(label, channels):
    return jax.nn.one_hot(jnp.asarray(label), channels)


def squares(height, width, block, channels=5, batch=2):
    """Label maps of squares: the larger, the fewer distinct patches."""
    size = batch, -(-height // block), -(-width // block)
    grid = np.random.default_rng(block).integers(0, channels, size)
    return np.kron(grid, np.ones((1, block, block), int))[:, :height, :width]


def with_edges(layout):
    """The layout with a binary channel, equal along each row."""
    rows = np.random.default_rng(0).integers(0, 2, (*layout.shape[:2], 1, 1))
    edges = np.broadcast_to(rows, (*layout.shape[:3], 1))
    return jnp.concatenate([layout, jnp.asarray(edges, layout.dtype)], -1)


def random_weights(inputs, outputs, seed):
    random = np.random.default_rng(seed)
    shapes = (3, 3, inputs, outputs), (outputs,)
    return Weights(*(jnp.asarray(random.normal(size=shape), jnp.float32) for shape in shapes))


def test_unique_ids_are_equal_for_equal_rows():
    rows = unique_ids(jnp.asarray([[7, 7], [3, 7]]), jnp.asarray([[1, 2], [1, 1]]))
    assert int(rows.count) == 3  # (7, 1), (7, 2), (3, 1), (7, 1)
    assert rows.inverse[0] == rows.inverse[3]
    assert len(set(rows.inverse.tolist())) == 3
    np.testing.assert_array_equal(rows.inverse[rows.index[:3]], [0, 1, 2])


def test_uniform_map_has_a_patch_for_each_distance_from_the_border():
    patches = jitted_index_patches(one_hot(np.zeros((1, 64, 64), int), 3))
    assert int(patches.outer.count) == 5 * 5  # two rows and columns at each side, and the interior
    assert int(patches.branch) == 0


def test_pixel_codes_distinguish_all_pixels():
    pixels = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]]
    codes, is_one_hot = pixel_codes(jnp.asarray(pixels, jnp.float32).reshape(1, 1, 6, 3))
    assert is_one_hot
    assert sorted(codes.ravel().tolist()) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize('pixel', [[0.5, 0, 0], [1, 1, 0], [0, 0, 2], [-1, 0, 0]])
def test_layout_that_is_not_one_hot_takes_the_dense_branch(pixel):
    layout = one_hot(np.zeros((1, 64, 64), int), 3).at[0, 5, 5].set(jnp.asarray(pixel))
    assert int(jitted_index_patches(layout).branch) == DENSE


BRANCHES = [(64, 0), (16, 1), (9, 2), (6, 3), (1, DENSE)]  # size of the squares, branch


@pytest.mark.parametrize('block, branch', BRANCHES)
def test_squares_take_each_branch(block, branch):
    assert int(jitted_index_patches(one_hot(squares(64, 78, block), 5)).branch) == branch


@jax.jit
def value_and_gradients(layout, weights, cotangent):
    """One program for all layouts of a size: the branch is chosen when it runs."""
    result, vjp = jax.vjp(functools.partial(conv_relu_conv, layout), *weights)
    return result, vjp(cotangent)


@pytest.mark.parametrize('edges', [False, True])
@pytest.mark.parametrize('block', [block for block, _ in BRANCHES])
def test_dedup_equals_dense_with_gradients(block, edges):
    layout = one_hot(squares(64, 78, block), 5)
    layout = with_edges(layout) if edges else layout
    weights = random_weights(layout.shape[-1], 4, 1), random_weights(4, 6, 2)
    cotangent = np.random.default_rng(3).normal(size=(*layout.shape[:3], 6)).astype(np.float32)

    def assert_close(x, y):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=2e-6 * float(jnp.abs(y).max()))

    patches = jitted_index_patches(layout)
    actual, expected = (value_and_gradients(x, weights, cotangent) for x in (patches, layout))
    jax.tree.map(assert_close, actual, expected)


def test_gradients_of_large_regions_are_summed_in_float32():
    """A sum of 16,000 equal numbers in bfloat16 would stop growing at 256 of them."""
    layout = one_hot(np.arange(128)[:, None].repeat(128, 1)[None] // 64, 2)
    weights = random_weights(2, 4, 1), random_weights(4, 6, 2)

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(dtype):
        cast = functools.partial(jax.tree.map, lambda x: x.astype(dtype))
        conv = functools.partial(conv_relu_conv, index_patches(cast(layout)))
        return jax.vjp(conv, *cast(weights))[1](jnp.ones((1, 128, 128, 6), dtype))

    def assert_close(x, y):
        atol = 0.03 * float(jnp.abs(y).max())
        np.testing.assert_allclose(np.asarray(x, np.float32), y, atol=atol)

    jax.tree.map(assert_close, gradients(jnp.bfloat16), gradients(jnp.float32))


def test_replicas_may_take_different_branches():
    label = np.concatenate([squares(64, 64, block, batch=1) for block in (64, 1)])
    layout = one_hot(label, 5)
    weights = random_weights(5, 4, 1), random_weights(4, 6, 2)

    def gradients(layout):
        return jax.grad(lambda weights: jnp.sum(conv_relu_conv(layout, *weights) ** 2))(weights)

    def on_replica(layout):
        patches = index_patches(layout)
        return jax.lax.psum(gradients(patches), 'replicas'), patches.branch[None]

    mapped = jax.pmap(
        on_replica, axis_name='replicas', out_axes=(None, 0), devices=jax.devices()[:2]
    )
    sums, branches = mapped(layout[:, None])
    assert branches.ravel().tolist() == [0, DENSE]

    def assert_close(x, y):
        np.testing.assert_allclose(x, y, atol=1e-4 * float(jnp.abs(y).max()))

    jax.tree.map(assert_close, sums, jax.jit(gradients)(layout))


def test_batch_size_may_be_symbolic():
    (batch,) = jax.export.symbolic_shape('batch')
    layout = one_hot(squares(64, 64, 32), 5)
    weights = random_weights(5, 4, 1), random_weights(4, 6, 2)

    def conv(layout):
        return conv_relu_conv(index_patches(layout), *weights)

    shape = jax.ShapeDtypeStruct((batch, *layout.shape[1:]), layout.dtype)
    exported = jax.export.export(jax.jit(conv))(shape)
    expected = conv_relu_conv(layout, *weights)
    np.testing.assert_allclose(exported.call(layout), expected, rtol=1e-4, atol=1e-4)


def test_large_layouts_are_indexed():
    """The first convolution of the generator gets the plain layout."""
    generator = SpadeGenerator(width=1, spade_hidden=1, modulation=FastModulation(dedup=True))
    layout = jax.ShapeDtypeStruct((1, 2048, 2048, 3), jnp.float32)
    init = functools.partial(generator.init_with_output, train=False)
    image, _ = jax.eval_shape(init, jax.random.key(0), layout)
    assert image.shape == (1, 2048, 2048, 3)


@pytest.mark.parametrize(
    'shape, kernel_size, expected',
    [
        ((1, 64, 64, 184), 3, True),
        ((1, 32, 64, 184), 3, False),
        ((1, 64, 64, 184), 5, False),
        ((1, 64, 64, 700), 3, False),
    ],
)
def test_shapes_decide_about_dedup(shape, kernel_size, expected):
    assert should_dedup(jnp.zeros(shape), kernel_size) == expected
