"""Label maps of a directory: which files count, and their instance maps and photos."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_maps import LabelFolder, files_for
from spade_jax.errors import UserError

SUFFIXES = dict(label_suffix='_labelIds', instance_suffix='_instanceIds')


def write(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((2, 3), value, np.uint8)).save(path)


def test_folder_takes_files_with_label_suffix(tmp_path):
    for name in ('a_labelIds.png', 'a_color.png', '._a_labelIds.png'):
        (tmp_path / name).write_bytes(b'')
    assert LabelFolder(DataConfig(**SUFFIXES), str(tmp_path)).names == ['a_labelIds']
    config = DataConfig(label_suffix='_other')
    assert LabelFolder(config, str(tmp_path)).names == ['a_color', 'a_labelIds']


@pytest.mark.parametrize(
    'settings, label, instance',
    [(SUFFIXES, 'x/a_labelIds.png', 'x/a_instanceIds.png'), ({}, 'a.png', 'a.png')],
)
def test_folder_reads_instance_map_of_label_map(tmp_path, settings, label, instance):
    write(tmp_path / 'labels' / label, value=1)
    write(tmp_path / 'instances' / instance, value=9)
    config = DataConfig(condition='labels+edges', **settings)
    example = LabelFolder(config, str(tmp_path / 'labels'), str(tmp_path / 'instances')).read(0)
    np.testing.assert_array_equal(example.label, np.full((2, 3), 1))
    np.testing.assert_array_equal(example.instance, np.full((2, 3), 9))


def test_folder_rejects_directory_without_label_maps(tmp_path):
    with pytest.raises(UserError, match=r'has no label map \(.bmp, .gif, .png, .tif, .tiff\)'):
        LabelFolder(DataConfig(), str(tmp_path))


def find(directory, names):
    return files_for(names, str(directory), DataConfig(), flag='photo_dir', what='photo')


def test_files_for_returns_one_file_a_name(tmp_path):
    write(tmp_path / 'b.jpg')
    write(tmp_path / 'x' / 'a.png')
    assert find(tmp_path, ['x/a', 'b']) == [f'{tmp_path}/x/a.png', f'{tmp_path}/b.jpg']


def test_files_for_names_three_missing_files(tmp_path):
    problem = 'has no photo for 4 of 4 label maps: a, b, c and 1 more; name each as its label map'
    with pytest.raises(UserError, match=problem):
        find(tmp_path, list('abcd'))


def test_files_for_rejects_two_files_of_one_name(tmp_path):
    write(tmp_path / 'a.jpg')
    write(tmp_path / 'a.png')
    with pytest.raises(UserError, match='has 2 files for the label map a: .*; remove all but one'):
        find(tmp_path, ['a'])


def test_label_dir_may_be_one_file(tmp_path):
    for name in ('labels/a.png', 'labels/b.png', 'x/i.png', 'x/p.jpg'):
        write(tmp_path / name, value=1)
    paths = [f'{tmp_path}/{name}' for name in ('labels/a.png', 'x/i.png', 'x/p.jpg')]
    maps = LabelFolder(DataConfig(condition='labels+edges'), *paths)
    assert (maps.names, maps.paths) == (['a'], paths[:1])
    assert maps.read(0).instance is not None
    assert maps.read_photo(0) is not None


def test_names_are_compared_composed(tmp_path):
    label, instance, photo = 'é.png', unicodedata.normalize('NFD', 'é.png'), 'é.jpg'
    for directory, name in (('labels', label), ('instances', instance), ('photos', photo)):
        write(tmp_path / directory / name)
    directories = [f'{tmp_path}/{name}' for name in ('labels', 'instances', 'photos')]
    maps = LabelFolder(DataConfig(condition='labels+edges'), *directories)
    assert maps.names == ['é']
    assert maps.read(0).instance is not None
    assert maps.read_photo(0) is not None


def test_errors_say_what_a_directory_has(tmp_path):
    for name in ('a.nii.gz', 'b.HEIC', 'c.heic'):
        (tmp_path / name).write_bytes(b'')
    problem = r'\(it has 2 .heic files, 1 .nii.gz file\) has no '
    with pytest.raises(UserError, match=problem + 'label map'):
        LabelFolder(DataConfig(), str(tmp_path))
    with pytest.raises(UserError, match=problem + 'photo for 1 of 1'):
        find(tmp_path, ['a'])


def test_folder_rejects_index_of_two_colors(tmp_path):
    for name, color in (('a', b'\xff\0\0'), ('b', b'\0\xff\0')):
        image = Image.new('P', (3, 2))
        image.putpalette(color)
        image.save(tmp_path / f'{name}.png')
    maps = LabelFolder(DataConfig(), str(tmp_path))
    maps.read(0)
    with pytest.raises(UserError, match='b.png: index 0 is #00ff00, but #ff0000 in .*a.png; list'):
        maps.read(1)
