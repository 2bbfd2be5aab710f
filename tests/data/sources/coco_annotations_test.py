"""Instance maps rasterized from COCO annotations, on images that a person can check."""

from __future__ import annotations

import concurrent.futures
import json
import re

import numpy as np
import pytest

from spade_jax.data.sources.coco_annotations import InstanceAnnotations
from spade_jax.errors import UserError


def _write(tmp_path, annotations, size=(8, 6), names=('a.jpg',)):
    """Write a file with images of `size` (width, height), whose ids are 70, 71, ...

    Args:
      tmp_path: The directory.
      annotations: (image id, segmentation) of each.
      size: Of all images.
      names: File names of the images.
    """
    images = [
        {'id': 70 + number, 'file_name': name, 'width': size[0], 'height': size[1], 'license': 1}
        for number, name in enumerate(names)
    ]
    content = {
        'info': {'year': 2017},
        'licenses': [{'id': 1}],
        'images': images,
        'categories': [{'id': 18, 'name': 'dog'}],
        'annotations': [
            {
                'id': number,
                'image_id': image_id,
                'segmentation': segmentation,
                'iscrowd': int(isinstance(segmentation, dict)),
                'area': 1.0,
                'bbox': [0, 0, 1, 1],
                'category_id': 18,
            }
            for number, (image_id, segmentation) in enumerate(annotations)
        ],
    }
    path = tmp_path / 'instances.json'
    path.write_text(json.dumps(content))
    return str(path)


def _open(*arguments, **options):
    return InstanceAnnotations(_write(*arguments, **options), flag='train_instance_dir')


def _refusal(call, *arguments):
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert '\n' not in str(error.value)
    return str(error.value)


def _label(*rows):
    return np.array([[int(digit) for digit in row] for row in rows], np.uint8)


LABEL = _label('11110000', '11110000', '11110000', '11110000', '22222222', '22222222')
BOX = [2.5, 1.5, 5.5, 1.5, 5.5, 3.5, 2.5, 3.5]  # touches the columns 2 to 5 and the rows 1 to 3


def test_instance_map_paints_thing_over_stuff(tmp_path):
    result = _open(tmp_path, [(70, [BOX])]).instance_map('a.jpg', LABEL)
    assert result.dtype == np.int32
    expected = LABEL.astype(np.int32)
    expected[1:4, 2:6] = 1000
    np.testing.assert_array_equal(result, expected)


def test_instance_map_paints_things_in_file_order(tmp_path):
    pieces = [[0, 0, 1.9, 0, 1.9, 0.9, 0, 0.9], [6, 5, 7, 5, 7, 5.5, 6, 5.5]]
    result = _open(
        tmp_path, [(70, [BOX]), (70, pieces), (70, [[5, 1, 5.5, 1, 5.5, 1.5, 5, 1.5]])]
    ).instance_map('a.jpg', LABEL)
    assert (result[0, :2] == 1001).all()
    assert (result[5, 6:] == 1001).all()
    assert (result == 1001).sum() == 4
    assert result[1, 5] == 1002
    assert (result == 1002).sum() == 1
    assert (result == 1000).sum() == 11


def test_instance_map_uses_things_of_its_image(tmp_path):
    whole = [[0, 0, 8, 0, 8, 6, 0, 6]]
    annotations = _open(
        tmp_path, [(71, [BOX]), (70, whole), (71, whole)], names=('a.jpg', 'b.jpg', 'c.jpg')
    )
    assert (annotations.instance_map('a.jpg', LABEL) == 1000).all()
    assert (
        annotations.instance_map('b.jpg', LABEL) == 1001
    ).all()  # The second thing covers the box.


def test_instance_map_without_things_is_label_map(tmp_path):
    result = _open(tmp_path, [(70, [BOX])], names=('a.jpg', 'b.jpg')).instance_map('b.jpg', LABEL)
    np.testing.assert_array_equal(result, LABEL)
    assert result.dtype == np.int32


def test_instance_map_decodes_run_lengths_by_column(tmp_path):
    # 2 pixels outside, 3 inside (rows 2 to 4 of column 0), 7 outside (to the end of column 1),
    # 6 inside (column 2), the rest outside.
    crowd = {'counts': [2, 3, 7, 6, 30], 'size': [6.0, 8.0]}  # Some tools write floats.
    result = _open(tmp_path, [(70, [BOX]), (70, crowd)]).instance_map(
        'a.jpg', np.zeros((6, 8), np.uint8)
    )
    assert (result[2:5, 0] == 1001).all()
    assert (result[:, 2] == 1001).all()
    assert (result == 1001).sum() == 9
    assert (result[1:4, 3:6] == 1000).all()


@pytest.mark.parametrize(
    'counts, text',
    [
        # 6 - 3 = 3; 30 - 7 = 23 has bit 4, the sign, so a second character follows: '0' + (23 | 32)
        # is 'g'.
        ([2, 3, 7, 6, 30], '2373g0'),
        ([0, 48], '0`1'),  # 48 = 16 + 1 * 32
        ([40, 1, 1, 1, 5], 'X11104'),  # 40 = 8 + 1 * 32; 1 - 1 = 0; 5 - 1 = 4
    ],
)
def test_instance_map_decodes_compressed_run_lengths(tmp_path, counts, text):
    label = np.zeros((6, 8), np.uint8)
    plain = _open(tmp_path, [(70, {'counts': counts, 'size': [6, 8]})]).instance_map('a.jpg', label)
    np.testing.assert_array_equal(
        _open(tmp_path, [(70, {'counts': text, 'size': [6, 8]})]).instance_map('a.jpg', label),
        plain,
    )


def test_instance_map_decodes_negative_differences(tmp_path):
    # 1; 20 = 'd0'; 2; 5 - 20 = -15, of which 5 bits are 17 = 'A'; 20 - 2 = 18 = 'b0'.
    result = _open(tmp_path, [(70, {'counts': '1d02Ab0', 'size': [6, 8]})]).instance_map(
        'a.jpg', np.zeros((6, 8), np.uint8)
    )
    column_by_column = result.T.reshape(-1)
    np.testing.assert_array_equal(np.flatnonzero(column_by_column), [*range(1, 21), *range(23, 28)])


def test_instance_ids_start_above_label_ids(tmp_path):
    result = _open(tmp_path, [(70, [BOX])]).instance_map('a.jpg', np.full((6, 8), 40000, np.uint16))
    assert set(np.unique(result)) == {40000, 40001}


def test_instance_map_clips_outlines(tmp_path):
    result = _open(tmp_path, [(70, [[-5, -5, 20, -5, 20, 20, -5, 20]])]).instance_map(
        'a.jpg', LABEL
    )
    assert (result == 1000).all()


def test_instance_map_is_thread_safe(tmp_path):
    names = [f'{number}.jpg' for number in range(40)]
    annotations = _open(
        tmp_path,
        [(70 + number % 40, [[x + 0.5 for x in BOX]]) for number in range(200)],
        names=names,
    )
    expected = annotations.instance_map('0.jpg', LABEL)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda name: annotations.instance_map(name, LABEL), names * 5):
            np.testing.assert_array_equal(result, expected)


def test_instance_map_rejects_unlisted_image(tmp_path):
    message = _refusal(_open(tmp_path, []).instance_map, 'b.jpg', LABEL)
    assert message == (
        f'train_instance_dir: {tmp_path}/instances.json does not list the image b.jpg; '
        'set --train_instance_dir to the annotations of these images'
    )


def test_instance_map_rejects_other_image_size(tmp_path):
    message = _refusal(_open(tmp_path, [], size=(6, 8)).instance_map, 'a.jpg', LABEL)
    assert 'has outlines of a.jpg at 6x8 pixels, but its label map has 8x6; use images' in message


def test_instance_map_rejects_run_lengths_of_other_size(tmp_path):
    message = _refusal(
        _open(tmp_path, [(70, {'counts': [0, 48], 'size': [8, 6]})]).instance_map, 'a.jpg', LABEL
    )
    assert 'has outlines of a.jpg at 6x8 pixels, but its label map has 8x6' in message


@pytest.mark.parametrize(
    'segmentation, problem',
    [
        ([[1, 2, 3, 4]], 'a polygon of 4 numbers'),
        ([[1, 2, 3, 4, 5, 6, 7]], 'a polygon of 7 numbers'),
        (None, 'not iterable'),
        ([['x'] * 6], 'real number'),
        ({'counts': [1, 2], 'size': [6, 8]}, 'do not add up to 8x6 pixels'),
        ({'counts': [50, -2], 'size': [6, 8]}, 'do not add up'),
        ({'counts': '1~', 'size': [6, 8]}, "the character '~'"),
        ({'size': [6, 8]}, 'it has no "counts"'),
    ],
)
def test_annotations_reject_other_segmentations(tmp_path, segmentation, problem):
    message = _refusal(_open, tmp_path, [(70, [BOX]), (70, segmentation)])
    file = f'{tmp_path}/instances.json'
    start = f'train_instance_dir: {file}: the annotation with id 1 has not the format of COCO '
    assert message.startswith(start)
    assert problem in message
    assert 'annotations_trainval2017.zip' in message


def test_annotations_reject_missing_file(tmp_path):
    message = _refusal(InstanceAnnotations, str(tmp_path / 'none.json'), 'validation_instance_dir')
    assert re.fullmatch(
        r'validation_instance_dir: .*/none.json cannot be read \(No such file or directory\); set '
        r'--data_dir or --validation_instance_dir, or use --condition=labels; .*cocodataset.org.*',
        message,
    )


@pytest.mark.parametrize(
    'content, problem',
    [
        (b'{"images": [', 'cannot be read ('),
        (b'\xff\xd8\xff', 'cannot be read ('),
        (b'[1, 2]', 'is no COCO file'),
        (b'{"images": [], "annotations": []}', 'is no COCO file'),
        (
            b'{"images": [{"id": 1, "file_name": "a.jpg", "width": 8, "height": 6}]}',
            'is no COCO file',
        ),
        (
            b'{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}',
            'the image with id 1 has not the format of COCO (it has no "width")',
        ),
        (
            b'{"images": [], "annotations": [{"id": 3, "image_id": 1, "caption": "A dog."}]}',
            'the annotation with id 3 has not the format of COCO (it has no "segmentation")',
        ),
    ],
)
def test_annotations_reject_other_files(tmp_path, content, problem):
    path = tmp_path / 'captions.json'
    path.write_bytes(content)
    message = _refusal(InstanceAnnotations, str(path), 'train_instance_dir')
    assert message.startswith(f'train_instance_dir: {path}')
    assert problem in message
    assert 'annotations_trainval2017.zip' in message


def test_annotations_reject_duplicate_image(tmp_path):
    assert 'lists the image a.jpg twice' in _refusal(
        _open, tmp_path, [], (8, 6), ('a.jpg', 'a.jpg')
    )
