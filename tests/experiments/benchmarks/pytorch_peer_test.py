"""The opponent of the benchmark computes what we compute."""

import jax
import numpy as np
import pytest

torch = pytest.importorskip('torch')

from experiments.benchmarks import pytorch_peer as peer
from spade_jax.batch import Batch  # noqa: E402
from spade_jax.config.config import Config
from spade_jax.layers.spectral_norm import power_iterate  # noqa: E402
from spade_jax.models.spade.model import build_networks, image_of, layout_of
from spade_jax.models.spade.options import UPSAMPLINGS
from spade_jax.models.spade.reference_names import to_state
from spade_jax.models.train_state import init_train_state
from spade_jax.sampling import TrainedGenerator  # noqa: E402
from spade_jax.training.train_step import train_step  # noqa: E402

CONFIG = Config.create(
    num_classes=5,
    dontcare=True,
    condition='labels+edges',
    crop_size=64,
    load_size=64,
    generator_width=4,
    spade_hidden=8,
    discriminator_width=8,
    perceptual_weight=0.0,
    batch_size=2,
)


@pytest.fixture(scope='module')
def networks():
    return build_networks(CONFIG)


@pytest.fixture(scope='module')
def state(networks):
    """With running statistics that are not those of a fresh network, and vectors of spectral norms that have met their kernels."""
    random, state = np.random.default_rng(0), init_train_state(CONFIG, networks)
    statistics = jax.tree.map(
        lambda x: (x + random.uniform(0.1, 1, x.shape)).astype(np.float32),
        state.generator['batch_stats'],
    )
    for _ in range(5):
        state = state.replace(
            generator=power_iterate(state.generator),
            discriminator=power_iterate(state.discriminator),
        )
    return jax.device_get(state.replace(generator=state.generator | {'batch_stats': statistics}))


def batch_of(seed=1, height=64, width=64):
    random = np.random.default_rng(seed)
    label = np.kron(
        random.choice([0, 1, 2, 3, 4, 255], (2, height // 4, width // 4)), np.ones((4, 4), int)
    ).astype(np.uint8)
    instance = np.kron(
        random.integers(0, 3, (2, height // 8, width // 8)), np.ones((8, 8), int)
    ).astype(np.int32)
    return Batch(random.integers(0, 256, (2, height, width, 3)).astype(np.uint8), label, instance)


def filled(module, variables, network):
    entries = {
        name.replace('weight_orig', 'weight'): torch.from_numpy(np.array(array))
        for name, array in to_state(variables, network).items()
    }
    missing, unexpected = module.load_state_dict(entries, strict=False)
    assert not unexpected and all(name.endswith('num_batches_tracked') for name in missing)
    return module


def generator_of(state, config=CONFIG):
    module = peer.SpadeGenerator(
        config.data.layout_channels,
        config.model.generator_width,
        UPSAMPLINGS[config.model.upsampling],
        config.model.spade_hidden,
        config.model.spade_kernel_size,
    )
    return filled(module, state.generator, 'generator')


def discriminator_of(state, config=CONFIG):
    module = peer.MultiscaleDiscriminator(
        config.data.layout_channels,
        config.model.discriminator_width,
        config.model.discriminator_depth,
        config.model.num_discriminators,
    )
    return filled(module, state.discriminator, 'discriminator')


def layout_of_peer(batch):
    return peer.semantic_layout(
        torch.from_numpy(batch.label),
        torch.from_numpy(batch.instance),
        CONFIG.data.num_classes,
        CONFIG.data.dontcare,
    )


def channels_last(x):
    return x.detach().permute(0, 2, 3, 1).numpy()


def test_layouts_are_equal():
    batch = batch_of()
    np.testing.assert_array_equal(channels_last(layout_of_peer(batch)), layout_of(batch, CONFIG))


def test_generators_agree(networks, state):
    batch = batch_of()
    ours = networks.generator.apply(state.generator, layout_of(batch, CONFIG), train=False)
    theirs = channels_last(generator_of(state).eval()(layout_of_peer(batch)))
    assert np.std(theirs) > 1e-3
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize('upsampling, height, width', [('more', 64, 128), ('most', 128, 128)])
def test_generators_of_more_upsamplings_agree(upsampling, height, width):
    config = Config.create(
        num_classes=5,
        dontcare=True,
        condition='labels+edges',
        upsampling=upsampling,
        crop_size=width,
        load_size=width,
        aspect_ratio=width / height,
        generator_width=2,
        spade_hidden=4,
        perceptual_weight=0.0,
    )
    networks, batch = build_networks(config), batch_of(height=height, width=width)
    state = init_train_state(config, networks)
    ours = networks.generator.apply(state.generator, layout_of(batch, config), train=False)
    np.testing.assert_allclose(
        channels_last(generator_of(state, config).eval()(layout_of_peer(batch))), ours, atol=1e-4
    )


def test_discriminators_agree(networks, state):
    batch = batch_of()
    ours = networks.discriminator.apply(
        state.discriminator, layout_of(batch, CONFIG), image_of(batch), train=False
    )
    image = torch.from_numpy(np.array(image_of(batch))).permute(0, 3, 1, 2)
    theirs = discriminator_of(state).eval()(layout_of_peer(batch), image)
    for our_feature, their_feature in zip(
        jax.tree.leaves(ours), (feature for scale in theirs for feature in scale), strict=True
    ):
        np.testing.assert_allclose(channels_last(their_feature), our_feature, atol=1e-4)


def test_train_steps_agree(networks, state):
    ours_after, ours = jax.jit(
        lambda state, batch: train_step(
            state, batch, config=CONFIG, networks=networks, num_examples=2
        )
    )(state, batch_of())
    training = peer.Training(
        generator_of(state),
        discriminator_of(state),
        None,
        device=torch.device('cpu'),
        num_classes=CONFIG.data.num_classes,
        dontcare=CONFIG.data.dontcare,
    )
    theirs = training(*batch_of())
    assert set(theirs) == {'g_gan', 'g_feature_matching', 'd_fake', 'd_real'}
    for name, loss in theirs.items():
        np.testing.assert_allclose(loss, ours[name], atol=1e-3, err_msg=name)
    vectors = {
        name: array
        for name, array in to_state(ours_after.generator, 'generator').items()
        if name.endswith(('weight_u', 'running_mean', 'running_var'))
    }
    theirs_after = training.generator.state_dict()
    for name, array in vectors.items():
        np.testing.assert_allclose(theirs_after[name], array, atol=1e-3, err_msg=name)


@pytest.mark.parametrize(
    'settings',
    [
        peer.Settings(),
        peer.Settings(channels_last=True, folded=True),
        peer.Settings(bfloat16=True, folded=True, channels_last=True),
        peer.Settings(bfloat16=True),
    ],
)
def test_pictures_agree(state, settings):
    batch = batch_of()
    drawing = peer.Drawing(
        generator_of(state),
        device=torch.device('cpu'),
        num_classes=CONFIG.data.num_classes,
        dontcare=CONFIG.data.dontcare,
        settings=settings,
    )
    difference = drawing(batch.label, batch.instance).astype(int) - TrainedGenerator(
        CONFIG, state.generator
    )(batch.label, batch.instance, batch_size=2)
    assert np.abs(difference).max() <= (8 if settings.bfloat16 else 1)


def test_parameter_counts_are_the_published_ones():
    with torch.device('meta'):
        assert peer.parameter_count(peer.SpadeGenerator(184)) == 97_480_899
        assert peer.parameter_count(peer.MultiscaleDiscriminator(184)) == 5_904_514
        assert peer.parameter_count(peer.SpadeGenerator(36, num_upsamplings=6)) == 93_048_003
