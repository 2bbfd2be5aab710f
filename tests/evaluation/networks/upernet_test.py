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

STAGES = {1: 'layer1', 2: 'layer2', 3: 'layer3', 4: 'layer4'}
PARTS = ('encoder', 'decoder')
GOLDEN = Golden('upernet101')
CASES = cases('upernet101')
DEMO_PHOTOS = pathlib.Path(spade_jax.DEMO, 'photos')


@functools.cache
def state_of(part):
    return recipe_state(shapes_of('upernet101')[part], GOLDEN.meta['salt'])


@pytest.fixture(scope='module')
def paths(tmp_path_factory):
    """Files in place of the weights, which `recipe_state` knows."""
    paths = [tmp_path_factory.mktemp('weights') / f'{part}.pth' for part in PARTS]
    for path in paths:
        path.write_bytes(b'')
    return list(map(str, paths))


@pytest.fixture(scope='module')
def network(paths):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upernet, 'read_state', lambda path: state_of(pathlib.Path(path).stem))
        return Upernet(*paths)


@jax.jit
def forward(params, x):
    """The logits [1, h/4, w/4, 150] of an input, and the mean features of the stages."""
    logits, state = Network().apply(
        {'params': params}, x[None], capture_intermediates=lambda m, _: m.name in STAGES.values()
    )
    outputs = {stage: state['intermediates'][name]['__call__'][0] for stage, name in STAGES.items()}
    return logits, {stage: jnp.mean(x, axis=(0, 1, 2)) for stage, x in outputs.items()}


def short_sides(case):
    return GOLDEN.meta['cases'][int(case)]['short_sides']


def test_recipe_weights_have_golden_checksum():
    for part in PARTS:
        assert sha256(state_of(part)) == GOLDEN.meta[f'sha256_{part}']


def test_input_has_golden_size():
    for height, width, short_side, rows, columns in GOLDEN['out/size_rule'].tolist():
        assert upernet.network_size(height, width, short_side) == (rows, columns)


@pytest.mark.parametrize('case', CASES)
def test_network_has_golden_numbers(case, network):
    image, (side, *_) = GOLDEN[f'in/picture{case}'], short_sides(case)
    inputs = {
        key: upernet.prepare(image, side, old=old) for key, old in (('', False), ('old_bgr_', True))
    }
    GOLDEN.check(inputs[''][::7, ::7].transpose(2, 0, 1), f'feat/{case}/input_strided')
    for prefix, x in inputs.items():
        logits, means = forward(network._params, x)
        quarter = jax.nn.log_softmax(logits[0])[::2, ::2, ::7].transpose(2, 0, 1)
        GOLDEN.check(quarter, f'out/{case}/{prefix}log_softmax_quarter_every7')
        for stage, mean in means.items() if not prefix else ():
            GOLDEN.check(mean, f'feat/{case}/stage{stage}_mean')


@pytest.mark.parametrize('case', CASES)
def test_probabilities_over_scales_have_golden_numbers(case, network, monkeypatch):
    monkeypatch.setattr(upernet, '_MULTI_SCALE', short_sides(case))
    # The same function, compiled by the test above.
    monkeypatch.setattr(upernet, 'network_logits', lambda params, x: forward(params, x)[0])
    image = GOLDEN[f'in/picture{case}']
    scores = network.scores(image, multi_scale=True)
    assert scores.dtype == np.float32
    GOLDEN.check(scores[::5, ::5, ::7].transpose(2, 0, 1), f'out/{case}/probability_every7')
    best = np.sort(scores[::5, ::5], axis=-1)
    GOLDEN.check(best[..., -1], f'out/{case}/probability_max')
    tolerance = 20 * GOLDEN.meta['noise'][f'out/{case}/probability_max']
    margin = GOLDEN[f'out/{case}/margin_strided']
    np.testing.assert_allclose(best[..., -1] - best[..., -2], margin, rtol=0, atol=tolerance)
    assert_same_classes(scores.argmax(axis=-1), GOLDEN[f'out/{case}/prediction'])


@pytest.mark.parametrize('multi_scale, sides', [(False, [450]), (True, [300, 375, 450, 525, 600])])
def test_prediction_is_the_likeliest_class_over_the_scales(
    network, monkeypatch, multi_scale, sides
):
    asked = []

    def logits(params, x):
        asked.append(min(x.shape[:2]))
        return jax.random.normal(jax.random.key(len(asked)), (1, 4, 6, 150))

    monkeypatch.setattr(upernet, 'network_logits', logits)
    image = GOLDEN['in/picture0']
    prediction = network.predict(image, (20, 30), multi_scale)
    assert asked == [-(-side // 32) * 32 for side in sides]
    asked.clear()
    scores = network.scores(image, multi_scale=multi_scale, size=(20, 30))
    np.testing.assert_array_equal(prediction, scores.argmax(axis=-1))
    assert (prediction.dtype, scores.shape) == (np.int32, (20, 30, 150))
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)


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


def test_weights_of_other_preprocessing_get_a_warning(paths, monkeypatch, capsys):
    monkeypatch.setattr(upernet, 'read_state', lambda path: state_of(pathlib.Path(path).stem))
    monkeypatch.setattr(upernet, 'load_params', lambda *args, **options: {})
    Upernet(*paths)
    assert not capsys.readouterr().err
    protocol = Upernet(*paths, old=True).protocol()
    warning = f'{paths[0]} is used as baseline-resnet101-upernet, but looks like ade20k-resnet101'
    assert warning in capsys.readouterr().err
    assert protocol['weights_used_as'] == 'baseline-resnet101-upernet'
    assert (protocol['encoder_weights'], protocol['decoder_weights']) == (
        'encoder.pth',
        'decoder.pth',
    )
