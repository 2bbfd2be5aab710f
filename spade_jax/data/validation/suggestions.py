"""The flags that would mend what an examination of a data set has found.

They are computed over all that was read, so that one suggestion covers every file, and they agree with one another: with all of them set, the same examination
finds nothing more of the kinds that they mend.
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import dataclasses
import difflib
import functools
import itertools
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from spade_jax.config.catalog import CATALOG, builtin_palette, defaults_of
from spade_jax.config.data_config import CROPPING_MODES, DONTCARE_ID, DataConfig
from spade_jax.config.flags import format_flags
from spade_jax.config.label_format import LARGEST_ID, LabelClass, parse_palette, read_palette
from spade_jax.data.files.image_files import ID_EXTENSIONS, PHOTO_EXTENSIONS
from spade_jax.data.pipeline.paired_transforms import Geometry, max_crop_offset
from spade_jax.data.sources.folders import folders_of
from spade_jax.data.sources.pairing import LISTED_WITH_EXTENSION, files_below, pair_files
from spade_jax.data.validation import inspect
from spade_jax.data.validation.inspect import SplitReport
from spade_jax.data.validation.mistaken_maps import (
    are_smoothed_colors,
    are_smoothed_grays,
    swapped_directories,
)
from spade_jax.errors import UserError

_MAP_KINDS = frozenset(
    {
        inspect.OUT_OF_RANGE,
        inspect.COLOURED,
        inspect.BEYOND_PALETTE,
        inspect.UNUSABLE_IDS,
        inspect.LOSSY,
    }
)
_MOST_CLASSES_OF_COLORS = 255
_MOST_NEW_COLORS = 16
_LEAST_COLORS_OF_A_TABLE = 5
_SPARSE = 4  # So many times more ids than there are classes.
_MOST_SPARSE = 64
_SHARE_OF_MISTAKES = 0.25  # of the label maps: an id that fewer have may be a slip
_FEW_PIXELS = 0.01  # of all
_FAR_BEYOND = 4  # times the highest id that is no mistake
_LABEL_WORDS = re.compile(r'label|mask|seg|gt|annot|(^|[_-])L$', re.IGNORECASE)
_OTHER_WORDS = re.compile(r'color|colour|inst|rgb|train_?ids|poly|vis', re.IGNORECASE)
_SEPARATORS = '_-. '
_NAMES_TRIED = 2000
_NEIGHBOURS = 6
_SUFFIXES_TRIED = 12


class Suggestion(NamedTuple):
    """Flags that belong together.

    Attributes:
      changes: values of flags by name; of `palette`, the path of its file or the name of a table of the package.
      reason: what was found.
      mends: the kinds of defects that are gone with it.
      alternative: what else would do.
      file: (path, text) of a file that a flag names.
      advice: what to do where no flag helps; then `changes` is empty.
    """

    changes: Mapping[str, Any]
    reason: str
    mends: frozenset[str] = frozenset()
    alternative: str = ''
    file: tuple[str, str] | None = None
    advice: str = ''


def suggestions(
    config: DataConfig, reports: Sequence[SplitReport], output_dir: str
) -> list[Suggestion]:
    """What to change, and why.

    Args:
      config: what the data were read with.
      reports: of the splits.
      output_dir: absolute path of the directory for the files that flags name. They are not written here.
    """
    no_masks = _as_pictures(config, reports) or _smoothed(config, reports)
    mistakes = frozenset() if no_masks else mistaken_ids(config, reports)
    found = (
        [no_masks]
        if no_masks
        else list(filter(None, [_classes(config, reports, mistakes, output_dir)]))
    )
    found += [*filter(None, [_geometry(config, reports)]), *_instances(config, reports)]
    mended = frozenset(itertools.chain.from_iterable(suggestion.mends for suggestion in found))
    return found + _without_defective_examples(config, reports, mended, mistakes, output_dir)


def counted_classes(reports: Sequence[SplitReport]) -> dict[str, Any]:
    """num_classes and dontcare, for a data set of which nobody has said them: up to the highest id, 255 being "unknown". Nothing where there are no ids,
    or no sensible ones.

    Ids that do not count (grays that are evenly spaced, or a few large numbers) are as many classes as there are ids, and those that look like mistakes are
    none: with this configuration they are out of range, and suggestions can be made for them.
    """
    present = sorted({value for report in reports for value in report.pixels})
    pixels, pictures = (
        sum((getattr(report, name) for report in reports), collections.Counter())
        for name in ('pixels', 'pictures')
    )
    if not present or present[0] < 0 or are_smoothed_grays(pixels, pictures):
        return {}
    if levels := _gray_levels(present):
        return {'num_classes': len(levels)}
    unknown = present[-1] == DONTCARE_ID and DONTCARE_ID - 1 not in present
    ids = [value for value in present if not (unknown and value == DONTCARE_ID)]
    for place in range(1, len(ids)):
        # What is far beyond all other ids, and all that follows it, in few files: no reason for hundreds of classes.
        if ids[place] >= _FAR_BEYOND * (ids[place - 1] + 1) and sum(
            pictures[value] for value in ids[place:]
        ) <= _few_files(reports):
            ids = ids[:place]
            break
    if not ids:
        return {'num_classes': 1, 'dontcare': True}
    return {
        'num_classes': len(ids) if _is_sparse(ids) else ids[-1] + 1,
        **({'dontcare': True} if unknown else {}),
    }


def unused_file(path: str, text: str) -> str:
    """`path`, or where that holds another text, the first of its kind that does not: palette.json, palette_2.json, ... What a user has edited is kept."""
    base, extension = os.path.splitext(path)
    for candidate in itertools.chain(
        [path], (f'{base}_{number}{extension}' for number in itertools.count(2))
    ):
        if not os.path.lexists(candidate):
            return candidate
        with (
            contextlib.suppress(OSError, UnicodeDecodeError),
            open(candidate, encoding='utf-8') as file,
        ):
            if file.read() == text:
                return candidate


def merged(found: Sequence[Suggestion]) -> dict[str, Any]:
    """The changes of all suggestions together."""
    return dict(collections.ChainMap(*(dict(suggestion.changes) for suggestion in reversed(found))))


def needed_flags(config: DataConfig, palette_path: str) -> dict[str, Any]:
    """The flags that make this configuration: what differs from the defaults.

    Args:
      config: the configuration.
      palette_path: where the palette lies if it is not one of the package.
    """
    wanted = dataclasses.asdict(config) | {'palette': palette_name(config, palette_path)}
    defaults = dataclasses.asdict(DataConfig()) | defaults_of(config.dataset, config.data_dir)
    needed = {name: value for name, value in wanted.items() if value != defaults[name]}
    if config.dataset not in CATALOG and config.condition != 'rgb':
        needed['num_classes'] = config.num_classes  # which a palette would set otherwise
    return needed


def command_line(given: Mapping[str, Any], changes: Mapping[str, Any], **first: str) -> str:
    """The program with flags that were given and changes to them.

    Args:
      given: flags, all of which stay, unless a change replaces them or leaves them without effect.
      changes: flags that replace those that were given.
      first: flags that come first, such as the mode.
    """
    dataset = given.get('dataset', DataConfig.dataset)
    defaults = dataclasses.asdict(DataConfig()) | defaults_of(dataset, given.get('data_dir', ''))
    flags = {**given, **first, **changes}
    flags = {
        name: value
        for name, value in flags.items()
        if name not in changes or name == 'num_classes' or value != defaults[name]
    }
    condition = flags.get('condition', defaults['condition'])
    if 'condition' in changes and condition == 'rgb':
        flags = {
            name: value
            for name, value in flags.items()
            if name not in ('palette', 'label_remap', 'dontcare')
        }
    if 'condition' in changes and condition != 'labels+edges':
        flags = {name: value for name, value in flags.items() if not name.endswith('_instance_dir')}
    order = [*first, 'workdir', 'output_dir', 'dataset', 'data_dir', *defaults]
    return ' '.join(
        [
            'python -m spade_jax.main',
            *format_flags({name: flags[name] for name in dict.fromkeys(order) if name in flags}),
        ]
    )


def palette_name(config: DataConfig, palette_path: str) -> str:
    """What --palette has to be: '', the name of a table of the package, or `palette_path`."""
    if not config.palette:
        return ''
    return next((name for name, text in _tables().items() if text == config.palette), palette_path)


def palette_file(classes: Sequence[LabelClass]) -> str:
    """The text of a palette file, one class a line."""
    entries = [
        json.dumps(
            {'id': entry.id, 'name': entry.name, **({'color': entry.color} if entry.color else {})},
            ensure_ascii=False,
        )
        for entry in classes
    ]
    return '{"classes": [\n  ' + ',\n  '.join(entries) + '\n]}\n'


# Pairing.


def prefixes(config: DataConfig) -> Suggestion | None:
    """What to do where nothing pairs because names differ in how they begin, "photo_1" and "mask_1"; None where that is not so."""
    folders = folders_of(config, 'train')
    if folders.listing or _pairs(config) or folders.photo.directory == folders.label.directory:
        return None
    try:
        photos, labels = (
            _stems(role.directory, extensions)
            for role, extensions in (
                (folders.photo, PHOTO_EXTENSIONS),
                (folders.label, ID_EXTENSIONS),
            )
        )
    except UserError:
        return None
    image_prefix, label_prefix = map(_beginning, (photos, labels))
    same = {stem[len(image_prefix) :] for stem in photos} & {
        stem[len(label_prefix) :] for stem in labels
    }
    if image_prefix == label_prefix or not same or len(same) * 2 < min(len(photos), len(labels)):
        return None
    reason = f'the names agree but for how they begin: photographs with "{image_prefix}", label maps with "{label_prefix}"; only endings may differ'
    # What is to be typed: one line for the files of each directory whose names begin with something.
    commands = [
        f'for file in *; do mv "$file" "${{file#{prefix}}}"; done (in {role.directory})'
        for prefix, role in ((image_prefix, folders.photo), (label_prefix, folders.label))
        if prefix
    ]
    return Suggestion(
        {},
        reason,
        frozenset({inspect.NO_PAIRS, f'photographs have no {folders.label.name}'}),
        advice='rename the files, for example with: ' + ' and '.join(commands),
    )


def _beginning(stems: Sequence[str]) -> str:
    """What all stems begin with, up to a separator or a digit: "photo_" of photo_10 and photo_12."""
    common = '' if any('/' in stem for stem in stems) else os.path.commonprefix(list(stems))
    return (
        common.rstrip('0123456789')
        if len(stems) > 1
        else common[: max(common.rfind(separator) for separator in _SEPARATORS) + 1]
    )


def suffixes(config: DataConfig) -> Suggestion | None:
    """The constant endings by which the names of photographs and label maps differ; None where there are none, or something pairs without."""
    folders = folders_of(config, 'train')
    if (
        folders.listing
        or _pairs(config)
        or not all(os.path.isdir(role.directory) for role in (folders.photo, folders.label))
    ):
        return None
    try:
        photos = _stems(folders.photo.directory, PHOTO_EXTENSIONS)
        labels = _stems(folders.label.directory, PHOTO_EXTENSIONS | ID_EXTENSIONS)
    except UserError:
        return None
    best, best_score = None, (0, 0)
    for image_suffix, label_suffix in _common_endings(photos, labels):
        score = (
            _pairs(
                dataclasses.replace(config, image_suffix=image_suffix, label_suffix=label_suffix)
            ),
            _plausibility(image_suffix, label_suffix),
        )
        if score > best_score:
            best, best_score = (image_suffix, label_suffix), score
    if (
        best is None
        or best_score[0] * 2 < min(len(photos), len(labels))
        and best_score[0] < len(photos)
    ):
        return None
    changes = {
        name: value
        for name, value in zip(('image_suffix', 'label_suffix'), best)
        if value != getattr(config, name)
    }
    what = ' and '.join(
        f'{role} in "{suffix}"'
        for role, suffix in zip(
            ('those of the photographs end', 'those of the label maps end'), best
        )
        if suffix
    )
    return Suggestion(
        changes,
        f'nothing pairs, but the names agree up to their endings: {what}; {best_score[0]} pairs',
        frozenset({inspect.NO_PAIRS}),
    )


def _pairs(config: DataConfig) -> int:
    """How many photographs have a partner, be it a lossy one."""
    try:
        pairing = pair_files(dataclasses.replace(folders_of(config, 'train'), instance=None))
    except UserError:
        return 0
    return len(pairing.files) + sum(defect.kind == inspect.LOSSY for defect in pairing.defects)


def _stems(directory: str, extensions: frozenset[str]) -> list[str]:
    """Relative paths without extension, in order."""
    bases = (os.path.splitext(path) for path in files_below(directory))
    return sorted(
        {
            os.path.relpath(base, directory).replace(os.sep, '/')
            for base, extension in bases
            if extension.lower() in extensions
        }
    )


def _common_endings(photos: Sequence[str], labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of endings (of photographs, of label maps) that some names have after a common beginning; the frequent ones first."""
    votes: collections.Counter = collections.Counter()
    step = max(1, len(photos) // _NAMES_TRIED)
    for photo in photos[::step]:
        place = bisect.bisect_left(labels, photo)
        near = [
            label
            for label in labels[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS]
            if label != photo
        ]
        common = {label: len(os.path.commonprefix([photo, label])) for label in near}
        longest = max(common.values(), default=0)
        for label, length in common.items():
            if length == longest > 0:
                votes.update(
                    {
                        (photo[cut:], label[cut:])
                        for cut in _cuts(photo, label, length)
                        if '/' not in photo[cut:] + label[cut:]
                    }
                )
    yield from (endings for endings, _ in votes.most_common(_SUFFIXES_TRIED))


def _cuts(photo: str, label: str, length: int) -> set[int]:
    """Where the endings may begin: where the names part, or with the word in which they part ("_left" and "_label" have "_l" in common)."""
    separator = max(photo.rfind(character, 0, length) for character in _SEPARATORS)
    return {length} | (
        {separator} if separator > 0 and length not in (len(photo), len(label)) else set()
    )


def _plausibility(image_suffix: str, label_suffix: str) -> int:
    begins_well = sum(
        not suffix or suffix[0] in _SEPARATORS for suffix in (image_suffix, label_suffix)
    )
    return (
        1
        + begins_well
        + 4 * bool(_LABEL_WORDS.search(label_suffix))
        - 3 * bool(_OTHER_WORDS.search(label_suffix))
        + (not image_suffix)
    )


# Label maps.


def _as_pictures(config: DataConfig, reports: Sequence[SplitReport]) -> Suggestion | None:
    """What to do where most label maps are pictures: nearly always they are the wrong files, and only at last condition=rgb."""
    pictures, maps = (
        sum(report.picture_maps for report in reports),
        sum(report.label_maps for report in reports),
    )
    if config.condition == 'rgb' or not maps or pictures * 2 <= maps or config.dataset == 'scenes':
        return None
    changes = {'condition': 'rgb'}
    if config.dataset not in CATALOG:  # whose settings give way to condition=rgb
        changes |= {
            name: type(value)()
            for name in ('palette', 'label_remap', 'dontcare')
            if (value := getattr(config, name))
        }
    instance_kinds = {
        defect.kind
        for report in reports
        for defect in report.defects
        if 'instance map' in defect.kind
    }
    mends = _MAP_KINDS | instance_kinds
    alternative = (
        f'{" ".join(format_flags(changes))} if they are no label maps, but edges or drawings: the generator then draws from such pictures as they are'
        + (', without instance edges' if config.instance_edges else '')
    )
    if swapped := swapped_directories(config):
        return Suggestion(
            swapped,
            'the label maps look like photographs, and the photographs like label maps: are --train_image_dir and --train_label_dir swapped?',
            mends,
            alternative,
        )
    lossy = sum(defect.kind == inspect.LOSSY for report in reports for defect in report.defects)
    if lossy * 2 > maps:
        reason = f'{lossy} of {maps} label maps are JPEG or WebP files, which change ids and colours at every border: no flag brings back what they were'
        return Suggestion(
            {},
            reason,
            mends,
            alternative,
            advice='make the label maps anew from their source, as PNG',
        )
    reason = f'{pictures} of {maps} label maps have as many colours or grays as photographs'
    return Suggestion(
        {},
        reason,
        mends,
        alternative,
        advice='see whether --train_label_dir is the directory of the label maps',
    )


def _smoothed(config: DataConfig, reports: Sequence[SplitReport]) -> Suggestion | None:
    """What to do where masks were smoothed: a palette or classes of blends would be nonsense."""
    colors, pixels, pictures = (
        sum((getattr(report, name) for report in reports), collections.Counter())
        for name in ('colors', 'pixels', 'pictures')
    )
    known = (
        {int(entry.color[1:], 16) for entry in parse_palette(config.palette) if entry.color}
        if config.palette
        else set()
    )
    beyond = any(not inspect.is_class(value, config) for value in pixels)
    if set(colors) - known and are_smoothed_colors(colors):
        reason = f'the label maps are smoothed: of {len(colors)} colours most are rare blends of others, at the borders'
    elif beyond and are_smoothed_grays(pixels, pictures):
        reason = f'the label maps are smoothed: of {len(pixels)} ids most are rare blends of others, at the borders'
    else:
        return None
    return Suggestion(
        {},
        reason,
        _MAP_KINDS,
        advice='export or scale the label maps anew without smoothing (nearest neighbour, no anti-aliasing), as PNG',
    )


def _classes(
    config: DataConfig, reports: Sequence[SplitReport], mistakes: frozenset[int], output_dir: str
) -> Suggestion | None:
    """Palette, number and numbering of the classes."""
    palette = _palette(config, reports, output_dir)
    ids = _ids(config, reports, mistakes)
    if palette is None or ids is None:
        return palette or ids
    if 'label_remap' in ids.changes:
        return palette  # which renumbers by itself: what the gray maps among the colour masks mean is to be seen then
    changes = {**ids.changes, **palette.changes}
    changes['num_classes'] = max(
        suggestion.changes.get('num_classes', 0) for suggestion in (palette, ids)
    )
    return Suggestion(
        changes,
        f'{palette.reason}; {ids.reason}',
        palette.mends | ids.mends,
        palette.alternative,
        palette.file,
    )


def _palette(
    config: DataConfig, reports: Sequence[SplitReport], output_dir: str
) -> Suggestion | None:
    """A palette with the colours that were found: a table of the package, or a draft."""
    colors: collections.Counter = sum((report.colors for report in reports), collections.Counter())
    classes = [entry for entry in parse_palette(config.palette)] if config.palette else []
    known = {entry.color for entry in classes}
    new = [color for color, _ in colors.most_common() if f'#{color:06x}' not in known]
    if not new or len(new) > (_MOST_NEW_COLORS if classes else _MOST_CLASSES_OF_COLORS):
        return None
    coloured = sum(
        defect.kind == inspect.COLOURED for report in reports for defect in report.defects
    )
    if not classes and coloured * 2 < sum(report.label_maps for report in reports):
        return None  # The other maps hold ids; these few are mistakes.
    if not classes and (table := _table_with(set(new))):
        return Suggestion(
            {'palette': table, **_number_of_classes(parse_palette(_tables()[table]))},
            f'the label maps are colour masks, in the {len(new)} colours that are known as "{table}"',
            _MAP_KINDS,
        )
    if not classes and all(color >> 16 == color >> 8 & 255 == color & 255 for color in new):
        drafted = _gray_classes(sorted(color & 255 for color in new))
    else:
        new.sort(key=lambda color: color != 0)  # Black is mostly "unknown", and comes first.
        first = max([entry.id for entry in classes if entry.id != DONTCARE_ID] + [-1]) + 1
        drafted = classes + [
            LabelClass(number, f'class {number}', f'#{color:06x}')
            for number, color in enumerate(new, start=first)
        ]
    text = palette_file(sorted(drafted))
    path = unused_file(os.path.join(output_dir, 'palette.json'), text)
    reason = (
        f'{len(new)} colours are not in the palette'
        if classes
        else f'the label maps are colour masks of {len(new)} colours'
    )
    reason += f'; {path} is a draft of a palette, where the names are to be filled in'
    return Suggestion(
        {'palette': path, **_number_of_classes(drafted)}, reason, _MAP_KINDS, file=(path, text)
    )


def _gray_classes(grays: Sequence[int]) -> list[LabelClass]:
    """The classes of ids that were saved as RGB: a gray is its id. Only where they do not count (see `_gray_levels`) they are numbered, the dark ones first."""
    ids = [gray for gray in grays if gray != DONTCARE_ID]
    numbers = {gray: gray for gray in grays}
    if levels := _gray_levels(grays):
        numbers = dict(levels)
    elif ids and _is_sparse(ids):
        numbers |= {gray: number for number, gray in enumerate(ids)}
    return [
        LabelClass(
            number,
            'unknown' if number == DONTCARE_ID else f'class {number}',
            f'#{gray:02x}{gray:02x}{gray:02x}',
        )
        for gray, number in numbers.items()
    ]


def _number_of_classes(classes: Sequence[LabelClass]) -> dict[str, Any]:
    unknown = any(entry.id == DONTCARE_ID for entry in classes)
    return {
        'num_classes': max(entry.id for entry in classes if entry.id != DONTCARE_ID) + 1,
        **({'dontcare': True} if unknown else {}),
    }


@functools.cache
def _tables() -> dict[str, str]:
    """The palettes of the package by name, the small ones first."""
    directory = os.path.dirname(builtin_palette('gaugan'))
    tables = {
        name.removesuffix('.json'): read_palette(os.path.join(directory, name))
        for name in sorted(os.listdir(directory))
        if name.endswith('.json')
    }
    return dict(sorted(tables.items(), key=lambda item: len(item[1])))


def _table_with(colors: set[int]) -> str | None:
    """The smallest table of the package that has each of these colours once."""
    for name, text in _tables().items():
        counts = collections.Counter(
            int(entry.color[1:], 16) for entry in parse_palette(text) if entry.color
        )
        if len(colors) >= _LEAST_COLORS_OF_A_TABLE and all(counts[color] == 1 for color in colors):
            return name
    return None


def mistaken_ids(config: DataConfig, reports: Sequence[SplitReport]) -> frozenset[int]:
    """The ids out of range that are more probably slips than classes: in few files, and in few pixels or not the next id after the classes."""
    pixels, pictures = (
        sum((getattr(report, name) for report in reports), collections.Counter())
        for name in ('pixels', 'pictures')
    )
    found = frozenset(
        value
        for value, count in pixels.items()
        if not inspect.is_class(value, config)
        and value != DONTCARE_ID
        and pictures[value] <= _few_files(reports)
        and (count < _FEW_PIXELS * pixels.total() or value != config.label_channels)
    )
    # Of many classes each may be rare: then it is num_classes that is wrong, and not the files.
    files = sum(not found.isdisjoint(ids) for report in reports for ids in report.foreign.values())
    return found if files <= _few_files(reports) else frozenset()


def _few_files(reports: Sequence[SplitReport]) -> float:
    return _SHARE_OF_MISTAKES * sum(report.label_maps for report in reports)


def _ids(
    config: DataConfig, reports: Sequence[SplitReport], mistakes: frozenset[int]
) -> Suggestion | None:
    """Number and numbering of the classes, where ids are out of range. Those that are mistakes do not count."""
    present = sorted({value for report in reports for value in report.pixels} - mistakes)
    wrong = [value for value in present if not inspect.is_class(value, config)]
    if not wrong or present[0] < 0 or present[-1] > LARGEST_ID:
        return None
    has_names = bool(
        config.palette or config.dataset in CATALOG
    )  # The numbering has a meaning, and stays.
    may_renumber = not (has_names or config.label_remap)
    where = '; '.join(
        f'id {value} in {sum(report.out_of_range.get(value, (0,))[0] for report in reports)} label maps'
        for value in wrong[:3]
    ) + (f'; {len(wrong) - 3} more' if len(wrong) > 3 else '')
    if may_renumber and (levels := _gray_levels(present)):
        return _renumbered(
            config,
            dict(levels),
            where,
            f'the ids {_listed(present)} are evenly spaced grays, {len(levels)} classes',
            unknown=False,
        )
    unknown = (
        DONTCARE_ID in present
        and DONTCARE_ID - 1 not in present
        and not (config.num_classes > DONTCARE_ID and not config.dontcare)
    )
    ids = [value for value in present if not (unknown and value == DONTCARE_ID)]
    if may_renumber and ids:
        if _is_sparse(ids):
            return _renumbered(
                config,
                {value: number for number, value in enumerate(ids)},
                where,
                f'{len(ids)} ids between {ids[0]} and {ids[-1]}',
                unknown,
            )
        if ids[0] > 0 and ids[-1] >= config.num_classes and not (unknown and ids[-1] > DONTCARE_ID):
            moved = {value: value - ids[0] for value in range(ids[0], ids[-1] + 1)}
            return _renumbered(
                config,
                moved,
                where,
                f'the ids count from {ids[0]}, {"0 never occurs" if ids[0] == 1 else "the lower ones never occur"}',
                unknown,
            )
    changes: dict[str, Any] = {}
    if ids and ids[-1] >= config.label_channels:
        changes['num_classes'] = ids[-1] + 1
    if unknown and not config.dontcare:
        changes['dontcare'] = True
    if changes.get('num_classes', config.num_classes) > DONTCARE_ID and changes.get(
        'dontcare', config.dontcare
    ):
        changes['dontcare'] = False  # 255 is a class then.
    return Suggestion(changes, where, frozenset({inspect.OUT_OF_RANGE}))


def _renumbered(
    config: DataConfig, targets: Mapping[int, int], where: str, reason: str, unknown: bool
) -> Suggestion:
    count = max(targets.values()) + 1
    changes: dict[str, Any] = {'label_remap': remap_text(targets)}
    if count != config.num_classes:
        changes['num_classes'] = count
    if unknown != config.dontcare and (unknown or count > DONTCARE_ID):
        changes['dontcare'] = unknown
    largest = max(targets)
    keep = f'--num_classes={largest + 1}' + (
        ' --dontcare' if unknown and not config.dontcare else ''
    )
    alternative = (
        f'{keep} keeps the ids as they are and leaves the others unused'
        if largest < DONTCARE_ID or not unknown
        else ''
    )
    return Suggestion(
        changes, f'{reason} ({where})', frozenset({inspect.OUT_OF_RANGE}), alternative
    )


def remap_text(targets: Mapping[int, int]) -> str:
    """A table for --label_remap, without the ids that stay: {1: 0, 2: 1, 3: 2, 7: 9} -> "1-3:0-2,7:9"."""
    entries: list[list[int]] = []  # [first, last, target of the first]
    for source, target in sorted(targets.items()):
        if (
            entries
            and source == entries[-1][1] + 1
            and target - source == entries[-1][2] - entries[-1][0]
        ):
            entries[-1][1] = source
        elif source != target:
            entries.append([source, source, target])
    return ','.join(
        f'{first}:{target}' if first == last else f'{first}-{last}:{target}-{target + last - first}'
        for first, last, target in entries
    )


def _gray_levels(present: Sequence[int]) -> list[tuple[int, int]]:
    """[(0, 0), (127, 1), (255, 2)]: the classes of a map that was drawn to be looked at, in evenly spaced grays up to white; nothing for other ids."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(present)]
    even = (
        gaps
        and present[0] == 0
        and present[-1] == 255
        and max(gaps) - min(gaps) <= 1
        and min(gaps) > 1
    )
    return list(zip(present, range(len(present)))) if even else []


def _is_sparse(ids: Sequence[int]) -> bool:
    return (
        len(ids) <= _MOST_SPARSE
        and ids[-1] - ids[0] + 1 > _SPARSE * len(ids)
        or ids[-1] > 1000
        and len(ids) <= 255
    )


def _listed(values: Sequence[int]) -> str:
    return ', '.join(map(str, values[:8])) + (', ...' if len(values) > 8 else '')


# Sizes.


def _geometry(config: DataConfig, reports: Sequence[SplitReport]) -> Suggestion | None:
    """How every picture can be brought to the training size."""
    sizes = sorted({size for report in reports for size in report.sizes})
    misfits = [size for size in sizes if not _fits(config, size)]
    if not misfits or not any(
        defect.kind == inspect.MISFITS for report in reports for defect in report.defects
    ):
        return None
    count = sum(report.sizes[size] for report in reports for size in misfits)
    width, height = min(misfits, key=min)
    reason = (
        f'{count} pictures, of {width}x{height} for example, do not come out as {config.image_width}x{config.image_height} '
        f'with --preprocess_mode={config.preprocess_mode}'
    )
    changes = _mending_changes(config, misfits)
    alternative = (
        '--preprocess_mode=resize_and_crop takes pictures of any size'
        if 'load_size' in changes
        else ''
    )
    return Suggestion(changes, reason, frozenset({inspect.MISFITS}), alternative)


def _mending_changes(config: DataConfig, misfits: Sequence[tuple[int, int]]) -> dict[str, Any]:
    if config.preprocess_mode not in CROPPING_MODES:
        return {'preprocess_mode': 'fixed'}
    if config.preprocess_mode.startswith('scale_') and (
        load_size := _least_load_size(config, misfits)
    ):
        return {'load_size': load_size}
    return {
        'preprocess_mode': 'resize_and_crop',
        **({'load_size': config.crop_size} if config.load_size < config.crop_size else {}),
    }


def _least_load_size(config: DataConfig, sizes: Sequence[tuple[int, int]]) -> int | None:
    """The least load_size, up to twice that of the configuration, at which all pictures hold the crop."""
    candidates = range(config.load_size, 2 * config.load_size + 1)
    place = bisect.bisect_left(
        candidates,
        True,
        key=lambda load_size: all(
            _fits(dataclasses.replace(config, load_size=load_size), size) for size in sizes
        ),
    )
    return candidates[place] if place < len(candidates) else None


def _fits(config: DataConfig, size: tuple[int, int]) -> bool:
    try:
        max_crop_offset(Geometry.from_config(config), *size)
    except UserError:
        return False
    return True


# Instance maps, and examples to leave out.


def _instances(config: DataConfig, reports: Sequence[SplitReport]) -> list[Suggestion]:
    """Another directory of instance maps, where that of a split is not there; at last condition=labels."""
    found = []
    for report in reports:
        if not config.instance_edges or not any(
            defect.kind == inspect.NO_INSTANCES for defect in report.defects
        ):
            continue
        flag = f'{report.split}_instance_dir'
        given = getattr(config, flag)
        kinds = frozenset(defect.kind for defect in report.defects if 'instance map' in defect.kind)
        alternative = '--condition=labels if there are no instance maps: it does without the borders between instances'
        if os.path.exists(os.path.join(os.path.expanduser(config.data_dir), given)):
            found.append(
                Suggestion(
                    {},
                    f'--{flag}={given} has no instance maps',
                    kinds,
                    alternative,
                    advice=f'set --{flag} to where they are',
                )
            )
            continue
        reason = f'--{flag}={given} does not exist'
        if near := _directory_like(config, given):
            found.append(Suggestion({flag: near}, f'{reason}; {near} does', kinds, alternative))
        else:
            found.append(
                Suggestion(
                    {},
                    reason,
                    kinds,
                    alternative,
                    advice=f'set --{flag} to where the instance maps are',
                )
            )
    return found


def _directory_like(config: DataConfig, given: str) -> str | None:
    """The path with the most similar last name beside a path that does not exist; None where there is none that is no directory of other files."""
    parent, name = os.path.split(os.path.normpath(given))
    try:
        with os.scandir(os.path.join(os.path.expanduser(config.data_dir), parent)) as entries:
            names = [
                entry.name for entry in entries if entry.is_dir() or entry.name.endswith('.json')
            ]
    except OSError:
        return None
    taken = {
        os.path.normpath(getattr(config, f'{split}_{field}_dir'))
        for split in ('train', 'validation')
        for field in ('image', 'label')
    }
    candidates = [
        other
        for other in difflib.get_close_matches(name, names, n=4)
        if os.path.join(parent, other) not in taken
    ]
    return os.path.join(parent, candidates[0]) if candidates else None


def _without_defective_examples(
    config: DataConfig,
    reports: Sequence[SplitReport],
    mended: frozenset[str],
    mistakes: frozenset[int],
    output_dir: str,
) -> list[Suggestion]:
    """Lists of the examples that are as they should be, where most are; or to skip the others, where the source takes no lists."""
    reads_lists = (
        inspect.reads_folders(config)
        or config.dataset == 'celebamask_hq'
        and not config.records_dir
    )
    found = []
    for report in reports:
        bad = {
            name
            for name, kinds in report.defective.items()
            if kinds - mended or mistakes.intersection(report.foreign.get(name, ()))
        }
        strays = _of_mistakes(config, sorted(mistakes.intersection(report.out_of_range)))
        lacking = _incomplete(report, mended)
        good = [name for name in report.names if name not in bad]
        if not bad and not lacking:
            continue
        if not good or len(good) < max(len(bad), lacking):
            if strays:
                found.append(
                    Suggestion(
                        {},
                        strays.reason,
                        alternative=strays.alternative,
                        advice='mend the label maps',
                    )
                )
            continue
        if reads_lists:
            text = '\n'.join(good) + '\n'
            path = unused_file(os.path.join(output_dir, f'{report.split}_list.txt'), text)
            reason = f'{path} lists the {len(good)} examples of {report.split} that can be used, and leaves out {len(bad) + lacking}'
            skip = '--on_bad_example=skip: training passes over the files that are bad, and this report still names them'
            alternatives = ([f'mend the label maps; {strays.alternative}'] if strays else []) + [
                skip
            ] * bool(bad and not lacking and config.on_bad_example == 'error')
            found.append(
                Suggestion(
                    {f'{report.split}_list': path},
                    f'{strays.reason}; {reason}' if strays else reason,
                    alternative='; or '.join(alternatives),
                    file=(path, text),
                )
            )
        elif config.on_bad_example == 'error':
            reason = f'{len(bad)} of {len(report.names)} examples of {report.split} cannot be used; training then passes over them, and counts them'
            found.append(Suggestion({'on_bad_example': 'skip'}, reason))
    return found


class _Strays(NamedTuple):
    reason: str
    alternative: str


def _of_mistakes(config: DataConfig, mistakes: Sequence[int]) -> _Strays | None:
    """What to say of ids that are probably mistakes; None without any."""
    if not mistakes:
        return None
    several = len(mistakes) > 1
    reason = f'{"ids" if several else "id"} {_listed(mistakes)} in few files {"are" if several else "is"} probably a mistake'
    options = []
    if not config.label_remap:
        table = ','.join(f'{value}:{DONTCARE_ID}' for value in mistakes[:_MOST_SPARSE])
        if len(mistakes) <= _MOST_SPARSE and config.num_classes <= DONTCARE_ID:
            options.append(
                f'--label_remap={table}'
                + ('' if config.dontcare else ' --dontcare')
                + ' makes these pixels "unknown"'
            )
    if list(mistakes) == list(range(config.label_channels, config.label_channels + len(mistakes))):
        options.append(
            f'--num_classes={mistakes[-1] + 1} if {"they are classes" if several else "it is a class"}'
        )
    return _Strays(reason, '; or '.join(options))


def _incomplete(report: SplitReport, mended: frozenset[str]) -> int:
    """How many photographs, or lines of a listing, are no example."""
    kinds = collections.Counter(defect.kind for defect in report.defects)
    mended_maps = kinds[inspect.LOSSY] if inspect.LOSSY in mended else 0
    lines = (
        kinds['lines are listed twice']
        + kinds[LISTED_WITH_EXTENSION]
        + kinds['listed examples have no photograph']
    )
    return max(0, report.photographs - len(report.names) - mended_maps) + lines
