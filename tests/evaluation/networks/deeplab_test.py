import jax
import numpy as np
import pytest
from flax import linen as nn

from spade_jax.errors import UserError
from spade_jax.evaluation.networks import deeplab
from spade_jax.evaluation.networks.deeplab import Deeplab
from spade_jax.layers.resampling import resize_bilinear
from tests.evaluation.golden_weights import (
    Golden,
    assert_same_classes,
    recipe_state,
    remember_scores,
    shapes_of,
)

GOLDEN = Golden('deeplabv2_resnet101_msc')
IMAGES = [key.removeprefix('in/picture') for key in GOLDEN.arrays if key.startswith('in/picture')]
LAYERS = {1: 'layer1.conv1', **{i: f'layer{i}' for i in range(2, 6)}}


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp('deeplab') / 'deeplab.npz'
    shapes = shapes_of('deeplabv2_resnet101_msc')['shapes']
    np.savez(path, **recipe_state(shapes, GOLDEN.meta['salt']))
    yield remember_scores(Deeplab(str(path)))
    path.unlink()  # It is large.


@jax.jit
def layer_means(params, image):
    """The outputs [C] of the layers, averaged over the positions."""
    _, captured = deeplab.Network().apply(
        {'params': params},
        deeplab.prepare(image),
        capture_intermediates=lambda module, _: module.name in LAYERS.values(),
    )
    outputs = {i: captured['intermediates'][name]['__call__'][0] for i, name in LAYERS.items()}
    outputs[1] = deeplab.pool(nn.relu(outputs[1]))
    return {i: output.mean(axis=(0, 1, 2)) for i, output in outputs.items()}


@pytest.mark.parametrize('image', [i for i in IMAGES if f'feat/{i}/layer1_mean' in GOLDEN.arrays])
def test_layers_have_golden_numbers(network, image):
    means = layer_means(network._params, GOLDEN[f'in/picture{image}'])
    for i, mean in means.items():
        GOLDEN.check(mean, f'feat/{image}/layer{i}_mean')


@pytest.mark.parametrize('multi_scale', [False, True])
@pytest.mark.parametrize('image', IMAGES)
def test_logits_have_golden_numbers(network, image, multi_scale):
    pixels = GOLDEN[f'in/picture{image}']
    logits = network.scores(pixels, multi_scale=multi_scale)
    name = f'out/{image}/{"msc" if multi_scale else "base"}'
    every_7 = logits[..., ::7].transpose(2, 0, 1)
    GOLDEN.check(every_7, f'{name}_logits_every7')
    GOLDEN.check(logits.mean(axis=(0, 1)), f'{name}_logits_mean')
    # Elsewhere the ratios of the rounded sizes are others.
    if multi_scale and not any(n % 4 for n in pixels.shape[:2]):
        GOLDEN.check(every_7, f'{name}_size_ratio_logits_every7')


@pytest.mark.parametrize('image', IMAGES)
def test_predictions_have_golden_numbers(network, image):
    pixels, expected = GOLDEN[f'in/picture{image}'], GOLDEN[f'out/{image}/prediction']
    predicted = network.predict(pixels, multi_scale=True)
    assert predicted.dtype == np.int32
    assert_same_classes(predicted, expected)
    logits = network.scores(pixels, multi_scale=True)
    resized = np.asarray(resize_bilinear(logits[None], *expected.shape)[0])
    second, best = np.moveaxis(np.sort(resized, axis=-1)[..., -2:], -1, 0)
    noise_of = f'out/{image}/msc_logits_every7'
    GOLDEN.check((best - second)[::5, ::5], f'out/{image}/margin_strided', noise_of)


def test_prediction_has_size_of_label_map(network):
    image = GOLDEN[f'in/picture{IMAGES[0]}']
    assert network.predict(image, size=(40, 30)).shape == (40, 30)


def test_protocol_names_file_and_network(network):
    protocol = network.protocol()
    assert (protocol['network'], protocol['weights']) == ('DeepLabV2-ResNet101', 'deeplab.npz')


def test_weights_of_another_network_are_refused_with_their_entries(tmp_path):
    path = tmp_path / 'other.npz'
    np.savez(path, **{'base.aspp.c0.weight': np.zeros((21, 2048, 3, 3))})
    with pytest.raises(UserError) as refusal:
        Deeplab(str(path))
    problem = refusal.value.problem
    assert f'{path} does not fit' in problem
    assert 'base.aspp.c0.weight is [21, 2048, 3, 3] instead of [182, 2048, 3, 3]' in problem
    assert 'base.aspp.c0.bias is missing' in problem
    assert 'deeplabv2_resnet101_msc-cocostuff164k-100000.pth' in refusal.value.remedy


def test_missing_weights_are_refused_with_their_source():
    with pytest.raises(UserError, match='segmentation_weights=nowhere.pth') as refusal:
        Deeplab('nowhere.pth')
    assert 'github.com/kazuto1011/deeplab-pytorch' in refusal.value.remedy
