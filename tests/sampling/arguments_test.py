"""What a generator takes as arguments, and the one line with which it refuses the rest."""

import pathlib
import re
import warnings

import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax import forking
from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.sampling import jitted
from spade_jax.sampling.arguments import check_maps
from tests.sampling import tiny

LABEL = np.zeros((32, 32), np.uint8)
LABELS = np.random.default_rng(0).integers(0, 3, (3, 32, 32), np.uint8)
PHOTO = np.zeros((50, 40, 3), np.uint8)


@pytest.mark.parametrize(
    'labels',
    [LABELS[..., None], list(LABELS), LABELS.tolist(), [Image.fromarray(map_) for map_ in LABELS]],
    ids=['channel', 'list', 'nested list', 'Pillow'],
)
def test_forms_of_label_maps_sample_the_same(plain, labels):
    np.testing.assert_array_equal(plain(labels), plain(LABELS))


def test_map_with_channel_is_one_map(plain):
    np.testing.assert_array_equal(plain(LABELS[0, ..., None]), plain(LABELS[0]))


def test_refused_label_maps_name_shapes_and_remedy(plain):
    refusals = {
        (32, 32, 3): 'shape (32, 32, 3) and type uint8; give [N, H, W] or [H, W] integers; '
        'generator.read_labels turns the file of a color mask into ids',
        (2, 32, 32, 3): 'shape (2, 32, 32, 3)',
        (32,): 'shape (32,)',
        (): 'shape ()',
    }
    for shape, message in refusals.items():
        with pytest.raises(UserError, match=re.escape(message)):
            plain(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    'labels, message',
    [
        ([LABEL, LABEL[:16]], r'\(32, 32\), \(16, 32\).*generator.resize'),
        ([[0, 1], [2]], r'\(2,\), \(1,\)'),
        ([[[0, 1], [2]]], 'rows of different lengths'),
        (None, 'type object'),
        ('sky.png', 'label maps: "sky.png" is not an array; .* generator.read_labels'),
        ([pathlib.Path('a.png')], '"a.png" is not an array'),
        ([], r'shape \(0,\)'),
    ],
)
def test_ragged_and_odd_label_maps_are_refused(plain, labels, message):
    with pytest.raises(UserError, match=message):
        plain(labels)


def test_other_channels_of_rgb_conditions_are_refused():
    config = tiny.PLAIN.replace(condition='rgb', dontcare=False)
    for shape in ((32, 32), (32, 32, 1), (32, 32, 4)):
        with pytest.raises(UserError, match=r'give \[N, H, W, 3\] or \[H, W, 3\] uint8'):
            check_maps(config, np.zeros(shape, np.uint8))


def test_maps_are_resized_as_by_the_command(plain):
    larger = [np.kron(LABELS[0], np.ones((2, 2), np.uint8)), LABELS[1]]
    np.testing.assert_array_equal(plain.resize(larger), LABELS[:2])
    np.testing.assert_array_equal(plain(larger, size='training'), plain(LABELS[:2]))
    assert plain.resize(LABEL, (64, 32)).shape == (32, 64)
    assert plain.resize(PHOTO, '48x40').shape == (40, 48, 3)
    assert plain.resize(larger, 'native') is larger


@pytest.mark.parametrize(
    'size, message',
    [
        ((33, 32), 'its width is not divisible by 8 .*; use 32 or 40'),
        ((32.0, 32), r'size=32.0 is not a whole number'),
        ((-32, 32), 'size=-32 is out of range'),
        ('big', 'size=big is not a size; use training, native'),
        (None, 'size=None is not a size'),
        ((33, 32), '^size=33x32: a label map of 33x32: its width is not divisible by 8'),
    ],
)
def test_illegal_sizes_are_refused(plain, size, message):
    with pytest.raises(UserError, match=message):
        plain.resize(LABEL, size)


def test_resizing_to_another_shape_is_warned_of(plain, tmp_path):
    wide = np.repeat(LABEL, 4, axis=1)
    tiny.write_labels(tmp_path, 'a', size=(32, 128))
    text = '128x32 is squeezed to 32x32; cut it to the shape of 32x32, or use size="64x16"'
    for use in (
        lambda: plain(wide, size='training'),
        lambda: plain.resize([LABEL, wide]),
        lambda: list(plain.read_folder(str(tmp_path))),
    ):
        with pytest.warns(UserWarning, match=text):
            use()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        plain.resize(wide, (64, 16))
        plain.resize(np.zeros((32, 128, 3), np.uint8))  # A photo.


@pytest.mark.parametrize('value', [np.nan, np.inf, 1e300])
def test_styles_that_are_not_finite_are_refused(styled, value):
    style = np.array([[0, 0, 0, 0], [0, 0, value, 0]])
    for sample in (lambda: styled(LABELS[:2], style=style), lambda: styled.prepare(LABEL)(style)):
        with pytest.raises(UserError, match=r'style\[1, 2\]=.* is not a finite float32'):
            sample()


@pytest.mark.parametrize('choice', [dict(seed=1), dict(sample=2), dict(truncation=0.5)])
def test_style_with_choices_of_a_random_one_is_refused(styled, choice):
    (name,) = choice
    prepared, style = styled.prepare(LABEL), np.zeros(4, np.float32)
    for sample in (
        lambda: styled(LABELS, style=style, **choice),
        lambda: prepared(style, **choice),
    ):
        with pytest.raises(UserError, match=f'^{name}=.* with a style.*; leave {name} out'):
            sample()


@pytest.mark.parametrize('style', [['a'] * 4, [[0.0] * 4, [0.0] * 3], [None] * 4, [True] * 4])
def test_styles_that_are_no_numbers_are_refused(styled, style):
    with pytest.raises(UserError, match='styles? of (type|different shapes)'):
        styled(LABELS[:2], style=style)


@pytest.mark.parametrize('seed', [-1, 2**32, 2**64, -(2**70), True, '1', 1.0, None, np.nan, [1]])
def test_seeds_out_of_range_are_refused(plain, styled, seed):
    for sample in (plain, styled, lambda _, seed: styled.prepare(LABEL)(seed=seed)):
        with pytest.raises(UserError, match='seed=.*; use 0 to 4294967295'):
            sample(LABEL, seed=seed)


@pytest.mark.parametrize('seed', [np.int64(7), np.uint8(7), np.array(7)])
def test_seed_of_numpy_is_that_of_python(styled, seed):
    np.testing.assert_array_equal(styled(LABEL, seed=seed), styled(LABEL, seed=7))


def test_largest_seed_and_sample_are_legal(styled):
    images = [styled(LABEL, seed=s, sample=n) for s, n in [(0, 0), (2**32 - 1, 0), (0, 2**31 - 1)]]
    assert len({image.tobytes() for image in images}) == 3


@pytest.mark.parametrize('batch_size', [0, -1, 2.0, '4', True, None])
def test_odd_batch_sizes_are_refused(plain, styled, batch_size):
    calls = [
        lambda: plain(LABELS, batch_size=batch_size),
        lambda: styled.encode(PHOTO, batch_size=batch_size),
        lambda: styled.prepare(LABEL)(batch_size=batch_size),
    ]
    for call in calls:
        with pytest.raises(UserError, match='batch_size=.*; use 1 or more'):
            call()


def test_huge_batch_size_samples_all_together(plain):
    np.testing.assert_array_equal(plain(LABELS, batch_size=10**12), plain(LABELS))


def test_batch_that_does_not_fit_is_refused():
    def full(batch):
        raise jitted.jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: Out of memory')

    with pytest.raises(UserError, match='batch_size=4 needs more memory than the device has'):
        jitted.in_batches(full, (LABELS,), 8)


@pytest.mark.parametrize('truncation', ['1', None, np.nan, -0.1])
def test_odd_truncation_is_refused(styled, truncation):
    with pytest.raises(UserError, match=r'truncation=.* is not in \[0, 1\]'):
        styled(LABEL, truncation=truncation)


def test_images_of_several_sizes_are_encoded(styled):
    photos = [PHOTO, np.full((32, 64, 3), 200, np.uint8)]
    np.testing.assert_array_equal(styled.encode(photos)[0], styled.encode([PHOTO] * 2)[0])
    assert styled.encode(photos).shape == (2, 4)
    with pytest.raises(UserError, match=r'images of shape \(3,\)'):
        styled.encode([PHOTO, [1, 2, 3]])
    with pytest.raises(UserError, match=r'"a.jpg" is not an array; .* spade_jax.read_photo'):
        styled.encode('a.jpg')


def test_maps_of_another_size_are_refused_with_what_resizes_them(plain, styled):
    with pytest.raises(UserError, match=r'32x32 only; use size="training", or generator.resize'):
        styled(np.zeros((32, 64), np.uint8))
    with pytest.raises(UserError, match=r'; or use size="training", or generator.resize\(maps\)'):
        plain(np.zeros((20, 32), np.uint8))


def test_interpolation_ends_at_its_styles(styled):
    way = styled.interpolate(1, np.int64(2), [0, 0.5, 1])
    for seed, latent in ((1, way[0]), (2, way[2])):
        np.testing.assert_array_equal(styled(LABEL, style=latent), styled(LABEL, seed=seed))
    middle = styled.interpolate([0.0] * 4, [2.0] * 4, 0.5)
    np.testing.assert_array_equal(middle, np.ones(4))
    assert styled.interpolate(1, 2, []).shape == (0, 4)
    with pytest.raises(UserError, match='fractions=2 are not numbers'):
        styled.interpolate(1, 2, 2)


def test_model_without_latent_does_not_interpolate(plain):
    with pytest.raises(UserError, match='no style latent'):
        plain.interpolate(1, 2, 0.5)


def test_instances_of_other_types_are_refused():
    config = tiny.PLAIN.replace(condition='labels+edges')
    assert check_maps(config, LABEL[..., None], LABEL[..., None]).instances.shape == (1, 32, 32)
    with pytest.raises(UserError, match='instance maps of type float64'):
        check_maps(config, LABEL, np.zeros((32, 32)))


def test_generator_says_what_it_is(tmp_path, plain):
    loaded = spade_jax.load(str(tiny.write_checkpoint(tiny.PLAIN, tmp_path)), step=np.int64(0))
    expected = 'model=spade, size=32x32, classes=4, latent_dim=None, step='
    assert repr(loaded) == f'TrainedGenerator({expected}0)'
    assert repr(plain) == f'TrainedGenerator({expected}None)'
    assert plain.classes.names == ('class 0', 'class 1', 'class 2', 'unknown')
    assert plain.classes_in(LABEL + 255) == {'unknown': (0, 0, 0)}
    np.testing.assert_array_equal(plain.colorize(LABEL)[0, 0], plain.classes.colors[0])
    for step in (-1, True, '0', 0.0):
        with pytest.raises(UserError, match='step=.*; use 0 or more'):
            spade_jax.load(str(tmp_path), step=step)


def test_generator_reads_a_color_mask(plain, tmp_path):
    palette, mask = tmp_path / 'palette.json', tmp_path / 'mask.png'
    palette.write_text('[{"name": "a", "color": "#000000"}, {"name": "b", "color": "#ff0000"}]')
    colors = np.zeros((8, 8, 3), np.uint8)
    colors[2, 3, 0] = 255
    Image.fromarray(colors).save(mask)
    labels = plain.read_labels(str(mask), palette=str(palette))
    assert labels.sum() == labels[2, 3] == 1
    assert plain.read_labels(str(mask), palette=str(palette), label_remap='1:255').max() == 255
    with pytest.raises(UserError, match='mask.png'):
        plain.read_labels(str(mask))


def test_generator_reads_a_folder(plain, tmp_path):
    tiny.write_labels(tmp_path / 'maps', *'abcde')
    tiny.write_photos(tmp_path / 'photos', *'abcde')
    maps, photos = str(tmp_path / 'maps'), str(tmp_path / 'photos')
    scenes = list(plain.read_folder(maps, photo_dir=photos, most=3))
    assert [scene.name for scene in scenes] == ['a', 'c', 'e']
    assert {scene.labels.shape for scene in scenes} == {(32, 32)}
    assert {scene.photo.shape for scene in scenes} == {(40, 48, 3)}
    native = next(plain.read_folder(maps, size='native'))
    assert (native.labels.shape, native.instances, native.photo) == ((40, 48), None, None)


def test_forked_child_is_refused_instead_of_hanging(plain, styled, tmp_path, monkeypatch):
    prepared = styled.prepare(LABEL)
    monkeypatch.setattr(forking, '_parent', None)
    forking._remember_parent()  # As in a child: JAX runs here.
    calls = [
        lambda: plain(LABEL),
        lambda: styled.prepare(LABEL),
        lambda: styled.encode(PHOTO),
        lambda: styled.interpolate(1, 2, 0.5),
        lambda: spade_jax.export.export(plain, str(tmp_path / 'file')),
        prepared,
        lambda: spade_jax.load(spade_jax.DEMO),
        lambda: spade_jax.train(Config.create(), str(tmp_path)),
    ]
    for call in calls:
        with pytest.raises(UserError, match='was forked from .* would hang; .* "spawn"'):
            call()
