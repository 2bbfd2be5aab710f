"""The networks of pix2pixHD against golden numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.models.pix2pixhd.encoder import region_means
from spade_jax.models.semantic_layout import instance_edges
from spade_jax.models.torch_layout import to_state, to_variables
from tests import parity
from tests.models.pix2pixhd import reference
from tests.models.residual_generator_test import check_generator

FULL_SIZE = {
    'global': reference.generator_of,
    'local': reference.generator_of,
    'disc': reference.discriminator_of,
    'encoder': lambda options: reference.encoder_of(options | {'nef': options['ngf']}),
}


@pytest.mark.parametrize('case', reference.cases('hdref_local', 'hdref_global', 'hdref_encoder'))
def test_generators_and_encoder_match_golden_numbers(case):
    golden = parity.Golden(case)
    is_encoder = 'in/instance' in golden
    make = reference.encoder_of if is_encoder else reference.generator_of
    network, names = make(golden.options)
    if is_encoder:
        network = OfInstances(network, golden['in/instance'][..., 0].astype(int))

    def variables_of(state):
        return to_variables(state, names)

    check_generator(golden, network, variables_of(golden.state('sd')), variables_of)


class OfInstances:
    """An encoder whose regions are those of a golden file."""

    def __init__(self, encoder, instance):
        self._encoder, self._instance = encoder, instance

    def apply(self, variables, image, **options):
        return self._encoder.apply(variables, image, self._instance, **options)


@pytest.mark.parametrize('case', reference.cases('hdref_disc'))
def test_discriminator_matches_golden_numbers(case):
    golden = parity.Golden(case)
    discriminator, names = reference.discriminator_of(golden.options)
    # It stacks a condition and an image, of which the order alone matters.
    layout, image = np.split(golden['in/x'], [1], axis=-1)
    variables = to_variables(golden.state('sd'), names)

    def layers(outputs):
        """'0/0' -> features or logits, as the golden file has them."""
        named = {}
        for scale, (features, logits) in enumerate(outputs):
            # A sigmoid belongs to the loss here; the reference skips it with intermediate features.
            last = jax.nn.sigmoid(logits) if golden.options['use_sigmoid'] else logits
            of_scale = [*features, logits] if golden.options['getIntermFeat'] else [last]
            named |= {f'{scale}/{i}': layer for i, layer in enumerate(of_scale)}
        return named

    @jax.jit
    def run(params, layout, image):
        def loss(params, image):
            mutable = [name for name in variables if name == 'batch_stats']
            outputs, updated = discriminator.apply(
                variables | {'params': params}, layout, image, train=True, mutable=mutable
            )
            named = layers(outputs)
            total = sum(jnp.mean(y * golden[f'in/cotangent/{n}']) for n, y in named.items())
            return total, (named, updated)

        evaluated = discriminator.apply(variables, layout, image, train=False)
        gradients = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, image)
        return layers(evaluated), gradients

    evaluated, ((params, image_gradient), (trained, updated)) = run(
        variables['params'], layout, image
    )
    for mode, outputs in {'eval': evaluated, 'train': trained}.items():
        for name, output in outputs.items():
            if (key := f'out/{mode}/{name}') in golden:
                golden.check(output, key)
    expected = golden['grad_in/x'][..., 1:]
    parity.assert_close(image_gradient, expected, golden.tolerance('grad_in/x'), 'grad_in/x')
    whole = golden.state('grad')
    tolerance = max(golden.tolerance(f'grad/{name}') for name in whole)
    parity.assert_trees_close({'params': params}, to_variables(whole, names), tolerance, 'grad')
    if after := golden.state('sd_after_train'):
        parity.assert_trees_close(updated, to_variables(after, names), parity.relative(), 'after')


@pytest.mark.parametrize('case', reference.cases('hdref_edges'))
def test_edges_match_golden_numbers(case):
    golden = parity.Golden(case)
    edges = instance_edges(golden['in/instance'][..., 0].astype(int))
    np.testing.assert_array_equal(
        edges, golden['out/edges' if 'out/edges' in golden else 'edges'][..., 0]
    )


def test_means_are_over_regions_of_each_image():
    features = jnp.asarray([[[1.0, 3.0, 5.0]], [[1.0, 3.0, 5.0]]])[..., None]
    regions = jnp.asarray([[[7, 26001, 7]], [[0, 0, -1]]])
    means = region_means(features, regions)[..., 0]
    np.testing.assert_allclose(means, [[[3, 3, 3]], [[2, 2, 5]]])


@pytest.mark.parametrize('case', reference.cases('hdref_full_size'))
def test_networks_have_published_sizes_and_names(case):
    golden = parity.Golden(case)
    for name, described in golden.meta['cases'].items():
        options, inputs = described['options'], described['input'][0]
        network, names = FULL_SIZE[options['net']](options)
        shape = (1, 64, 64, inputs[1])
        arrays = [jnp.zeros(shape)]
        if options['net'] == 'disc':
            arrays = [jnp.zeros((*shape[:3], shape[3] - 3)), jnp.zeros((*shape[:3], 3))]
        if options['net'] == 'encoder':
            arrays.append(jnp.zeros(shape[:3], int))
        key = jax.random.key(0)
        variables = jax.eval_shape(lambda: network.init(key, *arrays, train=False))  # noqa: B023
        zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), variables)
        assert (
            sum(leaf.size for leaf in jax.tree.leaves(zeros['params'])) == described['parameters']
        )
        state = to_state(zeros, names)
        shapes = {entry: list(array.shape) for entry, array in state.items()}
        expected = {
            entry: size
            for entry, size in zip(described['names'], described['shapes'], strict=True)
            if not entry.endswith('num_batches_tracked')
        }
        assert shapes == expected, name
