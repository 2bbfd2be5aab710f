import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.errors import UserError
from spade_jax.evaluation.networks import upernet
from spade_jax.evaluation.networks.upernet import Network, Upernet
from tests.evaluation.golden_weights import (
    Golden,
    assert_same_classes,
    cases,
    recipe_state,
    sha256,
    shapes_of,
)

STAGES = {1: 'layer1.2', 2: 'layer2.3', 3: 'layer3.22', 4: 'layer4.2'}
PARTS = ('encoder', 'decoder')
GOLDEN = Golden('upernet101')
CASES = cases('upernet101')
DEMO_PHOTOS = pathlib.Path(spade_jax.DEMO, 'photos')


@functools.cache
def state_of(part):
    return recipe_state(shapes_of('upernet101')[part], GOLDEN.meta['salt'])


@pytest.fixture(scope='module')
def make(tmp_path_factory):
    """Upernet with the weights of the recipe, which the files would hold."""
    paths = [tmp_path_factory.mktemp('weights') / f'{part}.pth' for part in PARTS]
    for path in paths:
        path.write_bytes(b'')

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upernet, 'read_state', lambda path: state_of(path.split('/')[-1][:-4]))
        yield functools.cache(lambda **options: Upernet(*map(str, paths), **options))


@jax.jit
def forward(params, x):
    """Log-probabilities at a quarter of the size, and the mean features of the stages."""
    logits, state = Network().apply({'params': params}, x[None], capture_intermediates=True)
    outputs = {stage: state['intermediates'][name]['__call__'][0] for stage, name in STAGES.items()}
    means = {stage: jnp.mean(output, axis=(0, 1, 2)) for stage, output in outputs.items()}
    return jax.nn.log_softmax(logits[0]), means


def test_recipe_weights_have_golden_checksum():
    for part in PARTS:
        assert sha256(state_of(part)) == GOLDEN.meta[f'sha256_{part}']


def test_input_has_golden_size():
    for height, width, short_side, rows, columns in GOLDEN['out/size_rule'].tolist():
        assert upernet.network_size(height, width, short_side) == (rows, columns)


@pytest.mark.parametrize('case', CASES)
def test_network_has_golden_numbers(case, make):
    image, params = GOLDEN[f'in/picture{case}'], make()._params
    side = GOLDEN.meta['cases'][int(case)]['short_sides'][0]
    x = upernet.prepare(image, side, old=False)
    GOLDEN.check(x[::7, ::7].transpose(2, 0, 1), f'feat/{case}/input_strided')
    quarter, means = forward(params, x)
    for stage, mean in means.items():
        GOLDEN.check(mean, f'feat/{case}/stage{stage}_mean')
    key = 'log_softmax_quarter_every7'
    GOLDEN.check(quarter[::2, ::2, ::7].transpose(2, 0, 1), f'out/{case}/{key}')
    quarter, _ = forward(params, upernet.prepare(image, side, old=True))
    GOLDEN.check(quarter[::2, ::2, ::7].transpose(2, 0, 1), f'out/{case}/old_bgr_{key}')


@pytest.mark.parametrize('case', CASES)
def test_probabilities_over_scales_have_golden_numbers(case, make):
    image, choices = GOLDEN[f'in/picture{case}'], GOLDEN.meta['cases'][int(case)]
    network = make(short_sides=tuple(choices['short_sides']))
    scores = network.scores(image)
    assert scores.dtype == np.float32
    GOLDEN.check(scores[::5, ::5, ::7].transpose(2, 0, 1), f'out/{case}/probability_every7')
    best = np.sort(scores[::5, ::5], axis=-1)
    GOLDEN.check(best[..., -1], f'out/{case}/probability_max')
    tolerance = 20 * GOLDEN.meta['noise'][f'out/{case}/probability_max']
    margin = GOLDEN[f'out/{case}/margin_strided']
    np.testing.assert_allclose(best[..., -1] - best[..., -2], margin, rtol=0, atol=tolerance)
    assert_same_classes(scores.argmax(axis=-1), GOLDEN[f'out/{case}/prediction'])


def test_prediction_is_the_likeliest_class_at_the_asked_size(make):
    image = GOLDEN['in/picture0']
    network = make(short_sides=(64,))
    prediction = network.predict(image, size=(30, 50))
    assert prediction.dtype == np.int32
    np.testing.assert_array_equal(prediction, network.scores(image, size=(30, 50)).argmax(axis=-1))


def test_files_of_another_network_are_refused_with_their_entries(tmp_path):
    path = tmp_path / 'encoder.npz'
    np.savez(path, **{'conv1.weight': np.zeros((64, 3, 7, 7), np.float32)})
    with pytest.raises(UserError) as refusal:
        Upernet(str(path), str(path))
    assert 'conv1.weight is [64, 3, 7, 7] instead of [64, 3, 3, 3]' in refusal.value.problem
    assert 'bn1.weight is missing' in refusal.value.problem
    assert 'ade20k-resnet101-upernet' in refusal.value.remedy
    with pytest.raises(UserError, match='download encoder_epoch_50.pth .*baseline-resnet101'):
        Upernet(str(tmp_path / 'none.pth'), str(path), old=True)


@pytest.mark.parametrize('old', [False, True])
def test_weights_of_old_preprocessing_are_told_by_their_statistics(old):
    """The statistics of random filters over images prepared in either way."""
    photos = [Image.open(path) for path in sorted(DEMO_PHOTOS.iterdir())[:4]]
    inputs = np.stack([upernet.prepare(np.asarray(photo), 64, old=old) for photo in photos])
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 64)).astype(np.float32)
    outputs = jax.lax.conv_general_dilated(
        inputs, kernel, (2, 2), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )
    variance = np.var(outputs, axis=(0, 1, 2))
    state = {'conv1.weight': kernel.transpose(3, 2, 0, 1), 'bn1.running_var': variance}
    assert upernet.looks_old(state) == old


def test_weights_of_other_preprocessing_get_a_warning(make, capsys):
    protocol = make(old=True).protocol()
    assert 'looks like ade20k-resnet101-upernet' in capsys.readouterr().err
    assert protocol['weights_used_as'] == 'baseline-resnet101-upernet'
    assert protocol['encoder_weights'] == 'encoder.pth'
    make(old=False)
    assert not capsys.readouterr().err
