import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.layers.convolution import TransposedConvolution
from spade_jax.models.initialization import abstract_variables, init_variables
from spade_jax.models.patch_discriminator import MultiscaleDiscriminator, PatchDiscriminator
from spade_jax.models.spade.reference_names import to_variables
from spade_jax.models.train_state import init_train_state
from spade_jax.random_streams import Stream
from tests import parity

GENERATOR = Stream.GENERATOR_WEIGHTS
PUBLISHED_VALUES = 0.00068131887, 0.0079966104  # first of a Glorot, of a uniform kernel


def array(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


class Case:
    """One of the reference's networks, with the statistics of its tensors."""

    def __init__(self, name):
        self.golden = parity.Golden('weight_init')
        meta = self.golden.meta['cases'][name]
        self.name, self.options = name, meta['options']
        self.names, shapes = meta['names'], [tuple(shape) for shape in meta['shapes']]
        self.shapes = dict(zip(self.names, shapes, strict=True))
        self.grid_size = None
        if self.options.get('use_vae'):
            cells = self.shapes['fc.bias'][0] // (16 * self.options['ngf'])
            self.grid_size = (int(np.sqrt(cells)),) * 2

    def network(self):
        """The network, its kind, and the shapes of its inputs."""
        if self.name[0] == 'G':
            network = parity.generator_of(self.options)
            side = (self.grid_size or (2, 2))[0] * 2**network.num_upsamplings
            channels = self.shapes['head_0.norm_0.mlp_shared.0.weight'][1]
            style = None if network.style_dim is None else array(1, network.style_dim)
            return network, 'generator', (array(1, side, side, channels), style)
        if self.name[0] == 'D':
            channels = self.shapes['discriminator_0.model0.0.weight'][1] - 3
            inputs = array(1, 64, 64, channels), array(1, 64, 64, 3)
            return parity.discriminator_of(self.options), 'discriminator', inputs
        return parity.encoder_of(self.options), 'encoder', (array(1, 256, 256, 3),)

    def statistics(self, column, kind):
        """Trees of mean, std, min and max, each spread over an array of its tensor's shape."""
        rows = dict(zip(self.names, self.golden.arrays[f'out/{self.name}/{column}'], strict=True))
        for i in range(4):
            full = {name: np.full(self.shapes[name], row[i]) for name, row in rows.items()}
            yield to_variables(full, kind, grid_size=self.grid_size)


def check_tensor(path, actual, mean, std, _, high):
    what, size = jax.tree_util.keystr(path), actual.size
    assert actual.shape == mean.shape, what
    assert actual.dtype == np.float32, what
    mean, std, high = (statistic.flat[0] for statistic in (mean, std, high))
    if size == 1:
        return
    if std == 0:
        np.testing.assert_allclose(actual, mean, err_msg=what)
        return
    assert abs(actual.mean() - mean) <= 6 * std / np.sqrt(size) * 1.5, what
    assert abs(actual.std() / std - 1) <= max(6 * 1.5 / np.sqrt(2 * size), 0.02), what
    if size > 1000 and "'kernel'" in what:  # the largest value tells uniform from normal
        assert (actual.max() / actual.std() < 2) == (high / std < 2), what


# The reference initializes on the host; then it moves the network to the GPU, or before ('moved').
@pytest.mark.parametrize('column', ['moved', 'host'])
@pytest.mark.parametrize('name', parity.Golden('weight_init').meta['cases'])
def test_initialization_has_golden_statistics(name, column):
    case = Case(name)
    options = parity.with_defaults(case.options)
    initialization = parity.INITIALIZATIONS[options['init_type']]
    if column == 'moved':
        if initialization != 'glorot':
            pytest.skip(f'not offered: init_type={options["init_type"]} after the move to a GPU')
        initialization = 'published'
    network, kind, inputs = case.network()
    variables = init_variables(
        abstract_variables(network, *inputs),
        0,
        GENERATOR,
        initialization=initialization,
        gain=options['init_variance'],
    )
    jax.tree_util.tree_map_with_path(check_tensor, variables, *case.statistics(column, kind))


@pytest.fixture(scope='module')
def abstract():
    network = MultiscaleDiscriminator(functools.partial(PatchDiscriminator, width=32, depth=2))
    return abstract_variables(network, array(1, 32, 32, 3), array(1, 32, 32, 3))


def kernel(variables, scale=0, conv=0):
    return variables['params'][f'scale_{scale}'][f'conv_{conv}']['kernel']


def test_singular_vectors_have_unit_length(abstract):
    for vector in jax.tree.leaves(init_variables(abstract, 0, GENERATOR)['spectral']):
        np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-5)


def test_seed_and_stream_determine_variables(abstract):
    init = functools.partial(init_variables, abstract)
    ours = kernel(init(0, GENERATOR))
    np.testing.assert_array_equal(ours, kernel(init(0, GENERATOR)))
    assert np.abs(ours - kernel(init(1, GENERATOR))).max() > 0
    assert np.abs(ours - kernel(init(0, Stream.DISCRIMINATOR_WEIGHTS))).max() > 0
    assert np.abs(ours - kernel(init(0, GENERATOR), scale=1)).max() > 0


def test_published_values_do_not_change(abstract):
    """A seed keeps its meaning."""
    variables = init_variables(abstract, 0, GENERATOR)
    first = [float(kernel(variables, conv=conv).flat[0]) for conv in (0, 1)]
    np.testing.assert_allclose(first, PUBLISHED_VALUES, rtol=1e-6)


def test_gain_scales_glorot(abstract):
    small, large = (kernel(init_variables(abstract, 0, GENERATOR, gain=g)) for g in (0.02, 0.2))
    np.testing.assert_allclose(large, 10 * small, rtol=1e-5)


@pytest.mark.parametrize('conv, fan_in, fan_out', [(0, 96, 512), (1, 512, 1024)])
@pytest.mark.parametrize(
    'initialization, std',
    [
        ('glorot', lambda fan_in, fan_out: 0.3 * np.sqrt(2 / (fan_in + fan_out))),
        ('normal', lambda fan_in, fan_out: 0.3),
        ('kaiming', lambda fan_in, fan_out: np.sqrt(2 / fan_in)),
    ],
)
def test_kernels_have_standard_deviation(abstract, initialization, std, conv, fan_in, fan_out):
    variables = init_variables(abstract, 0, GENERATOR, initialization=initialization, gain=0.3)
    actual = kernel(variables, conv=conv)
    np.testing.assert_allclose(actual.std(), std(fan_in, fan_out), rtol=0.05)
    assert actual.max() > 2 * actual.std()  # not uniform


def test_unknown_variable_is_refused():
    abstract = {'params': {'layer': {'table': array(3, 4)}}}
    with pytest.raises(ValueError, match="params/layer/table: no rule .* 'table'"):
        init_variables(abstract, 0, GENERATOR)


@pytest.mark.parametrize(
    'spectral_norm, initialization, std',
    [(False, 'kaiming', np.sqrt(2 / (16 * 64))), (True, 'published', np.sqrt(1 / (3 * 16 * 64)))],
)
def test_outputs_of_transposed_kernels_count_as_their_inputs(spectral_norm, initialization, std):
    network = TransposedConvolution(64, 4, use_bias=False, spectral_norm=spectral_norm)
    abstract = abstract_variables(network, array(1, 8, 8, 16))
    variables = init_variables(abstract, 0, GENERATOR, initialization=initialization)
    np.testing.assert_allclose(variables['params']['kernel'].std(), std, rtol=0.02)


def test_noise_injection_starts_as_the_identity():
    options = dict(crop_size=32, generator_width=2, spade_hidden=4, discriminator_width=4)
    config = Config.create(noise_injection=True, num_classes=3, **options)
    params = init_train_state(config).networks['generator']['params']
    scales = [block['noise']['scale'] for block in params.values() if 'noise' in block]
    assert len(scales) == 7 and not np.concatenate(scales).any()
