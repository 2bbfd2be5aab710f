"""The report of --mode=validate_data: all findings on a data set and the flags that fix them."""

import collections
import contextlib
import dataclasses
import json
import math
import os
import pathlib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.config.label_format import LARGEST_ID
from spade_jax.config.option import aspect_ratio_text, command_line, format_flags, nearest_heights
from spade_jax.data.files.index_colors import IndexColors
from spade_jax.data.files.palette import classes_of
from spade_jax.data.sources.pairing import Defect
from spade_jax.data.sources.source import SPLITS
from spade_jax.data.validation import inspect
from spade_jax.data.validation import suggestions as suggest
from spade_jax.data.validation.contact_sheet import write_contact_sheet
from spade_jax.data.validation.example_report import OUT_OF_RANGE, is_class
from spade_jax.data.validation.inspect import SplitReport
from spade_jax.data.validation.suggestions import NO_PAIRS, Suggestion
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write

MOST_ON_TERMINAL = 20  # Findings of a kind.
_MOST_SIZES = _MOST_REMEDIES = 3
_MOST_NAMES = 12  # Of unused classes.
_BAR = 40  # characters
_OTHER_SHAPE = 1.25  # Ratio of two aspect ratios.
_MODES_THAT_KEEP_SHAPES = ('scale_width', 'scale_shortside', 'none')


class Validated(NamedTuple):
    """Data without defects: the configuration, with the counted classes, and their number."""

    config: DataConfig
    num_examples: int


def validate(
    config: DataConfig,
    output_dir: str,
    *,
    given: Mapping[str, Any],
    count_classes: bool = False,
    extra_flags: Sequence[str] = (),
    size_multiple: int = 32,
) -> Validated:
    """Read all files, print the findings, write report.txt, report.json and contact_sheet.png.

    Args:
      config: The data of the planned run.
      output_dir: Directory of the report; an earlier report is replaced, no other file.
      given: The given flags by name, which the printed command repeats.
      count_classes: True to set num_classes and dontcare from the data.
      extra_flags: Flags that the printed training command needs besides those of the data.
      size_multiple: What the model requires width and height to be multiples of.

    Returns:
      What the printed command trains on.

    Raises:
      UserError: At the end, if there are defects that training would stop at.
    """
    output_dir = os.path.abspath(output_dir)
    config, splits, suggestions = _inspect(config, output_dir, given if count_classes else None)
    for split in splits:
        split.warnings += _other_shapes(split, config, size_multiple, given)
    is_fine = not any(split.defects for split in splits)
    if is_fine and (shape := _nearer_shape(config, splits[0], size_multiple, given)):
        config = dataclasses.replace(config, **shape.changes)
        extra_flags = [flag for flag in extra_flags if _name_of(flag) not in shape.changes]
        suggestions.append(shape)
    report = _summarize(config, splits, suggestions, given, extra_flags)
    text, sheet = f'{output_dir}/report.txt', f'{output_dir}/contact_sheet.png'
    files = dict(suggestion.file for suggestion in suggestions if suggestion.file)
    files[text] = '\n'.join(_lines(report)) + '\n'
    files[f'{output_dir}/report.json'] = json.dumps(report, indent=1) + '\n'
    with contextlib.ExitStack() as stack:  # All files or none.
        for path, content in files.items():
            partial = pathlib.Path(stack.enter_context(atomic_write(path)))
            partial.write_text(content, encoding='utf-8', errors='surrogateescape')
        has_sheet = write_contact_sheet(sheet, config, splits)
    print('\n'.join(_lines(report, most=MOST_ON_TERMINAL)))
    print(f'\nFull report:   {text}', *[f'Contact sheet: {sheet}'] * has_sheet, sep='\n')
    if report['num_defects']:
        files = _count(report['num_files_with_defects'], 'file')
        problem = f'{_count(report["num_defects"], "defect")} in {files} of the data set'
        raise UserError(problem, f'the list is in {text}')
    warnings = _count(sum(len(split.warnings) for split in splits), 'warning')
    result = 'The data are fine.' if warnings == '0 warnings' else f'No defects, but {warnings}.'
    print(f'\n{result} To train:\n  {report["command"]}')
    return Validated(config, report['splits']['train']['examples'])


def _inspect(
    config: DataConfig, output_dir: str, given: Mapping[str, Any] | None
) -> tuple[DataConfig, list[SplitReport], list[Suggestion]]:
    """Inspect every split and suggest flags; count the classes that are not `given`, if not None.

    Returns the configuration with the endings and classes that were found.
    """
    splits: list[SplitReport] = []
    pairs = suggest.endings(config) if inspect.pairs_files(config) else None
    found = [pairs] if pairs else []
    config = dataclasses.replace(config, **suggest.merge_changes(found))
    if given is not None:
        any_ids = dataclasses.replace(config, num_classes=LARGEST_ID + 1, dontcare=False)
        splits = _inspect_splits(any_ids)
        config = dataclasses.replace(config, num_classes=1)
        if counted := suggest.count_classes(config, splits):
            free = {name: value for name, value in counted.changes.items() if name not in given}
            config = dataclasses.replace(config, **free)
            found.append(counted._replace(changes=free))
    if not splits or not all(is_class(id, config) for split in splits for id in split.pixels):
        splits = _inspect_splits(config)
    train = splits[0]
    if pairs:
        remedy = 'the rest of this report assumes the flags suggested below'
        train.defects.insert(0, Defect(NO_PAIRS, config.train_image_dir, pairs.reason, remedy))
    if len(splits) == 2:
        splits[1].warnings += inspect.find_duplicates(*splits)
    if config.uses_labels and train.pixels:
        train.warnings += _unused_classes(splits, config)
    return config, splits, [*found, *suggest.suggest(config, splits, output_dir)]


def _inspect_splits(config: DataConfig) -> list[SplitReport]:
    index_colors = IndexColors(config)
    reports = (inspect.inspect_split(config, split, index_colors) for split in SPLITS)
    return [report for report in reports if report]


def _other_shapes(
    split: SplitReport, config: DataConfig, multiple: int, given: Collection[str]
) -> list[Defect]:
    """A warning if most images are stretched to another shape or lose a fifth of it."""
    if not (ratio := _other_ratio(split, config)):
        return []
    stretches = config.preprocess_mode in ('resize_and_crop', 'fixed')
    kind = f'images have another shape than --aspect_ratio={config.aspect_ratio:.4g}'
    result = 'stretched' if stretches else 'cropped on two sides'
    problem = f'width / height is {ratio:.3g} for most of them: they are {result}'
    remedy = 'use a larger --crop_size'
    if flags := _shape_flags(config, ratio, multiple):
        shaped = dataclasses.replace(config, **flags)
        shape = aspect_ratio_text(shaped.image_width, shaped.image_height)
        flags.pop('aspect_ratio')
        remedy = f'use {" ".join([*format_flags(flags), f"--aspect_ratio={shape}"])}'
    if 'preprocess_mode' not in given:
        remedy += ', or choose another --preprocess_mode'
    return [Defect(kind, config.train_image_dir, problem, remedy)]


def _other_ratio(split: SplitReport, config: DataConfig) -> float | None:
    """Width / height of most images, if they do not keep it."""
    if not split.sizes or config.preprocess_mode in _MODES_THAT_KEEP_SHAPES:
        return None
    ratio = float(np.median([width / height for width, height in split.sizes.elements()]))
    wanted = config.image_width / config.image_height
    return ratio if max(ratio / wanted, wanted / ratio) >= _OTHER_SHAPE else None


def _nearer_shape(
    config: DataConfig, train: SplitReport, multiple: int, given: Collection[str]
) -> Suggestion | None:
    """The flags of a shape nearer to that of most images, unless one of them is given."""
    if not (ratio := _other_ratio(train, config)):
        return None
    flags = _shape_flags(config, ratio, multiple)
    if not flags or {*flags, 'preprocess_mode'} & {*given}:
        return None
    return Suggestion(f'width / height is {ratio:.3g} for most images', flags)


def _shape_flags(config: DataConfig, ratio: float, multiple: int) -> dict[str, Any]:
    """The legal size nearest in shape that is at most half as wide again; {} if none is nearer."""
    sizes, width = [(config.image_width, config.image_height)], config.image_width
    for wider in range(width, width * 3 // 2 + 1, multiple):
        sizes += [(wider, height) for height in nearest_heights(wider / ratio, multiple)]
    best = min(sizes, key=lambda size: abs(math.log(size[0] / size[1] / ratio)))
    if best == sizes[0]:
        return {}
    load_size = round(config.load_size * best[0] / width)
    size = dict(crop_size=best[0], load_size=load_size) if best[0] > width else {}
    return size | dict(aspect_ratio=float(f'{best[0] / best[1]:.4g}'))


def _name_of(flag: str) -> str:
    """'--crop_size=64' -> 'crop_size'."""
    return flag.removeprefix('--').partition('=')[0]


def _unused_classes(splits: Sequence[SplitReport], config: DataConfig) -> list[Defect]:
    train = splits[0]
    unused = [number for number in range(config.num_classes) if not train.pixels[number]]
    if not unused:
        return []
    listed = ', '.join(f'{number} {_class_name(number, config)}' for number in unused[:_MOST_NAMES])
    if len(unused) > _MOST_NAMES:
        listed += f' and {len(unused) - _MOST_NAMES} more'
    problem = f'{len(unused)} of {config.num_classes}: {listed}'
    remedy = 'the generator learns nothing about them'
    used = sorted({id for split in splits for id in split.pixels if id < config.num_classes})
    is_free = config.dataset in ('folders', 'tfds') and not config.palette
    if used and is_free and len(unused) * 2 >= config.num_classes:
        moved = [f'{old}:{new}' for new, old in enumerate(used) if old != new]
        remap = f' --label_remap={",".join(moved)}' if moved and not config.label_remap else ''
        number = len(used) if remap else used[-1] + 1
        if number != config.num_classes:
            remedy += f'; use --num_classes={number}{remap}'
    return [Defect('classes never occur in train', config.train_label_dir, problem, remedy)]


# The contents of report.json, from which the text is made.


def _summarize(
    config: DataConfig,
    splits: Sequence[SplitReport],
    suggestions: Sequence[Suggestion],
    given: Mapping[str, Any],
    extra_flags: Sequence[str],
) -> dict[str, Any]:
    defects = [defect for split in splits for defect in split.defects]
    ids = sorted({number for split in splits for number in split.pixels})
    flags = {name: value for name, value in given.items() if defects or name != 'output_dir'}
    first = {'mode': 'validate_data'} if defects else {'workdir': _workdir(config)}
    flags = first | flags | suggest.merge_changes(suggestions)
    extra_flags = () if defects else extra_flags
    classes = [{'id': number, 'name': _class_name(number, config)} for number in ids]
    for entry in classes:
        entry |= {split.split: _occurrence(split, entry['id']) for split in splits}
    return {
        'splits': {split.split: _summarize_split(split, config) for split in splits},
        'classes': classes,
        'suggestions': [
            dict(flags=format_flags(found.changes), reason=found.reason, advice=found.advice)
            for found in suggestions
        ],
        'command': command_line(flags, *extra_flags),
        'num_defects': len(defects),
        'num_files_with_defects': len({defect.path for defect in defects}),
    }


def _workdir(config: DataConfig) -> str:
    """A work directory for the run, called as the data set or the directory of one's own files."""
    name = config.dataset
    if name in ('folders', 'pairs'):
        own = config.data_dir or os.path.dirname(config.train_image_dir.rstrip('/'))
        name = re.sub(r'[^\w.-]+', '_', os.path.basename(os.path.abspath(own))) or name
    return f'runs/{name}'


def _summarize_split(split: SplitReport, config: DataConfig) -> dict[str, Any]:
    unknown = [number for number in sorted(split.pixels) if not is_class(number, config)]
    ids = [dict(id=id, files=split.images[id], pixels=split.pixels[id]) for id in unknown]
    sizes = [[*size, count] for size, count in split.sizes.most_common()]
    counts = dict(photos=split.photos, label_maps=split.label_maps, examples=len(split.names))
    counts |= dict(label_maps=0) if config.unconditional else {}
    findings = dict(defects=_group(split.defects), warnings=_group(split.warnings))
    return {**counts, 'sizes': sizes, **findings, 'ids_out_of_range': ids}


def _group(defects: Sequence[Defect]) -> list[dict[str, Any]]:
    groups = collections.defaultdict(list)
    for kind, path, problem, remedy in defects:
        groups[kind].append(dict(path=path, problem=problem, remedy=remedy))
    return [{'kind': kind, 'count': len(files), 'files': files} for kind, files in groups.items()]


def _occurrence(split: SplitReport, number: int) -> dict[str, Any]:
    pixels, total = split.pixels[number], max(1, split.pixels.total())
    return dict(pixels=pixels, share=pixels / total, images=split.images[number])


def _class_name(number: int, config: DataConfig) -> str:
    if not is_class(number, config):
        return '(no class)'
    names = classes_of(config).names
    return names[number] if number < len(names) else 'unknown'


def _lines(report: Mapping[str, Any], most: int | None = None) -> Iterator[str]:
    """The report as text, with at most `most` findings of a kind."""
    for name, split in report['splits'].items():
        if any(found['kind'] == inspect.NOT_OPENED for found in split['defects']):
            continue
        nouns = dict(photos='photo', label_maps='label map', examples='complete pair')
        if split['examples'] and not split['label_maps']:  # There is no condition.
            nouns = dict(photos='photo', examples='usable one')
        yield f'{name}: {", ".join(_count(split[key], noun) for key, noun in nouns.items())}'
        if split['sizes']:
            sizes = ['{}x{} ({})'.format(*size) for size in split['sizes']]
            sizes[_MOST_SIZES:] = ['...'] * (len(sizes) > _MOST_SIZES)
            yield f'  sizes: {", ".join(sizes)}'
    if report['classes']:
        yield from ['', 'Classes', *_table(report)]
    for what in ('defects', 'warnings'):
        if number := sum(g['count'] for split in report['splits'].values() for g in split[what]):
            yield from ['', f'{what.capitalize()}: {number}']
        for name, split in report['splits'].items():
            for group in split[what]:
                yield f'  {name}: {group["kind"]}: {group["count"]}'
                yield from _group_lines(group, split['ids_out_of_range'], most)
    yield from ['', 'Suggestions'] if report['suggestions'] else []
    for suggestion in report['suggestions']:
        yield f'  {" ".join(suggestion["flags"]) or "(no flag)"}'
        yield f'      {suggestion["reason"]}'
        yield from [f'      -> {suggestion["advice"]}'] if suggestion['advice'] else []
    if report['num_defects'] and report['suggestions']:
        yield from ['', 'To validate again, with the suggestions:', f'  {report["command"]}']


def _group_lines(
    group: Mapping[str, Any], ids: Sequence[Mapping[str, int]], most: int | None
) -> Iterator[str]:
    """The findings of a kind, and for ids that are not classes a summary by id."""
    if group['kind'] == OUT_OF_RANGE:
        for seen in ids[:most]:
            counts = _count(seen['files'], 'file'), _count(seen['pixels'], 'pixel')
            yield f'      id {seen["id"]}: {", ".join(counts)}'
        if most and len(ids) > most:
            yield f'      and {len(ids) - most} more ids up to {ids[-1]["id"]}'
    yield from (f'    {file["problem"]}' for file in group['files'][:most])
    if most and group['count'] > most:
        yield f'    and {group["count"] - most} more; all are in report.txt'
    remedies = dict.fromkeys(file['remedy'] for file in group['files'] if file['remedy'])
    yield from (f'    -> {remedy}' for remedy in [*remedies][:_MOST_REMEDIES])


def _table(report: Mapping[str, Any]) -> Iterator[str]:
    """The classes with their share of the pixels and number of images; a bar for train."""
    splits, classes = [*report['splits']], report['classes']
    width = max(len(entry['name']) for entry in [*classes, {'name': 'name'}])
    columns = ''.join(f'  {split + " pixels":>17}  {"images":>8}' for split in splits)
    yield f'  {"id":>5}  {"name":<{width}}{columns}'
    largest = max(entry[splits[0]]['share'] for entry in classes) or 1
    for entry in classes:
        columns = ''
        for split in splits:
            share = f'{entry[split]["share"]:.2%}' if entry[split]['share'] else '-'
            columns += f'  {share:>17}  {entry[split]["images"] or "-":>8}'
        bar = '#' * round(entry[splits[0]]['share'] / largest * _BAR)
        yield f'  {entry["id"]:>5}  {entry["name"]:<{width}}{columns}  {bar}'.rstrip()


def _count(number: int, noun: str) -> str:
    return f'{number:,} {noun}' + ('' if number == 1 else 's')
