import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.models.initialization import abstract_variables, draw_variables
from spade_jax.models.spade.discriminator import MultiscaleDiscriminator
from spade_jax.models.spade.encoder import StyleEncoder
from spade_jax.models.spade.generator import SpadeGenerator
from spade_jax.models.spade.reference_names import to_variables
from spade_jax.random_streams import Stream
from tests import parity


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def network_of(name, options):
    width, classes = options.get('ngf', options.get('ndf')), options.get('label_nc')
    if name.startswith('G'):
        style_dim = options['z_dim'] if options.get('use_vae') else None
        return (
            SpadeGenerator(width, style_dim=style_dim),
            'generator',
            lambda s: (array(1, 64, 64, s), None if style_dim is None else array(1, style_dim)),
        )
    if name == 'D':
        return (
            MultiscaleDiscriminator(width=width),
            'discriminator',
            lambda s: (array(1, 64, 64, s), array(1, 64, 64, 3)),
        )
    return StyleEncoder(width), 'encoder', lambda s: (array(1, 256, 256, 3),)


@pytest.mark.parametrize('initialization, column', [('published', 'moved'), ('glorot', 'host')])
@pytest.mark.parametrize('case', ['G', 'G_vae', 'D', 'E'])
def test_statistics_of_every_tensor(case, initialization, column):
    golden = parity.Golden('weight_init')
    meta = golden.meta['cases'][case]
    network, kind, inputs = network_of(case, meta['options'])
    shapes = dict(zip(meta['names'], map(tuple, meta['shapes'])))
    layout_channels = {
        'G': lambda: shapes['head_0.norm_0.mlp_shared.0.weight'][1],
        'D': lambda: shapes['discriminator_0.model0.0.weight'][1] - 3,
    }
    channels = layout_channels.get(case[0], lambda: 0)()
    variables = draw_variables(
        abstract_variables(network, *inputs(channels)),
        0,
        Stream.GENERATOR_WEIGHTS,
        initialization=initialization,
    )

    # The statistics of each tensor, spread over an array of the tensor's shape, so that they find its place in our tree.
    latent = None
    if case == 'G_vae':
        side = int(np.sqrt(shapes['fc.bias'][0] // (16 * meta['options']['ngf'])))
        latent = (side, side)
        assert side == 2
    golden_statistics = golden.arrays[f'out/{case}/{column}']
    trees = [
        to_variables(
            {
                name: np.full(shapes[name], row[i])
                for name, row in zip(meta['names'], golden_statistics)
            },
            kind,
            latent_size=latent,
        )
        for i in range(4)
    ]

    def check(path, drawn, *expected):
        what = jax.tree_util.keystr(path)
        assert drawn.shape == expected[0].shape and drawn.dtype == np.float32, what
        mean, std, _, high = (e.flat[0] for e in expected)
        size = drawn.size
        if size == 1 or std == 0:
            if size > 1:
                np.testing.assert_allclose(drawn, mean, err_msg=what)
            return
        assert abs(drawn.mean() - mean) <= 6 * std / np.sqrt(size) * 1.5, what
        assert abs(drawn.std() / std - 1) <= max(6 * 1.5 / np.sqrt(2 * size), 0.02), what
        if (
            size > 1000 and "'kernel'" in what
        ):  # the largest value tells a uniform distribution from a normal one
            assert (drawn.max() / drawn.std() < 2) == (high / std < 2), what

    jax.tree_util.tree_map_with_path(check, variables, *trees)


def test_singular_vectors_have_unit_length_and_seeds_differ():
    network = MultiscaleDiscriminator(width=4)
    abstract = abstract_variables(network, array(1, 32, 32, 3), array(1, 32, 32, 3))
    draw = functools.partial(draw_variables, abstract)
    one, again, other_seed, other_stream = (
        draw(0, Stream.GENERATOR_WEIGHTS),
        draw(0, Stream.GENERATOR_WEIGHTS),
        draw(1, Stream.GENERATOR_WEIGHTS),
        draw(0, Stream.DISCRIMINATOR_WEIGHTS),
    )
    for vector in jax.tree.leaves(one['spectral']):
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-5)

    def kernel(variables):
        return variables['params']['scale_0']['conv_0']['kernel']

    np.testing.assert_array_equal(kernel(one), kernel(again))
    for other in (other_seed, other_stream):
        assert np.abs(kernel(one) - kernel(other)).max() > 0
    assert np.abs(kernel(one) - one['params']['scale_1']['conv_0']['kernel']).max() > 0


def test_gain():
    abstract = abstract_variables(
        MultiscaleDiscriminator(width=32), array(1, 32, 32, 3), array(1, 32, 32, 3)
    )
    small, large = (
        draw_variables(abstract, 0, Stream.GENERATOR_WEIGHTS, gain=gain)['params']['scale_0'][
            'conv_0'
        ]['kernel']
        for gain in (0.02, 0.2)
    )
    np.testing.assert_allclose(large, 10 * small, rtol=1e-5)
