"""Complete train steps of pix2pixHD against golden numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.batch import Batch
from spade_jax.models.pix2pixhd.model import Pix2PixHD
from spade_jax.models.pix2pixhd.published import from_reference
from spade_jax.models.train_state import create_train_state, init_train_state
from spade_jax.models.vgg19 import Vgg19
from tests import parity
from tests.fixtures.small import step_of
from tests.models.pix2pixhd import reference

LOSSES = {
    'G_GAN': ('g_gan', 1),
    'G_GAN_Feat': ('g_feature_matching', 1),
    'G_VGG': ('g_perceptual', 1),
    # Half of them is minimized.
    'D_fake': ('d_fake', 0.5),
    'D_real': ('d_real', 0.5),
}
NUM_STEPS = 3
PREFIXES = {'generator': 'netG', 'discriminator': 'netD', 'encoder': 'netE'}


class RecordingPix2PixHD(Pix2PixHD):
    """Reports the fake images of the generator update among its metrics."""

    def __init__(self, config, options):
        super().__init__(config)
        generator = self.networks['generator'].clone(features=options['output_nc'])
        self.networks['generator'] = generator

    def _generate(self, *arguments):
        self._fake, updated = super()._generate(*arguments)
        return self._fake, updated

    def _generator_loss(self, *arguments):
        output = super()._generator_loss(*arguments)
        return output._replace(metrics={'fake': self._fake})


def variables_of(arrays, config):
    """The variables of all networks of which there are arrays."""
    return {
        name: from_reference(state, name, config)
        for name, prefix in PREFIXES.items()
        if (state := parity.split_state(arrays, prefix))
    }


def constants_of(golden, model):
    """The variables of VGG19, which has fewer channels in the golden files."""
    if not model.config.losses.perceptual_weight:
        return {}
    model.perceptual.network = Vgg19(golden.meta['vgg']['width_divisor'])
    state = parity.split_state(golden.state('sd'), 'criterionVGG')
    return {'vgg19': parity.vgg19_variables(state)}


def batch_of(golden, config):
    """The batch as the pipeline yields it, but with fractions of a gray level."""
    label = golden['in/label']
    label = label[..., 0].astype(int) if config.data.uses_labels else (label * 0.5 + 0.5) * 255
    instance = golden['in/instance'][..., 0].astype(int) if config.data.instance_edges else None
    return Batch((golden['in/image'] * 0.5 + 0.5) * 255, label, instance)


@functools.cache
def golden_run(case):
    """The state before the first step, and state and metrics after each."""
    golden = parity.Golden(case)
    number, height, width, _ = golden['in/image'].shape
    fields = {}
    if golden.options['niter_fix_global']:  # Of the steps, each of which is an epoch.
        unfrozen = parity.Golden(f'{case}_after').meta.get('unfreeze_after')
        fields['frozen_epochs'] = unfrozen or NUM_STEPS
    config = reference.config_of(golden.options, number, (height, width), **fields)
    num_steps, pool = NUM_STEPS, golden.options['pool_size']
    if pool:  # Once it is full, the reference draws random numbers.
        num_steps = min(num_steps, pool // number)
        if not num_steps:
            pytest.skip(f'a batch of {number} does not fit into a pool of {pool}')
    model = RecordingPix2PixHD(config, golden.options)
    constants = constants_of(golden, model)
    # With as many examples as a batch has, each step is an epoch.
    step = functools.partial(step_of(config, model), num_examples=number)
    networks = variables_of(golden.state('sd'), config)
    if pool:
        networks['image_pool'] = init_train_state(config).networks['image_pool']
    state = create_train_state(config, networks)
    steps = [(state, {})]
    compiled = {}
    for i in range(num_steps):
        updates = model.updates_at(i, i)
        if updates not in compiled:
            compiled[updates] = jax.jit(functools.partial(step, updates=updates))
        steps.append(compiled[updates](steps[-1][0], batch_of(golden, config), constants))
    return golden, config, steps


@pytest.mark.parametrize('case', reference.cases('hdref_train_step'))
def test_losses_match_golden_numbers(case):
    golden, config, (_, *steps) = golden_run(case)
    for i, (_, metrics) in enumerate(steps, start=1):
        np.testing.assert_allclose(
            [metrics['generator_learning_rate'], metrics['discriminator_learning_rate']],
            golden.options['lr'],
            rtol=1e-6,
        )
        for name, (ours, weight) in LOSSES.items():
            key = f'loss/{i}/{name}'
            expected = float(np.squeeze(golden.arrays[key])) if key in golden else 0.0
            assert (ours in metrics) or not expected, key
            if ours in metrics:
                drift = abs(expected - float(np.squeeze(golden.arrays[f'loss64/{i}/{name}'])))
                tolerance = max(20 * drift, 1e-4 * abs(expected), 1e-5 * i)
                parity.assert_close(metrics[ours] / weight, expected, tolerance, key)


@pytest.mark.parametrize('case', reference.cases('hdref_train_step'))
def test_state_after_steps_matches_golden_numbers(case):
    golden, config, steps = golden_run(case)
    after = parity.Golden(f'{case}_after')
    stride = golden.meta['fake_stride']
    golden.check(steps[1][1]['g_fake'][:, ::stride, ::stride], 'out/fake_generator_step1')
    sd = golden.state('sd')
    for step, suffix in ((1, ''), (2, '2'))[: len(steps) - 1]:
        expected = variables_of(after.state(f'sd_after{suffix}'), config)
        masks = variables_of(after.state(f'mask{suffix}'), config)
        before = variables_of({**sd, **(after.state('sd_after') if step == 2 else {})}, config)
        for name, network in expected.items():
            check_params(steps, step, name, network, before[name], masks[name], golden)
            if 'batch_stats' in network:
                actual = steps[step][0].networks[name]['batch_stats']
                tolerance = parity.relative(1e-4, 1e-5)
                parity.assert_trees_close(actual, network['batch_stats'], tolerance, name)


def check_params(steps, step, name, expected, before, masks, golden):
    rate = golden.options['lr']

    def check(path, actual, ours_before, expected, before, mask):
        what, mask = f'{name} {jax.tree_util.keystr(path)}', np.asarray(mask, bool)
        if step == 1:
            np.testing.assert_array_equal(ours_before, before, what)
        # After the first step, parameters whose gradient is noise differ, and so does all a bit.
        limit = (0.02 if step == 1 else 0.1) * rate
        moved, reference = actual - ours_before, expected - before
        parity.assert_close(np.where(mask, moved, reference), reference, limit, what)
        assert np.all(np.abs(moved) <= 1.01 * rate + 1e-7), what
        if np.array_equal(expected, before):  # Frozen.
            np.testing.assert_array_equal(actual, ours_before, what)

    ours = [
        jax.tree.map(np.asarray, steps[i][0].networks[name]['params']) for i in (step, step - 1)
    ]
    trees = (*ours, expected['params'], before['params'], masks['params'])
    jax.tree_util.tree_map_with_path(check, *trees)


@pytest.mark.parametrize('case', reference.cases('hdref_train_step'))
def test_gradients_match_golden_numbers(case):
    """After one step, Adam's first moment is the gradient times 1 - beta1."""
    golden, config, (_, (state, _), *_) = golden_run(case)
    moments = {**state.optimizers['generator'].mu, **state.optimizers['discriminator'].mu}
    beta1, _ = config.optimizer.adam_betas
    sd, norms = golden.state('sd'), golden.state('gradnorm64')
    filled = {name: np.full(sd[name].shape, norm) for name, norm in norms.items()}
    frozen = {'global', *(f'enhancer_{i}' for i in range(1, config.model.num_enhancers))}
    frozen = frozen if config.model.frozen_epochs else set()
    for name, network in variables_of(filled, config).items():
        largest = max(float(norms[key]) for key in norms if key.startswith(PREFIXES[name]))
        for part in network['params'].keys() - frozen:

            def check(moment, filled, name=name, largest=largest):
                norm = float(filled.ravel()[0])
                limit = max(1e-3 * norm, 1e-5 * largest)
                parity.assert_close(jnp.linalg.norm(moment) / (1 - beta1), norm, limit, name)

            jax.tree.map(check, moments[name][part], network['params'][part])
