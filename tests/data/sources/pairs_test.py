"""Pairs in one file: their halves, splits and defects; validated, prepared, recognized."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.config import Config
from spade_jax.config.data_config import DataConfig
from spade_jax.data.pipeline.paired_transforms import Geometry, transform
from spade_jax.data.records.reader import open_records
from spade_jax.data.records.writer import prepare
from spade_jax.data.sources.open_source import change_since_prepared, check_source, open_source
from spade_jax.data.validation.report import validate
from spade_jax.errors import UserError

SMALL = dict(load_size=36, crop_size=32, data_workers=2)


def config_of(root, **changes):
    defaults = dict(dataset='pairs', condition='rgb', train_image_dir='train')
    options = dict(validation_image_dir='val', data_dir=str(root))
    return DataConfig(**{**defaults, **options, **SMALL, **changes})


def halves(number):
    """Two smooth images of one scene, [40, 44, 3] uint8."""
    small = np.random.default_rng(number).integers(0, 120, (4, 4, 3)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(small).resize((44, 40)))
    return smooth, 255 - smooth


@pytest.fixture
def root(tmp_path):
    """Three pairs for training and two for validation."""
    for split, numbers in {'train': (0, 1, 2), 'val': (3, 4)}.items():
        (tmp_path / split).mkdir()
        for number in numbers:
            pair = Image.fromarray(np.concatenate(halves(number), axis=1))
            pair.save(tmp_path / split / f'{number}.png')
    return tmp_path


def message(call, *arguments, **options):
    with pytest.raises(UserError) as error:
        call(*arguments, **options)
    return str(error.value)


@pytest.mark.parametrize('direction', ['a_to_b', 'b_to_a'])
def test_direction_chooses_the_condition(root, direction):
    source = open_source(config_of(root, direction=direction), 'train')
    condition, image = halves(1)[:: 1 if direction == 'a_to_b' else -1]
    example = source.read(1)
    np.testing.assert_array_equal(example.label, condition)
    np.testing.assert_array_equal(example.image, image)
    assert source.names == ['0', '1', '2']
    assert source.locations[1] == f'{root}/train/1.png'


def test_model_without_condition_has_the_images_alone(root):
    source = open_source(config_of(root, condition='none'), 'train')
    np.testing.assert_array_equal(source.read(1).image, halves(1)[1])
    assert source.read(1).label.shape == source.read_maps(1).label.shape == (40, 44, 0)


def test_halves_are_scaled_cropped_and_mirrored_alike(root):
    config = config_of(root)
    example = open_source(config, 'train').read(0)
    image, label, _ = transform(example, Geometry.from_config(config), (3, 2), flip=True)
    condition, _ = halves(0)
    scaled = Image.fromarray(condition).resize((36, 36), Image.Resampling.BICUBIC)
    expected = np.asarray(scaled)[2:34, 3:35][:, ::-1]
    np.testing.assert_array_equal(label, expected)
    # The photo is the negative of the condition.
    assert np.abs(image.astype(int) - (255 - expected.astype(int))).max() <= 1


def test_validation_is_the_directory_val(root):
    assert open_source(config_of(root), 'validation').names == ['3', '4']
    config = config_of(root / 'train', train_image_dir='.')
    assert open_source(config, 'validation') is None
    assert len(open_source(config, 'train')) == 3


def test_pair_of_odd_width_is_refused_by_name(root):
    Image.new('RGB', (89, 40)).save(root / 'train' / '1.png')
    config = config_of(root)
    expected = f'{root}/train/1.png has 89x40 pixels: an odd width has no two halves'
    assert message(check_source, open_source(config, 'train'), config).startswith(expected)
    skipping = config_of(root, on_bad_example='skip')
    assert list(check_source(open_source(skipping, 'train'), skipping)) == [f'{root}/train/1.png']


def test_missing_directories_and_double_names_are_refused(root):
    text = message(open_source, config_of(root, train_image_dir='trainA'), 'train')
    assert text.startswith(f'train_image_dir: there is no directory {root}/trainA')
    assert text.endswith('set --data_dir to the directory above, or --train_image_dir')
    text = message(open_source, config_of(root / 'train'), 'train')
    assert text.endswith(f'set --train_image_dir=. to read the images of {root}/train itself')
    (root / 'empty').mkdir()
    text = message(open_source, config_of(root, train_image_dir='empty'), 'train')
    assert 'no images' in text and '(it has no files)' in text
    Image.new('RGB', (88, 40)).save(root / 'train' / '1.jpg')
    text = message(open_source, config_of(root), 'train')
    assert '1.jpg and' in text and '1.png have the same name' in text


def test_options_that_pairs_do_not_have_are_refused():
    text = message(Config.create, dataset='pairs', condition='labels')
    assert text.startswith('condition=labels, but dataset=pairs has images, not label maps')
    text = message(Config.create, dataset='folders', direction='b_to_a')
    assert text.startswith('direction=b_to_a, but dataset=folders is not of pairs')


def test_pairs_are_validated(root, tmp_path, capsys):
    output_dir = tmp_path / 'report'
    output_dir.mkdir()
    validate(config_of(root), str(output_dir), given={})
    assert 'The data are fine.' in capsys.readouterr().out
    Image.new('RGB', (89, 40)).save(root / 'train' / '1.png')
    text = message(validate, config_of(root), str(output_dir), given={})
    assert text.startswith('1 defect in 1 file')
    assert 'an odd width has no two halves' in capsys.readouterr().out


def test_prepared_pairs_are_those_of_the_files(root, tmp_path):
    config = config_of(root, records_dir=str(tmp_path / 'records'), direction='b_to_a')
    prepare(config)
    records, source = open_records(config, 'validation'), open_source(config_of(root), 'validation')
    assert records.names == source.names
    geometry = Geometry.from_config(config, prescaled=True)
    image, label, _ = transform(records.read(0), geometry)
    plain = transform(source.read(0), Geometry.from_config(config))
    np.testing.assert_array_equal(image, plain.label)
    np.testing.assert_array_equal(label, plain.image)
    assert change_since_prepared(config, 'train') is None
    Image.new('RGB', (88, 40)).save(root / 'train' / '1.png')
    assert f'{root}/train/1.png has changed' in change_since_prepared(config, 'train')
    other = config_of(root, records_dir=config.records_dir)
    assert 'direction: b_to_a -> a_to_b' in message(open_records, other, 'train')


def test_folder_of_pairs_given_as_photos_is_recognized(root, tmp_path, capsys):
    output_dir = tmp_path / 'report'
    output_dir.mkdir()
    config = DataConfig(
        dataset='folders', data_dir=str(root), train_image_dir='train', num_classes=3, **SMALL
    )
    message(validate, config, str(output_dir), given={})
    assert f'--dataset=pairs --data_dir={root}, or cut them' in capsys.readouterr().out
    config = dataclasses.replace(config, train_image_dir='train_img')  # It does not exist.
    message(validate, config, str(output_dir), given={})
    assert f'--dataset=pairs --data_dir={root}, or cut them' in capsys.readouterr().out


def test_single_images_given_as_pairs_are_recognized(root, tmp_path, capsys):
    output_dir = tmp_path / 'report'
    output_dir.mkdir()
    for path in (root / 'train').iterdir():
        Image.fromarray(halves(int(path.stem))[0]).save(path)
    validate(config_of(root), str(output_dir), given={})
    text = capsys.readouterr().out
    assert 'train: files are perhaps no pairs: 1' in text
    assert 'validation: files are perhaps no pairs' not in text
