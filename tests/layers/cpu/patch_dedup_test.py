import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.layers.convolution import Weights
from spade_jax.layers.cpu.patch_dedup import (
    ROOMS,
    number_equal,
    numbered,
    pixel_codes,
    two_convolutions,
    worth_numbering,
)
from spade_jax.models.spade.generator import SpadeGenerator

EVERYWHERE = len(ROOMS)


def one_hot(label, channels):
    return jax.nn.one_hot(jnp.asarray(label), channels)


def regions(height, width, block, channels=5, batch=2):
    """Label maps of squares: the larger, the fewer kinds of neighbourhoods."""
    grid = np.random.default_rng(block).integers(
        0, channels, (batch, -(-height // block), -(-width // block))
    )
    return np.kron(grid, np.ones((1, block, block), int))[:, :height, :width]


def with_edges(layout):
    edges = (
        np.random.default_rng(0)
        .integers(0, 2, layout.shape[:2])
        .repeat(layout.shape[2])
        .reshape(*layout.shape[:3], 1)
    )  # whole rows
    return jnp.concatenate([layout, jnp.asarray(edges, layout.dtype)], -1)


def weights(inputs, outputs, seed):
    random = np.random.default_rng(seed)
    return Weights(
        *(
            jnp.asarray(random.normal(size=shape), jnp.float32)
            for shape in ((3, 3, inputs, outputs), (outputs,))
        )
    )


def test_equal_entries_share_a_number():
    kinds = number_equal(
        jnp.asarray([[7, 7], [3, 7]]), jnp.asarray([[1, 2], [1, 1]])
    )  # (7, 1), (7, 2), (3, 1), (7, 1)
    assert int(kinds.count) == 3
    assert kinds.of[0] == kinds.of[3] and len(set(kinds.of.tolist())) == 3
    np.testing.assert_array_equal(kinds.of[kinds.examples[:3]], [0, 1, 2])


def test_a_uniform_map_has_a_kind_for_each_distance_from_the_border():
    layout = numbered(one_hot(np.zeros((1, 64, 64), int), 3))
    assert (
        int(layout.outer.count) == 5 * 5
    )  # two rows and columns at each side, and everything between
    assert int(layout.form) == 0


def test_codes_tell_all_pixels_apart():
    vectors = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1]]
    codes, of_classes = pixel_codes(jnp.asarray(vectors, jnp.float32).reshape(1, 1, 6, 3))
    assert (
        of_classes
        and len(set(codes.ravel().tolist())) == 6
        and codes.min() == 1
        and codes.max() <= 6
    )


@pytest.mark.parametrize('pixel', [[0.5, 0, 0], [1, 1, 0], [0, 0, 2], [-1, 0, 0]])
def test_what_is_no_layout_of_classes_is_convolved_everywhere(pixel):
    layout = one_hot(np.zeros((1, 64, 64), int), 3).at[0, 5, 5].set(jnp.asarray(pixel))
    assert int(numbered(layout).form) == EVERYWHERE


@pytest.mark.parametrize('edges', [False, True])
@pytest.mark.parametrize('block, form', [(64, 0), (16, 1), (9, 2), (6, 3), (1, EVERYWHERE)])
def test_it_is_the_convolution_everywhere_with_its_gradients(block, form, edges):
    layout = one_hot(regions(64, 78, block), 5)
    if edges:
        layout = with_edges(layout)
    first, second = weights(layout.shape[-1], 4, 1), weights(4, 6, 2)
    cotangent = jnp.asarray(
        np.random.default_rng(3).normal(size=(*layout.shape[:3], 6)), jnp.float32
    )
    numbering = jax.jit(numbered)(layout)
    assert (
        int(numbering.form) == form
        or edges
        and form <= int(numbering.form) < max(form + 2, EVERYWHERE + 1)
    )  # all forms are tested

    @jax.jit
    def value_and_gradients(layout):
        result, gradients = jax.vjp(
            lambda *weights: two_convolutions(layout, *weights), first, second
        )
        return result, gradients(cotangent)

    ours, plain = value_and_gradients(numbering), value_and_gradients(layout)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(
            x, y, rtol=1e-4, atol=2e-6 * float(jnp.abs(y).max())
        ),
        ours,
        plain,
    )


def test_gradients_of_large_regions_in_bfloat16():
    """A sum of 60,000 equal numbers in bfloat16, one after the other, ends at 256 of them."""
    layout, cotangent = (
        one_hot(np.arange(256)[:, None].repeat(256, 1)[None] // 128, 2),
        jnp.ones((1, 256, 256, 6)),
    )
    first, second = weights(2, 4, 1), weights(4, 6, 2)

    @jax.jit
    def gradients(layout, dtype_of):
        cast = functools.partial(jax.tree.map, lambda x: x.astype(dtype_of.dtype))
        return jax.vjp(
            lambda *weights: two_convolutions(numbered(cast(layout)), *weights),
            cast(first),
            cast(second),
        )[1](cast(cotangent))

    low, full = (gradients(layout, jnp.zeros((), dtype)) for dtype in (jnp.bfloat16, jnp.float32))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(
            np.asarray(x, np.float32), y, atol=0.03 * float(jnp.abs(y).max())
        ),
        low,
        full,
    )


def test_replicas_may_take_different_forms():
    layout = one_hot(np.concatenate([regions(64, 64, block, batch=1) for block in (64, 1)]), 5)
    first, second = weights(5, 4, 1), weights(4, 6, 2)

    def gradients(layout):
        numbering = numbered(layout)
        sums = jax.grad(
            lambda first, second: jnp.sum(two_convolutions(numbering, first, second) ** 2),
            argnums=(0, 1),
        )(first, second)
        return jax.lax.psum(sums, 'replicas'), numbering.form[None]

    sums, forms = jax.pmap(
        gradients, axis_name='replicas', out_axes=(None, 0), devices=jax.devices()[:2]
    )(layout[:, None])
    assert forms.ravel().tolist() == [0, EVERYWHERE]
    expected = jax.jit(
        jax.grad(
            lambda first, second: jnp.sum(two_convolutions(layout, first, second) ** 2),
            argnums=(0, 1),
        )
    )(first, second)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, atol=1e-4 * float(jnp.abs(y).max())),
        sums,
        expected,
    )


def test_coarsest_grids_of_any_size():
    """The first convolution sees the layout as it is."""
    generator = SpadeGenerator(width=1, spade_hidden=1, number_layouts=True)
    layout = jax.ShapeDtypeStruct((1, 2048, 2048, 3), jnp.float32)
    picture, _ = jax.eval_shape(
        functools.partial(generator.init_with_output, train=False), jax.random.key(0), layout
    )
    assert picture.shape == (1, 2048, 2048, 3)


def test_maps_of_other_shapes_are_told_before():
    assert worth_numbering(jnp.zeros((1, 64, 64, 184)), 3)
    assert not worth_numbering(jnp.zeros((1, 32, 64, 184)), 3)
    assert not worth_numbering(jnp.zeros((1, 64, 64, 184)), 5)
    assert not worth_numbering(jnp.zeros((1, 64, 64, 700)), 3)


@pytest.mark.parametrize('rematerialize', ['none', 'blocks'])
def test_the_generator_draws_and_learns_the_same(rematerialize):
    layout = with_edges(one_hot(regions(64, 96, 16), 4))
    plain, ours = (
        SpadeGenerator(
            width=2, spade_hidden=4, rematerialize=rematerialize, number_layouts=number_layouts
        )
        for number_layouts in (False, True)
    )
    variables = plain.init(jax.random.key(0), layout, train=True)
    cotangent = jnp.asarray(np.random.default_rng(3).normal(size=(2, 64, 96, 3)), jnp.float32)

    @jax.jit
    def pictures_and_gradients():
        def weighted_sum(params, generator):
            picture, _ = generator.apply(
                variables | {'params': params},
                layout,
                train=True,
                mutable=['batch_stats', 'spectral'],
            )
            return jnp.sum(picture * cotangent), picture

        return [
            jax.grad(weighted_sum, has_aux=True)(variables['params'], generator)
            for generator in (ours, plain)
        ]

    ours, plain = pictures_and_gradients()
    np.testing.assert_allclose(ours[1], plain[1], atol=1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain[0]))
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-5 * largest),
        ours[0],
        plain[0],
    )  # of biases before a normalisation there is noise alone
