import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.evaluation.networks.lpips import Backbone, load_lpips, lpips
from tests.evaluation.golden_weights import Golden, recipe_state, shapes_of

HEADS = ('recipe', 'package_v0.1')


def states(golden, network, heads):
    """The state dictionaries of backbone and heads."""
    shapes = shapes_of('lpips')[network]
    salt = golden.meta['salt']
    prefix = f'heads/v0.1/{network}/'
    if heads == 'recipe':
        head_state = recipe_state(shapes['heads'], salt)
    else:
        head_state = {
            key.removeprefix(prefix): array
            for key, array in golden.arrays.items()
            if key.startswith(prefix)
        }
    return recipe_state(shapes['backbone'], salt), head_state


@pytest.mark.parametrize('heads', HEADS)
@pytest.mark.parametrize('network', ['alex', 'vgg'])
def test_distances_have_golden_numbers(network, heads):
    golden = Golden('lpips')
    variables = load_lpips(network, *states(golden, network, heads), ('backbone', 'heads'))
    pairs = sorted({key.split('/')[1] for key in golden.arrays if key.startswith('in/')})
    for pair in pairs:
        a, b = (golden[f'in/{pair}/{name}'][None] / np.float32(127.5) - 1 for name in 'ab')
        layers = np.asarray(lpips(network, variables, a, b))[0]
        key = f'out/{network}/{heads}/{pair}'
        scale = max(float(golden[f'{key}/distance']), 1e-3)
        for actual, part in ((layers, 'layers'), (layers.sum(), 'distance')):
            noise = golden.meta['noise'].get(f'{key}/{part}', 0)
            tolerance = max(20 * noise, 1e-5 * scale)
            np.testing.assert_allclose(actual, golden[f'{key}/{part}'], rtol=0, atol=tolerance)


@pytest.mark.parametrize('network', ['alex', 'vgg'])
def test_backbone_has_golden_numbers(network):
    golden = Golden('lpips')
    variables = load_lpips(network, *states(golden, network, 'recipe'), ('backbone', 'heads'))
    a = golden['in/0/a'][None] / np.float32(127.5) - 1
    taps = Backbone(network).apply({'params': variables['backbone']}, a)
    for i, tap in enumerate(taps):
        golden.check(np.asarray(tap).mean(axis=(0, 1, 2)), f'feat/{network}/0/tap{i}_mean')


def test_heads_of_another_network_are_refused():
    golden = Golden('lpips')
    backbone, _ = states(golden, 'alex', 'recipe')
    _, heads = states(golden, 'vgg', 'recipe')
    with pytest.raises(UserError, match='lin1.model.1.weight is missing or not'):
        load_lpips('alex', backbone, heads, ('alexnet.pth', 'vgg.pth'))
