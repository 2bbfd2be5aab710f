import functools

import jax
import numpy as np
import pytest
from PIL import Image

from spade_jax.errors import UserError
from spade_jax.evaluation.frechet import fit_gaussian, frechet_distance
from spade_jax.evaluation.kernel_distance import squared_discrepancy
from spade_jax.evaluation.networks.inception import Inception, load_inception
from spade_jax.evaluation.networks.inception_input import INPUT_MODES
from tests.evaluation.golden_weights import Golden, recipe_state, sha256, shapes_of

FILES = {False: 'inception', True: 'inception_torchvision'}
# Modes of the golden files that are another one on another image.
ALIASES = {'legacy_pytorch': 'pytorch_fid', 'clean_quantised': 'clean'}


@functools.cache
def features_of(imagenet, salt=''):
    """A function of prepared images."""
    state = recipe_state(shapes_of(FILES[imagenet])['shapes'], salt)
    variables = load_inception(state, "the recipe's weights", imagenet=imagenet)
    return jax.jit(functools.partial(Inception(imagenet).apply, variables))


def features(image, mode, salt=''):
    """The features of one image: all tests share one program."""
    mode = INPUT_MODES[mode]
    outputs = features_of(mode.imagenet, salt)(mode(image)[None])
    return {name: np.asarray(output[0]) for name, output in outputs.items()}


def test_recipe_weights_have_golden_checksum():
    shapes = shapes_of('inception')
    assert sha256(recipe_state(shapes['shapes'])) == shapes['sha256_recipe']


def modes_and_images():
    for file in ('inception_features', 'inception_torchvision'):
        golden = Golden(file)
        for mode in golden.meta['modes']:
            images = {key.split('/')[2] for key in golden.arrays if key.startswith(f'out/{mode}/')}
            yield from ((file, mode, image) for image in sorted(images))


@pytest.mark.parametrize('file, mode, image', list(modes_and_images()))
def test_features_have_golden_numbers(file, mode, image):
    golden = Golden(file)
    pixels = golden[f'in/picture{image}']
    if mode == 'clean_quantised':
        pixels = np.asarray(Image.fromarray(pixels).resize((299, 299), Image.Resampling.BICUBIC))
    ours = ALIASES.get(mode, mode)
    prepared = INPUT_MODES[ours](pixels)
    if (key := f'feat/{mode}/{image}/resized') in golden.arrays:
        stride = golden.meta['resized_stride']
        golden.check(prepared[::stride, ::stride].transpose(2, 0, 1), key)
    outputs = features(pixels, ours, golden.meta['salt'])
    keys = [key for key in golden.arrays if key.startswith(f'out/{mode}/{image}/')]
    for key in keys:
        golden.check(outputs[key.rsplit('/', 1)[-1]], key)
    assert keys


@pytest.mark.parametrize('mode', Golden('fid_end_to_end').parts(1))
def test_distances_of_images_have_golden_numbers(mode):
    golden = Golden('fid_end_to_end')
    salt = golden.meta['salt']
    real, generated = (
        np.stack([features(image, mode, salt)['2048'] for image in golden[f'in/{side}']])
        for side in ('real', 'generated')
    )
    fid = frechet_distance(fit_gaussian(real), fit_gaussian(generated))
    np.testing.assert_allclose(fid, golden[f'out/{mode}/fid'], atol=1e-3)
    kid = squared_discrepancy(real, generated)
    noise = golden.meta['noise'][f'out/{mode}/kid']
    np.testing.assert_allclose(kid, golden[f'out/{mode}/kid'], atol=max(1e-6, 20 * noise))


def test_weights_of_another_network_are_refused_with_their_entries():
    state = recipe_state(shapes_of('inception')['shapes'])
    del state['Mixed_5b.branch1x1.bn.running_var']
    state['fc.weight'] = state['fc.weight'][:1000]
    with pytest.raises(UserError) as refusal:
        load_inception(state, 'weights.pth', imagenet=False)
    problem = refusal.value.problem
    assert 'weights.pth does not fit' in problem
    assert 'Mixed_5b.branch1x1.bn.running_var is missing' in problem
    assert 'fc.weight is [1000, 2048] instead of [1008, 2048]' in problem
