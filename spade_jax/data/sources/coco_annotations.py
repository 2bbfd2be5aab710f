"""Instance maps drawn from the annotations of COCO, so that nobody has to make 120,000 files of them first."""

from __future__ import annotations

import array
import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from spade_jax.errors import UserError

FIRST_INSTANCE_ID = 1000
_SMALLEST_POLYGON = 6  # numbers: three points
_DOWNLOAD = 'instances_train2017.json and instances_val2017.json are in annotations_trainval2017.zip of https://cocodataset.org/#download'


class _Photograph(NamedTuple):
    """What the file says of a photograph."""

    image_id: int
    width: int
    height: int


class _Runs(NamedTuple):
    """A region as run lengths: column by column from the top, outside and inside by turns, beginning outside.

    counts: [R] uint32, with the sum width * height.
    """

    counts: np.ndarray
    width: int
    height: int


class InstanceAnnotations:
    """The things that `instances_train2017.json` (or another file of its form) outlines, as instance maps. Reading is safe from several threads.

    Of the file, 450 MB of text, the outlines are kept, as 32-bit floats: about 250 MB.

    Args:
      path: the JSON file.
      flag: the flag that names it, for messages.

    Raises:
      UserError: on construction, when the file is missing, is no JSON, or has no photographs and outlines as COCO has them.
    """

    def __init__(self, path: str, flag: str):
        self._path, self._flag = path, flag
        collected = _Collector(path)
        content = self._parsed(collected)
        if not (
            isinstance(content, dict)
            and isinstance(content.get('images'), list)
            and isinstance(content.get('annotations'), list)
            and collected.photographs
        ):
            raise UserError(
                f'{flag}: {path} is no file of COCO instances: it has no lists "images" and "annotations"',
                _DOWNLOAD,
            )
        self._photographs = collected.photographs
        self._coordinates = np.frombuffer(collected.coordinates, np.float32)
        self._polygon_ends = np.frombuffer(collected.polygon_ends, np.int64)
        self._first_polygons = np.frombuffer(collected.first_polygons, np.int64)
        self._runs = collected.runs
        image_ids = np.frombuffer(collected.image_ids, np.int64)
        self._order = np.argsort(
            image_ids, kind='stable'
        )  # so that those of one photograph follow one another, in the order of the file
        self._ordered_image_ids = image_ids[self._order]

    def instance_map(self, photo_name: str, label: np.ndarray) -> np.ndarray:
        """The instance map of a photograph.

        Stuff keeps the ids of the label map, and is bounded where they change. Every thing is painted over it with an id of its own, from 1000 (or from
        the largest label id) up, in the order of the file. The published script counts them from 0, so that a thing can merge with a neighbouring stuff
        region of the same number, and leaves crowds out.

        Args:
          photo_name: the file name of the photograph, without directory.
          label: [H, W] label ids.

        Returns:
          [H, W] int32.

        Raises:
          UserError: when the file does not list the photograph, or lists it with another size.
        """
        height, width = label.shape
        photograph = self._photographs.get(photo_name)
        if photograph is None:
            raise UserError(
                f'{self._flag}: {self._path} does not list the photograph {photo_name}',
                f'set --{self._flag} to the annotations of these photographs',
            )
        self._require_size(photograph, photo_name, width, height)
        first, last = np.searchsorted(
            self._ordered_image_ids, [photograph.image_id, photograph.image_id + 1]
        )
        canvas = Image.fromarray(label.astype(np.int32))
        first_id = max(FIRST_INSTANCE_ID, int(label.max()) + 1)
        for instance_id, annotation in enumerate(self._order[first:last], start=first_id):
            if annotation in self._runs:
                self._require_size(self._runs[annotation], photo_name, width, height)
                canvas.paste(instance_id, mask=_mask(self._runs[annotation]))
            for polygon in self._polygons(annotation):
                ImageDraw.Draw(canvas).polygon(
                    polygon.tolist(), fill=instance_id
                )  # with the pixels on the outline
        return np.asarray(canvas)

    def _polygons(self, annotation: int) -> list[np.ndarray]:
        """The polygons [x, y, x, y, ...] of an annotation, in pixels; none where it has runs."""
        first, last = self._first_polygons[annotation : annotation + 2]
        ends = self._polygon_ends[first : last + 1]
        return [self._coordinates[start:end] for start, end in zip(ends[:-1], ends[1:])]

    def _require_size(
        self, outlined: _Photograph | _Runs, photo_name: str, width: int, height: int
    ) -> None:
        if (outlined.width, outlined.height) != (width, height):
            raise UserError(
                f'{self._flag}: {self._path} has outlines of {photo_name} at {outlined.width}x{outlined.height} pixels, but its label map has '
                f'{width}x{height}',
                'use photographs, label maps and annotations of the same size',
            )

    def _parsed(self, collected: _Collector) -> Any:
        try:
            with open(self._path, encoding='utf-8') as file:
                return json.load(file, object_hook=collected)
        except (UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UserError(
                f'{self._flag}: {self._path} is not JSON ({error})',
                f'download it again: {_DOWNLOAD}',
            ) from error
        except OSError as error:
            raise UserError(
                f'{self._flag}: {self._path} cannot be read ({error.strerror})',
                f'set --data_dir or --{self._flag}, or use --condition=labels; {_DOWNLOAD}',
            ) from error
        except UserError as error:
            raise UserError(f'{self._flag}: {error.problem}', error.remedy) from None


class _Collector:
    """Takes every JSON object as it has been parsed, keeps in arrays what is needed of it, and lets the rest go: all objects at once are several GB.

    Attributes:
      photographs: by file name.
      image_ids: of the annotations, in the order of the file.
      coordinates, polygon_ends, first_polygons: annotation a has the polygons first_polygons[a] to first_polygons[a + 1] - 1, and polygon p the coordinates
        polygon_ends[p] to polygon_ends[p + 1] - 1.
      runs: by number of the annotation, for those that have them instead of polygons.
    """

    def __init__(self, path: str):
        self.photographs: dict[str, _Photograph] = {}
        self.image_ids = array.array('q')
        self.coordinates = array.array('f')
        self.polygon_ends = array.array('q', [0])
        self.first_polygons = array.array('q', [0])
        self.runs: dict[int, _Runs] = {}
        self._path = path

    def __call__(self, item: dict[str, Any]) -> Any:
        try:
            if 'image_id' in item:
                return self._add_annotation(item)
            if 'file_name' in item:
                return self._add_photograph(item)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, UserError):
                raise
            kind = 'annotation' if 'image_id' in item else 'photograph'
            problem = f'it has no "{error.args[0]}"' if isinstance(error, KeyError) else str(error)
            raise UserError(
                f'{self._path}: the {kind} with id {item.get("id")} is not as COCO instances are ({problem})',
                _DOWNLOAD,
            ) from error
        return item

    def _add_photograph(self, item: dict[str, Any]) -> None:
        name = os.path.basename(item['file_name'])
        if name in self.photographs:
            raise UserError(
                f'{self._path} lists the photograph {name} twice',
                'give each photograph a name of its own',
            )
        self.photographs[name] = _Photograph(
            int(item['id']), int(item['width']), int(item['height'])
        )

    def _add_annotation(self, item: dict[str, Any]) -> None:
        number, segmentation = len(self.image_ids), item['segmentation']
        if isinstance(segmentation, dict):
            height, width = segmentation['size']
            counts = segmentation['counts']
            lengths = np.array(
                _decompressed(counts) if isinstance(counts, str) else counts, np.int64
            )
            if lengths.ndim != 1 or (lengths < 0).any() or lengths.sum() != height * width:
                raise ValueError(f'its run lengths do not add up to {width}x{height} pixels')
            self.runs[number] = _Runs(lengths.astype(np.uint32), width, height)
        else:
            for polygon in segmentation:
                if len(polygon) < _SMALLEST_POLYGON or len(polygon) % 2:
                    raise ValueError(f'a polygon of {len(polygon)} numbers')
                self.coordinates.extend(polygon)
                self.polygon_ends.append(len(self.coordinates))
        self.first_polygons.append(len(self.polygon_ends) - 1)
        self.image_ids.append(item['image_id'])


def _mask(runs: _Runs) -> Image.Image:
    """White where the region is."""
    inside = np.repeat(np.arange(len(runs.counts)) % 2 == 1, runs.counts)
    return Image.fromarray(
        np.ascontiguousarray(inside.reshape(runs.width, runs.height).T).astype(np.uint8) * 255
    )


def _decompressed(text: str) -> Sequence[int]:
    """The run lengths of COCO's compressed form.

    Six bits a character from '0' on: five of the number, the low ones first, and one that says that there is more of it; the highest bit of the last five is
    the sign. From the fourth on, a number is the difference to the last but one.
    """
    counts: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - ord('0')
        if not 0 <= code < 64:
            raise ValueError(f'its compressed run lengths have the character {character!r}')
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value, shift = 0, 0
    return counts
