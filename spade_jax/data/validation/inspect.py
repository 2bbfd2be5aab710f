"""Read every file of a split and collect all that is wrong with it, without stopping."""

import concurrent.futures
import dataclasses
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import field
from typing import Any

import numpy as np
from tqdm import tqdm

from spade_jax.config.data_config import DataConfig
from spade_jax.config.option import format_flags
from spade_jax.data.files.image_files import UNREAD_EXTENSIONS
from spade_jax.data.files.index_colors import IndexColors
from spade_jax.data.files.palette import MOST_COLORS
from spade_jax.data.pipeline.bounded_map import bounded_map
from spade_jax.data.pipeline.paired_transforms import Example, Geometry
from spade_jax.data.sources.folders import folders_of, open_annotations
from spade_jax.data.sources.open_source import change_since_prepared, open_source, source_class
from spade_jax.data.sources.pairing import Defect, Role, extension_of, files_below, pair_files
from spade_jax.data.sources.source import Source
from spade_jax.data.validation.example_report import (
    MIXED_PALETTES,
    NEAR_PALETTE,
    ExampleReport,
    FileInspector,
)
from spade_jax.data.validation.side_by_side import are_pairs, are_single
from spade_jax.errors import UserError

# Kinds of findings, as in `example_report`.
NOT_OPENED = 'the split cannot be opened'
UNREADABLE = 'examples cannot be read'
WITHOUT_PHOTO = 'label maps have no photo (they are ignored)'
UNREAD = 'files have formats that are not read (they are ignored)'
SIDE_BY_SIDE = 'photos are pairs of images side by side'
SINGLE = 'files are perhaps no pairs'
OUTDATED = 'records are older than the files'
IN_BOTH_SPLITS = 'photos are in train and in validation'


@dataclasses.dataclass
class SplitReport:
    """The findings on one split.

    Attributes:
      photos, label_maps: Numbers of photos and label maps, or of examples if they are not files.
      incomplete: Number of photos, or lines of a listing, that are not part of an example.
      sizes: Number of examples by (width, height).
      pixels, images: Number of pixels, and of label maps, by id.
      unknown_ids: The ids that are not classes, by name of the example.
      colors: Number of pixels by color 0xrrggbb, of label maps whose colors are not known.
      blends: Number of smoothed label maps by color that is a blend in them.
      index_colors: The color of each index of indexed label maps, also of earlier splits.
      indexed_colors: Number of indexed label maps by color 0xrrggbb.
      mistaken_maps: Number of label maps that are probably photos or anti-aliased.
      stray_ids: Number by id of the label maps that lossy compression went through.
      defects, warnings: Findings that training would stop at; that it accepts.
      defective: Kinds of the defects by name of the example.
      locations: Path of a photo by its digest.
      readable: Indices of the examples that `read` can return.
      read: Reads an example by its index; None if the split could not be opened.
    """

    split: str
    photos: int = 0
    label_maps: int = 0
    incomplete: int = 0
    names: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    pixels: Counter[int] = field(default_factory=Counter)
    images: Counter[int] = field(default_factory=Counter)
    unknown_ids: dict[str, tuple[int, ...]] = field(default_factory=dict)
    colors: Counter[int] = field(default_factory=Counter)
    blends: Counter[int] = field(default_factory=Counter)
    index_colors: IndexColors = field(default_factory=IndexColors)
    indexed_colors: Counter[int] = field(default_factory=Counter)
    mistaken_maps: int = 0
    stray_ids: Counter[int] = field(default_factory=Counter)
    defects: list[Defect] = field(default_factory=list)
    warnings: list[Defect] = field(default_factory=list)
    defective: dict[str, set[str]] = field(default_factory=dict)
    locations: dict[bytes, str] = field(default_factory=dict)
    readable: list[int] = field(default_factory=list)
    read: Callable[[int], Example] | None = None

    def add(self, index: int, example: ExampleReport) -> None:
        if example.index_colors:
            path, colors = example.index_colors
            example.attempt(MIXED_PALETTES, path, self.index_colors.add, path, colors)
            self.indexed_colors.update(colors.values())
        self.defects += example.defects
        self.warnings += example.warnings
        if example.defects:
            self.defective[example.name] = {defect.kind for defect in example.defects}
        if example.unknown_ids:
            self.unknown_ids[example.name] = example.unknown_ids
        if example.size:
            self.sizes[example.size] += 1
        if example.is_readable:
            self.readable.append(index)
        if example.digest:
            self.locations.setdefault(example.digest, example.location)
        self.pixels.update(example.pixels)
        self.images.update(example.pixels.keys())
        self.stray_ids.update(example.pixels.keys() if example.has_stray_ids else ())
        # Maps with too many colors must not hide those that a tolerance fixes.
        if len(self.colors) <= MOST_COLORS or NEAR_PALETTE in self.defective.get(example.name, ()):
            self.colors.update(example.colors)
            self.blends.update(example.blends)
        self.mistaken_maps += example.is_mistaken


def inspect_split(config: DataConfig, split: str, index_colors: IndexColors) -> SplitReport | None:
    """Read all of a split; None if there is no validation set and no flag names one."""
    report = SplitReport(split, index_colors=index_colors)
    try:
        if pairs_files(config):
            if not source_class(config).has_split(config, split):
                return None
            _inspect_folders(config, report)
        else:
            source = open_source(config, split)
            if source is None:
                return None
            if change := change_since_prepared(config, split):
                report.warnings.append(Defect(OUTDATED, config.records_dir, change, ''))
            if config.dataset == 'pairs' and not config.records_dir:
                report.warnings += _warnings_of_pairs(source)
            _inspect_source(source, config, report)
    except UserError as error:
        report.defects.append(Defect.from_error(NOT_OPENED, split, error.at(split)))
    return report


def pairs_files(config: DataConfig) -> bool:
    """True if the examples are pairs of files in folders, not records."""
    return not config.records_dir and source_class(config).pairs_files


def find_duplicates(train: SplitReport, validation: SplitReport) -> list[Defect]:
    """The photos of the validation set whose pixels equal those of a training photo."""
    remedy, found = 'scores on it say nothing; take it out of one split', []
    for digest, path in validation.locations.items():
        if other := train.locations.get(digest):
            problem = f'{path} has the same pixels as {other}'
            found.append(Defect(IN_BOTH_SPLITS, path, problem, remedy))
    return found


def _warnings_of_photos(role: Role) -> list[Defect]:
    """Files that are no photos: in formats that are not read, or with a condition next to them."""
    paths = list(files_below(role.directory))
    unread = [path for path in paths if extension_of(path) in UNREAD_EXTENSIONS]
    found = [Defect(UNREAD, path, path, 'save them as PNG or JPEG') for path in unread]
    photos = [path for path in paths if extension_of(path) in role.extensions]
    if are_pairs(photos):
        problem = f'{photos[0]} and others have a seam down their middle'
        place = format_flags(_place_of_pairs(role.directory))
        remedy = f'read the pairs with {" ".join(place)}, or cut them: see docs/data.md, Pairs'
        found.append(Defect(SIDE_BY_SIDE, photos[0], problem, remedy))
    return found


def _warnings_of_pairs(source: Source) -> list[Defect]:
    """Files without a seam, which are probably single images."""
    if not are_single(source.locations):
        return []
    path = source.locations[0]
    problem = f'{path} and others have no seam down their middle'
    remedy = 'look at the contact sheet; --dataset=folders reads images and conditions apart'
    return [Defect(SINGLE, path, problem, remedy)]


def _place_of_pairs(directory: str) -> dict[str, str]:
    """The flags that read a directory of pairs."""
    data_dir, name = os.path.split(directory)
    flags = dict(dataset='pairs', data_dir=data_dir)
    return flags if name == 'train' else flags | dict(train_image_dir=name)


def _inspect_source(source: Source, config: DataConfig, report: SplitReport) -> None:
    """Inspect a source that returns whole examples instead of files."""
    report.names, report.read = list(source.names), source.read
    report.photos = report.label_maps = len(source)
    geometry = Geometry.from_config(config, source.already_scaled)

    def read(index: int) -> Example:
        if not source.already_scaled:
            source.read_maps(index)  # Checks what `read` takes for granted.
        return source.read(index)

    def inspect_example(index: int) -> ExampleReport:
        location = source.locations[index]
        findings = ExampleReport(source.names[index], location)
        example = findings.attempt(UNREADABLE, location, read, index)
        if example is not None:
            findings.is_readable = True
            findings.add_photo(np.asarray(example.image))
            findings.add_label(example.label, location, config, geometry)
        return findings

    _inspect_all(report, config, inspect_example)


def _inspect_all(
    report: SplitReport, config: DataConfig, inspect_one: Callable[[int], ExampleReport]
) -> None:
    """Add what `inspect_one` finds on every example, given its index."""
    bar: dict[str, Any] = dict(desc=f'reading the {report.split} examples', unit='example')
    bar |= dict(dynamic_ncols=True, mininterval=0.5 if sys.stderr.isatty() else 20)
    indices = range(len(report.names))
    with concurrent.futures.ThreadPoolExecutor(config.data_workers) as pool:
        examples = bounded_map(pool, inspect_one, indices, ahead=16 * config.data_workers)
        for index, example in enumerate(tqdm(examples, total=len(indices), **bar)):
            report.add(index, example)


def _inspect_folders(config: DataConfig, report: SplitReport) -> None:
    """Pair the files of a split and inspect each pair. Raises UserError without pairs."""
    folders = folders_of(config, report.split)
    role, other = folders.photo, os.path.join(config.data_dir, report.split)
    if not os.path.isdir(role.directory) and os.path.isdir(other):
        role = role._replace(directory=other)  # That of the pairs of pix2pix.
    report.warnings += _warnings_of_photos(role)
    pairing = pair_files(folders)
    report.defects += pairing.defects
    lone_labels = pairing.labels_without_photo
    report.warnings += [Defect(WITHOUT_PHOTO, p, f'{p} has no photo', '') for p in lone_labels]
    # A file that exists twice is still part of an example.
    unpaired = [defect for defect in pairing.defects if not defect.kind.endswith('there twice')]
    report.incomplete = len({defect.path for defect in unpaired})
    lone = {defect.path: defect.kind for defect in unpaired if 'list' not in defect.kind}
    missing_maps = sum(f'no {folders.label.name}' in kind for kind in lone.values())
    report.photos = len(pairing.files) + len(lone)
    report.label_maps = report.photos - missing_maps + len(lone_labels)
    report.names = [files.name for files in pairing.files]
    inspector = FileInspector(config, open_annotations(config, report.split))
    report.read = lambda index: inspector.read(pairing.files[index])
    _inspect_all(report, config, lambda index: inspector.inspect(pairing.files[index]))
