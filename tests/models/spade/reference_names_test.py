import numpy as np
import pytest
from flax import traverse_util

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.files.weight_files import BATCH_COUNT
from spade_jax.models.spade.published import from_reference, to_reference
from spade_jax.models.spade.reference_names import module_name, module_path, to_state, to_variables
from spade_jax.models.train_state import init_train_state
from tests import parity

NAMES = [
    ('generator', 'fc', 'first'),
    ('generator', 'head_0.conv_1', 'head/conv_1'),
    ('generator', 'G_middle_1.norm_0.mlp_shared.0', 'middle_1/norm_0/shared'),
    ('generator', 'up_3.norm_s.mlp_beta', 'up_3/norm_s/beta'),
    ('generator', 'up_4.norm_1.param_free_norm', 'up_4/norm_1/norm'),
    ('generator', 'conv_img', 'to_rgb'),
    ('discriminator', 'discriminator_1.model0.0', 'scale_1/conv_0'),
    ('discriminator', 'discriminator_0.model2.0.1', 'scale_0/norm_2'),
    ('encoder', 'layer1.0', 'conv_0'),
    ('encoder', 'layer6.0', 'conv_5'),
    ('encoder', 'layer1.1', 'norm_0'),
    ('encoder', 'layer6.1', 'norm_5'),
    ('encoder', 'fc_var', 'log_variance'),
]


def assert_same_state(actual, expected):
    """Same names, types and numbers."""
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


@pytest.mark.parametrize('network, theirs, ours', NAMES)
def test_module_path_translates_name(network, theirs, ours):
    assert module_path(theirs, network) == ours


@pytest.mark.parametrize('network, theirs, ours', NAMES)
def test_module_name_translates_path(network, theirs, ours):
    assert module_name(ours, network) == theirs


@pytest.mark.parametrize(
    'network, name',
    [
        ('generator', 'body.0'),
        ('generator', 'up_0.norm_0.mlp_delta'),
        ('discriminator', 'model1'),
        ('encoder', 'layer1.2'),
    ],
)
def test_module_path_refuses_unknown_name(network, name):
    with pytest.raises(KeyError, match='no network of the published models'):
        module_path(name, network)


@pytest.mark.parametrize(
    'case', parity.cases('generator') + parity.cases('discriminator') + parity.usable_encoders()
)
def test_golden_state_survives_round_trip(case):
    golden = parity.Golden(case)
    network, options = golden.meta['kind'], parity.with_defaults(golden.options)
    has_latent = network == 'generator' and options['use_vae']
    grid = tuple(golden.meta['latent_hw']) if has_latent else None
    state = golden.state('sd')
    actual = to_state(to_variables(state, network, grid_size=grid), network, grid_size=grid)
    expected = {name: array for name, array in state.items() if not name.endswith(BATCH_COUNT)}
    assert_same_state(actual, expected)


STYLED = dict(style_encoder=True, style_dim=6)


@pytest.mark.parametrize(
    'options',
    [
        dict(aspect_ratio=2.0, crop_size=64, **STYLED),
        dict(encoder_norm='sync_batch', **STYLED),
        dict(generator_spectral_norm=False, generator_norm='instance'),
        dict(discriminator_norm='batch'),
        dict(discriminator_norm='none', discriminator_spectral_norm=False),
        dict(discriminator_depth=1, num_discriminators=3),
    ],
    ids=lambda options: '-'.join(options),
)
def test_variables_survive_round_trip(options):
    small = dict(num_classes=3, crop_size=32, generator_width=2, spade_hidden=4)
    small |= dict(discriminator_width=4, encoder_width=2)
    config = Config.create(**small | options)
    for network, variables in init_train_state(config).networks.items():
        state = to_reference(variables, network, config)
        actual = from_reference(state, network, config)
        flat = [traverse_util.flatten_dict(tree, sep='/') for tree in (actual, variables)]
        assert_same_state(*flat)


def encoder_state():
    """An encoder of the reference with norm_E=spectralbatch: two convolutions, a 2x2 grid."""
    random = np.random.default_rng(0)
    shapes = {'fc_mu.weight': (6, 16), 'fc_mu.bias': (6,)}
    shapes |= {'fc_var.weight': (6, 16), 'fc_var.bias': (6,)}
    for i, (inputs, outputs) in enumerate([(3, 2), (2, 4)], 1):
        conv, norm = f'layer{i}.0', f'layer{i}.1'
        shapes |= {f'{conv}.weight_orig': (outputs, inputs, 3, 3)}
        shapes |= {f'{conv}.weight_u': (outputs,), f'{conv}.weight_v': (9 * inputs,)}
        parameters = ('weight', 'bias', 'running_mean', 'running_var')
        shapes |= {f'{norm}.{name}': (outputs,) for name in parameters}
    return {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    'name, collection, leaf',
    [
        ('weight', 'params', 'scale'),
        ('bias', 'params', 'bias'),
        ('running_mean', 'batch_stats', 'mean'),
        ('running_var', 'batch_stats', 'var'),
    ],
)
def test_batch_norm_of_encoder_is_found(name, collection, leaf):
    state = encoder_state()
    norm = to_variables(state, 'encoder')[collection]['norm_1']
    np.testing.assert_array_equal(norm[leaf], state[f'layer2.1.{name}'])


def test_encoder_with_batch_norm_survives_round_trip():
    state = encoder_state()
    assert_same_state(to_state(to_variables(state, 'encoder'), 'encoder'), state)


def dense_generator(rows, channels):
    """The entries that tell whether a grid fits the first dense layer."""
    return {
        'fc.weight': np.zeros((rows, 5), np.float32),
        'head_0.conv_0.weight_orig': np.zeros((channels, channels, 3, 3), np.float32),
    }


def test_dense_layer_puts_channels_last():
    """Row c * 2 + x of the reference is row x * 3 + c here, for 3 channels on a 1x2 grid."""
    state = dense_generator(6, 3)
    state['fc.bias'] = np.arange(6, dtype=np.float32)
    bias = to_variables(state, 'generator', grid_size=(1, 2))['params']['first']['bias']
    np.testing.assert_array_equal(bias, [0, 2, 4, 1, 3, 5])


@pytest.mark.parametrize('grid_size', [(2, 2), (1, 3), (2, 3)])
def test_grid_that_does_not_fit_dense_layer_is_refused(grid_size):
    grid = f'{grid_size[0]}x{grid_size[1]}'
    message = rf'dense layer has 6 rows, which do not fit a grid of {grid} \(height x width\)'
    with pytest.raises(UserError, match=message):
        to_variables(dense_generator(6, 3), 'generator', grid_size=grid_size)


def test_grid_must_divide_rows_of_a_part_of_the_state():
    state = {'fc.bias': np.zeros(6, np.float32)}
    with pytest.raises(UserError, match='do not fit a grid of 2x2'):
        to_variables(state, 'generator', grid_size=(2, 2))


def test_right_vector_without_kernel_is_refused():
    with pytest.raises(KeyError, match='no fc.weight_orig that gives its layout'):
        to_variables({'fc.weight_v': np.zeros(9, np.float32)}, 'generator')
