"""The flags that would mend what an examination of a data set has found.

They are computed over all that was read, so that one suggestion covers every file, and they agree with one another: with all of them set, the same examination
finds nothing more of the kinds that they mend.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import functools
import itertools
import json
import os
import re
import shlex
from typing import Any, Iterator, Mapping, NamedTuple, Sequence

from spade_jax.config import CROPPING_MODES, DONTCARE_ID, Config
from spade_jax.data.catalog import CATALOG, builtin_palette, defaults_of
from spade_jax.data.image_files import ID_EXTENSIONS, PHOTO_EXTENSIONS
from spade_jax.data.paired_transforms import Geometry, crop_room
from spade_jax.data.sources.folders import folders_of
from spade_jax.data.sources.pairing import files_below, pair_files
from spade_jax.data.validation import examination
from spade_jax.data.validation.examination import SplitReport
from spade_jax.errors import UserError
from spade_jax.label_table import LARGEST_ID, LabelClass, parse_palette, read_palette

_MAP_KINDS = frozenset({examination.OUT_OF_RANGE, examination.COLOURED, examination.BEYOND_PALETTE, examination.UNUSABLE_IDS, examination.LOSSY})
_MOST_CLASSES_OF_COLORS = 255
_MOST_NEW_COLORS = 16
_LEAST_COLORS_OF_A_TABLE = 5
_SPARSE = 4  # So many times more ids than there are classes.
_MOST_SPARSE = 64
_SHARE_OF_MISTAKES = 0.2
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
    """

    changes: Mapping[str, Any]
    reason: str
    mends: frozenset[str] = frozenset()
    alternative: str = ''
    file: tuple[str, str] | None = None


def suggestions(config: Config, reports: Sequence[SplitReport], output_dir: str) -> list[Suggestion]:
    """What to change, and why.

    Args:
      config: what the data were read with.
      reports: of the splits.
      output_dir: absolute path of the directory for the files that flags name. They are not written here.
    """
    pictures = _as_pictures(config, reports)
    found = [pictures] if pictures else list(filter(None, [_classes(config, reports, output_dir)]))
    found += filter(None, [_geometry(config, reports), _instances(config, reports)])
    mended = frozenset(itertools.chain.from_iterable(suggestion.mends for suggestion in found))
    found += _without_defective_examples(config, reports, mended, output_dir)
    return found


def merged(found: Sequence[Suggestion]) -> dict[str, Any]:
    """The changes of all suggestions together."""
    return dict(collections.ChainMap(*(dict(suggestion.changes) for suggestion in reversed(found))))


def flags_of(changes: Mapping[str, Any]) -> list[str]:
    """['--num_classes=151', '--nodontcare', ...], as a shell would have them."""
    return [f'--{"" if value else "no"}{name}' if isinstance(value, bool) else shlex.quote(f'--{name}={value}') for name, value in changes.items()]


def command_line(config: Config, changes: Mapping[str, Any], palette_path: str, **first: str) -> str:
    """The program with the flags that this configuration needs.

    Args:
      config: the configuration.
      changes: flags that replace those of the configuration.
      palette_path: where the palette lies if it is not one of the package.
      first: flags that are none of the configuration, such as the mode.
    """
    wanted = dataclasses.asdict(config) | {'palette': palette_name(config, palette_path)} | dict(changes)
    defaults = dataclasses.asdict(Config()) | defaults_of(config.dataset, config.data_dir)
    if wanted['condition'] == 'rgb':
        without_classes = dict(palette='', label_remap='', dontcare=False)
        wanted, defaults = wanted | without_classes, defaults | without_classes
    needed = {name: value for name, value in wanted.items() if value != defaults[name]}
    if config.dataset not in CATALOG and wanted['condition'] != 'rgb':
        needed['num_classes'] = wanted['num_classes']  # which a palette would set otherwise
    data = {name: needed.pop(name) for name in ('dataset', 'data_dir') if name in needed}
    return ' '.join(['python -m spade_jax.main', *flags_of({**first, **data, **needed})])


def palette_name(config: Config, palette_path: str) -> str:
    """What --palette has to be: '', the name of a table of the package, or `palette_path`."""
    if not config.palette:
        return ''
    return next((name for name, text in _tables().items() if text == config.palette), palette_path)


def palette_file(classes: Sequence[LabelClass]) -> str:
    """The text of a palette file, one class a line."""
    entries = [json.dumps({'id': entry.id, 'name': entry.name, **({'color': entry.color} if entry.color else {})}, ensure_ascii=False) for entry in classes]
    return '{"classes": [\n  ' + ',\n  '.join(entries) + '\n]}\n'


# Pairing.

def suffixes(config: Config) -> Suggestion | None:
    """The constant endings by which the names of photographs and label maps differ; None where there are none, or something pairs without."""
    folders = folders_of(config, 'train')
    if folders.listing or _pairs(config) or not all(os.path.isdir(role.directory) for role in (folders.photo, folders.label)):
        return None
    try:
        photos = _stems(folders.photo.directory, PHOTO_EXTENSIONS)
        labels = _stems(folders.label.directory, PHOTO_EXTENSIONS | ID_EXTENSIONS)
    except UserError:
        return None
    best, best_score = None, (0, 0)
    for image_suffix, label_suffix in _common_endings(photos, labels):
        score = _pairs(dataclasses.replace(config, image_suffix=image_suffix, label_suffix=label_suffix)), _plausibility(image_suffix, label_suffix)
        if score > best_score:
            best, best_score = (image_suffix, label_suffix), score
    if best is None or best_score[0] * 2 < min(len(photos), len(labels)) and best_score[0] < len(photos):
        return None
    changes = {name: value for name, value in zip(('image_suffix', 'label_suffix'), best) if value != getattr(config, name)}
    what = ' and '.join(f'{role} in "{suffix}"' for role, suffix in zip(('those of the photographs end', 'those of the label maps end'), best) if suffix)
    return Suggestion(changes, f'nothing pairs, but the names agree up to their endings: {what}; {best_score[0]} pairs', frozenset({examination.NO_PAIRS}))


def _pairs(config: Config) -> int:
    """How many photographs have a partner, be it a lossy one."""
    try:
        pairing = pair_files(dataclasses.replace(folders_of(config, 'train'), instance=None))
    except UserError:
        return 0
    return len(pairing.files) + sum(defect.kind == examination.LOSSY for defect in pairing.defects)


def _stems(directory: str, extensions: frozenset[str]) -> list[str]:
    """Relative paths without extension, in order."""
    bases = (os.path.splitext(path) for path in files_below(directory))
    return sorted({os.path.relpath(base, directory).replace(os.sep, '/') for base, extension in bases if extension.lower() in extensions})


def _common_endings(photos: Sequence[str], labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of endings (of photographs, of label maps) that some names have after a common beginning; the frequent ones first."""
    votes: collections.Counter = collections.Counter()
    step = max(1, len(photos) // _NAMES_TRIED)
    for photo in photos[::step]:
        place = bisect.bisect_left(labels, photo)
        near = [label for label in labels[max(0, place - _NEIGHBOURS):place + _NEIGHBOURS] if label != photo]
        common = {label: len(os.path.commonprefix([photo, label])) for label in near}
        longest = max(common.values(), default=0)
        for label, length in common.items():
            if length == longest > 0:
                votes.update({(photo[cut:], label[cut:]) for cut in _cuts(photo, label, length) if '/' not in photo[cut:] + label[cut:]})
    yield from (endings for endings, _ in votes.most_common(_SUFFIXES_TRIED))


def _cuts(photo: str, label: str, length: int) -> set[int]:
    """Where the endings may begin: where the names part, or with the word in which they part ("_left" and "_label" have "_l" in common)."""
    separator = max(photo.rfind(character, 0, length) for character in _SEPARATORS)
    return {length} | ({separator} if separator > 0 and length not in (len(photo), len(label)) else set())


def _plausibility(image_suffix: str, label_suffix: str) -> int:
    begins_well = sum(not suffix or suffix[0] in _SEPARATORS for suffix in (image_suffix, label_suffix))
    return 1 + begins_well + 4 * bool(_LABEL_WORDS.search(label_suffix)) - 3 * bool(_OTHER_WORDS.search(label_suffix)) + (not image_suffix)


# Label maps.

def _as_pictures(config: Config, reports: Sequence[SplitReport]) -> Suggestion | None:
    """condition=rgb, where most label maps are pictures."""
    pictures, maps = sum(report.picture_maps for report in reports), sum(report.label_maps for report in reports)
    if config.condition == 'rgb' or not maps or pictures * 2 <= maps or config.dataset == 'scenes':
        return None
    changes = {'condition': 'rgb'}
    if config.dataset not in CATALOG:  # whose settings give way to condition=rgb
        changes |= {name: type(value)() for name in ('palette', 'label_remap', 'dontcare') if (value := getattr(config, name))}
    alternative = 'if they are meant to be maps of classes: make them anew as PNG, without smoothing' + (
        '; instance edges do not go together with pictures' if config.instance_edges else '')
    instance_kinds = {defect.kind for report in reports for defect in report.defects if 'instance map' in defect.kind}
    reason = f'{pictures} of {maps} label maps are photographs or stored like photographs: the generator can draw from such pictures as they are'
    return Suggestion(changes, reason, _MAP_KINDS | instance_kinds, alternative)


def _classes(config: Config, reports: Sequence[SplitReport], output_dir: str) -> Suggestion | None:
    """Palette, number and numbering of the classes."""
    palette = _palette(config, reports, output_dir)
    ids = _ids(config, reports)
    if palette is None or ids is None:
        return palette or ids
    if 'label_remap' in ids.changes:
        return palette  # which renumbers by itself: what the gray maps among the colour masks mean is to be seen then
    changes = {**ids.changes, **palette.changes}
    changes['num_classes'] = max(suggestion.changes.get('num_classes', 0) for suggestion in (palette, ids))
    return Suggestion(changes, f'{palette.reason}; {ids.reason}', palette.mends | ids.mends, palette.alternative, palette.file)


def _palette(config: Config, reports: Sequence[SplitReport], output_dir: str) -> Suggestion | None:
    """A palette with the colours that were found: a table of the package, or a draft."""
    colors: collections.Counter = sum((report.colors for report in reports), collections.Counter())
    classes = [entry for entry in parse_palette(config.palette)] if config.palette else []
    known = {entry.color for entry in classes}
    new = [color for color, _ in colors.most_common() if f'#{color:06x}' not in known]
    if not new or len(new) > (_MOST_NEW_COLORS if classes else _MOST_CLASSES_OF_COLORS):
        return None
    coloured = sum(defect.kind == examination.COLOURED for report in reports for defect in report.defects)
    if not classes and coloured * 2 < sum(report.label_maps for report in reports):
        return None  # The other maps hold ids; these few are mistakes.
    if not classes and (table := _table_with(set(new))):
        return Suggestion({'palette': table, **_number_of_classes(parse_palette(_tables()[table]))},
                          f'the label maps are colour masks, in the {len(new)} colours that are known as "{table}"', _MAP_KINDS)
    new.sort(key=lambda color: color != 0)  # Black is mostly "unknown", and comes first.
    first = max([entry.id for entry in classes if entry.id != DONTCARE_ID] + [-1]) + 1
    drafted = classes + [LabelClass(number, f'class {number}', f'#{color:06x}') for number, color in enumerate(new, start=first)]
    path = os.path.join(output_dir, 'palette.json')
    reason = f'{len(new)} colours are not in the palette' if classes else f'the label maps are colour masks of {len(new)} colours'
    reason += f'; {path} is a draft of a palette, where the names are to be filled in'
    return Suggestion({'palette': path, **_number_of_classes(drafted)}, reason, _MAP_KINDS, file=(path, palette_file(sorted(drafted))))


def _number_of_classes(classes: Sequence[LabelClass]) -> dict[str, Any]:
    unknown = any(entry.id == DONTCARE_ID for entry in classes)
    return {'num_classes': max(entry.id for entry in classes if entry.id != DONTCARE_ID) + 1, **({'dontcare': True} if unknown else {})}


@functools.cache
def _tables() -> dict[str, str]:
    """The palettes of the package by name, the small ones first."""
    directory = os.path.dirname(builtin_palette('gaugan'))
    tables = {name.removesuffix('.json'): read_palette(os.path.join(directory, name)) for name in sorted(os.listdir(directory)) if name.endswith('.json')}
    return dict(sorted(tables.items(), key=lambda item: len(item[1])))


def _table_with(colors: set[int]) -> str | None:
    """The smallest table of the package that has each of these colours once."""
    for name, text in _tables().items():
        counts = collections.Counter(int(entry.color[1:], 16) for entry in parse_palette(text) if entry.color)
        if len(colors) >= _LEAST_COLORS_OF_A_TABLE and all(counts[color] == 1 for color in colors):
            return name
    return None


def _ids(config: Config, reports: Sequence[SplitReport]) -> Suggestion | None:
    """Number and numbering of the classes, where ids are out of range."""
    suggestion = _ids_as_meant(config, reports)
    count = sum(defect.kind == examination.OUT_OF_RANGE for report in reports for defect in report.defects)
    if suggestion and suggestion.changes.keys() != {'dontcare'} and count < _SHARE_OF_MISTAKES * sum(report.label_maps for report in reports):
        mistakes = f'if these ids are mistakes: mend the {"file" if count == 1 else f"{count} files"}'
        return suggestion._replace(alternative='; '.join(filter(None, [suggestion.alternative, mistakes])))
    return suggestion


def _ids_as_meant(config: Config, reports: Sequence[SplitReport]) -> Suggestion | None:
    """As `_ids`, taking every id for what it says."""
    present = sorted({value for report in reports for value in report.pixels})
    wrong = [value for value in present if not examination.is_class(value, config)]
    if not wrong or present[0] < 0 or present[-1] > LARGEST_ID:
        return None
    has_names = bool(config.palette or config.dataset in CATALOG)  # The numbering has a meaning, and stays.
    may_renumber = not (has_names or config.label_remap)
    where = '; '.join(f'id {value} in {sum(report.out_of_range.get(value, (0,))[0] for report in reports)} label maps' for value in wrong[:3]) + (
        f'; {len(wrong) - 3} more' if len(wrong) > 3 else '')
    if may_renumber and (levels := _gray_levels(present)):
        return _renumbered(config, dict(levels), where, f'the ids {_listed(present)} are evenly spaced grays, {len(levels)} classes', unknown=False)
    unknown = DONTCARE_ID in present and DONTCARE_ID - 1 not in present and not (config.num_classes > DONTCARE_ID and not config.dontcare)
    ids = [value for value in present if not (unknown and value == DONTCARE_ID)]
    if may_renumber and ids:
        if _is_sparse(ids):
            return _renumbered(config, {value: number for number, value in enumerate(ids)}, where, f'{len(ids)} ids between {ids[0]} and {ids[-1]}', unknown)
        if ids[0] > 0 and ids[-1] >= config.num_classes and not (unknown and ids[-1] > DONTCARE_ID):
            moved = {value: value - ids[0] for value in range(ids[0], ids[-1] + 1)}
            return _renumbered(config, moved, where, f'the ids count from {ids[0]}, {"0 never occurs" if ids[0] == 1 else "the lower ones never occur"}', unknown)
    changes: dict[str, Any] = {}
    if ids and ids[-1] >= config.label_channels:
        changes['num_classes'] = ids[-1] + 1
    if unknown and not config.dontcare:
        changes['dontcare'] = True
    if changes.get('num_classes', config.num_classes) > DONTCARE_ID and changes.get('dontcare', config.dontcare):
        changes['dontcare'] = False  # 255 is a class then.
    return Suggestion(changes, where, frozenset({examination.OUT_OF_RANGE}))


def _renumbered(config: Config, targets: Mapping[int, int], where: str, reason: str, unknown: bool) -> Suggestion:
    count = max(targets.values()) + 1
    changes: dict[str, Any] = {'label_remap': remap_text(targets)}
    if count != config.num_classes:
        changes['num_classes'] = count
    if unknown != config.dontcare and (unknown or count > DONTCARE_ID):
        changes['dontcare'] = unknown
    largest = max(targets)
    keep = f'--num_classes={largest + 1}' + (' --dontcare' if unknown and not config.dontcare else '')
    alternative = f'{keep} keeps the ids as they are and leaves the others unused' if largest < DONTCARE_ID or not unknown else ''
    return Suggestion(changes, f'{reason} ({where})', frozenset({examination.OUT_OF_RANGE}), alternative)


def remap_text(targets: Mapping[int, int]) -> str:
    """A table for --label_remap, without the ids that stay: {1: 0, 2: 1, 3: 2, 7: 9} -> "1-3:0-2,7:9"."""
    entries: list[list[int]] = []  # [first, last, target of the first]
    for source, target in sorted(targets.items()):
        if entries and source == entries[-1][1] + 1 and target - source == entries[-1][2] - entries[-1][0]:
            entries[-1][1] = source
        elif source != target:
            entries.append([source, source, target])
    return ','.join(f'{first}:{target}' if first == last else f'{first}-{last}:{target}-{target + last - first}'
                    for first, last, target in entries)


def _gray_levels(present: Sequence[int]) -> list[tuple[int, int]]:
    """[(0, 0), (127, 1), (255, 2)]: the classes of a map that was drawn to be looked at, in evenly spaced grays up to white; nothing for other ids."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(present)]
    even = gaps and present[0] == 0 and present[-1] == 255 and max(gaps) - min(gaps) <= 1 and min(gaps) > 1
    return list(zip(present, range(len(present)))) if even else []


def _is_sparse(ids: Sequence[int]) -> bool:
    return len(ids) <= _MOST_SPARSE and ids[-1] - ids[0] + 1 > _SPARSE * len(ids) or ids[-1] > 1000 and len(ids) <= 255


def _listed(values: Sequence[int]) -> str:
    return ', '.join(map(str, values[:8])) + (', ...' if len(values) > 8 else '')


# Sizes.

def _geometry(config: Config, reports: Sequence[SplitReport]) -> Suggestion | None:
    """How every picture can be brought to the training size."""
    sizes = sorted({size for report in reports for size in report.sizes})
    misfits = [size for size in sizes if not _fits(config, size)]
    if not misfits or not any(defect.kind == examination.MISFITS for report in reports for defect in report.defects):
        return None
    count = sum(report.sizes[size] for report in reports for size in misfits)
    width, height = min(misfits, key=min)
    reason = (f'{count} pictures, of {width}x{height} for example, do not come out as {config.image_width}x{config.image_height} '
              f'with --preprocess_mode={config.preprocess_mode}')
    changes = _mending_changes(config, misfits)
    alternative = '--preprocess_mode=resize_and_crop takes pictures of any size' if 'load_size' in changes else ''
    return Suggestion(changes, reason, frozenset({examination.MISFITS}), alternative)


def _mending_changes(config: Config, misfits: Sequence[tuple[int, int]]) -> dict[str, Any]:
    if config.preprocess_mode not in CROPPING_MODES:
        return {'preprocess_mode': 'fixed'}
    if config.preprocess_mode.startswith('scale_') and (load_size := _least_load_size(config, misfits)):
        return {'load_size': load_size}
    return {'preprocess_mode': 'resize_and_crop', **({'load_size': config.crop_size} if config.load_size < config.crop_size else {})}


def _least_load_size(config: Config, sizes: Sequence[tuple[int, int]]) -> int | None:
    """The least load_size, up to twice that of the configuration, at which all pictures hold the crop."""
    candidates = range(config.load_size, 2 * config.load_size + 1)
    place = bisect.bisect_left(candidates, True, key=lambda load_size: all(_fits(dataclasses.replace(config, load_size=load_size), size) for size in sizes))
    return candidates[place] if place < len(candidates) else None


def _fits(config: Config, size: tuple[int, int]) -> bool:
    try:
        crop_room(Geometry.from_config(config), *size)
    except UserError:
        return False
    return True


# Instance maps, and examples to leave out.

def _instances(config: Config, reports: Sequence[SplitReport]) -> Suggestion | None:
    """condition=labels, where there are no instance maps at all."""
    if not config.instance_edges or not any(defect.kind == examination.NO_INSTANCES for report in reports for defect in report.defects):
        return None
    kinds = frozenset(defect.kind for report in reports for defect in report.defects if 'instance map' in defect.kind)
    return Suggestion({'condition': 'labels'}, 'there are no instance maps', kinds)


def _without_defective_examples(config: Config, reports: Sequence[SplitReport], mended: frozenset[str], output_dir: str) -> list[Suggestion]:
    """Lists of the examples that are as they should be, where most are; or to skip the others, where the source takes no lists."""
    reads_lists = examination.reads_folders(config) or config.dataset == 'celebamask_hq' and not config.records_dir
    found = []
    for report in reports:
        bad = {name for name, kinds in report.defective.items() if kinds - mended}
        lacking = _incomplete(report, mended)
        good = [name for name in report.names if name not in bad]
        if not bad and not lacking or not good or len(good) < max(len(bad), lacking):
            continue
        if reads_lists:
            path = os.path.join(output_dir, f'{report.split}_list.txt')
            reason = f'{path} lists the {len(good)} examples of {report.split} that can be used, without the {len(bad) + lacking} others'
            alternative = '--on_bad_example=skip: training passes over the files that are bad, and this report still names them' if bad and not lacking else ''
            found.append(Suggestion({f'{report.split}_list': path}, reason, alternative=alternative, file=(path, '\n'.join(good) + '\n')))
        elif config.on_bad_example == 'error':
            reason = f'{len(bad)} of {len(report.names)} examples of {report.split} cannot be used; training then passes over them, and counts them'
            found.append(Suggestion({'on_bad_example': 'skip'}, reason))
    return found


def _incomplete(report: SplitReport, mended: frozenset[str]) -> int:
    """How many photographs, or lines of a listing, are no example."""
    kinds = collections.Counter(defect.kind for defect in report.defects)
    mended_maps = kinds[examination.LOSSY] if examination.LOSSY in mended else 0
    lines = kinds['lines are listed twice'] + kinds['listed examples have no photograph']
    return max(0, report.photographs - len(report.names) - mended_maps) + lines
