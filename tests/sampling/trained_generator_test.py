import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

import spade_jax
from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.errors import UserError
from spade_jax.layers.spectral_norm import fold_spectral_norm
from spade_jax.models.spade.model import build_networks, layout_of, to_signed, to_uint8
from spade_jax.models.train_state import init_train_state
from spade_jax.sampling import TrainedGenerator, check_size, trained_generator
from spade_jax.sampling.styles import random_styles
from tests import parity
from tests.sampling import tiny


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture(scope='module')
def generator(plain):
    return plain


def test_pictures_are_truncated_as_the_reference_writes_them():
    golden = parity.Golden('image_output')
    np.testing.assert_array_equal(
        to_uint8(golden['in/x'] if 'in/x' in golden else golden['x']),
        golden.arrays['out/uint8' if 'out/uint8' in golden else 'uint8'],
    )


def test_signed_range():
    np.testing.assert_allclose(to_signed(np.array([0, 255], np.uint8)), [-1, 1])


def test_any_legal_size_and_any_number(generator):
    for shape in [(1, 32, 32), (3, 64, 32)]:
        pictures = generator(np.zeros(shape, np.uint8))
        assert pictures.shape == (*shape, 3) and pictures.dtype == np.uint8


def test_dontcare_differs_from_every_class(generator):
    maps = np.stack([np.full((32, 32), value, np.uint8) for value in (0, 1, 2, 255)])
    assert len({picture.tobytes() for picture in generator(maps)}) == 4


@pytest.mark.parametrize(
    'label, message',
    [
        (
            np.zeros((1, 40, 32), np.uint8),
            'a label map of 32x40: its height is not divisible by 32 (5 upsamplings); use 32 or 64',
        ),
        (np.full((1, 32, 32), 7, np.uint8), 'label id 7 at pixel (x=0, y=0)'),
        (np.zeros((1, 1, 32, 32), np.uint8), 'give [N, H, W] or [H, W] integers'),
        (np.zeros((1, 0, 0), np.uint8), 'its width is not divisible by 32'),
        (np.zeros((1, 32, 32), np.float32), 'type float32; give [N, H, W] or [H, W] integers'),
    ],
)
def test_bad_label_maps(generator, label, message):
    with pytest.raises(UserError) as error:
        generator(label)
    assert message in str(error.value)


def test_messages_to_python_name_no_flags(generator, styled):
    """Who calls a function has no command line."""
    label = np.zeros((1, 32, 32), np.uint8)
    calls = [
        (generator, np.full((1, 32, 32), 7, np.uint8)),
        (generator, np.zeros((1, 40, 32), np.uint8)),
        (generator, label, label),
        (generator.encode, np.zeros((1, 32, 32, 3), np.uint8)),
        (styled, np.zeros((1, 64, 64), np.uint8)),
    ]
    for call, *arguments in calls:
        with pytest.raises(UserError) as error:
            call(*arguments)
        assert '--' not in str(error.value)


def test_a_label_map_that_the_command_line_cannot_draw(tmp_path):
    """The number of classes is settled, so it is no remedy."""
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(tmp_path / 'a.png')
    with pytest.raises(
        UserError,
        match='label id 7 at pixel .*; the classes of a trained model are settled: renumber the ids with --label_remap, or',
    ) as error:
        LabelFolder(tiny.PLAIN, str(tmp_path)).read(0)
    assert 'num_classes' not in str(error.value)


def test_what_a_model_without_encoder_does_not_take(generator):
    label = np.zeros((1, 32, 32), np.uint8)
    with pytest.raises(UserError, match='no style encoder'):
        generator(label, style=np.zeros((1, 256), np.float32))
    with pytest.raises(UserError, match='no style encoder'):
        generator.encode(np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match='takes no instance maps'):
        generator(label, label)


def test_a_model_with_encoder_draws_its_training_size_alone():
    config = Config.create(crop_size=64, load_size=64, style_encoder=True)
    check_size(config, 64, 64)
    with pytest.raises(UserError, match='draws 64x64 alone'):
        check_size(config, 128, 64)


def test_styles(styled):
    label = np.zeros((2, 32, 32), np.uint8)
    one = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(
        styled(label, style=one), styled(label, style=np.repeat(one, 2, axis=0))
    )
    np.testing.assert_array_equal(styled(label, style=one), styled(label, style=one[0]))
    assert np.any(styled(label, style=one) != styled(label, style=-one))
    assert styled.encode(np.zeros((3, 50, 40, 3), np.uint8)).shape == (3, 4)
    for style in (np.ones((2, 5)), np.ones((3, 4)), np.ones(5), np.ones((1, 2, 4))):
        with pytest.raises(UserError, match='a style of shape'):
            styled(label, style=style)
    for images in (
        np.zeros((3, 50, 40, 3), np.float32),
        np.zeros((50, 40), np.uint8),
        np.zeros((1, 50, 40, 4), np.uint8),
        np.zeros((0, 50, 40, 3), np.uint8),
    ):
        with pytest.raises(UserError, match='pictures of shape'):
            styled.encode(images)


def test_one_map_one_picture(generator, styled, random):
    label = random.integers(0, 3, (64, 32))
    assert generator(label).shape == (64, 32, 3)
    np.testing.assert_array_equal(generator(label), generator(label[None])[0])
    photo = random.integers(0, 256, (50, 40, 3), np.uint8)
    style = styled.encode(photo)
    assert style.shape == (4,)
    np.testing.assert_array_equal(style, styled.encode(photo[None])[0])
    np.testing.assert_array_equal(
        style,
        styled.encode(
            np.asarray(Image.fromarray(photo).resize((32, 32), Image.Resampling.BICUBIC))
        ),
    )
    assert np.any(styled(label[:32], style=style) != styled(label[:32], style=-style))


def test_one_map_with_its_instances(random):
    edged = tiny.generator(dataclasses.replace(tiny.PLAIN, condition='labels+edges'))
    label, instance = random.integers(0, 3, (32, 32)), random.integers(0, 2, (32, 32))
    np.testing.assert_array_equal(edged(label, instance), edged(label[None], instance[None])[0])
    assert np.any(edged(label, instance) != edged(label, np.zeros_like(instance)))
    for instances in (None, instance[:16], instance[None]):
        with pytest.raises(UserError, match='instance'):
            edged(label, instances)


def test_a_size_is_compiled_once_for_any_number_of_maps(generator, styled, random):
    trained_generator._draw.clear_cache()
    label = random.integers(0, 3, (11, 32, 32), np.uint8)
    together = generator(label)
    for count in (2, 3, 9):
        np.testing.assert_array_equal(generator(label[:count]), together[:count])
    assert trained_generator._draw._cache_size() == 1
    assert (
        np.abs(generator(label[:1]).astype(int) - together[:1]).max() <= 1
    )  # alone: not in a group that is filled up
    assert trained_generator._draw._cache_size() == 2
    assert generator(label[:0]).shape == (0, 32, 32, 3)
    np.testing.assert_array_equal(
        styled(label, seed=3)[5:6], styled(label, style=random_styles(4, 3, 0, np.arange(11)))[5:6]
    )


def test_truncation_scales_the_random_styles(styled):
    label = np.zeros((2, 32, 32), np.uint8)
    np.testing.assert_array_equal(styled(label, truncation=0.0), styled(label, style=np.zeros(4)))
    assert np.any(styled(label, truncation=0.0) != styled(label))
    np.testing.assert_array_equal(
        styled(label, truncation=0.5),
        styled(label, style=0.5 * random_styles(4, 0, 0, np.arange(2))),
    )
    for truncation in (2.0, -0.1, float('nan')):
        with pytest.raises(UserError, match=r'truncation=.* is not in \[0, 1\]'):
            styled(label, truncation=truncation)


@pytest.mark.parametrize('style_encoder', [False, True])
def test_folded_spectral_norms_draw_the_same(style_encoder, random):
    """Norms far from 1 in a generator whose pictures use the range: a kernel left undivided would change everything."""
    config = dataclasses.replace(tiny.STYLED if style_encoder else tiny.PLAIN, generator_width=8)
    networks, variables = build_networks(config), tiny.state(config).generator
    labels, style = (
        random.integers(0, 3, (4, 32, 32)),
        random.standard_normal((4, 4)).astype(np.float32) if style_encoder else None,
    )
    layout = layout_of(Batch(None, labels), config)
    draw = jax.jit(
        lambda network, variables: network.apply(variables, layout, style, train=False),
        static_argnums=0,
    )
    unfolded, after = (
        draw(networks.generator, variables),
        draw(networks.generator.clone(spectral_norm=False), fold_spectral_norm(variables)),
    )
    assert np.std(unfolded) > 0.1 and (np.abs(unfolded) < 0.95).mean() > 0.8
    assert np.abs(unfolded - after).max() < 1e-5 * 2  # of the range [-1, 1]
    kernels = [
        np.abs(new / old).mean()
        for new, old in zip(
            *map(jax.tree.leaves, (fold_spectral_norm(variables)['params'], variables['params']))
        )
        if np.any(new != old)
    ]
    assert kernels and all(abs(ratio - 1) > 0.01 for ratio in kernels)
    pictures = [
        TrainedGenerator(config, of)(labels, style=style).astype(int)
        for of in (variables, fold_spectral_norm(variables))
    ]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_folding_needs_a_norm():
    config = dataclasses.replace(tiny.PLAIN, generator_spectral_norm=False)
    variables = init_train_state(config, build_networks(config)).generator
    assert fold_spectral_norm(variables) is variables


def test_loading_folds(tmp_path):
    loaded = spade_jax.load(str(tiny.write_checkpoint(tiny.PLAIN, tmp_path / 'run')))
    jax.tree.map(
        np.testing.assert_array_equal,
        loaded._generator,
        fold_spectral_norm(tiny.state(tiny.PLAIN).generator),
    )
    assert 'spectral' not in loaded._generator


def test_a_prepared_map_is_drawn_as_the_generator_draws_it(styled, random):
    label = random.integers(0, 3, (32, 32))
    prepared, styles = styled.prepare(label), random.normal(size=(5, 4)).astype(np.float32)
    pictures = prepared(styles, batch_size=3)
    expected = styled(np.stack([label] * 5), style=styles)
    assert pictures.shape == (5, 32, 32, 3) and np.abs(pictures.astype(int) - expected).max() <= 1
    assert len({picture.tobytes() for picture in pictures}) == 5
    np.testing.assert_array_equal(
        prepared(styles[0], batch_size=3), prepared(styles[:1], batch_size=3)[0]
    )
    assert (
        np.abs(prepared(seed=2, sample=1).astype(int) - styled(label, seed=2, sample=1)).max() <= 1
    )


def test_gamma_and_beta_of_a_prepared_map_are_not_computed_again(styled):
    """Without the kernels that make them, it draws the same."""
    prepared, style = styled.prepare(np.eye(32, dtype=np.int64)), np.ones((1, 4), np.float32)
    config, _, variables, labels, instances = prepared._draw.args
    modulations = jax.tree.leaves(variables[trained_generator.MODULATIONS])
    assert len(modulations) == 7 * 2 + 4 and all(leaf.shape[0] == 1 for leaf in modulations)
    blind = jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            leaf * np.nan if any(part.key in ('shared', 'gamma', 'beta') for part in path) else leaf
        ),
        variables['params'],
    )
    again = trained_generator.PreparedMap(config, variables | {'params': blind}, labels, instances)
    np.testing.assert_array_equal(again(style), prepared(style))


def test_what_cannot_be_prepared_or_drawn(generator, styled):
    label = np.zeros((32, 32), np.uint8)
    with pytest.raises(UserError, match='no style encoder and draws a map in one way only'):
        generator.prepare(label)
    with pytest.raises(UserError, match='of those drawn with it'):
        styled.with_statistics_of_batch().prepare(label)
    with pytest.raises(UserError, match='label id 7'):
        styled.prepare(label + 7)
    with pytest.raises(
        UserError,
        match=r'label maps of shape \(1, 32, 32\), but one map is prepared at a time; give one of them',
    ):
        styled.prepare(label[None])
    assert styled.prepare(label)(np.zeros((0, 4))).shape == (0, 32, 32, 3)
    with pytest.raises(UserError, match=r'styles of shape \(2, 5\); give \[N, 4\], or \[4\]'):
        styled.prepare(label)(np.zeros((2, 5)))
