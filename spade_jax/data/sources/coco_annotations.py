"""Rasterize the annotations of COCO to instance maps, so that no 120,000 files are needed."""

import array
import collections
import json
import os
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from spade_jax.errors import UserError, user_errors
from spade_jax.files.whole_file import read_file

FIRST_INSTANCE_ID = 1000
_SMALLEST_POLYGON = 6  # Numbers: three points.
_ARCHIVE = 'annotations_trainval2017.zip of https://cocodataset.org/#download'
_DOWNLOAD = f'instances_train2017.json and instances_val2017.json are in {_ARCHIVE}'


class _Runs(NamedTuple):
    """A region as run lengths, column by column, alternately outside (first) and inside."""

    counts: np.ndarray  # [R] uint32, with the sum width * height.
    width: int
    height: int


_Image = tuple[int, int, int]  # Id, width, height.
_Thing = _Runs | tuple[array.array, ...]  # Or polygons [x, y, x, y, ...], as 32-bit floats.


class InstanceAnnotations:
    """The outlines (400 MB) of a COCO file like `instances_train2017.json`; thread-safe.

    `flag` is the flag that names the file, for errors.
    """

    def __init__(self, path: str, flag: str):
        self.path, self._file, self._flag = path, f'{flag}: {path}', flag
        self._images: dict[str, _Image] = {}  # By file name.
        self._things: dict[int, list[_Thing]] = collections.defaultdict(list)  # By image id.
        remedy = f'set --data_dir or --{flag}, or use --condition=labels; {_DOWNLOAD}'
        with user_errors(f'{self._file} cannot be read', remedy):
            content = json.loads(read_file(path), object_hook=self._take)
        content = content if isinstance(content, dict) else {}
        lists = [content.get(key) for key in ('images', 'annotations')]
        if not self._images or not all(isinstance(item, list) for item in lists):
            problem = f'{self._file} is no COCO file: it has no lists "images" and "annotations"'
            raise UserError(problem, _DOWNLOAD)

    def instance_map(self, image_name: str, label: np.ndarray) -> np.ndarray:
        """Return the instance map [H, W] int32 of an image (its file name) with label map [H, W].

        Stuff keeps the ids of the label map. Things are painted over it in the order of the file,
        with ids above all others. Deviation: the published script counts things from 0, so that
        they can merge with stuff of the same id, and omits crowds.
        """
        if image_name not in self._images:
            problem = f'{self._file} does not list the image {image_name}'
            raise UserError(problem, f'set --{self._flag} to the annotations of these images')
        image_id, *size = self._images[image_name]
        self._check_size(size, image_name, label)
        canvas = Image.fromarray(label.astype(np.int32))
        first_id = max(FIRST_INSTANCE_ID, int(label.max()) + 1)
        for instance_id, thing in enumerate(self._things.get(image_id, ()), start=first_id):
            if isinstance(thing, _Runs):
                self._check_size([thing.width, thing.height], image_name, label)
                canvas.paste(instance_id, mask=_mask(thing))
                continue
            for polygon in thing:  # Includes the pixels on the outline.
                ImageDraw.Draw(canvas).polygon(polygon.tolist(), fill=instance_id)
        return np.asarray(canvas)

    def _check_size(self, size: list[int], image_name: str, label: np.ndarray) -> None:
        height, width = label.shape
        if size != [width, height]:
            outlines = f'outlines of {image_name} at {size[0]}x{size[1]} pixels'
            problem = f'{self._file} has {outlines}, but its label map has {width}x{height}'
            raise UserError(problem, 'use images, label maps and annotations of the same size')

    def _take(self, item: dict[str, Any]) -> dict[str, Any] | None:
        """Keep what is needed of a JSON object as it is parsed; all at once are several GB."""
        try:
            if 'image_id' in item:
                self._things[item['image_id']].append(_thing(item['segmentation']))
            elif 'file_name' in item:
                name = os.path.basename(item['file_name'])
                if name in self._images:
                    raise ValueError(f'the file lists the image {name} twice')
                self._images[name] = int(item['id']), int(item['width']), int(item['height'])
            else:
                return item
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            kind = 'annotation' if 'image_id' in item else 'image'
            reason = f'it has no "{error.args[0]}"' if isinstance(error, KeyError) else str(error)
            entry = f'{self._file}: the {kind} with id {item.get("id")}'
            raise UserError(f'{entry} has not the format of COCO ({reason})', _DOWNLOAD) from error


def _thing(segmentation: Any) -> _Thing:
    """Return the region of an annotation; ValueError and others if it has another format."""
    if isinstance(segmentation, dict):
        (height, width), counts = map(int, segmentation['size']), segmentation['counts']
        counts = _decompressed(counts) if isinstance(counts, str) else counts
        lengths = np.array(counts, np.int64)
        if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != height * width:
            raise ValueError(f'its run lengths do not add up to {width}x{height} pixels')
        return _Runs(lengths.astype(np.uint32), width, height)
    for polygon in segmentation:
        if len(polygon) < _SMALLEST_POLYGON or len(polygon) % 2:
            raise ValueError(f'a polygon of {len(polygon)} numbers')
    return tuple(array.array('f', polygon) for polygon in segmentation)


def _mask(runs: _Runs) -> Image.Image:
    """Return an image that is white inside the region."""
    inside = np.repeat(np.arange(len(runs.counts)) % 2 == 1, runs.counts)
    mask = inside.reshape(runs.width, runs.height).T.astype(np.uint8) * 255
    return Image.fromarray(np.ascontiguousarray(mask))


def _decompressed(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed form.

    A character from '0' on has six bits: five of the number, the low ones first, and one if more
    follow; the highest bit of the last five is the sign. From the fourth on, a number is the
    difference to the last but one.
    """
    counts, value, shift = [], 0, 0
    for character in text:
        code = ord(character) - ord('0')
        if not 0 <= code < 64:
            raise ValueError(f'its compressed run lengths have the character {character!r}')
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= 1 << shift if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return counts
