"""Image pool, losses, schedule, features and initialization of pix2pixHD in golden numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.models import losses
from spade_jax.models.initialization import abstract_variables, init_variables
from spade_jax.models.losses import ScaleOutput
from spade_jax.models.optimizers import decay_factor
from spade_jax.models.pix2pixhd.image_pool import exchange
from spade_jax.models.torch_layout import to_variables
from spade_jax.random_streams import Stream
from spade_jax.sampling.feature_clusters import rows_of_image
from tests import parity
from tests.models.initialization_test import check_tensor
from tests.models.pix2pixhd import reference


def choices_of(draws, count, size):
    """For each image of a query: whether it is exchanged, and the index; unknown ones are 0."""
    choices = []
    while len(choices) < count:
        uniform = draws.pop(0)[1] if draws else 0.0
        index = draws.pop(0)[-1] if draws and draws[0][0] == 'randint' else 0
        choices.append((uniform > 0.5, index))
    return choices


@pytest.mark.parametrize('case', reference.cases('hdref_image_pool'))
def test_image_pool_matches_golden_numbers(case):
    golden = parity.Golden(case)
    size = golden.options['pool_size']
    if not size:
        pytest.skip('pool_size=0: there is no pool')
    shape = golden['in/query0'].shape[1:]
    pool = jnp.zeros((size, *shape[:-1], shape[-1] + 1))
    stored = 0
    for i, draws in enumerate(golden.meta['draws_per_query']):
        pairs, choices, draws = golden[f'in/query{i}'], [], list(draws)
        for _ in pairs:  # While the pool is not full, no random number is used.
            choices += choices_of(draws, 1, size) if stored >= size else [(False, 0)]
            stored += 1
        swaps, indices = map(jnp.asarray, zip(*choices, strict=True))
        pool, returned = exchange(pool, pairs, swaps, indices)
        golden.check(returned, f'out/query{i}')
    stored = golden['out/pool']
    golden.check(pool[: len(stored), ..., :-1], 'out/pool')


@pytest.mark.parametrize('case', reference.cases('hdref_loss_gan'))
def test_adversarial_losses_match_golden_numbers(case):
    golden = parity.Golden(case)
    keys = [key.removeprefix('in/pred/').split('/') for key in golden.arrays if 'in/pred/' in key]
    last = {int(scale): max(layer for s, layer in keys if s == scale) for scale, _ in keys}
    logits = [golden[f'in/pred/{scale}/{last[scale]}'] for scale in sorted(last)]
    for kind, ours in {'lsgan': 'least_squares', 'bce': 'cross_entropy'}.items():
        for form, outputs in {'list': logits, 'single': logits[:1]}.items():
            scales = [ScaleOutput([], jnp.asarray(scale)) for scale in outputs]
            terms = losses.discriminator_loss(ours, scales, scales)
            generator = losses.generator_loss(ours, scales)
            for target, loss in {**terms, 'real': generator}.items():
                key = f'out/{form}/{kind}/{target}'
                if key in golden:
                    golden.check(len(scales) * loss, key)


@pytest.mark.parametrize('case', reference.cases('hdref_lr_schedule'))
def test_learning_rates_match_golden_numbers(case):
    golden = parity.Golden(case)
    for name, options in golden.meta['cases'].items():
        optimizer = Config.create(
            model='pix2pixhd',
            constant_epochs=options['niter'],
            decay_epochs=options['niter_decay'],
            learning_rate=options['lr'],
            num_classes=3,
        ).optimizer
        epoch, rate, *_ = golden.arrays[f'out/{name}'].T
        factors = [decay_factor(int(e) - 1, num_examples=1, config=optimizer) for e in epoch]
        np.testing.assert_allclose(options['lr'] * np.asarray(factors), rate, rtol=1e-5)


@pytest.mark.parametrize('case', reference.cases('hdref_features'))
def test_features_of_instances_match_golden_numbers(case):
    golden = parity.Golden(case)
    encoder, names = reference.encoder_of(golden.options)
    variables = to_variables(golden.state('sd'), names)
    instance = golden['in/instance'][..., 0].astype(int)
    features = jax.jit(encoder.apply, static_argnames='train')(
        variables, golden['in/x'], instance, train=False
    )
    golden.check(features, 'out/feature_map')
    label = np.where(instance < 1000, instance, instance // 1000)
    rows = rows_of_image(np.asarray(features)[0], label[0], instance[0])
    expected = golden.state('out/features')
    assert {str(number) for number in rows} == set(expected)
    for number, of_class in expected.items():
        key = f'out/features/{number}'
        tolerance = golden.tolerance('out/feature_map')
        parity.assert_close(rows[int(number)], of_class, tolerance, key)


@pytest.mark.parametrize('case', reference.cases('hdref_weight_init'))
def test_initialization_has_golden_statistics(case):
    golden = parity.Golden(case)
    for name, described in golden.meta['cases'].items():
        options, kind = described['options'], described['options']['which']
        makers = {'D': reference.discriminator_of, 'E': reference.encoder_of}
        network, names = makers.get(kind, reference.generator_of)(options)
        inputs = [jax.ShapeDtypeStruct((1, 64, 64, options['input_nc']), jnp.float32)]
        if kind == 'D':
            inputs = [
                jax.ShapeDtypeStruct((1, 64, 64, options['input_nc'] - n), jnp.float32)
                for n in (3, options['input_nc'] - 3)
            ]
        if kind == 'E':
            inputs.append(jax.ShapeDtypeStruct((1, 64, 64), jnp.int32))
        abstract = abstract_variables(network, *inputs)
        variables = init_variables(
            abstract, 0, Stream.GENERATOR_WEIGHTS, initialization='normal', biases='uniform'
        )
        shapes = dict(zip(described['names'], map(tuple, described['shapes']), strict=True))
        statistics = golden.arrays[f'out/{name}/host'].T
        trees = [
            to_variables(
                {n: np.full(shapes[n], x) for n, x in zip(shapes, column, strict=True)}, names
            )
            for column in statistics
        ]
        jax.tree_util.tree_map_with_path(check_statistics, variables, *trees)


def check_statistics(path, actual, *statistics):
    *_, low, high = statistics
    if actual.size < 16:  # Too few for a mean.
        assert np.abs(actual).max() <= 3 * max(-low.min(), high.max()), path
    else:
        check_tensor(path, actual, *statistics)
