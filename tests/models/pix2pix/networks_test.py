"""The networks of pix2pix against golden numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.models.initialization import abstract_variables
from spade_jax.models.model import build_model
from spade_jax.models.pix2pix.published import from_reference, names_of, to_reference
from spade_jax.models.train_state import abstract_networks, init_train_state, parameter_count
from tests import parity
from tests.models.pix2pix import reference


def network_cases():
    return [case for kind in ('unet', 'resnet', 'disc') for case in reference.files(kind)]


@functools.cache
def built(case):
    """The golden file, its Config, the name of its network, and the variables."""
    golden = parity.Golden(case)
    name, config = reference.network_config(golden.options)
    return golden, config, name, from_reference(golden.state('sd'), name, config)


@pytest.mark.parametrize('case', network_cases())
def test_network_matches_golden_numbers(case):
    golden, config, name, variables = built(case)
    model = build_model(config)
    model.networks['generator'] = reference.generator_of(model, golden.options)
    network = model.networks[name]

    def forward(variables, x, train):
        inputs = reference.inputs_of(name, config, x)
        mutable = ['batch_stats'] if train else []
        output, updated = network.apply(variables, *inputs, train=train, mutable=mutable)
        return (output.logits if name == 'discriminator' else output), updated

    @jax.jit
    def everything(params, x):
        def loss(params, x):
            output, updated = forward(variables | {'params': params}, x, True)
            return jnp.mean(output * golden['in/cotangent/y']), (output, updated)

        gradients, (trained, updated) = jax.grad(loss, (0, 1), has_aux=True)(params, x)
        return forward(variables, x, False)[0], trained, updated, gradients

    evaluated, trained, updated, gradients = everything(variables['params'], golden['in/x'])
    stride = golden.meta.get('out_stride', 1)
    golden.check(evaluated[:, ::stride, ::stride], 'out/eval/y')
    if 'out/train/y' in golden:
        golden.check(trained[:, ::stride, ::stride], 'out/train/y')
    statistics = golden.state('sd_after_train')
    if statistics:
        tolerance = max(golden.tolerance(f'sd_after_train/{key}') for key in statistics)
        expected = from_reference(statistics, name, config)
        parity.assert_trees_close(updated, expected, tolerance, 'statistics')
    check_gradients(golden, gradients, name, config)


def check_gradients(golden, gradients, name, config):
    params, x = gradients
    stride = golden.meta.get('out_stride', 1)
    golden.check(x[:, ::stride, ::stride], 'grad_in/x')
    if whole := golden.state('grad'):
        tolerance = max(golden.tolerance(f'grad/{key}') for key in whole)
        expected = from_reference(whole, name, config)
        parity.assert_trees_close({'params': params}, expected, tolerance, 'gradient')
    norms = golden.state('gradnorm64') or golden.state('gradnorm')
    largest = max(map(float, norms.values()))
    actual = to_reference({'params': params}, name, config)
    assert norms.keys() == actual.keys()
    for key, norm in norms.items():
        tolerance = max(1e-3 * float(norm), 1e-5 * largest)
        parity.assert_close(np.linalg.norm(actual[key]), norm, tolerance, key)


@pytest.mark.parametrize('case', network_cases())
def test_names_are_those_of_the_files(case):
    golden, config, name, variables = built(case)
    state = {k: a for k, a in golden.state('sd').items() if not k.endswith('batches_tracked')}
    model = build_model(config)
    model.networks['generator'] = reference.generator_of(model, golden.options)
    inputs = reference.inputs_of(name, config, golden['in/x'])
    expected = abstract_variables(model.networks[name], *inputs)
    shapes = functools.partial(jax.tree.map, np.shape)
    assert shapes(variables) == shapes(expected)
    back = to_reference(variables, name, config)
    assert back.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array, key)


def full_sizes():
    return [
        (file, case)
        for file in reference.files('full_size')
        for case in parity.Golden(file).meta['cases']
    ]


@pytest.mark.parametrize('file, case', full_sizes())
def test_parameters_at_full_size_are_those_of_the_reference(file, case):
    entry = parity.Golden(file).meta['cases'][case]
    name, config = reference.network_config({'case': case, **entry['options']})
    model = build_model(config)
    model.networks['generator'] = reference.generator_of(model, entry['options'])
    variables = abstract_networks(model)[name]
    assert parameter_count(variables) == entry['parameters']
    names = names_of(name, config).modules.values()
    modules = {entry.rpartition('.')[0] for entry in entry['names']}
    assert set(names) >= modules


@pytest.mark.parametrize(
    'options, expected',
    [
        (dict(), (54_413_955, 2_768_705)),
        (dict(pix2pix_depth=7, pix2pix_patch='1'), (41_828_995, 9_024)),
        (dict(pix2pix_generator='resnet'), (11_383_427, 2_768_705)),
    ],
)
def test_parameters_at_full_size(options, expected):
    networks = abstract_networks(build_model(Config.create('pix2pix', condition='rgb', **options)))
    assert tuple(parameter_count(networks[name]) for name in networks) == expected


def test_parameters_of_resnet_with_instance_normalization():
    options = dict(pix2pix_generator='resnet', pix2pix_blocks=6, pix2pix_norm='instance')
    networks = abstract_networks(build_model(Config.create('pix2pix', condition='rgb', **options)))
    assert parameter_count(networks['generator']) == 7_837_699


def weight_inits():
    return [
        (file, case)
        for file in reference.files('weight_init')
        for case in parity.Golden(file).meta['cases']
    ]


@pytest.mark.parametrize('file, case', weight_inits())
def test_initial_weights_have_the_statistics_of_the_reference(file, case):
    golden = parity.Golden(file)
    entry = golden.meta['cases'][case]
    kind = entry['options'].get('init_type', 'normal')
    if kind not in reference.INITIALIZATIONS:
        pytest.skip(f'not offered: init_type={kind}')
    initialization = reference.INITIALIZATIONS[kind]
    others = dict(initialization=initialization, init_gain=entry['options'].get('init_gain', 0.02))
    name, config = reference.network_config(entry['options'], **others)
    variables = init_train_state(config).networks[name]
    arrays = to_reference(variables, name, config)
    assert set(arrays) == {key for key in entry['names'] if 'batches_tracked' not in key}
    for key, (mean, std, low, high) in zip(
        entry['names'], golden.arrays[f'out/{case}/host'], strict=True
    ):
        if key not in arrays:
            continue
        array = arrays[key]
        if std == 0:
            np.testing.assert_array_equal(array, np.float32(mean), key)
            continue
        error = 6 * std / np.sqrt(array.size)
        assert abs(array.mean() - mean) <= error and abs(array.std() - std) <= error, key
        assert low - 3 * std <= array.min() and array.max() <= high + 3 * std, key
