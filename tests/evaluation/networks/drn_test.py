import jax
import numpy as np
import pytest
from flax import linen as nn

from spade_jax.data.files.resampling import nearest
from spade_jax.errors import UserError
from spade_jax.evaluation.networks import drn
from spade_jax.evaluation.networks.drn import Drn, classes_of
from tests.evaluation.golden_weights import (
    Golden,
    assert_same_classes,
    recipe_state,
    remember_scores,
    shapes_of,
)

GOLDEN = Golden('drn_d_105')
IMAGES = [key.removeprefix('in/picture') for key in GOLDEN.arrays if key.startswith('in/picture')]
LAYERS = {i: f'base.{i}' if 3 <= i <= 6 else f'base.{i}.0' for i in range(9)}


@pytest.fixture(scope='module')
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp('drn') / 'drn.npz'
    np.savez(path, **recipe_state(shapes_of('drn_d_105')['shapes'], GOLDEN.meta['salt']))
    yield remember_scores(Drn(str(path)))
    path.unlink()  # It is large.


@jax.jit
def layer_outputs(params, x):
    """The outputs [H, W, C] of the layers and of the classifier at 1/8 of the size."""
    names = {*LAYERS.values(), 'seg'}
    _, captured = drn.Network().apply(
        {'params': params}, x[None], capture_intermediates=lambda module, _: module.name in names
    )
    return {name: calls['__call__'][0][0] for name, calls in captured['intermediates'].items()}


def strided(x):
    stride = GOLDEN.meta['stride_log_softmax']
    return x[::stride, ::stride]


@pytest.mark.parametrize('image', IMAGES)
def test_layers_have_golden_numbers(network, image):
    outputs = layer_outputs(network._params, drn.prepare(GOLDEN[f'in/picture{image}']))
    for i, name in LAYERS.items():
        GOLDEN.check(nn.relu(outputs[name]).mean(axis=(0, 1)), f'feat/{image}/layer{i}_mean')
    GOLDEN.check(outputs['seg'].transpose(2, 0, 1), f'out/{image}/logits_stride8')


@pytest.mark.parametrize('image', IMAGES)
def test_log_probabilities_have_golden_numbers(network, image):
    scores = network.scores(GOLDEN[f'in/picture{image}'], multi_scale=False)
    second, best = np.moveaxis(np.sort(scores, axis=-1)[..., -2:], -1, 0)
    key = f'out/{image}/log_softmax_strided'
    GOLDEN.check(strided(scores).transpose(2, 0, 1), key)
    GOLDEN.check(strided(best - second), f'out/{image}/margin_strided', noise_of=key)


@pytest.mark.parametrize('image', IMAGES)
def test_sums_over_scales_have_golden_numbers(network, image):
    pixels = GOLDEN[f'in/picture{image}']
    scores = network.scores(pixels, multi_scale=True)
    GOLDEN.check(strided(scores).transpose(2, 0, 1), f'out/{image}/multiscale_strided')
    predicted = network.predict(pixels, multi_scale=True)
    assert_same_classes(predicted, GOLDEN[f'out/{image}/multiscale_prediction'])


@pytest.mark.parametrize('key', [key for key in GOLDEN.arrays if '/prediction' in key])
def test_predictions_of_one_scale_have_golden_numbers(network, key):
    pixels, expected = GOLDEN[f'in/picture{key.split("/")[1]}'], GOLDEN[key]
    assert_same_classes(network.predict(pixels, size=expected.shape), expected)


def test_prediction_has_size_of_image(network):
    for image in IMAGES:
        pixels = GOLDEN[f'in/picture{image}']
        assert network.predict(pixels).shape == pixels.shape[:2]


def test_classes_of_label_ids_are_golden():
    np.testing.assert_array_equal(classes_of(np.arange(256)), GOLDEN['out/lookup'])
    np.testing.assert_array_equal(classes_of(GOLDEN['in/label_ids']), GOLDEN['out/train_ids'])
    np.testing.assert_array_equal(classes_of(np.array([-1, 33, 40000])), [255, 18, 255])


def test_reduced_label_map_has_golden_ids():
    expected = GOLDEN['out/label_nearest_quarter']
    height, width = expected.shape
    reduced = nearest(GOLDEN['in/label_ids'], (width, height), (0, 0, width, height))
    np.testing.assert_array_equal(reduced, expected)


def test_protocol_names_file_and_network(network):
    protocol = network.protocol()
    assert (protocol['network'], protocol['weights']) == ('DRN-D-105', 'drn.npz')


def test_weights_of_another_network_are_refused_with_their_entries(tmp_path):
    path = tmp_path / 'other.npz'
    np.savez(path, **{'base.0.0.weight': np.zeros((64, 3, 7, 7)), 'fc.weight': np.zeros((2, 2))})
    with pytest.raises(UserError) as refusal:
        Drn(str(path))
    problem = refusal.value.problem
    assert f'{path} does not fit: base.0.0.weight is [64, 3, 7, 7] instead of [16' in problem
    assert 'base.0.1.weight is missing' in problem
    assert 'drn-d-105_ms_cityscapes.pth' in refusal.value.remedy


def test_missing_weights_are_refused_with_their_source():
    with pytest.raises(UserError, match='segmentation_weights=nowhere.pth') as refusal:
        Drn('nowhere.pth')
    assert 'github.com/fyu/drn' in refusal.value.remedy
