import jax
import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.errors import UserError
from spade_jax.layers.spectral_norm import fold_spectral_norm
from spade_jax.models.model import build_model, to_signed, to_uint8
from spade_jax.models.train_state import init_train_state
from spade_jax.sampling import TrainedGenerator, check_size, jitted, trained_generator
from spade_jax.sampling.styles import random_styles
from tests import parity
from tests.sampling import tiny

LABEL = np.zeros((32, 32), np.uint8)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_images_are_truncated_as_in_the_reference():
    golden = parity.Golden('image_output')
    x = golden['in/x' if 'in/x' in golden else 'x']
    expected = golden.arrays['out/uint8' if 'out/uint8' in golden else 'uint8']
    np.testing.assert_array_equal(to_uint8(x), expected)


def test_signed_range():
    np.testing.assert_allclose(to_signed(np.array([0, 255], np.uint8)), [-1, 1])


@pytest.mark.parametrize('shape', [(1, 32, 32), (3, 64, 32)])
def test_maps_of_any_legal_size_and_number(plain, shape):
    images = plain(np.zeros(shape, np.uint8))
    assert images.shape == (*shape, 3)
    assert images.dtype == np.uint8


def test_dontcare_differs_from_every_class(plain):
    labels = np.stack([np.full((32, 32), value, np.uint8) for value in (0, 1, 2, 255)])
    assert len({image.tobytes() for image in plain(labels)}) == 4


@pytest.mark.parametrize(
    'label, message',
    [
        (
            np.zeros((1, 44, 32), np.uint8),
            'a label map of 32x44: its height is not divisible by 8 (3 upsamplings); use 40 or 48',
        ),
        (np.full((1, 32, 32), 7, np.uint8), 'label id 7 at pixel (x=0, y=0)'),
        (np.zeros((1, 1, 32, 32), np.uint8), 'give [N, H, W] or [H, W] integers'),
        (np.zeros((1, 0, 0), np.uint8), 'its width is not divisible by 8'),
        (np.zeros((1, 32, 32), np.float32), 'type float32; give [N, H, W] or [H, W] integers'),
    ],
)
def test_bad_label_maps_are_refused(plain, label, message):
    with pytest.raises(UserError) as error:
        plain(label)
    assert message in str(error.value)


def test_messages_to_python_name_no_flags(plain, styled):
    calls = [
        lambda: plain(LABEL + 7),
        lambda: plain(np.zeros((44, 32), np.uint8)),
        lambda: plain(LABEL, LABEL),
        lambda: styled(np.zeros((64, 64), np.uint8)),
    ]
    for call in calls:
        with pytest.raises(UserError) as error:
            call()
        assert '--' not in str(error.value)


def test_model_without_latent_takes_no_style(plain):
    with pytest.raises(UserError, match='no style latent, so it takes no style'):
        plain(LABEL, style=np.zeros(256, np.float32))
    with pytest.raises(UserError, match='no style latent, so it cannot encode'):
        plain.encode(np.zeros((1, 32, 32, 3), np.uint8))


def test_model_without_edges_takes_no_instances(plain):
    with pytest.raises(UserError, match='without instance edges; leave the instance maps out'):
        plain(LABEL, LABEL)


def test_model_with_encoder_has_its_training_size():
    config = tiny.STYLED.replace(crop_size=64, load_size=64)
    check_size(config, 64, 64)
    with pytest.raises(UserError, match='samples at its training size 64x64 only'):
        check_size(config, 128, 64)


def test_palette_of_the_package_has_the_classes_of_the_model(tmp_path):
    config = tiny.PLAIN.replace(num_classes=13, dontcare=False)
    path, colors = tmp_path / 'mask.png', [[0x9C, 0xEE, 0xDD], [0x93, 0x64, 0xC8]]  # Sky, river.
    Image.fromarray(np.array([colors], np.uint8)).save(path)
    generator = tiny.generator(config)
    assert generator.read_labels(str(path), palette='gaugan').tolist() == [[0, 9]]
    remap = '22:1,*:12'  # Of the ids of the palette.
    ids = generator.read_labels(str(path), palette='gaugan', label_remap=remap)
    assert ids.tolist() == [[1, 12]]


def test_one_style_is_for_all_maps(styled):
    labels, style = np.stack([LABEL, LABEL]), np.ones((1, 4), np.float32)
    images = styled(labels, style=style)
    np.testing.assert_array_equal(images, styled(labels, style=np.repeat(style, 2, axis=0)))
    np.testing.assert_array_equal(images, styled(labels, style=style[0]))
    assert np.any(images != styled(labels, style=-style))


@pytest.mark.parametrize('shape', [(2, 5), (3, 4), (5,), (1, 2, 4)])
def test_styles_of_other_shapes_are_refused(styled, shape):
    with pytest.raises(UserError, match='a style of shape'):
        styled(np.stack([LABEL, LABEL]), style=np.ones(shape))


@pytest.mark.parametrize(
    'images',
    [
        np.zeros((3, 50, 40, 3), np.float32),
        np.zeros((50, 40), np.uint8),
        np.zeros((1, 50, 40, 4), np.uint8),
        np.zeros((0, 50, 40, 3), np.uint8),
    ],
)
def test_encode_refuses_other_arrays(styled, images):
    with pytest.raises(UserError, match='images of shape'):
        styled.encode(images)


def test_one_map_is_sampled_alone(plain, random):
    label = random.integers(0, 3, (64, 32))
    image = plain(label)
    assert image.shape == (64, 32, 3)
    np.testing.assert_array_equal(image, plain(label[None])[0])


def test_encode_resizes_images(styled, random):
    photo = random.integers(0, 256, (50, 40, 3), np.uint8)
    style = styled.encode(photo)
    assert style.shape == (4,)
    np.testing.assert_array_equal(style, styled.encode(photo[None])[0])
    resized = Image.fromarray(photo).resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(style, styled.encode(np.asarray(resized)))
    assert np.any(styled(LABEL, style=style) != styled(LABEL, style=-style))


@pytest.fixture(scope='module')
def edged():
    return tiny.generator(tiny.PLAIN.replace(condition='labels+edges'))


def test_instance_edges_change_the_image(edged, random):
    label, instance = random.integers(0, 3, (32, 32)), random.integers(0, 2, (32, 32))
    image = edged(label, instance)
    np.testing.assert_array_equal(image, edged(label[None], instance[None])[0])
    assert np.any(image != edged(label, np.zeros_like(instance)))


@pytest.mark.parametrize('instances', [None, LABEL[:16], LABEL[None]])
def test_unfit_instances_are_refused(edged, instances):
    with pytest.raises(UserError, match='instance'):
        edged(LABEL, instances)


def test_size_is_compiled_once_for_any_number_of_maps(plain, random):
    jitted.sample.clear_cache()
    labels = random.integers(0, 3, (11, 32, 32), np.uint8)
    together = plain(labels)
    for count in (2, 3, 9):
        np.testing.assert_array_equal(plain(labels[:count]), together[:count])
    assert jitted.sample._cache_size() == 1
    # A single map is not padded to a batch.
    np.testing.assert_allclose(plain(labels[:1]).astype(int), together[:1], atol=1)
    assert jitted.sample._cache_size() == 2


@pytest.mark.parametrize('batch_statistics', [False, True])
def test_devices_sample_as_one_device_does_in_batches(styled, random, batch_statistics):
    styled = styled.with_batch_statistics() if batch_statistics else styled
    labels = random.integers(0, 3, (7, 32, 32))
    expected = styled(labels, seed=3, batch_size=4)
    on_devices = styled.on_all_devices()
    assert on_devices.num_devices == jax.local_device_count() > 1
    images = on_devices(labels, seed=3, batch_size=4 * on_devices.num_devices)
    np.testing.assert_array_equal(images, expected)
    np.testing.assert_array_equal(on_devices.encode(images), styled.encode(images))


def test_no_maps_give_no_images(plain):
    assert plain(np.zeros((0, 32, 32), np.uint8)).shape == (0, 32, 32, 3)


def test_random_styles_are_of_seed_sample_and_index(styled):
    labels = np.stack([LABEL] * 3)
    images = styled(labels, seed=3, sample=1)
    styles = random_styles(4, 3, 1, np.arange(3))
    np.testing.assert_array_equal(images, styled(labels, style=styles))


def test_truncation_scales_random_styles(styled):
    labels = np.stack([LABEL, LABEL])
    half = 0.5 * random_styles(4, 0, 0, np.arange(2))
    np.testing.assert_array_equal(styled(labels, truncation=0.5), styled(labels, style=half))
    mean = styled(labels, style=np.zeros(4))
    np.testing.assert_array_equal(styled(labels, truncation=0.0), mean)
    assert np.any(mean != styled(labels))


def test_illegal_truncation_is_refused(styled):
    with pytest.raises(UserError, match=r'truncation=2.0 is not in \[0, 1\]'):
        styled(LABEL, truncation=2.0)


@pytest.mark.parametrize('config', [tiny.PLAIN, tiny.STYLED], ids=['plain', 'styled'])
def test_folded_spectral_norms_sample_the_same(config, random):
    """With norms far from 1, so that an undivided kernel would change the image."""
    config = config.replace(generator_width=8)
    variables = dict(tiny.state(config).networks)
    folded = variables | {'generator': fold_spectral_norm(variables['generator'])}
    labels = random.integers(0, 3, (4, 32, 32))
    latent_dim = build_model(config).latent_dim
    style = None if latent_dim is None else random.standard_normal((4, latent_dim))
    before, after = (
        TrainedGenerator(config, networks)(labels, style=style).astype(int)
        for networks in (variables, folded)
    )
    assert np.std(before) > 12  # gray levels
    np.testing.assert_allclose(before, after, atol=1)
    pairs = zip(
        jax.tree.leaves(folded['generator']['params']),
        jax.tree.leaves(variables['generator']['params']),
        strict=True,
    )
    ratios = [np.abs(new / old).mean() for new, old in pairs if np.any(new != old)]
    assert min(abs(ratio - 1) for ratio in ratios) > 0.01


def test_folding_needs_spectral_norms():
    config = tiny.PLAIN.replace(generator_spectral_norm=False)
    variables = init_train_state(config).networks['generator']
    assert fold_spectral_norm(variables) is variables


def test_load_folds_spectral_norms(tmp_path):
    loaded = spade_jax.load(str(tiny.write_checkpoint(tiny.PLAIN, tmp_path)))
    expected = fold_spectral_norm(tiny.state(tiny.PLAIN).networks['generator'])
    assert 'spectral' not in expected
    jax.tree.map(np.testing.assert_array_equal, loaded._variables['generator'], expected)


def test_prepared_map_samples_as_the_generator(styled, random):
    label = random.integers(0, 3, (32, 32))
    prepared, styles = styled.prepare(label), random.normal(size=(5, 4)).astype(np.float32)
    images = prepared(styles, batch_size=3)
    expected = styled(np.stack([label] * 5), style=styles)
    np.testing.assert_allclose(images.astype(int), expected, atol=1)
    assert len({image.tobytes() for image in images}) == 5
    one = prepared(styles[0], batch_size=3)
    np.testing.assert_array_equal(one, prepared(styles[:1], batch_size=3)[0])
    seeded = prepared(seed=2, sample=1).astype(int)
    np.testing.assert_allclose(seeded, styled(label, seed=2, sample=1), atol=1)


def test_prepared_map_does_not_compute_gamma_and_beta_again(styled):
    """It samples the same without the kernels that make them."""
    prepared, style = styled.prepare(np.eye(32, dtype=np.int64)), np.ones((1, 4), np.float32)
    *static, variables, labels, instances = prepared._sampler.args
    generator = variables['generator']

    def without_kernel(path, leaf):
        is_modulation = any(part.key in ('shared', 'gamma', 'beta') for part in path)
        return leaf * np.nan if is_modulation else leaf

    params = jax.tree_util.tree_map_with_path(without_kernel, generator['params'])
    variables = variables | {'generator': generator | {'params': params}}
    again = trained_generator.PreparedMap(static[0], variables, labels, instances)
    np.testing.assert_array_equal(again(style), prepared(style))


@pytest.mark.parametrize(
    'label, message',
    [(LABEL + 7, 'label id 7'), (LABEL[None], 'one map is prepared at a time; give one of them')],
)
def test_prepare_refuses_unfit_maps(styled, label, message):
    with pytest.raises(UserError, match=message):
        styled.prepare(label)


def test_prepare_needs_latent_and_running_statistics(plain, styled):
    with pytest.raises(UserError, match='no style latent'):
        plain.prepare(LABEL)
    with pytest.raises(UserError, match='statistics of a batch'):
        styled.with_batch_statistics().prepare(LABEL)


def test_prepared_map_checks_styles(styled):
    prepared = styled.prepare(LABEL)
    assert prepared(np.zeros((0, 4))).shape == (0, 32, 32, 3)
    with pytest.raises(UserError, match=r'styles of shape \(2, 5\); give \[N, 4\], or \[4\]'):
        prepared(np.zeros((2, 5)))
