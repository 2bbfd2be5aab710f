"""Looks at every file of a split and collects all that is wrong with it, without stopping: the material of `validation`.

No pixels are kept: of an example there remain its defects, its size, how often each class occurs, and 16 bytes that tell its photograph from others.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.data.files.image_files import (
    LOSSY_EXTENSIONS,
    PHOTO_EXTENSIONS,
    read_ids,
    read_ids_or_colors,
    read_photo,
)
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.pipeline.bounded_map import bounded_map
from spade_jax.data.pipeline.paired_transforms import Example, Geometry, max_crop_offset
from spade_jax.data.sources.coco_annotations import InstanceAnnotations
from spade_jax.data.sources.folders import folders_of, open_annotations, require_same_size, size_of
from spade_jax.data.sources.open_source import change_since_prepared, open_files, open_source
from spade_jax.data.sources.pairing import Defect, Pairing, files_below, pair_files
from spade_jax.data.sources.source import Source
from spade_jax.errors import UserError

# Kinds of defects and warnings, beside those of `pairing`: what stands above each group in the report.
NOT_OPENED = 'the split cannot be opened'
NO_PAIRS = 'photographs and label maps do not pair'
NO_INSTANCES = 'there are no instance maps'
UNREADABLE_EXAMPLES = 'examples cannot be read'
OUT_OF_RANGE = 'label maps have ids that are no class'
MISFITS = 'pictures cannot be brought to the training size'
COLOURED = 'label maps have colours instead of ids'
BEYOND_PALETTE = 'label maps have colours that are not in the palette'
UNUSABLE_IDS = 'label maps have ids that cannot be read as classes'
LOSSY = 'label maps are lossy'  # as `pairing` calls it
UNKNOWN_EVERYWHERE = 'label maps are unknown everywhere'
WITHOUT_PHOTO = 'label maps have no photograph (they are passed over)'
OUTDATED = 'records are older than the files'
IN_BOTH_SPLITS = 'photographs are in train and in validation'

_LOSSY_FORMATS = ('JPEG', 'MPO', 'WEBP')
_DEEP_MODES = ('I', 'F', 'I;16', 'I;16B')
_VALUES_NAMED = 5
_DIRECTORIES_NAMED = 8
MOST_COLORS = 4096
# Of a mask, few colours cover nearly everything, even where its borders are smooth; of a photograph, they cover little.
_MASK_COLORS = 32
_MASK_SHARE = 0.5
_PICTURE_GRAYS = 100
_MOST_COLORS_OF_A_MASK = 256


class Parts(NamedTuple):
    """The files of an example, or those that there are of it."""

    name: str
    photo: str | None = None
    label: str | None = None
    instance: str | None = None


class IdsOutOfRange(NamedTuple):
    """How often an id that is no class occurs in a split."""

    files: int
    pixels: int


@dataclasses.dataclass
class Examined:
    """What remains of one example.

    Attributes:
      defects, warnings: what is wrong.
      pixels: number of pixels of each id.
      out_of_range: those of the ids that are no class.
      colors: number of pixels of each colour, 0xrrggbb, of a label map that should have none or others; the MOST_COLORS most frequent.
      is_picture: True where the label map is a photograph, or stored like one.
      usable: True where there is something to show of it.
    """

    name: str
    defects: list[Defect] = dataclasses.field(default_factory=list)
    warnings: list[Defect] = dataclasses.field(default_factory=list)
    size: tuple[int, int] | None = None
    pixels: dict[int, int] = dataclasses.field(default_factory=dict)
    out_of_range: tuple[int, ...] = ()
    colors: dict[int, int] = dataclasses.field(default_factory=dict)
    is_picture: bool = False
    digest: bytes | None = None
    location: str = ''
    usable: bool = False


@dataclasses.dataclass
class SplitReport:
    """What is known of a split.

    Attributes:
      names: of the complete examples.
      photographs, label_maps: number of files, or of examples where they are not files.
      sizes: how many examples have this (width, height).
      pixels, pictures: by id, how many pixels have it and how many examples.
      out_of_range: the ids among them that are no class.
      foreign: those ids by name of an example.
      colors: by colour, 0xrrggbb, the pixels of label maps that should have none or others.
      picture_maps: number of label maps that are pictures.
      defective: by name of an example, the kinds of its defects.
      locations: by digest, where a photograph lies.
      usable: numbers of the examples that `read` can show.
    """

    split: str
    photographs: int = 0
    label_maps: int = 0
    names: list[str] = dataclasses.field(default_factory=list)
    sizes: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    pixels: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    pictures: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    out_of_range: dict[int, IdsOutOfRange] = dataclasses.field(default_factory=dict)
    foreign: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    colors: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    picture_maps: int = 0
    defects: list[Defect] = dataclasses.field(default_factory=list)
    warnings: list[Defect] = dataclasses.field(default_factory=list)
    defective: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    locations: dict[bytes, str] = dataclasses.field(default_factory=dict)
    usable: list[int] = dataclasses.field(default_factory=list)
    read: Callable[[int], Example] | None = None

    def add(self, number: int, examined: Examined) -> None:
        """Counts in example `number`, or some file outside of the examples where that is not below len(names)."""
        self.defects += examined.defects
        self.warnings += examined.warnings
        if number < len(self.names):
            if examined.defects:
                self.defective.setdefault(examined.name, set()).update(
                    defect.kind for defect in examined.defects
                )
            if examined.out_of_range:
                self.foreign[examined.name] = examined.out_of_range
            if examined.size:
                self.sizes[examined.size] += 1
            if examined.usable:
                self.usable.append(number)
            if examined.digest:
                self.locations.setdefault(examined.digest, examined.location)
        self.pixels.update(examined.pixels)
        self.pictures.update(examined.pixels.keys())
        for value in examined.out_of_range:
            files, pixels = self.out_of_range.get(value, (0, 0))
            self.out_of_range[value] = IdsOutOfRange(files + 1, pixels + examined.pixels[value])
        if len(self.colors) <= MOST_COLORS:
            self.colors.update(examined.colors)
        self.picture_maps += examined.is_picture


def examine(config: DataConfig, split: str) -> SplitReport | None:
    """Reads all of a split, 'train' or 'validation', with a progress bar. None where there is no validation set and no flag names any."""
    if reads_folders(config):
        return (
            _examine_folders(config, split) if split == 'train' or _has_validation(config) else None
        )
    report = SplitReport(split)
    try:
        source = open_source(config, split)
    except UserError as error:
        report.defects.append(Defect(NOT_OPENED, split, f'{split}: {error.problem}', error.remedy))
        return report
    if source is None:
        return None
    if change := change_since_prepared(config, split):
        report.warnings.append(Defect(OUTDATED, config.records_dir, change, ''))
    _examine_source(source, config, report)
    return report


def reads_folders(config: DataConfig) -> bool:
    """True where the examples are pairs of files in folders."""
    return not config.records_dir and config.dataset not in ('scenes', 'tfds', 'celebamask_hq')


def in_both_splits(train: SplitReport, validation: SplitReport) -> list[Defect]:
    """The photographs of validation whose pixels a photograph of train has too."""
    return [
        Defect(
            IN_BOTH_SPLITS,
            location,
            f'{location} has the same pixels as {train.locations[digest]}',
            'a score on it says nothing; take it out of one split',
        )
        for digest, location in validation.locations.items()
        if digest in train.locations
    ]


def _has_validation(config: DataConfig) -> bool:
    try:
        return (
            open_files(
                dataclasses.replace(config, condition='labels')
                if config.instance_edges
                else config,
                'validation',
            )
            is not None
        )
    except UserError:
        return True  # named, and wrong


# Sources that give whole examples.


def _examine_source(source: Source, config: DataConfig, report: SplitReport) -> None:
    report.names = list(source.names)
    report.photographs = report.label_maps = len(source)
    report.read = source.read
    geometry = Geometry.from_config(config, prescaled=source.already_scaled)

    def examine_example(index):
        examined = Examined(source.names[index], location=source.locations[index])
        try:
            example = source.read(index)
        except UserError as error:
            examined.defects.append(
                Defect.from_error(UNREADABLE_EXAMPLES, source.locations[index], error)
            )
            return examined
        examined.usable = True
        examined.digest = _digest(example.image)
        _look_at_map(examined, example.label, source.locations[index], config, geometry)
        return examined

    _examine_all(examine_example, range(len(source)), config, report)


def _examine_all(
    look: Callable[..., Examined], items: Iterable, config: DataConfig, report: SplitReport
) -> None:
    items = list(items)
    with concurrent.futures.ThreadPoolExecutor(config.data_workers) as pool:
        try:
            looked = tqdm(
                bounded_map(pool, look, items, ahead=16 * config.data_workers),
                desc=f'reading the {report.split} examples',
                total=len(items),
                unit='example',
                dynamic_ncols=True,
                mininterval=0.5 if sys.stderr.isatty() else 20,
            )
            for number, examined in enumerate(looked):
                report.add(number, examined)
        finally:
            pool.shutdown(cancel_futures=True)


# Files in folders.


def _examine_folders(config: DataConfig, split: str) -> SplitReport:
    report = SplitReport(split)
    try:
        tasks = _tasks(config, split, report)
    except UserError as error:
        where = (
            ''.join(_directories_with_pictures(os.path.expanduser(config.data_dir)))
            if 'there is no directory' in error.problem
            else ''
        )
        report.defects.append(Defect(NOT_OPENED, split, error.problem + where, error.remedy))
        return report
    reader = _FileReader(config, _annotations(config, split, report))
    report.read = lambda number: reader.example(tasks[number])
    _examine_all(reader.examine, tasks, config, report)
    return report


def _tasks(config: DataConfig, split: str, report: SplitReport) -> list[Parts]:
    """What there is to read: the complete examples of photograph and label map first, then the files that have no partner. Sets what pairing tells of the split.

    Raises:
      UserError: when there is nothing to pair.
    """
    folders = folders_of(config, split)
    pairing = pair_files(dataclasses.replace(folders, instance=None))
    complete, instances = pairing, {}
    if folders.instance is not None:
        try:
            complete = pair_files(folders)
        except UserError as error:
            report.defects.append(
                Defect(NO_INSTANCES, folders.instance.directory, error.problem, error.remedy)
            )
        instances = {files.name: files.instance for files in complete.files}
    report.defects += complete.defects
    report.warnings += [
        Defect(WITHOUT_PHOTO, path, f'{path} has no photograph', '')
        for path in complete.labels_without_photo
    ]
    report.names = [files.name for files in pairing.files]
    for files in pairing.files:
        if folders.instance is not None and files.name not in instances:
            report.defective[files.name] = {f'photographs have no {folders.instance.name}'}
    lossy, lone_photos = _count_files(pairing, folders.label.name, report)
    report.label_maps += len(complete.labels_without_photo)
    # Maps that no photograph belongs to are no part of the data, unless there is nothing else to look at.
    lone_labels = sorted(lossy) + (complete.labels_without_photo if not pairing.files else [])
    return (
        [
            Parts(files.name, files.photo, files.label, instances.get(files.name))
            for files in pairing.files
        ]
        + [Parts('', photo=path) for path in lone_photos]
        + [Parts('', label=path) for path in lone_labels]
    )


def _count_files(
    pairing: Pairing, label_role: str, report: SplitReport
) -> tuple[set[str], list[str]]:
    """Counts the files of complete and incomplete pairs. Returns the lossy label maps, and the photographs without any."""
    paths = collections.defaultdict(set)
    for defect in pairing.defects:
        paths[defect.kind].add(defect.path)
    lossy, lone_photos = (
        paths[f'{label_role}s are lossy'],
        paths[f'photographs have no {label_role}'],
    )
    without_photo, without_label = (
        paths[f'listed examples have no {role}'] for role in ('photograph', label_role)
    )
    report.photographs = (
        len(pairing.files) + len(lone_photos) + len(lossy) + len(without_label - without_photo)
    )
    report.label_maps = len(pairing.files) + len(lossy) + len(without_photo - without_label)
    return lossy, sorted(lone_photos)


def _annotations(config: DataConfig, split: str, report: SplitReport) -> InstanceAnnotations | None:
    try:
        return open_annotations(config, split)
    except UserError as error:
        report.defects.append(
            Defect(
                NO_INSTANCES, getattr(config, f'{split}_instance_dir'), error.problem, error.remedy
            )
        )
    return None


def _directories_with_pictures(root: str) -> Iterator[str]:
    """What one sees who looks for pictures below `root`, for whoever has named directories that are not there."""
    try:
        pictures = (
            path
            for path in files_below(root)
            if os.path.splitext(path)[1].lower() in PHOTO_EXTENSIONS
        )
        counts = collections.Counter(
            os.path.relpath(os.path.dirname(path), root) for path in pictures
        )
    except UserError:
        return
    if counts:
        yield f' ({root} has pictures in ' + ', '.join(
            f'{name}: {count}' for name, count in sorted(counts.items())[:_DIRECTORIES_NAMED]
        )
        yield ', ...)' if len(counts) > _DIRECTORIES_NAMED else ')'


class _FileReader:
    """Reads the files of an example one by one, so that one that is bad does not hide another."""

    def __init__(self, config: DataConfig, annotations: InstanceAnnotations | None):
        self._config = config
        self._geometry = Geometry.from_config(config)
        self._labels = LabelReader(config)
        self._annotations = annotations

    def example(self, parts: Parts) -> Example:
        """A complete example, to be shown. Its parts may differ in size. Raises UserError as the files have it."""
        label = self._labels.read(parts.label)
        instance = (
            self._annotations.instance_map(os.path.basename(parts.photo), label)
            if self._annotations
            else parts.instance and read_ids(parts.instance)
        )
        return Example(read_photo(parts.photo, expected_size=size_of(label)), label, instance)

    def examine(self, parts: Parts) -> Examined:
        """Never raises UserError."""
        examined = Examined(parts.name, location=parts.photo or parts.label)
        photo = label = None
        if parts.label:
            try:
                label = self._labels.read(parts.label)
            except UserError as error:
                self._look_at_bad_map(examined, parts.label, error)
        label_size = None if label is None else size_of(label)
        if parts.photo:
            try:
                photo = read_photo(parts.photo, expected_size=label_size)
            except UserError as error:
                examined.defects.append(
                    Defect.from_error(
                        _kind_of_bad_picture(parts.photo, 'photographs'), parts.photo, error
                    )
                )
        if photo is not None:
            examined.digest = _digest(photo)
        if label is not None:
            _look_at_map(examined, label, parts.label, self._config, self._geometry)
            if photo is not None:
                examined.usable = True
                _compare_sizes(
                    examined,
                    f'photographs and {self._labels.role}s have different sizes',
                    parts.photo,
                    size_of(photo),
                    parts.label,
                    label_size,
                )
        if self._annotations or parts.instance:
            self._look_at_instances(examined, parts, label)
        examined.usable = examined.usable and not any(
            defect.path == parts.instance for defect in examined.defects
        )
        return examined

    def _look_at_instances(
        self, examined: Examined, parts: Parts, label: np.ndarray | None
    ) -> None:
        if self._annotations:
            if label is None or parts.photo is None:
                return
            try:
                self._annotations.instance_map(os.path.basename(parts.photo), label)
            except UserError as error:
                examined.defects.append(
                    Defect.from_error('photographs have no instance map', parts.photo, error)
                )
                examined.usable = False
            return
        try:
            instance = read_ids(parts.instance, 'instance map')
        except UserError as error:
            examined.defects.append(
                Defect.from_error(
                    _kind_of_bad_picture(parts.instance, 'instance maps'), parts.instance, error
                )
            )
            return
        if label is not None:
            _compare_sizes(
                examined,
                'instance maps and label maps have different sizes',
                parts.instance,
                size_of(instance),
                parts.label,
                size_of(label),
            )

    def _look_at_bad_map(self, examined: Examined, path: str, error: UserError) -> None:
        """Finds out what kind of picture it is that cannot be read as a label map."""
        role = f'{self._labels.role}s'
        kind = _kind_of_bad_picture(path, role)
        if not self._labels.takes_pictures:
            try:
                if kind == LOSSY:
                    pixels = read_photo(path)
                else:
                    pixels = read_ids_or_colors(path)
                    kind = (
                        UNUSABLE_IDS
                        if pixels.ndim == 2
                        else BEYOND_PALETTE
                        if self._config.palette
                        else COLOURED
                    )
                if pixels.ndim == 3:
                    examined.colors, is_photo = _colors_of(pixels)
                    examined.is_picture = kind == LOSSY or is_photo
            except UserError:
                pass  # It cannot be read at all, or is transparent.
        defect = Defect.from_error(kind, path, error)
        if kind != LOSSY or examined.name:  # `pairing` has said it of a map that stands alone.
            examined.defects.append(defect)


def _compare_sizes(
    examined: Examined,
    kind: str,
    path: str,
    size: tuple[int, int],
    label_path: str,
    label_size: tuple[int, int],
) -> None:
    try:
        require_same_size(path, size, label_path, label_size)
    except UserError as error:
        examined.defects.append(Defect.from_error(kind, path, error))


def _look_at_map(
    examined: Examined, label: np.ndarray, path: str, config: DataConfig, geometry: Geometry
) -> None:
    """Size and ids of a label map, or the size of a condition picture."""
    examined.size = size_of(label)
    try:
        max_crop_offset(geometry, *examined.size)
    except UserError as error:
        examined.defects.append(Defect.from_error(MISFITS, path, error.at(path)))
    if config.condition == 'rgb':
        return
    examined.pixels = _histogram(label)
    examined.out_of_range = tuple(value for value in examined.pixels if not is_class(value, config))
    examined.is_picture = _is_gray_photo(label, examined.pixels)
    if examined.out_of_range:
        problem = (
            f'{_values_with_pixels(label, examined)}; the classes are 0..{config.num_classes - 1}'
        )
        examined.defects.append(
            Defect(
                OUT_OF_RANGE,
                path,
                f'{path}: {problem}',
                'renumber them, or set the flags that are suggested below',
            )
        )
    if config.dontcare and examined.pixels.keys() == {DONTCARE_ID}:
        examined.warnings.append(
            Defect(
                UNKNOWN_EVERYWHERE,
                path,
                f'{path} has nothing but {DONTCARE_ID}',
                'leave the example out',
            )
        )


def is_class(value: int, config: DataConfig) -> bool:
    """True for an id that the configuration knows, 255 with don't-care included."""
    return 0 <= value < config.label_channels or config.dontcare and value == DONTCARE_ID


def _histogram(label: np.ndarray) -> dict[int, int]:
    if label.dtype.itemsize > 2:
        values, counts = np.unique(label, return_counts=True)
    else:
        counts = np.bincount(label.ravel())
        values = np.flatnonzero(counts)
        counts = counts[values]
    return dict(zip(values.tolist(), counts.tolist()))


def _values_with_pixels(label: np.ndarray, examined: Examined) -> str:
    values = examined.out_of_range
    texts = []
    for value in values[:_VALUES_NAMED]:
        y, x = np.unravel_index(int(np.argmax(label == value)), label.shape)
        count = examined.pixels[value]
        texts.append(
            f'id {value} in {count} pixels, first at (x={x}, y={y})'
            if count > 1
            else f'id {value} at pixel (x={x}, y={y})'
        )
    more = len(values) - _VALUES_NAMED
    return '; '.join(texts) + (f'; {more} more ids up to {values[-1]}' if more > 0 else '')


def _digest(photo: np.ndarray) -> bytes:
    return hashlib.blake2b(
        np.ascontiguousarray(photo), digest_size=16, person=str(photo.shape[:2]).encode()[:16]
    ).digest()


def _colors_of(pixels: np.ndarray) -> tuple[dict[int, int], bool]:
    """How many pixels of [H, W, 3] uint8 have each colour, 0xrrggbb, and whether they are those of a photograph."""
    red, green, blue = (pixels[..., channel].astype(np.int32) for channel in range(3))
    codes, counts = np.unique(red << 16 | green << 8 | blue, return_counts=True)
    order = np.argsort(-counts, kind='stable')[:MOST_COLORS]
    return dict(zip(codes[order].tolist(), counts[order].tolist())), bool(
        counts[order[:_MASK_COLORS]].sum() < _MASK_SHARE * counts.sum()
    )


def looks_like_mask(path: str) -> bool:
    """True where a file holds ids, or few colours."""
    try:
        pixels = read_ids_or_colors(path)
    except UserError:
        return False
    if pixels.ndim == 2:
        return not _is_gray_photo(pixels, _histogram(pixels)) if pixels.min() >= 0 else False
    colors, is_photo = _colors_of(pixels)
    return not is_photo and len(colors) <= _MOST_COLORS_OF_A_MASK


def looks_like_photo(path: str) -> bool:
    """True where a file is stored with loss, or has as many colours or grays as a photograph."""
    try:
        pixels = read_ids_or_colors(path)
    except UserError:
        return os.path.splitext(path)[1].lower() in LOSSY_EXTENSIONS
    return (
        _colors_of(pixels)[1]
        if pixels.ndim == 3
        else pixels.min() >= 0 and _is_gray_photo(pixels, _histogram(pixels))
    )


def _is_gray_photo(label: np.ndarray, pixels: dict[int, int]) -> bool:
    counts = sorted(pixels.values(), reverse=True)
    return (
        label.dtype == np.uint8
        and len(counts) > _PICTURE_GRAYS
        and sum(counts[:_MASK_COLORS]) < _MASK_SHARE * label.size
    )


def _kind_of_bad_picture(path: str, role: str) -> str:
    """Why a picture was refused, as the heading of a group."""
    try:
        with Image.open(path) as image:
            image.load()
            is_map = role in ('label maps', 'instance maps')
            if is_map and image.format in _LOSSY_FORMATS:
                return f'{role} are lossy'
            if not is_map and image.mode in _DEEP_MODES:
                return f'{role} have more than 8 bits a channel'
            if image.has_transparency_data:
                return f'{role} are transparent'
            if role == 'instance maps' and len(image.getbands()) > 1:
                return f'{role} have colours instead of ids'
    except Exception:  # Pillow raises a dozen kinds on a damaged file.
        pass
    return f'{role} cannot be read'
