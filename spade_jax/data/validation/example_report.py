"""Inspect one example: collect everything that is wrong with its files, without stopping."""

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.config.label_format import LabelClass, parse_palette
from spade_jax.data.files.image_files import (
    SIDEWAYS,
    Colors,
    color_codes,
    exif_orientation,
    is_copy,
    photo_size,
    read_ids_or_colors,
    read_instances,
    read_photo,
)
from spade_jax.data.files.label_reader import LabelReader, empty_condition
from spade_jax.data.files.palette import MOST_COLORS, near_colors, nearest_colors, safe_tolerance
from spade_jax.data.pipeline.paired_transforms import Example, Geometry, max_crop_offset
from spade_jax.data.sources.coco_annotations import InstanceAnnotations
from spade_jax.data.sources.pairing import Defect, ExampleFiles
from spade_jax.data.sources.source import require_same_size, resized_copies, size_of
from spade_jax.data.validation.blends import blended_colors
from spade_jax.data.validation.interpolation import interpolated_ids
from spade_jax.data.validation.lossy_ids import has_stray_ids
from spade_jax.errors import UserError

# Kinds of findings, in addition to those of `pairing`: the headings of a report.
OUT_OF_RANGE = 'label maps have ids that are not classes'
WRONG_SIZE = 'images cannot be brought to the training size'
COLORED = 'label maps have colors instead of ids'
BEYOND_PALETTE = 'label maps have colors that are not in the palette'
NEAR_PALETTE = 'label maps have colors that are a little off those of the palette'
UNKNOWN_EVERYWHERE = 'label maps are unknown everywhere'
COPIES = {
    'photo': 'label maps are scaled copies',
    'instance map': 'instance maps are scaled copies',
}
MIXED_PALETTES = 'indexed label maps have different palettes'
INTERPOLATED = 'label maps seem to be scaled with interpolation'
STRAY_IDS = 'label maps seem to come from files of lossy compression'
TURNED = 'photos are turned by EXIF, and their size does not tell whether the label maps are, too'
UNTURNED = 'photos fit their label maps only without the turn of EXIF'

_MOST_VALUES = 64  # Colors or 8-bit ids of one map: more are a photo or an anti-aliased mask.
_IDS_NAMED = 5
_T = TypeVar('_T')


@dataclass
class ExampleReport:
    """The findings on one example. Its pixels are not kept.

    Attributes:
      location: Path that messages name.
      defects, warnings: Findings that training would stop at; that it accepts.
      size: (width, height) of the label map.
      pixels: Number of pixels by id.
      unknown_ids: The ids that are not classes.
      colors: Number of pixels by color code of a label map whose colors are not known.
      blends: Colors of a smoothed label map that are no classes, see `blended_colors`.
      index_colors: Path of an indexed label map, and the color of each index that it uses.
      is_mistaken: True if the label map has so many values that it is a photo or anti-aliased.
      has_stray_ids: True if the label map has ids that lossy compression made up.
      digest: Hash of the pixels of the photo.
      is_readable: True if the example can be shown.
    """

    name: str
    location: str
    defects: list[Defect] = field(default_factory=list)
    warnings: list[Defect] = field(default_factory=list)
    size: tuple[int, int] | None = None
    pixels: dict[int, int] = field(default_factory=dict)
    unknown_ids: tuple[int, ...] = ()
    colors: dict[int, int] = field(default_factory=dict)
    blends: set[int] = field(default_factory=set)
    index_colors: tuple[str, Colors] | None = None
    is_mistaken: bool = False
    has_stray_ids: bool = False
    digest: bytes | None = None
    is_readable: bool = False

    def attempt(self, kind: str, path: str, function: Callable[..., _T], *inputs: Any) -> _T | None:
        """Return function(*inputs), or None if it raises a UserError, which becomes a defect."""
        try:
            return function(*inputs)
        except UserError as error:
            located = error if path in error.problem else error.at(path)
            self.defects.append(Defect.from_error(kind, path, located))
        return None

    def add_photo(self, photo: np.ndarray) -> None:
        self.digest = hashlib.sha256(b'%d %d' % size_of(photo) + photo.tobytes()).digest()

    def add_label(self, label: np.ndarray, path: str, config: DataConfig, geometry: Geometry):
        """Check the size and the ids of a label map [H, W]; of an RGB condition, the size."""
        self.size = size_of(label)
        self.attempt(WRONG_SIZE, path, max_crop_offset, geometry, *self.size)
        if not config.uses_labels:
            return
        self.pixels = _histogram(label)
        self.unknown_ids = tuple(value for value in self.pixels if not is_class(value, config))
        self.is_mistaken = label.dtype == np.uint8 and len(self.pixels) > _MOST_VALUES
        if self.unknown_ids:
            more = len(self.unknown_ids) - _IDS_NAMED
            ids = [self._describe_id(value, label) for value in self.unknown_ids[:_IDS_NAMED]]
            ids = '; '.join(ids + [f'{more} more ids'] * (more > 0))
            problem = f'{path}: {ids}; the classes are 0..{config.num_classes - 1}'
            remedy = 'renumber them with --label_remap, or set the flags suggested below'
            self.defects.append(Defect(OUT_OF_RANGE, path, problem, remedy))
        if config.dontcare and self.pixels.keys() == {DONTCARE_ID}:
            problem = f'{path} has only the id {DONTCARE_ID}'
            self.warnings.append(Defect(UNKNOWN_EVERYWHERE, path, problem, 'leave the example out'))
        if not self.is_mistaken and has_stray_ids(label, self.pixels):
            self.has_stray_ids = True
            problem = f'{path} has {len(self.pixels)} ids, most of them of single pixels'
            remedy = 'make it anew from a lossless file, or give each pixel the nearest class'
            self.warnings.append(Defect(STRAY_IDS, path, problem, remedy))
        elif not self.is_mistaken and (pixels := interpolated_ids(label)):
            more = ', ...' * (len(pixels) > _IDS_NAMED)
            ids = ', '.join(map(str, sorted(pixels)[:_IDS_NAMED])) + more
            problem = f'{path}: {sum(pixels.values())} pixels along borders have ids between: {ids}'
            remedy = 'scale the original label maps without interpolation (nearest neighbor)'
            self.warnings.append(Defect(INTERPOLATED, path, problem, remedy))

    def add_orientation(self, path: str, size: tuple[int, int]) -> None:
        """Check whether the size in which a photo was read tells that EXIF turns it."""
        orientation, look = exif_orientation(path), 'look at the contact sheet'
        if photo_size(path) != size:
            problem, remedy = f'{path} is not turned', f'{look}; these photos may be sideways'
            self.warnings.append(Defect(UNTURNED, path, problem, remedy))
        elif orientation > 1 and (orientation < SIDEWAYS or size[0] == size[1]):
            problem = f'{path} is turned by the EXIF orientation {orientation}'
            remedy = f'{look}; if a label map shows the stored pixels, remove the EXIF orientation'
            self.warnings.append(Defect(TURNED, path, problem, remedy))

    def _describe_id(self, value: int, label: np.ndarray) -> str:
        y, x = divmod(int(np.argmax(label == value)), label.shape[1])
        return f'id {value} in {self.pixels[value]} pixels, first at (x={x}, y={y})'


class FileInspector:
    """Inspects the files of an example one by one, so that no defect hides another."""

    def __init__(self, config: DataConfig, annotations: InstanceAnnotations | None):
        self._config = config
        self._geometry = Geometry.from_config(config)
        self._index_colors: dict[str, Colors] = {}
        self._labels = LabelReader(config, on_indexed=self._index_colors.__setitem__)
        self._annotations = annotations

    def read(self, files: ExampleFiles) -> Example:
        """Read an example to show it; its files may differ in size. Raises UserError."""
        label = self._labels.read(files.label)
        photo = read_photo(files.photo, expected_size=size_of(label))
        maps = Example(None, label, self._read_instances(files, label))
        maps = resized_copies(maps, size_of(photo)) if self._config.resize_labels else maps
        return maps._replace(image=photo)

    def inspect(self, files: ExampleFiles) -> ExampleReport:
        report = ExampleReport(files.name, files.photo)
        if self._config.unconditional:
            return self._inspect_photo(files.photo, report)
        label = self._read_label(files.label, report)
        size = None if label is None else size_of(label)
        photo = report.attempt('photos cannot be read', files.photo, read_photo, files.photo, size)
        if photo is not None:
            report.add_photo(photo)
            report.add_orientation(files.photo, size_of(photo))
        if label is None:
            return report
        if colors := self._index_colors.pop(files.label, None):
            report.index_colors = files.label, colors
        source, kind = files.instance or files.photo, 'instance maps cannot be read'
        instance = report.attempt(kind, source, self._read_instances, files, label)
        if photo is not None and self._config.resize_labels:
            maps = resized_copies(Example(None, label, instance), size_of(photo))
            label, instance = maps.label, maps.instance
        report.add_label(label, files.label, self._config, self._geometry)
        size = size_of(label)
        parts = ('photo', files.photo, photo), ('instance map', source, instance)
        for role, path, pixels in parts:
            if pixels is not None:
                kind = f'{role}s and {self._labels.role}s have different sizes'
                kind = COPIES[role] if is_copy(size_of(pixels), size) else kind
                sizes = path, size_of(pixels), files.label, size
                report.attempt(kind, path, require_same_size, *sizes)
        no_instances = any(d.kind.startswith('instance maps') for d in report.defects)
        report.is_readable = photo is not None and not no_instances
        return report

    def _inspect_photo(self, path: str, report: ExampleReport) -> ExampleReport:
        """Inspect a photo that has no other file to be compared with."""
        photo = report.attempt('photos cannot be read', path, read_photo, path)
        if photo is not None:
            report.add_photo(photo)
            report.add_label(empty_condition(*size_of(photo)), path, self._config, self._geometry)
            report.is_readable = True
        return report

    def _read_instances(self, files: ExampleFiles, label: np.ndarray) -> np.ndarray | None:
        if self._annotations:
            return self._annotations.instance_map(os.path.basename(files.photo), label)
        return read_instances(files.instance) if files.instance else None

    def _read_label(self, path: str, report: ExampleReport) -> np.ndarray | None:
        kind = f'{self._labels.role}s cannot be read'
        label = report.attempt(kind, path, self._labels.read, path)
        if label is None and self._config.uses_labels:
            with contextlib.suppress(UserError):  # Damaged, lossy or transparent.
                pixels = read_ids_or_colors(path)
                if pixels.ndim == 3:
                    colors, kind = self._count_colors(pixels)
                    report.is_mistaken = len(colors) > _MOST_VALUES
                    report.blends = self._find_blends(pixels)
                    report.colors = {c: n for c, n in colors.items() if c not in report.blends}
                    report.defects[-1] = report.defects[-1]._replace(kind=kind)
        return label

    def _find_blends(self, pixels: np.ndarray) -> set[int]:
        """The blends in a mask that --palette_tolerance cannot accept."""
        blends = blended_colors(color_codes(pixels))
        return blends - near_colors(self._colored_classes(), blends).keys()

    def _colored_classes(self) -> list[LabelClass]:
        return [entry for entry in parse_palette(self._config.palette or '[]') if entry.color]

    def _count_colors(self, pixels: np.ndarray) -> tuple[dict[int, int], str]:
        """Pixels by code of the colors of a mask, for the most frequent ones; the kind of defect.

        Of the colors that are so near to the palette that --palette_tolerance can accept them, the
        farthest stands for all.
        """
        (codes, counts), kind = np.unique(color_codes(pixels), return_counts=True), COLORED
        if classes := self._colored_classes():
            _, distances = nearest_colors(classes, codes)
            safe = safe_tolerance(classes)
            kind = NEAR_PALETTE if distances.max() <= safe else BEYOND_PALETTE
            is_near = (distances > 0) & (distances <= safe)
            kept = ~is_near
            kept[np.argmax(np.where(is_near, distances, 0))] = True
            codes, counts = codes[kept], counts[kept]
        order = np.argsort(-counts, kind='stable')[: MOST_COLORS + 1]
        return dict(zip(codes[order].tolist(), counts[order].tolist(), strict=True)), kind


def is_class(value: int, config: DataConfig) -> bool:
    """True for an id that the configuration knows; 255 is one of them with don't-care."""
    return 0 <= value < config.label_channels or (config.dontcare and value == DONTCARE_ID)


def _histogram(label: np.ndarray) -> dict[int, int]:
    if label.dtype.itemsize > 2:
        values, counts = np.unique(label, return_counts=True)
    else:  # Several times as fast.
        counts = np.bincount(label.ravel())
        values, counts = np.flatnonzero(counts), counts[counts > 0]
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
