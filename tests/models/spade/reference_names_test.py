import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.models.spade.model import build_networks
from spade_jax.models.spade.reference_names import (
    BATCH_COUNT,
    module_name,
    module_path,
    to_state,
    to_variables,
)
from spade_jax.models.train_state import init_train_state
from tests import parity


@pytest.mark.parametrize(
    'network, theirs, ours',
    [
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
        ('encoder', 'fc_var', 'log_variance'),
    ],
)
def test_names_both_ways(network, theirs, ours):
    assert module_path(theirs, network) == ours
    assert module_name(ours, network) == theirs


@pytest.mark.parametrize(
    'network, name',
    [
        ('generator', 'body.0'),
        ('generator', 'up_0.norm_0.mlp_delta'),
        ('discriminator', 'model1'),
        ('encoder', 'layer1.1'),
    ],
)
def test_a_foreign_name_is_refused(network, name):
    with pytest.raises(KeyError, match='no network of the published models'):
        module_path(name, network)


@pytest.mark.parametrize(
    'case',
    [
        case
        for kind in ('generator', 'discriminator', 'encoder_crop256')
        for case in parity.cases(kind)
    ],
)
def test_there_and_back_is_the_same(case):
    golden = parity.Golden(case)
    network = golden.meta['kind']
    latent_size = (
        tuple(golden.meta['latent_hw'])
        if network == 'generator' and golden.options['use_vae']
        else None
    )
    state = golden.state('sd')
    again = to_state(
        to_variables(state, network, latent_size=latent_size), network, latent_size=latent_size
    )
    assert_same_state(
        again, {name: array for name, array in state.items() if not name.endswith(BATCH_COUNT)}
    )


@pytest.mark.parametrize(
    'fields',
    [
        dict(style_encoder=True, style_dim=6, aspect_ratio=2.0, crop_size=64),
        dict(generator_spectral_norm=False, generator_norm='instance'),
        dict(discriminator_norm='batch'),
        dict(discriminator_norm='none', discriminator_spectral_norm=False),
        dict(discriminator_depth=1, num_discriminators=3),
    ],
)
def test_back_and_there_is_the_same_for_every_kind_of_network(fields):
    config = Config.create(
        **dict(
            num_classes=3,
            crop_size=32,
            generator_width=2,
            spade_hidden=4,
            discriminator_width=4,
            encoder_width=2,
        )
        | fields
    )
    state = init_train_state(config, build_networks(config))
    latent_size = config.model.grid_size(config.data) if config.model.style_encoder else None
    for network in ('generator', 'discriminator', 'encoder'):
        if (variables := getattr(state, network)) is None:
            continue
        again = to_variables(
            to_state(variables, network, latent_size=latent_size), network, latent_size=latent_size
        )
        assert_same_state(
            parity.traverse_util.flatten_dict(again, sep='/'),
            parity.traverse_util.flatten_dict(variables, sep='/'),
        )


def assert_same_state(actual, expected):
    assert sorted(actual) == sorted(expected)
    for name, array in expected.items():
        assert actual[name].dtype == array.dtype, name
        np.testing.assert_array_equal(actual[name], array, err_msg=name)
