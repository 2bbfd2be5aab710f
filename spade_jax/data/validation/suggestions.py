"""Suggest flags that fix what an inspection has found: with all set, it finds none of it again."""

import bisect
import contextlib
import dataclasses
import functools
import itertools
import json
import operator
import os
import pathlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from spade_jax.config.catalog import builtin_classes
from spade_jax.config.data_config import CROPPING_MODES, DONTCARE_ID, DataConfig
from spade_jax.config.label_format import LARGEST_ID, LabelClass, parse_palette, parse_remap
from spade_jax.config.option import format_flags
from spade_jax.data.files.image_files import ID_EXTENSIONS, PHOTO_EXTENSIONS
from spade_jax.data.files.palette import (
    MOST_COLORS,
    builtin_palette_of,
    color_code,
    color_text,
    near_colors,
)
from spade_jax.data.pipeline.paired_transforms import Geometry, max_crop_offset
from spade_jax.data.sources.folders import folders_of
from spade_jax.data.sources.open_source import source_class
from spade_jax.data.sources.pairing import extension_of, files_below, pair_files, stem_of
from spade_jax.data.validation import example_report as kinds
from spade_jax.data.validation.example_report import is_class
from spade_jax.data.validation.inspect import SplitReport
from spade_jax.errors import UserError

NO_PAIRS = 'photos and label maps do not pair'
LOSSY = 'label maps are lossy'  # The text of `pairing`.
_OFF_PALETTE = {kinds.NEAR_PALETTE, kinds.BEYOND_PALETTE, kinds.MIXED_PALETTES}
_BAD_MAPS = frozenset({kinds.COLORED, kinds.OUT_OF_RANGE, LOSSY} | _OFF_PALETTE)
_MISTAKEN = 'most label maps are lossy or have too many colors: photos or anti-aliased masks'
_EXPORT_AGAIN = (
    'check --train_label_dir; export label maps as PNG, without smoothing (nearest neighbor, '
    'no anti-aliasing); use --condition=rgb if they are edges or sketches'
)
_MOST_NEW_COLORS = 16  # Beyond a given palette.
_LEAST_COLORS_OF_A_TABLE = 5
_FEW_FILES = 0.25  # of all label maps
_FAR_BEYOND = 4  # times the number of classes below
_GRAY_GAP = 8  # Least distance of ids that are gray levels rather than numbers of classes.


class Suggestion(NamedTuple):
    """Flags that belong together, or advice.

    Attributes:
      reason: The finding.
      changes: Values of flags by name; a palette as the path of its file or a built-in name.
      fixes: Kinds of defects that disappear.
      advice: Another remedy, or the only one if there are no changes; '' if there is none.
      file: (path, text) of a file that a flag names.
    """

    reason: str
    changes: Mapping[str, Any] = {}
    fixes: frozenset[str] = frozenset()
    advice: str = ''
    file: tuple[str, str] | None = None


def suggest(
    config: DataConfig, reports: Sequence[SplitReport], output_dir: str
) -> Iterator[Suggestion]:
    """Yield suggestions how to change a configuration; files are not written to `output_dir`."""
    data = _merged(reports)
    suspects = _suspect_ids(data, config.label_channels)
    classes = _replace_maps(config, data) or _with_blends(_palette(config, data, output_dir), data)
    classes = classes or _number_of_classes(config, data, suspects)
    fixed = frozenset()
    for suggestion in (classes, _copies(data), _geometry(config, data)):
        if suggestion:
            yield suggestion
            fixed |= suggestion.fixes
    for report in reports:
        if suggestion := _good_examples(config, report, fixed, suspects, output_dir):
            yield suggestion


def merge_changes(suggestions: Iterable[Suggestion]) -> dict[str, Any]:
    """The changes of all suggestions; the later ones count."""
    return {name: value for found in suggestions for name, value in found.changes.items()}


def count_classes(config: DataConfig, reports: Sequence[SplitReport]) -> Suggestion | None:
    """num_classes and dontcare for the ids that occur; None if the files are no label maps."""
    data = _merged(reports)
    ids = sorted(data.images.keys() - _suspect_ids(data, 1))
    if not ids or ids[0] < 0 or _count(data, {kinds.MIXED_PALETTES}) or _is_mistaken(data):
        return None
    counted, classes = _covering(ids), [i for i in ids if i != DONTCARE_ID or not config.dontcare]
    if not (remap := _gray_levels(config, classes)):
        return Suggestion('the classes that occur', counted)
    reason = f'{len(classes)} ids far apart, like gray levels, are numbered anew'
    meaning = '255 means unknown' if 'dontcare' in counted else 'ids between them are classes too'
    advice = f'if {meaning}: {" ".join(format_flags(counted))}'
    return Suggestion(reason, dict(num_classes=len(classes), label_remap=remap), advice=advice)


def _gray_levels(config: DataConfig, ids: Sequence[int]) -> str:
    """The remap, from 0 on, of ids that are all far apart; '' for others."""
    gaps = [high - low for low, high in itertools.pairwise(ids)]
    is_free = config.dataset in ('folders', 'tfds') and not (config.palette or config.label_remap)
    if not is_free or min(gaps, default=0) < _GRAY_GAP:
        return ''
    return ','.join(f'{old}:{new}' for new, old in enumerate(ids) if old != new)


def _merged(reports: Sequence[SplitReport]) -> SplitReport:
    names = 'label_maps', 'sizes', 'images', 'colors', 'blends', 'indexed_colors'
    names += 'mistaken_maps', 'stray_ids', 'defects'
    columns = {name: [getattr(report, name) for report in reports] for name in names}
    sums = {name: functools.reduce(operator.add, column) for name, column in columns.items()}
    return SplitReport('all', **sums)


def _suspect_ids(data: SplitReport, num_classes: int) -> frozenset[int]:
    """Ids that are probably mistakes: far beyond all others in few label maps, or stray ids."""
    maps, few = data.images, _FEW_FILES * data.label_maps
    stray = frozenset(value for value, count in data.stray_ids.items() if count == maps[value])
    if max(data.stray_ids.values(), default=0) > few:
        stray = frozenset()
    ids = sorted(maps.keys() - stray - {DONTCARE_ID})
    for place, value in enumerate(ids):
        if value >= _FAR_BEYOND * num_classes and sum(maps[other] for other in ids[place:]) <= few:
            return frozenset(ids[place:]) | stray
        num_classes = max(num_classes, value + 1)
    return stray


def endings(config: DataConfig) -> Suggestion | None:
    """The endings by which names of photos and label maps differ, if nothing pairs without."""
    folders = folders_of(config, 'train')
    try:
        if folders.listing or pair_files(dataclasses.replace(folders, instance=None)).files:
            return None
        photos = _stems(folders.photo.directory, PHOTO_EXTENSIONS)
        labels = _stems(folders.label.directory, PHOTO_EXTENSIONS | ID_EXTENSIONS)
    except UserError:
        return None
    pairs = Counter()
    for image, label in itertools.product(_common_endings(photos), _common_endings(labels)):
        shared = {stem.removesuffix(image) for stem in photos}
        shared &= {stem.removesuffix(label) for stem in labels}
        pairs[image, label] = len(shared)
    (image, label), count = pairs.most_common(1)[0]  # The shortest of equally frequent endings.
    changes = {'image_suffix': image, 'label_suffix': label}
    changes = {name: value for name, value in changes.items() if value != getattr(config, name)}
    if not changes or 2 * count <= min(len(photos), len(labels)):
        return None
    reason = f'nothing pairs, but without these endings of the names there are {count} pairs'
    return Suggestion(reason, changes, frozenset({NO_PAIRS}))


def _common_endings(stems: Sequence[str]) -> list[str]:
    """'', what all stems end with, without numbers, and its part from the first separator on."""
    common = os.path.commonprefix([stem[::-1] for stem in stems])[::-1]
    common = common[common.rfind('/') + 1 :].lstrip('0123456789')
    separators = [place for place, character in enumerate(common) if character in '_-. ']
    return sorted({'', common, *[common[place:] for place in separators[:1]]}, key=len)


def _stems(directory: str, extensions: Collection[str]) -> list[str]:
    paths = (path for path in files_below(directory) if extension_of(path) in extensions)
    return [stem_of(path, directory) for path in paths]


def _replace_maps(config: DataConfig, data: SplitReport) -> Suggestion | None:
    """Advice if most label maps are photos or anti-aliased masks, which no flag can fix."""
    if not config.uses_labels or not _count(data, _BAD_MAPS) or not _is_mistaken(data):
        return None
    return Suggestion(_MISTAKEN, fixes=_BAD_MAPS, advice=_EXPORT_AGAIN)


def _is_mistaken(data: SplitReport) -> bool:
    return (data.mistaken_maps + _count(data, {LOSSY})) * 2 > data.label_maps


def _palette(config: DataConfig, data: SplitReport, output_dir: str) -> Suggestion | None:
    """A palette with the colors that were found, a built-in one or a draft; or a tolerance."""
    classes = parse_palette(config.palette) if config.palette else []
    is_mixed = _count(data, {kinds.MIXED_PALETTES})
    colors = data.colors + data.indexed_colors if is_mixed else data.colors
    known = {color_code(entry.color) for entry in classes if entry.color}
    new = [code for code, _ in colors.most_common() if code not in known]
    if not new or not classes and len(new) > MOST_COLORS:
        return None
    if not classes and not is_mixed and _count(data, {kinds.COLORED}) * 2 < data.label_maps:
        return None  # The other maps hold ids: these few are mistakes.
    is_table = not classes and len(new) >= _LEAST_COLORS_OF_A_TABLE
    if is_table and (found := builtin_palette_of(new, may_be_off=True)):
        name, distance = found
        reason = f'the label maps have {len(new)} colors of the palette "{name}"'
        tolerance = {'palette_tolerance': distance} if distance else {}
        changes = {'palette': name} | _covering_classes(config, builtin_classes(name)) | tolerance
        return Suggestion(reason, changes, _BAD_MAPS)
    near = near_colors([entry for entry in classes if entry.color], new)
    far = [code for code in new if code not in near]
    distance, entry = max(near.values(), default=(0, None))
    tolerance = {'palette_tolerance': distance} if distance > config.palette_tolerance else {}
    if far and len(far) <= (_MOST_NEW_COLORS if classes else MOST_COLORS):
        draft = _draft(config, classes, far, output_dir)
        return draft._replace(changes={**draft.changes, **tolerance})
    if not entry or not tolerance or far and not _count(data, {kinds.NEAR_PALETTE}):
        return None  # No map is right with a tolerance.
    away = f'at most {distance} away from those of the palette, e.g. from {entry.color}'
    fixes = frozenset({kinds.NEAR_PALETTE}) if far else _BAD_MAPS
    which = 'the colors of some label maps' if far else 'the colors'
    return Suggestion(f'{which} are {away} ({entry.name})', tolerance, fixes)


def _with_blends(found: Suggestion | None, data: SplitReport) -> Suggestion | None:
    """The suggestion of a palette, with advice if some colors are no classes but blends."""
    if not (blends := sorted(data.blends.keys() - data.colors.keys())):
        return found
    reason = (
        f'{len(blends)} colors, e.g. {color_text(blends[0])}, are blends of others along borders'
    )
    if found:
        reason = f'{found.reason}; {reason}'
    advice = (
        'export the label maps without smoothing (nearest neighbor, no anti-aliasing): '
        '--palette_tolerance reads only colors that are nearly those of the palette'
    )
    # The label maps stay defective.
    return (found or Suggestion(''))._replace(reason=reason, advice=advice, fixes=frozenset())


def _draft(
    config: DataConfig, classes: list[LabelClass], new: Collection[int], output_dir: str
) -> Suggestion:
    """A palette with more classes, for new colors."""
    draft = sorted(classes + _new_classes(classes, new), key=lambda entry: entry.id)
    lines = (json.dumps(entry._asdict(), ensure_ascii=False) for entry in draft)
    text = '{"classes": [\n  ' + ',\n  '.join(lines) + '\n]}\n'
    path = _unused_path(os.path.join(output_dir, 'palette.json'), text)
    what = 'are not in the palette' if classes else 'are in the label maps'
    reason = f'{len(new)} colors {what}; {path} is a draft of a palette: fill in the names'
    changes = {'palette': path} | _covering_classes(config, draft)
    smoothing = 'if some colors are blends of others, export the label maps without smoothing'
    return Suggestion(reason, changes, _BAD_MAPS, smoothing, (path, text))


def _new_classes(classes: Sequence[LabelClass], codes: Iterable[int]) -> list[LabelClass]:
    """Classes for colors, which have the next ids in the order of their codes."""
    first = max((entry.id for entry in classes if entry.id != DONTCARE_ID), default=-1) + 1
    numbered = enumerate(sorted(codes), start=first)
    return [LabelClass(number, f'class {number}', color_text(code)) for number, code in numbered]


def _number_of_classes(
    config: DataConfig, data: SplitReport, suspects: Set[int]
) -> Suggestion | None:
    """The number of classes and don't-care that cover all ids but the suspects."""
    present = sorted(data.images.keys() - suspects)
    unknown = [value for value in present if not is_class(value, config)]
    if not unknown or present[0] < 0 or present[-1] > LARGEST_ID:
        return None
    options = {'dontcare': config.dontcare} | _covering(present)
    num_classes = max(options['num_classes'], config.num_classes)
    dontcare = options['dontcare'] and num_classes <= DONTCARE_ID
    changes = {'num_classes': num_classes} if num_classes > config.label_channels else {}
    changes |= {'dontcare': dontcare} if dontcare != config.dontcare else {}
    counts = [f'id {value} is in {data.images[value]}' for value in unknown[:3]]
    listed = [f'{count} of {data.label_maps} label maps' for count in counts]
    reason = ', '.join(listed + [f'{len(unknown) - 3} more ids'] * (len(unknown) > 3))
    return Suggestion(reason, changes, frozenset({kinds.OUT_OF_RANGE}))


def _covering_classes(config: DataConfig, classes: Iterable[LabelClass]) -> dict[str, Any]:
    """`_covering` for the ids of a palette after --label_remap."""
    new_id = parse_remap(config.label_remap).new_id
    return _covering(sorted({new_id(entry.id) for entry in classes}))


def _covering(ids: Sequence[int]) -> dict[str, Any]:
    """num_classes, and dontcare if 255 is the highest of the sorted ids and 254 is absent."""
    if ids[-1] == DONTCARE_ID and DONTCARE_ID - 1 not in ids:
        return {'num_classes': max(ids[:-1], default=0) + 1, 'dontcare': True}
    return {'num_classes': ids[-1] + 1}


def _copies(data: SplitReport) -> Suggestion | None:
    """The flag that brings maps of other sizes to those of their photos."""
    fixes = frozenset(kinds.COPIES.values())
    if not (number := _count(data, fixes)):
        return None
    reason = f'{number} maps have another size than their photo, but its shape'
    return Suggestion(reason, {'resize_labels': True}, fixes)


def _geometry(config: DataConfig, data: SplitReport) -> Suggestion | None:
    """Flags that bring every image to the training size."""
    wrong = sorted((size for size in data.sizes if not _all_fit(config, [size])), key=min)
    if not wrong or not _count(data, {kinds.WRONG_SIZE}):
        return None
    changes: dict[str, Any] = {'preprocess_mode': 'resize_and_crop'}
    if config.preprocess_mode not in CROPPING_MODES:
        changes = {'preprocess_mode': 'fixed'}
    elif config.preprocess_mode != 'crop' and (load_size := _least_load_size(config, wrong)):
        changes = {'load_size': load_size}
    elif config.load_size < config.crop_size:
        changes['load_size'] = config.crop_size
    number, smallest = sum(data.sizes[size] for size in wrong), '{}x{}'.format(*wrong[0])
    wanted = f'{config.image_width}x{config.image_height}'
    reason = f'{number} images, e.g. of {smallest}, cannot be brought to {wanted}'
    advice = '' if 'preprocess_mode' in changes else 'or set --preprocess_mode=resize_and_crop'
    return Suggestion(reason, changes, frozenset({kinds.WRONG_SIZE}), advice)


def _least_load_size(config: DataConfig, sizes: Sequence[tuple[int, int]]) -> int | None:
    """The least load_size, up to twice the given one, with which all images hold the crop."""
    larger = range(config.load_size, 2 * config.load_size + 1)
    configs = [dataclasses.replace(config, load_size=load_size) for load_size in larger]
    place = bisect.bisect_left(configs, True, key=lambda config: _all_fit(config, sizes))
    return larger[place] if place < len(larger) else None


def _all_fit(config: DataConfig, sizes: Iterable[tuple[int, int]]) -> bool:
    with contextlib.suppress(UserError):
        for size in sizes:
            max_crop_offset(Geometry.from_config(config), *size)
        return True
    return False


def _good_examples(
    config: DataConfig, report: SplitReport, fixed: Set[str], suspects: Set[int], output_dir: str
) -> Suggestion | None:
    """A list of the good examples of a split if most are good; --on_bad_example without lists."""
    bad = {name for name, ids in report.unknown_ids.items() if suspects & set(ids)}
    bad |= {name for name, found in report.defective.items() if found - fixed}
    incomplete = report.incomplete - (_count(report, {LOSSY}) if LOSSY in fixed else 0)
    good = [name for name in report.names if name not in bad]
    if len(good) < max(1, len(bad), incomplete) or not bad and not incomplete:
        return None
    number = len(bad) + incomplete
    reason = f'{report.split}: {number} of {number + len(good)} examples cannot be used'
    if found := ', '.join(map(str, sorted(suspects & report.images.keys())[:8])):
        reason = f'{reason}; probably mistakes: ids {found} in few label maps'
    skips = config.on_bad_example == 'skip'
    if config.records_dir or not source_class(config).takes_lists:
        return None if skips else Suggestion(reason, {'on_bad_example': 'skip'})
    text = '\n'.join(good) + '\n'
    path = _unused_path(os.path.join(output_dir, f'{report.split}_list.txt'), text)
    advice = 'repair the files'
    if not incomplete and not skips:
        advice += ', or --on_bad_example=skip, with which training passes over them'
    reason = f'{reason}; {path} lists the {len(good)} good ones'
    return Suggestion(reason, {f'{report.split}_list': path}, advice=advice, file=(path, text))


def _unused_path(path: str, text: str) -> str:
    """`path`, or with _2, _3, ... if it has another text: a user may have edited the file."""
    base, extension = os.path.splitext(path)
    for number in itertools.count(2):
        if not os.path.lexists(path):
            break
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if pathlib.Path(path).read_text('utf-8', 'surrogateescape') == text:
                break
        path = f'{base}_{number}{extension}'
    return path


def _count(report: SplitReport, found: Collection[str]) -> int:
    return sum(defect.kind in found for defect in report.defects)
