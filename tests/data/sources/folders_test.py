"""Pairing of files, and an error for everything that can be wrong with a folder of data."""

import re
import unicodedata

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files import label_reader
from spade_jax.data.files.image_files import read_ids
from spade_jax.data.files.label_reader import check_label_ids
from spade_jax.data.sources import folders as folder_source
from spade_jax.data.sources.open_source import check_source, open_source, source_class
from spade_jax.data.sources.scenes import scenes_size
from spade_jax.errors import UserError
from tests.program import write_folders


def _config(root, **changes):
    return DataConfig(
        **{
            **dict(
                dataset='folders',
                data_dir=str(root),
                num_classes=4,
                load_size=32,
                crop_size=32,
                data_workers=2,
            ),
            **changes,
        }
    )


def _save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _photo(path, size=(40, 36), gray=0):
    _save(path, np.full((size[1], size[0], 3), gray, np.uint8))


def _ids(path, size=(40, 36), value=0, dtype=np.uint8):
    _save(path, np.full((size[1], size[0]), value, dtype))


@pytest.fixture
def root(tmp_path):
    """Three complete training examples, one of them in a subdirectory."""
    for number, name in enumerate(('b', 'a', 'sub/c')):
        _photo(tmp_path / 'train_img' / f'{name}.jpg', gray=50 * number)
        _ids(tmp_path / 'train_label' / f'{name}.png', value=number)
        _ids(tmp_path / 'train_inst' / f'{name}.png', value=1000 + number, dtype=np.uint16)
    return tmp_path


def _message(call, *arguments):
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_source_pairs_by_relative_path_in_name_order(root):
    source = open_source(_config(root), 'train')
    assert source.names == ['a', 'b', 'sub/c']
    assert len(source) == 3
    example = source.read(2)
    assert example.image.shape == (36, 40, 3)
    assert example.image.dtype == np.uint8
    assert abs(int(example.image[0, 0, 0]) - 100) < 3
    assert example.label.shape == (36, 40)
    assert (example.label == 2).all()
    assert (source.read_maps(2).label == 2).all()
    assert example.instance is None


def test_source_reads_instances_for_edges(root):
    example = open_source(_config(root, condition='labels+edges'), 'train').read(0)
    assert example.instance.dtype == np.uint16
    assert (example.instance == 1001).all()


@pytest.mark.parametrize(
    'dataset, takes_lists, pairs_files, already_scaled',
    [
        ('folders', True, True, False),
        ('cityscapes', True, True, False),
        ('celebamask_hq', True, False, False),
        ('tfds', False, False, False),
        ('pairs', False, False, False),
        ('scenes', False, False, True),
    ],
)
def test_source_class_describes_data_set(dataset, takes_lists, pairs_files, already_scaled):
    condition = 'rgb' if dataset == 'pairs' else 'labels'
    source = source_class(DataConfig(dataset=dataset, condition=condition))
    assert source.takes_lists == takes_lists
    assert source.pairs_files == pairs_files
    assert source.already_scaled == already_scaled


def test_open_source_returns_none_without_validation_directories(root):
    assert open_source(_config(root), 'validation') is None


def test_open_source_rejects_half_a_validation_set(root):
    _photo(root / 'val_img' / 'x.jpg')
    assert _message(open_source, _config(root), 'validation') == (
        f'validation_label_dir: there is no directory {root}/val_label; set --data_dir or '
        '--validation_label_dir'
    )


def test_source_pairs_cityscapes_suffixes(tmp_path):
    _photo(tmp_path / 'leftImg8bit/train/aachen/aachen_1_leftImg8bit.png')
    for ending in ('labelIds', 'instanceIds', 'color', 'labelTrainIds'):
        _ids(tmp_path / f'gtFine/train/aachen/aachen_1_gtFine_{ending}.png', value=3)
    config = _config(
        tmp_path,
        train_image_dir='leftImg8bit/train',
        train_label_dir='gtFine/train',
        train_instance_dir='gtFine/train',
        condition='labels+edges',
        image_suffix='_leftImg8bit',
        label_suffix='_gtFine_labelIds',
        instance_suffix='_gtFine_instanceIds',
    )
    (files,) = open_source(config, 'train').files
    assert files.name == 'aachen/aachen_1'
    assert files.label.endswith('aachen_1_gtFine_labelIds.png')
    assert files.instance.endswith('aachen_1_gtFine_instanceIds.png')


@pytest.mark.parametrize(
    'photo, label, suffixes',
    [
        ('x.jpg', 'x.png', {}),  # CMP Facades.
        ('x.png', 'x_label.png', dict(label_suffix='_label')),
        ('x_photo.png', 'x.png', dict(image_suffix='_photo')),
        ('x.JPG', 'x.PNG', {}),
    ],
)
def test_source_pairs_files_of_one_directory(tmp_path, photo, label, suffixes):
    _photo(tmp_path / 'base' / photo)
    _ids(tmp_path / 'base' / label, value=3)
    (tmp_path / 'base' / 'x.xml').write_text('<annotation/>')
    (files,) = open_source(
        _config(tmp_path, train_image_dir='base', train_label_dir='./base', **suffixes), 'train'
    ).files
    assert files.name == 'x'
    assert files.photo.endswith(photo)
    assert files.label.endswith(label)


def test_source_ignores_lone_label_maps_and_hidden_files(root):
    _ids(root / 'train_label' / 'more.png')
    (root / 'train_img' / '._a.jpg').write_bytes(b'')
    assert open_source(_config(root), 'train').names == ['a', 'b', 'sub/c']


def test_list_of_stems_sets_order(root):
    (root / 'list.txt').write_text('sub/c\n\na\n')
    assert open_source(_config(root, train_list='list.txt'), 'train').names == ['sub/c', 'a']


def test_list_selects_examples_of_other_split(root):
    (root / 'list.txt').write_text('train/b\ntrain/sub/c\n')
    source = open_source(_config(root, validation_list='list.txt'), 'validation')
    assert source.names == ['train/b', 'train/sub/c']
    assert (source.read_maps(1).label == 2).all()


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig', 'utf-16'])
@pytest.mark.parametrize(
    'lines',
    [
        'a\r\nsub/c\r\n',
        './a.jpg\n./sub/c.jpg',
        '# good ones\na.png\nsub//c.png',
        '  # good ones\n\na  # the best one\n \t\nsub/c.jpg\t#2\n#b\n',
        'train_img\\a.jpg\nsub\\c.jpg',
        'train_img/a.jpg train_label/a.png\ntrain_img/sub/c.jpg\ttrain_label/sub/c.png',
        'train_img\\a.jpg,train_label\\a.png\ntrain_img/sub/c.jpg;train_label/sub/c.png',
        '{root}/train_img/a.jpg\n{root}/train_label/sub/c.png',
    ],
)
def test_list_may_name_files(root, lines, encoding):
    (root / 'list.txt').write_text(lines.format(root=root), encoding=encoding)
    assert open_source(_config(root, train_list='list.txt'), 'train').names == ['a', 'sub/c']


def test_names_are_compared_composed(root):
    """A Mac decomposes accents in names of files."""
    names = ['Ü 1', 'plaża']
    for name in names:
        _photo(root / 'mac' / f'{unicodedata.normalize("NFD", name)}.jpg')
        _ids(root / 'labels' / f'{name}é.png')
    (root / 'list.txt').write_text(unicodedata.normalize('NFD', '\n'.join(names)))
    folders = dict(train_image_dir='mac', train_label_dir='labels')
    folders['label_suffix'] = unicodedata.normalize('NFD', 'é')
    for changes in ({}, {'train_list': 'list.txt'}):
        source = open_source(_config(root, **folders, **changes), 'train')
        assert sorted(source.names) == sorted(names)
        assert source.read(0).image is not None


@pytest.mark.parametrize(
    'lines, problem',
    [
        (
            'a\nzebra\n',
            'list.txt, line 2: zebra has no photo in .*train_img; write "stem" or "split/stem", '
            'without extension',
        ),
        (
            'image,label\na.jpg,a.png\n',
            r'list.txt, line 1: "image,label" is no example; remove it if it is a header, or '
            'begin it with "#"',
        ),
        ('# of 2026\n\nfile name\na\nb\n', 'line 3: "file name" is no example; remove it if'),
        ('val/a\n', r'list.txt, line 1: val/a has no photo in .*val_img'),
        ('a\na\n', 'list.txt, line 2: a is listed twice'),
        (
            '/elsewhere/photos/a.jpg\nb.tif\n',
            r'^2 listed examples are other files \(/elsewhere/photos/a.jpg, b.tif\): .*list.txt, '
            'line 1: /elsewhere/photos/a.jpg is not a file of these directories; write a$',
        ),
        (r'train\sub\c.tif', 'line 1: train/sub/c.tif is not .*; write train/sub/c$'),
        ('train_img/a.jpg train_label/b.png', 'has no photo in .*train_img; write "stem"'),
        ('\n', 'lists no examples'),
    ],
)
def test_source_rejects_bad_list(root, lines, problem):
    (root / 'list.txt').write_text(lines)
    assert re.search(problem, _message(open_source, _config(root, train_list='list.txt'), 'train'))


def test_source_rejects_missing_list(root):
    message = _message(open_source, _config(root, train_list='missing.txt'), 'train')
    assert re.search(r'train_list: .*missing.txt cannot be read \(No such file', message)


def test_source_rejects_missing_directory(tmp_path):
    assert _message(open_source, _config(tmp_path), 'train') == (
        f'train_image_dir: there is no directory {tmp_path}/train_img; set --data_dir or '
        '--train_image_dir'
    )


def test_source_rejects_directory_without_photos(root):
    assert 'no photos (.bmp' in _message(
        open_source,
        _config(root, train_image_dir='train_label', train_label_dir='train_label'),
        'train',
    )
    message = _message(open_source, _config(root, image_suffix='_rgb'), 'train')
    assert 'whose names end in _rgb' in message
    assert message.endswith('set --train_image_dir or --image_suffix')


def test_source_rejects_photos_without_label_map(root):
    for number in range(5):
        _photo(root / 'train_img' / f'z{number}.jpg')
    message = _message(open_source, _config(root), 'train')
    assert message.startswith(
        f'5 photos have no label map ({root}/train_img/z0.jpg, {root}/train_img/z1.jpg, '
        f'{root}/train_img/z2.jpg, ...): '
    )
    assert f'there is no {root}/train_label/z0.png' in message
    assert 'set --train_label_dir or --label_suffix' in message


def test_partner_whose_name_has_another_case_is_named(root):
    label = root / 'train_label' / 'a.png'
    label.rename(label.with_name('A.PNG'))
    message = _message(open_source, _config(root), 'train')
    assert f'a.jpg has no label map: {root}/train_label/A.PNG differs in upper and lo' in message
    assert message.endswith('rename one of them')


def test_source_rejects_photo_without_instance_map(root):
    (root / 'train_inst' / 'a.png').unlink()
    message = _message(open_source, _config(root, condition='labels+edges'), 'train')
    assert message.startswith(f'{root}/train_img/a.jpg has no instance map')
    assert '--train_instance_dir' in message


def test_source_rejects_ambiguous_roles(root):
    message = _message(
        open_source,
        _config(root, condition='labels+edges', train_instance_dir='train_label'),
        'train',
    )
    assert message.endswith(
        'could be label map or instance map; tell them apart with --label_suffix and '
        '--instance_suffix'
    )


def test_one_directory_of_png_files_for_photos_and_label_maps_is_named(root):
    message = _message(open_source, _config(root, train_image_dir='train_label'), 'train')
    assert message.endswith(
        f'.webp) in {root}/train_label, which is train_label_dir too: its files count as label '
        'maps; tell them apart with --image_suffix and --label_suffix'
    )


def test_label_maps_beside_the_photos_are_no_photos_without_a_condition(root):
    message = _message(
        open_source, _config(root, condition='none', train_image_dir='train_label'), 'train'
    )
    assert 'its files count as label maps; tell them apart with --image_suffix' in message
    for name in ('a', 'b', 'sub/c'):
        (root / 'train_label' / f'{name}.png').rename(root / 'train_img' / f'{name}.png')
    together = dict(condition='none', train_label_dir='train_img')
    source = open_source(_config(root, **together), 'train')
    assert source.names == ['a', 'b', 'sub/c']
    assert source.locations[0].endswith('a.jpg') and source.read(0).image.shape == (36, 40, 3)
    for name in ('a', 'b', 'sub/c'):
        (root / 'train_img' / f'{name}.png').rename(root / 'train_img' / f'{name}_L.png')
    source = open_source(_config(root, **together, label_suffix='_L'), 'train')
    assert source.names == ['a', 'b', 'sub/c']
    assert len(open_source(_config(root, condition='none'), 'train')) == 6


def test_source_rejects_jpeg_label_maps(root):
    (root / 'train_label' / 'a.png').unlink()
    _ids(root / 'train_label' / 'a.jpg')
    assert f'{root}/train_label/a.jpg: JPG is a lossy format' in _message(
        open_source, _config(root), 'train'
    )


def test_source_rejects_two_files_of_one_role(root):
    _photo(root / 'train_img' / 'a.webp')
    assert 'a has two files as photo' in _message(open_source, _config(root), 'train')


@pytest.mark.parametrize('reader', ['read', 'read_maps'])
def test_readers_reject_label_map_of_other_size(root, reader):
    _ids(root / 'train_label' / 'b.png', size=(20, 18))
    message = _message(getattr(open_source(_config(root), 'train'), reader), 1)
    assert message.startswith(
        f'{root}/train_img/b.jpg has 40x36 pixels, but its label map {root}/train_label/b.png '
        'has 20x18'
    )


def test_read_rejects_instance_map_of_other_size(root):
    _ids(root / 'train_inst' / 'b.png', size=(20, 18))
    assert 'train_inst/b.png has 20x18 pixels' in _message(
        open_source(_config(root, condition='labels+edges'), 'train').read, 1
    )


def test_check_source_accepts_good_data(root):
    config = _config(root)
    check_source(open_source(config, 'train'), config)


def test_check_source_raises_for_first_bad_example(root):
    for name in ('b', 'sub/c'):
        label = np.zeros((36, 40), np.uint8)
        label[5, 7] = 9
        _save(root / 'train_label' / f'{name}.png', label)
    config = _config(root)
    assert _message(check_source, open_source(config, 'train'), config) == (
        f'{root}/train_label/b.png: label id 9 at pixel (x=7, y=5) is not one of the 4 classes '
        '0..3; use --num_classes=10 or more'
    )


def test_check_source_rejects_images_smaller_than_crop(root):
    _photo(root / 'train_img' / 'a.jpg', size=(30, 36))
    _ids(root / 'train_label' / 'a.png', size=(30, 36))
    config = _config(root, preprocess_mode='crop')
    message = _message(check_source, open_source(config, 'train'), config)
    assert message.startswith(f'{root}/train_label/a.png: ')
    assert 'of 30x36 is smaller than the crop of 32x32' in message


@pytest.mark.parametrize(
    'values, settings, remedy',
    [
        (
            [3, 255],
            {},
            'label id 255 at pixel (x=1, y=0) is not one of the 4 classes 0..3; use --dontcare if '
            '255 stands for "unknown"',
        ),
        ([7, 255], {}, 'use --num_classes=8 or more, and use --dontcare'),
        (
            [5, 255],
            dict(dontcare=True),
            'label id 5 at pixel (x=0, y=0) is not one of the 4 classes 0..3; use --num_classes=6 '
            'or more',
        ),
        (
            [-1, 0],
            {},
            'label id -1 at pixel (x=0, y=0) is not one of the 4 classes 0..3; number the classes '
            'from 0',
        ),
    ],
)
def test_check_label_ids_rejects_unknown_ids(values, settings, remedy):
    message = _message(
        check_label_ids, np.array([values], np.int32), _config('', **settings), 'x.png'
    )
    assert message.startswith('x.png: ')
    assert remedy in message


@pytest.mark.parametrize(
    'values, settings',
    [([0, 3], {}), ([0, 3, 4, 255], dict(dontcare=True)), ([255, 299], dict(num_classes=300))],
)
def test_check_label_ids_accepts_known_ids(values, settings):
    check_label_ids(np.array([values], np.uint16), _config('', **settings), 'x.png')


@pytest.mark.parametrize(
    'settings, size',
    [
        (dict(load_size=286, crop_size=256), (286, 286)),
        (dict(load_size=572, crop_size=512, aspect_ratio=2.0), (572, 286)),
        (dict(load_size=572, crop_size=512, aspect_ratio=2.0, preprocess_mode='fixed'), (512, 256)),
        (
            dict(load_size=286, crop_size=256, preprocess_mode='scale_shortside_and_crop'),
            (286, 286),
        ),
    ],
)
def test_scenes_size_is_the_scaled_size(settings, size):
    assert scenes_size(DataConfig(**settings)) == size


def test_scenes_size_rejects_preprocessing_without_crop():
    assert 'use --preprocess_mode=fixed' in _message(
        scenes_size, DataConfig(preprocess_mode='scale_width')
    )


def test_readers_decode_each_map_once(tmp_path, monkeypatch):
    folders = write_folders(tmp_path)
    source = open_source(
        DataConfig(
            dataset='folders', data_dir=str(folders), num_classes=3, condition='labels+edges'
        ),
        'train',
    )
    decoded = []
    for module, name in ((folder_source, 'read_instances'), (label_reader, 'read_ids')):
        monkeypatch.setattr(
            module, name, lambda path, **options: decoded.append(path) or read_ids(path)
        )
    for read in (source.read, source.read_maps):
        decoded.clear()
        assert read(0).instance is not None
        assert sorted(decoded) == sorted([source.files[0].label, source.files[0].instance])
