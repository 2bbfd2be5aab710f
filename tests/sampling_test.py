import os
import types

import jax
import numpy as np
from PIL import Image
import pytest

from spade_jax.config import Config
from spade_jax.data.label_maps import LabelFolder, instance_name, label_files
from spade_jax.errors import UserError
from spade_jax.models import build_networks, to_signed, to_uint8
from spade_jax.sampling import TrainedGenerator, check_size, output_files
from spade_jax.training.train_state import init_train_state
from tests import parity

CONFIG = Config(num_classes=3, dontcare=True, crop_size=32, load_size=32, generator_width=2, spade_hidden=4, perceptual_weight=0.0)


@pytest.fixture(scope='module')
def generator():
    state = init_train_state(CONFIG, build_networks(CONFIG))
    return TrainedGenerator(CONFIG, state.generator)


def test_pictures_are_truncated_as_the_reference_writes_them():
    golden = parity.Golden('image_output')
    np.testing.assert_array_equal(to_uint8(golden['in/x'] if 'in/x' in golden else golden['x']), golden.arrays['out/uint8' if 'out/uint8' in golden else 'uint8'])


def test_signed_range():
    np.testing.assert_allclose(to_signed(np.array([0, 255], np.uint8)), [-1, 1])


def test_any_legal_size_and_any_number(generator):
    for shape in [(1, 32, 32), (3, 64, 32)]:
        pictures = generator(np.zeros(shape, np.uint8))
        assert pictures.shape == (*shape, 3) and pictures.dtype == np.uint8


def test_dontcare_differs_from_every_class(generator):
    maps = np.stack([np.full((32, 32), value, np.uint8) for value in (0, 1, 2, 255)])
    variables = jax.tree.map(lambda leaf: 30 * leaf, generator._generator['params'])
    pictures = TrainedGenerator(CONFIG, generator._generator | {'params': variables})(maps)
    assert len({picture.tobytes() for picture in pictures}) == 4


@pytest.mark.parametrize('label, message', [
    (np.zeros((1, 40, 32), np.uint8), 'a label map of 32x40: its height is not divisible by 32 (5 upsamplings); use 32 or 64'),
    (np.full((1, 32, 32), 7, np.uint8), 'label id 7 at pixel (x=0, y=0)'),
    (np.zeros((32, 32), np.uint8), 'give [N, H, W] integers'),
    (np.zeros((1, 32, 32), np.float32), 'type float32; give [N, H, W] integers'),
])
def test_bad_label_maps(generator, label, message):
    with pytest.raises(UserError) as error:
        generator(label)
    assert message in str(error.value)


def test_messages_to_python_name_no_flags(generator, styled):
    """Who calls a function has no command line."""
    label = np.zeros((1, 32, 32), np.uint8)
    calls = [(generator, np.full((1, 32, 32), 7, np.uint8)), (generator, np.zeros((1, 40, 32), np.uint8)), (generator, label, label),
             (generator.encode, np.zeros((1, 32, 32, 3), np.uint8)), (styled, np.zeros((1, 64, 64), np.uint8))]
    for call, *arguments in calls:
        with pytest.raises(UserError) as error:
            call(*arguments)
        assert '--' not in str(error.value)


def test_a_label_map_that_the_command_line_cannot_draw(tmp_path):
    """The number of classes is settled, so it is no remedy."""
    Image.fromarray(np.full((4, 4), 7, np.uint8)).save(tmp_path / 'a.png')
    with pytest.raises(UserError, match='label id 7 at pixel .*; the classes of a trained model are settled: renumber the ids with --label_remap, or') as error:
        LabelFolder(CONFIG, str(tmp_path)).read(0)
    assert 'num_classes' not in str(error.value)


def test_what_a_model_without_encoder_does_not_take(generator):
    label = np.zeros((1, 32, 32), np.uint8)
    with pytest.raises(UserError, match='no style encoder'):
        generator(label, styles=np.zeros((1, 256), np.float32))
    with pytest.raises(UserError, match='no style encoder'):
        generator.encode(np.zeros((1, 32, 32, 3), np.uint8))
    with pytest.raises(UserError, match='takes no instance maps'):
        generator(label, label)


def test_a_model_with_encoder_draws_its_training_size_alone():
    config = Config(crop_size=64, load_size=64, style_encoder=True)
    check_size(config, 64, 64)
    with pytest.raises(UserError, match='draws 64x64 alone'):
        check_size(config, 128, 64)


@pytest.fixture(scope='module')
def styled():
    config = Config(num_classes=3, crop_size=32, load_size=32, generator_width=2, spade_hidden=4, perceptual_weight=0.0, style_encoder=True, style_dim=4,
                    encoder_width=2, encoder_input_size=64, init_gain=1.0)
    state = init_train_state(config, build_networks(config))
    return TrainedGenerator(config, state.generator, state.encoder)


def test_styles(styled):
    label = np.zeros((2, 32, 32), np.uint8)
    one = np.ones((1, 4), np.float32)
    np.testing.assert_array_equal(styled(label, styles=one), styled(label, styles=np.repeat(one, 2, axis=0)))
    assert np.any(styled(label, styles=one) != styled(label, styles=-one))
    assert styled.encode(np.zeros((3, 50, 40, 3), np.uint8)).shape == (3, 4)
    for styles in (np.ones((2, 5)), np.ones((3, 4)), np.ones(4)):
        with pytest.raises(UserError, match='styles of shape'):
            styled(label, styles=styles)
    for images in (np.zeros((3, 50, 40, 3), np.float32), np.zeros((50, 40, 3), np.uint8), np.zeros((1, 50, 40, 4), np.uint8)):
        with pytest.raises(UserError, match='pictures of shape'):
            styled.encode(images)


def test_names_with_suffixes(tmp_path):
    config = Config(condition='labels+edges', label_suffix='_labelIds', instance_suffix='_instanceIds')
    for name in ('a_labelIds.png', 'a_color.png', '._a_labelIds.png'):
        (tmp_path / name).write_bytes(b'')
    assert label_files(str(tmp_path), config.label_suffix) == ['a_labelIds.png']
    assert label_files(str(tmp_path), '_other') == ['a_color.png', 'a_labelIds.png']
    assert instance_name('x/a_labelIds.png', config) == 'x/a_instanceIds.png'
    assert instance_name('a.png', Config()) == 'a.png'


def maps_of(directory, *files):
    return types.SimpleNamespace(names=[os.path.splitext(file)[0] for file in files], paths=[f'{directory}/{file}' for file in files],
                                 locations=[f'{directory}/{file}' for file in files])


def test_pictures_replace_nothing():
    assert output_files(maps_of('labels', 'a.png'), 'pictures', 2) == [['pictures/a_0.png', 'pictures/a_1.png']]
    with pytest.raises(UserError, match='written over the label map'):
        output_files(maps_of('labels', 'a.png'), 'labels', 1)
    with pytest.raises(UserError, match='a.png would be written over that of labels/a.bmp'):
        output_files(maps_of('labels', 'a.bmp', 'a.png'), 'pictures', 1)
