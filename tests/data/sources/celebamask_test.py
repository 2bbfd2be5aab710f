"""CelebAMask-HQ: parts merged into label maps, the splits, and missing files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from spade_jax.config.data_config import DataConfig
from spade_jax.data.sources.celebamask import MAPPING, CelebAMaskSource
from spade_jax.errors import UserError

# Original image of each face: 162771 is the first of validation, 182638 the first of test.
ORIGINALS = {0: 5, 1: 162770, 2: 162771, 1999: 182637, 2000: 0, 2001: 182638}


def _config(root, **changes):
    return DataConfig(
        **{
            **dict(
                dataset='celebamask_hq',
                data_dir=str(root),
                num_classes=19,
                train_image_dir='CelebA-HQ-img',
                train_label_dir='CelebAMask-HQ-mask-anno',
                load_size=32,
                crop_size=32,
            ),
            **changes,
        }
    )


def _photo(root, face, size=(16, 16), gray=0):
    path = root / 'CelebA-HQ-img' / f'{face}.jpg'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, (gray,) * 3).save(path)


def _mask(root, face, part, columns, size=(8, 8), mode='RGB'):
    """White in the columns `columns`."""
    mask = np.zeros(size[::-1], np.uint8)
    mask[:, list(columns)] = 255
    path = root / 'CelebAMask-HQ-mask-anno' / str(face // 2000) / f'{face:05d}_{part}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).convert(mode).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    for face in ORIGINALS:
        _photo(tmp_path, face, gray=face % 7 * 30)
        _mask(tmp_path, face, 'skin', range(6))
    lines = [
        f'{face:<8}{original:<8}{original + 1:06d}.jpg' for face, original in ORIGINALS.items()
    ]
    (tmp_path / MAPPING).write_text(
        '\n'.join(['idx     orig_idx     orig_file', *reversed(lines)]) + '\n'
    )
    return tmp_path


def _refusal(call, *arguments):
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_splits_follow_celeba_partition(root):
    train, validation = (
        CelebAMaskSource(_config(root), split) for split in ('train', 'validation')
    )
    assert train.names == ['0', '1', '2000']
    assert validation.names == ['2', '1999']
    assert len(train) == 3
    assert train.locations[2] == f'{root}/CelebAMask-HQ-mask-anno/1/02000_*.png'


def test_mapping_may_lack_header(root):
    path = root / MAPPING
    path.write_text('\n'.join(path.read_text().splitlines()[1:]))
    assert CelebAMaskSource(_config(root), 'train').names == ['0', '1', '2000']


@pytest.mark.parametrize('mode', ['RGB', 'L', '1', 'P'])
def test_read_paints_later_parts_over_earlier_ones(root, mode):
    _mask(root, 0, 'cloth', [7], mode=mode)
    _mask(root, 0, 'hair', [0, 1], mode=mode)
    _mask(root, 0, 'nose', [1, 2], mode=mode)
    example = CelebAMaskSource(_config(root), 'train').read(0)
    np.testing.assert_array_equal(example.label, np.tile([13, 13, 2, 1, 1, 1, 0, 18], (8, 1)))
    assert example.label.dtype == np.uint8
    assert example.instance is None


def test_read_keeps_photo_size(root):
    source = CelebAMaskSource(_config(root), 'train')
    example = source.read(1)
    assert example.image.shape == (16, 16, 3)
    assert example.label.shape == (8, 8)
    assert abs(int(example.image[0, 0, 0]) - 30) < 3
    assert source.read_maps(1).image is None
    assert np.array_equal(source.read_maps(1).label, example.label)


def test_read_maps_renumbers_ids(root):
    label = CelebAMaskSource(_config(root, label_remap='1:4'), 'train').read_maps(0).label
    assert set(np.unique(label)) == {0, 4}


def test_list_replaces_mapping(root):
    (root / MAPPING).unlink()
    (root / 'list.txt').write_text('# good ones\n2001\n\n1\n')
    assert CelebAMaskSource(_config(root, validation_list='list.txt'), 'validation').names == [
        '2001',
        '1',
    ]


@pytest.mark.parametrize(
    'lines, problem',
    [
        (
            '1\nface\n',
            'list.txt, line 2: "face" is not a number; write the number of one face a line',
        ),
        ('1\n1\n', 'list.txt, line 2: 1 is listed twice'),
        ('\n', 'list.txt lists no faces'),
        ('7\n', 'there is no {root}/CelebA-HQ-img/7.jpg'),
    ],
)
def test_source_rejects_bad_list(root, lines, problem):
    (root / 'list.txt').write_text(lines)
    assert problem.format(root=root) in _refusal(
        CelebAMaskSource, _config(root, train_list='list.txt'), 'train'
    )


def test_source_rejects_missing_mapping(root):
    (root / MAPPING).unlink()
    message = _refusal(CelebAMaskSource, _config(root), 'validation')
    assert message == (
        f'data_dir: {root}/{MAPPING} cannot be read (No such file or directory); it '
        'comes with the data set and defines the splits; without it, '
        'list the numbers of the faces with --validation_list, one a line'
    )
    assert '--train_list, one a line' in _refusal(CelebAMaskSource, _config(root), 'train')


@pytest.mark.parametrize(
    'text, problem',
    [
        (
            '0 5 000006.jpg\n1\n',
            f'{MAPPING}, line 2: "1" has not the form "idx orig_idx orig_file"',
        ),
        ('0 five 000006.jpg\n', f'{MAPPING}, line 1: "0 five 000006.jpg" has not the form'),
        ('0 182638 182639.jpg\n', f'{MAPPING} has no faces of the train split'),
    ],
)
def test_source_rejects_bad_mapping(root, text, problem):
    (root / MAPPING).write_text(text)
    assert problem in _refusal(CelebAMaskSource, _config(root), 'train')


def test_source_rejects_missing_directory(root):
    message = _refusal(CelebAMaskSource, _config(root, train_label_dir='masks'), 'train')
    assert message == (
        f'train_label_dir: there is no directory {root}/masks; set --data_dir to the unpacked '
        'CelebAMask-HQ, or --train_label_dir'
    )


def test_source_rejects_missing_photos(root):
    for path in (root / 'CelebA-HQ-img').glob('?.jpg'):
        path.unlink()
    message = _refusal(CelebAMaskSource, _config(root), 'train')
    assert message.startswith(
        f'2 faces have no photo ({root}/CelebA-HQ-img/0.jpg, {root}/CelebA-HQ-img/1.jpg): '
        f'there is no {root}/CelebA-HQ-img/0.jpg; '
    )


def test_source_rejects_face_without_masks(root):
    (root / 'CelebAMask-HQ-mask-anno/1/02000_skin.png').rename(
        root / 'CelebAMask-HQ-mask-anno/0/02000_skin.png'
    )  # in the wrong directory
    assert _refusal(CelebAMaskSource, _config(root), 'train').startswith(
        f'there is no {root}/CelebAMask-HQ-mask-anno/1/02000_*.png; '
    )


def test_read_rejects_masks_of_different_sizes(root):
    path = _mask(root, 0, 'hair', [0], size=(4, 4))
    message = _refusal(CelebAMaskSource(_config(root), 'train').read, 0)
    assert message.startswith(f'{path} has 4x4 pixels, but its label map {root}/CelebAMask-HQ-mask')
    assert '/0/00000_skin.png has 8x8' in message


@pytest.mark.parametrize('reader', ['read', 'read_maps'])
def test_readers_reject_photo_of_other_aspect_ratio(root, reader):
    _photo(root, 0, size=(16, 12))
    message = _refusal(getattr(CelebAMaskSource(_config(root), 'train'), reader), 0)
    assert message.startswith(
        f'{root}/CelebA-HQ-img/0.jpg has 16x12 pixels, another shape than its masks'
    )
    assert '8x8' in message


def test_read_maps_rejects_damaged_mask(root):
    path = root / 'CelebAMask-HQ-mask-anno/0/00000_skin.png'
    path.write_bytes(path.read_bytes()[:40])
    assert _refusal(CelebAMaskSource(_config(root), 'train').read_maps, 0).startswith(
        f'{path}: the mask of the part skin cannot be read'
    )


@pytest.mark.parametrize('condition', ['labels+edges', 'rgb'])
def test_source_rejects_other_conditions(root, condition):
    message = _refusal(CelebAMaskSource, _config(root, condition=condition), 'train')
    assert message == (
        f'condition={condition}, but dataset=celebamask_hq has only label maps; '
        'use --condition=labels or none'
    )
