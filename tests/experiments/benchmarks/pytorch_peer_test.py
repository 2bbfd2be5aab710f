"""The PyTorch networks of the benchmark compute what spade_jax computes."""

import functools

import jax
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from experiments.benchmarks import pytorch_networks, pytorch_peer, torch_workloads  # noqa: E402
from spade_jax.batch import Batch  # noqa: E402
from spade_jax.config.config import Config  # noqa: E402
from spade_jax.layers.spectral_norm import power_iterate  # noqa: E402
from spade_jax.models.model import build_model, to_signed  # noqa: E402
from spade_jax.models.spade.reference_names import to_state  # noqa: E402
from spade_jax.models.train_state import init_train_state  # noqa: E402
from spade_jax.sampling import TrainedGenerator  # noqa: E402
from spade_jax.training.train_step import seeded_noise, train_step  # noqa: E402

pytestmark = pytest.mark.tools

LABELS = dict(num_classes=5, dontcare=True, condition='labels+edges', perceptual_weight=0.0)
CONFIG = Config.create(
    crop_size=64,
    load_size=64,
    generator_width=4,
    spade_hidden=8,
    discriminator_width=8,
    batch_size=2,
    **LABELS,
)
RUN = pytorch_peer.Run(torch.device('cpu'), num_classes=5, dontcare=True)


@pytest.fixture(scope='module')
def state():
    """Running statistics unlike those of a fresh network, and converged spectral vectors."""
    random, state = np.random.default_rng(0), init_train_state(CONFIG)
    networks = dict(state.networks)
    for _ in range(5):
        networks = {name: power_iterate(variables) for name, variables in networks.items()}
    networks['generator'] |= {
        'batch_stats': jax.tree.map(
            lambda x: (x + random.uniform(0.1, 1, x.shape)).astype(np.float32),
            networks['generator']['batch_stats'],
        )
    }
    return jax.device_get(state.replace(networks=networks))


def make_batch(seed=1, height=64, width=64):
    random = np.random.default_rng(seed)
    classes = random.choice([0, 1, 2, 3, 4, 255], (2, height // 4, width // 4))
    instances = random.integers(0, 3, (2, height // 8, width // 8))
    label = np.kron(classes, np.ones((4, 4), int)).astype(np.uint8)
    instance = np.kron(instances, np.ones((8, 8), int)).astype(np.int32)
    return Batch(random.integers(0, 256, (2, height, width, 3)).astype(np.uint8), label, instance)


def fill(module, variables, network):
    """Load our variables into a PyTorch network."""
    entries = {
        name.replace('weight_orig', 'weight'): torch.from_numpy(np.array(array))
        for name, array in to_state(variables, network).items()
    }
    missing, unexpected = module.load_state_dict(entries, strict=False)
    assert not unexpected
    assert all(name.endswith('num_batches_tracked') for name in missing)
    return module


def torch_generator(state, config=CONFIG):
    return fill(torch_workloads.make_generator(config), state.networks['generator'], 'generator')


def torch_discriminator(state):
    module = torch_workloads.make_discriminator(CONFIG)
    return fill(module, state.networks['discriminator'], 'discriminator')


def torch_layout(batch):
    maps = torch.from_numpy(batch.label), torch.from_numpy(batch.instance)
    return pytorch_networks.semantic_layout(*maps, num_classes=5, dontcare=True)


def our_layout(batch, config=CONFIG):
    return build_model(config).condition(batch.label, batch.instance)


def our_image(state, batch, config=CONFIG):
    generator = build_model(config).networks['generator']
    layout = our_layout(batch, config)
    return generator.apply(state.networks['generator'], layout, None, train=False)


def channels_last(x):
    return x.detach().permute(0, 2, 3, 1).numpy()


def test_layouts_are_equal():
    batch = make_batch()
    np.testing.assert_array_equal(channels_last(torch_layout(batch)), our_layout(batch))


def test_generators_agree(state):
    batch = make_batch()
    theirs = channels_last(torch_generator(state).eval()(torch_layout(batch)))
    assert np.std(theirs) > 1e-3
    np.testing.assert_allclose(theirs, our_image(state, batch), atol=1e-4)


@pytest.mark.parametrize('upsampling, height, width', [('more', 64, 128), ('most', 128, 128)])
def test_generators_of_more_upsamplings_agree(upsampling, height, width):
    size = dict(crop_size=width, load_size=width, aspect_ratio=width / height)
    networks = dict(upsampling=upsampling, generator_width=2, spade_hidden=4)
    config = Config.create(**size, **networks, **LABELS)
    state, batch = init_train_state(config), make_batch(height=height, width=width)
    theirs = channels_last(torch_generator(state, config).eval()(torch_layout(batch)))
    np.testing.assert_allclose(theirs, our_image(state, batch, config), atol=1e-4)


def test_discriminators_agree(state):
    batch = make_batch()
    image = to_signed(jax.numpy.asarray(batch.image))
    discriminator = build_model(CONFIG).networks['discriminator']
    variables = state.networks['discriminator']
    ours = discriminator.apply(variables, our_layout(batch), image, train=False)
    torch_image = torch.from_numpy(np.array(image)).permute(0, 3, 1, 2)
    theirs = torch_discriminator(state).eval()(torch_layout(batch), torch_image)
    features = [feature for scale in theirs for feature in scale]
    for our_feature, feature in zip(jax.tree.leaves(ours), features, strict=True):
        np.testing.assert_allclose(channels_last(feature), our_feature, atol=1e-4)


def test_train_steps_agree(state):
    config = CONFIG.optimizer
    step = functools.partial(
        train_step, model=build_model(CONFIG), config=config, num_examples=2, noise=seeded_noise(0)
    )
    state_after, ours = jax.jit(step)(state, make_batch())
    networks = torch_generator(state), torch_discriminator(state)
    training = pytorch_peer.Training(*networks, None, RUN)
    theirs = training(*make_batch())
    assert set(theirs) == {'g_gan', 'g_feature_matching', 'd_fake', 'd_real'}
    for name, loss in theirs.items():
        np.testing.assert_allclose(loss, ours[name], atol=1e-3, err_msg=name)
    theirs_after = training.generator.state_dict()
    ours_after = to_state(state_after.networks['generator'], 'generator')
    for name, array in ours_after.items():
        if name.endswith(('weight_u', 'running_mean', 'running_var')):
            np.testing.assert_allclose(theirs_after[name], array, atol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    'settings',
    [
        pytorch_peer.Settings(),
        pytorch_peer.Settings(channels_last=True, folded=True),
        pytorch_peer.Settings(bfloat16=True, folded=True, channels_last=True),
        pytorch_peer.Settings(bfloat16=True),
    ],
)
def test_images_agree(state, settings):
    batch = make_batch()
    sampling = pytorch_peer.Sampling(torch_generator(state), RUN._replace(settings=settings))
    generator = TrainedGenerator(CONFIG, {'generator': state.networks['generator']})
    ours = generator(batch.label, batch.instance, batch_size=2)
    difference = sampling(batch.label, batch.instance).astype(int) - ours
    assert np.abs(difference).max() <= (8 if settings.bfloat16 else 1)


def test_parameter_counts_are_published_ones():
    count = pytorch_networks.parameter_count
    with torch.device('meta'):
        cityscapes = pytorch_networks.SpadeGenerator(36, num_upsamplings=6)
        assert count(pytorch_networks.SpadeGenerator(184)) == 97_480_899
        assert count(pytorch_networks.MultiscaleDiscriminator(184)) == 5_904_514
        assert count(cityscapes) == 93_048_003
