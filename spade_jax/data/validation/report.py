"""The report of --mode=validate_data: everything that is wrong with a data set, at once, and the flags that would mend it."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.config.flags import format_flags
from spade_jax.config.label_format import LARGEST_ID, parse_palette
from spade_jax.data.files.palette import classes_of
from spade_jax.data.sources.pairing import Defect
from spade_jax.data.sources.source import SPLITS
from spade_jax.data.validation import inspect
from spade_jax.data.validation.contact_sheet import Section, contact_sheet, legend_of
from spade_jax.data.validation.inspect import SplitReport
from spade_jax.data.validation.suggestions import (
    Suggestion,
    command_line,
    counted_classes,
    merged,
    needed_flags,
    palette_file,
    prefixes,
    suffixes,
    suggestions,
    unused_file,
)
from spade_jax.errors import UserError
from spade_jax.files.image_grid import write_png

SHOWN_ON_THE_TERMINAL = 20
_EXAMPLES_SHOWN = 12
_BAR = 40  # characters
_SIZES_NAMED = 3
_VALUES_NAMED = 20
_REMEDIES_NAMED = 3
_OTHER_SHAPE = 1.5
_MODES_THAT_KEEP_SHAPES = (
    'scale_width',
    'scale_shortside',
    'none',
)  # Other shapes do not come out as the training size: they are defects.
_MANY_UNUSED = 0.5  # of the classes


@dataclasses.dataclass(frozen=True)
class Report:
    """What is told of a data set.

    Attributes:
      config: with which it was read: the one that was given, and the endings that it took for the pairing, and the classes that were counted.
      given: the flags that were given, by name.
      splits: what was found.
      suggestions: what to do about it.
      output_dir: absolute.
    """

    config: DataConfig
    given: Mapping[str, Any]
    splits: Sequence[SplitReport]
    suggestions: Sequence[Suggestion]
    output_dir: str

    @property
    def defects(self) -> list[Defect]:
        return [defect for split in self.splits for defect in split.defects]

    @property
    def warnings(self) -> list[Defect]:
        return [warning for split in self.splits for warning in split.warnings]

    @property
    def num_files(self) -> int:
        """How many files have defects."""
        return len({defect.path for defect in self.defects})

    @property
    def command(self) -> str:
        """The command line that looks again, with the flags that were given and suggested; or that trains, where all is well."""
        changes = merged(self.suggestions)
        if self.defects:
            return command_line(self.given, changes, mode='validate_data')
        given = {
            'workdir': f'runs/{self.config.dataset}',
            **{name: value for name, value in self.given.items() if name != 'output_dir'},
        }
        return command_line(given, changes | self.without_vgg19)

    @property
    def without_vgg19(self) -> dict[str, Any]:
        """The flag without which training refuses to begin, where there are no weights of VGG19."""
        return (
            {'perceptual_weight': 0}
            if self.config.perceptual_weight and not self.config.vgg19_weights
            else {}
        )


def validate(
    config: DataConfig,
    output_dir: str,
    *,
    given: Mapping[str, Any] | None = None,
    count_classes: bool = False,
) -> None:
    """Reads all files of all splits, prints what they are and what is wrong, and writes report.txt, report.json and contact_sheet.png.

    Args:
      config: of the training run that is planned.
      output_dir: for the report; report.txt, report.json and contact_sheet.png of an earlier one are replaced, no other file is.
      given: the flags that made the configuration, which the suggested command line repeats; None: those that would make it.
      count_classes: True where nobody has said how many classes there are: `config.num_classes` and `config.dontcare` then follow from the data.

    Raises:
      UserError: at the end, when there are defects that training would trip over.
    """
    output_dir = os.path.abspath(output_dir)
    os.makedirs(output_dir, exist_ok=True)
    report = examine_all(config, output_dir, given=given, count_classes=count_classes)
    _write_text(os.path.join(output_dir, 'report.txt'), '\n'.join(_lines(report)) + '\n')
    _write_text(
        os.path.join(output_dir, 'report.json'),
        json.dumps(as_json(report), indent=1, ensure_ascii=False) + '\n',
    )
    _write_files(report)
    print('\n'.join(_lines(report, most=SHOWN_ON_THE_TERMINAL)))
    sheet = write_contact_sheet(report)
    print(
        f'\nFull report:   {os.path.join(output_dir, "report.txt")} (and report.json)'
        + (f'\nContact sheet: {sheet}' if sheet else '')
    )
    if report.defects:
        raise UserError(
            f'{_count(len(report.defects), "defect")} in {_count(report.num_files, "file")} of the data set',
            f'the list is in {os.path.join(output_dir, "report.txt")}',
        )
    verdict = (
        f'No defects, but {_count(len(report.warnings), "warning")}, see above.'
        if report.warnings
        else 'The data are fine.'
    )
    print(f'\n{verdict} To train:\n  {report.command}')
    if report.without_vgg19:
        print('  (--perceptual_weight=0, because the perceptual loss needs --vgg19_weights=FILE)')


def examine_all(
    config: DataConfig,
    output_dir: str,
    *,
    given: Mapping[str, Any] | None = None,
    count_classes: bool = False,
) -> Report:
    """Looks at every split, in spite of anything that is wrong."""
    endings = suffixes(config) if inspect.reads_folders(config) else None
    beginnings = prefixes(config) if inspect.reads_folders(config) and not endings else None
    used = dataclasses.replace(config, **endings.changes) if endings else config
    counted: list[Suggestion] = []
    if count_classes:
        used, splits, counted = _examined_with_any_ids(used, given or {})
    else:
        splits = _examined(used)
    if endings:
        splits[0].defects.insert(
            0,
            Defect(
                inspect.NO_PAIRS,
                config.train_image_dir,
                endings.reason,
                'the rest of this report is as with the flags suggested below',
            ),
        )
    if len(splits) == 2:
        splits[1].warnings += inspect.in_both_splits(*splits)
    for split in splits:
        split.warnings += _other_shapes(split, used)
    if config.condition != 'rgb' and splits[0].pixels:
        splits[0].warnings += _unused_classes(splits[0], used)
    found = [*filter(None, [endings, beginnings]), *counted, *suggestions(used, splits, output_dir)]
    if beginnings:  # A list of what is left over would mend nothing.
        found = [beginnings, *counted]
    if given is None:
        path = (
            unused_file(
                os.path.join(output_dir, 'palette.json'),
                palette_file(parse_palette(config.palette)),
            )
            if config.palette
            else ''
        )
        given = needed_flags(config, path)
    return Report(used, given, splits, found, output_dir)


def _examined(config: DataConfig) -> list[SplitReport]:
    return [
        split for split in (inspect.examine(config, name) for name in SPLITS) if split is not None
    ]


def _examined_with_any_ids(
    config: DataConfig, given: Mapping[str, Any]
) -> tuple[DataConfig, list[SplitReport], list[Suggestion]]:
    """The classes are counted as the data are read, and only where some id is no class after all, the data are read once more."""
    splits = _examined(dataclasses.replace(config, num_classes=LARGEST_ID + 1, dontcare=False))
    counted = counted_classes(splits)
    if 'dontcare' in given:
        counted.pop('dontcare', None)
    config = dataclasses.replace(config, **{'num_classes': 1, **counted})
    if any(not inspect.is_class(value, config) for split in splits for value in split.pixels):
        splits = _examined(config)
    if not counted:
        return config, splits, []
    reason = f'the ids go up to {config.num_classes - 1}' + (
        ', and 255 stands for "unknown"' if counted.get('dontcare') else ''
    )
    return config, splits, [Suggestion(counted, reason)]


def _other_shapes(split: SplitReport, config: DataConfig) -> list[Defect]:
    """A warning where most pictures are stretched to another shape, or half of each is cut off."""
    if not split.sizes or config.preprocess_mode in _MODES_THAT_KEEP_SHAPES:
        return []
    ratios = np.repeat(
        [width / height for width, height in split.sizes], list(split.sizes.values())
    )
    median, wanted = float(np.median(ratios)), config.image_width / config.image_height
    if max(median / wanted, wanted / median) < _OTHER_SHAPE:
        return []
    what = (
        'stretched'
        if config.preprocess_mode in ('resize_and_crop', 'fixed')
        else 'cut off on two sides'
    )
    return [
        Defect(
            f'pictures have another shape than --aspect_ratio={config.aspect_ratio:.4g}',
            config.train_image_dir,
            f'width / height is {median:.3g} for most of them: they are {what}',
            f'set --aspect_ratio to about {median:.2g}, or choose another --preprocess_mode',
        )
    ]


def as_json(report: Report) -> dict[str, Any]:
    """All of the report as JSON values."""
    return {
        'splits': {
            split.split: {
                'photographs': split.photographs,
                'label_maps': split.label_maps,
                'examples': len(split.names),
                'sizes': [
                    {'width': width, 'height': height, 'examples': count}
                    for (width, height), count in sorted(split.sizes.items())
                ],
                'defects': _grouped_json(split.defects),
                'warnings': _grouped_json(split.warnings),
                'ids_out_of_range': [
                    {'id': value, **seen._asdict()}
                    for value, seen in sorted(split.out_of_range.items())
                ],
            }
            for split in report.splits
        },
        'classes': [
            {
                'id': number,
                'name': _name_of(number, report.config),
                **{split.split: _occurrence(split, number) for split in report.splits},
            }
            for number in _ids_that_occur(report)
        ],
        'suggestions': [
            {
                'flags': format_flags(suggestion.changes),
                'reason': suggestion.reason,
                'alternative': suggestion.alternative,
                'advice': suggestion.advice,
            }
            for suggestion in report.suggestions
        ],
        'command': report.command,
        'num_defects': len(report.defects),
        'num_files_with_defects': report.num_files,
    }


def write_contact_sheet(report: Report) -> str | None:
    """Writes contact_sheet.png and returns its path; None, and none of an earlier report, where there is nothing to show."""
    path = os.path.join(report.output_dir, 'contact_sheet.png')
    sections = [
        Section(f'{split.split}: {_count(len(split.names), "example")}', _examples(split))
        for split in report.splits
        if split.usable
    ]
    if not sections:
        if os.path.exists(path):
            os.remove(path)
        return None
    config = report.config
    title = config.dataset + (
        f'   {os.path.abspath(os.path.expanduser(config.data_dir))}' if config.data_dir else ''
    )
    if config.condition == 'rgb':
        sheet = contact_sheet(title, sections, [], None, frozenset())
    else:
        classes = classes_of(config)
        unknown = frozenset({DONTCARE_ID} if len(classes.names) <= DONTCARE_ID else ())
        total = max(1, sum(split.pixels.total() for split in report.splits))
        shares = [
            (number, sum(split.pixels[number] for split in report.splits) / total)
            for number in _ids_that_occur(report)
        ]
        sheet = contact_sheet(
            title,
            sections,
            legend_of(shares, classes.names, classes.colors, unknown),
            classes.colors,
            unknown,
        )
    write_png(path, np.asarray(sheet))
    return path


def _examples(split: SplitReport) -> list:
    """Twelve of the examples that can be shown, spread evenly."""
    count = min(_EXAMPLES_SHOWN, len(split.usable))
    numbers = [split.usable[place * len(split.usable) // count] for place in range(count)]
    return [(split.names[number], lambda number=number: split.read(number)) for number in numbers]


def _unused_classes(train: SplitReport, config: DataConfig) -> list[Defect]:
    unused = [number for number in range(config.num_classes) if not train.pixels[number]]
    if not unused:
        return []
    names = ', '.join(f'{number} {_name_of(number, config)}' for number in unused)
    remedy = 'the generator learns nothing of them'
    highest = max((number for number in train.pixels if number < config.num_classes), default=0)
    if (
        len(unused) >= _MANY_UNUSED * config.num_classes
        and config.dataset in ('folders', 'tfds')
        and not config.palette
        and highest + 1 < config.num_classes
    ):
        remedy += f'; --num_classes={highest + 1} is enough for the ids that occur'
    return [
        Defect(
            'classes never occur in train',
            config.train_label_dir,
            f'{len(unused)} of {config.num_classes}: {names}',
            remedy,
        )
    ]


# Text.


def _lines(report: Report, most: int | None = None) -> Iterator[str]:
    """The report, line by line, with at most `most` defects of a kind."""
    for split in report.splits:
        counts = (
            (split.photographs, 'photograph'),
            (split.label_maps, _map_name(report.config)),
            (len(split.names), 'complete pair'),
        )
        yield f'{split.split}: ' + ', '.join(_count(*count) for count in counts)
        if split.sizes:
            yield f'  sizes: {_sizes(split.sizes)}'
    if any(split.pixels for split in report.splits):
        yield from ['', 'Classes', *_histogram(report)]
    if report.defects:
        yield from ['', f'Defects: {len(report.defects)} in {_count(report.num_files, "file")}']
        for split in report.splits:
            yield from _groups(split, split.defects, most)
    if report.warnings:
        yield from ['', f'Warnings: {len(report.warnings)} (training runs in spite of them)']
        for split in report.splits:
            yield from _groups(split, split.warnings, most)
    if report.suggestions:
        yield from ['', 'Suggestions']
        for suggestion in report.suggestions:
            yield from _suggestion(suggestion)
    if report.defects:
        conditions = [', with all of these flags'] * bool(merged(report.suggestions)) + [
            ', when the files are mended'
        ] * any(not suggestion.changes for suggestion in report.suggestions)
        yield from ['', f'To look again{"".join(conditions)}:', f'  {report.command}']


def _suggestion(suggestion: Suggestion) -> Iterator[str]:
    yield f'  {" ".join(format_flags(suggestion.changes)) or suggestion.advice}'
    yield f'      {suggestion.reason}'
    if suggestion.alternative:
        yield f'      or: {suggestion.alternative}'


def _groups(split: SplitReport, found: Sequence[Defect], most: int | None) -> Iterator[str]:
    for kind, defects in _by_kind(found).items():
        yield f'  {split.split}: {kind}: {len(defects)}'
        if kind == inspect.OUT_OF_RANGE:
            values = sorted(split.out_of_range.items())
            yield from (
                f'      id {value}: {_count(seen.files, "file")}, {_count(seen.pixels, "pixel")}'
                for value, seen in values[: most and _VALUES_NAMED]
            )
            if most and len(values) > _VALUES_NAMED:
                yield f'      and {len(values) - _VALUES_NAMED} more ids up to {values[-1][0]}'
        yield from (
            f'    {_shortened(defect.problem) if most else defect.problem}'
            for defect in defects[:most]
        )
        if most and len(defects) > most:
            yield f'    and {len(defects) - most} more; all are in report.txt'
        remedies = list(dict.fromkeys(defect.remedy for defect in defects if defect.remedy))
        yield from (f'    -> {remedy}' for remedy in remedies[:_REMEDIES_NAMED])


def _shortened(text: str, width: int = 400) -> str:
    return text if len(text) <= width else f'{text[:width]} ...'


def _histogram(report: Report) -> Iterator[str]:
    """An aligned table: id, name, and for each split the share of the pixels and the number of pictures; with a bar for the first split."""
    splits = [split for split in report.splits if split.pixels]
    totals = [split.pixels.total() for split in splits]
    ids = _ids_that_occur(report)
    names = [_name_of(number, report.config) for number in ids]
    width = max(map(len, names + ['name']))
    yield f'  {"id":>5}  {"name":<{width}}' + ''.join(
        f'  {split.split + " pixels":>17}  {"pictures":>8}' for split in splits
    )
    largest = max(
        split.pixels[number] / total for split, total in zip(splits, totals) for number in ids
    )
    for number, name in zip(ids, names):
        shares = [split.pixels[number] / total for split, total in zip(splits, totals)]
        numbers = ''.join(
            f'  {f"{share:.2%}" if share else "-":>17}  {split.pictures[number] or "-":>8}'
            for split, share in zip(splits, shares)
        )
        yield f'  {number:>5}  {name:<{width}}{numbers}  {"#" * round(shares[0] / largest * _BAR)}'.rstrip()


def _occurrence(split: SplitReport, number: int) -> dict[str, Any]:
    return {
        'pixels': split.pixels[number],
        'share': split.pixels[number] / max(1, split.pixels.total()),
        'pictures': split.pictures[number],
    }


def _ids_that_occur(report: Report) -> list[int]:
    return sorted({number for split in report.splits for number in split.pixels})


def _name_of(number: int, config: DataConfig) -> str:
    if not inspect.is_class(number, config):
        return '(no class)'
    names = classes_of(config).names
    return names[number] if number < len(names) else 'unknown'


def _sizes(sizes: collections.Counter) -> str:
    if len(sizes) <= _SIZES_NAMED:
        return ', '.join(
            f'{width}x{height} ({count})' for (width, height), count in sizes.most_common()
        )
    widths, heights = zip(*sizes)
    (width, height), count = sizes.most_common(1)[0]
    return f'width {min(widths)} to {max(widths)}, height {min(heights)} to {max(heights)}; {len(sizes)} sizes, mostly {width}x{height} ({count})'


def _by_kind(defects: Sequence[Defect]) -> dict[str, list[Defect]]:
    groups: dict[str, list[Defect]] = {}
    for defect in defects:
        groups.setdefault(defect.kind, []).append(defect)
    return groups


def _grouped_json(defects: Sequence[Defect]) -> list[dict[str, Any]]:
    return [
        {
            'kind': kind,
            'count': len(group),
            'files': [
                {'path': defect.path, 'problem': defect.problem, 'remedy': defect.remedy}
                for defect in group
            ],
        }
        for kind, group in _by_kind(defects).items()
    ]


def _map_name(config: DataConfig) -> str:
    return 'condition picture' if config.condition == 'rgb' else 'label map'


def _count(number: int, noun: str) -> str:
    return f'{number:,} {noun}' + ('' if number == 1 else 's')


# Files.


def _write_files(report: Report) -> None:
    """What the flags of the suggestions and of the command line name. None of them has been there with another text, see `unused_file`."""
    path = report.given.get('palette', '')
    if path and os.path.dirname(path) == report.output_dir and not os.path.exists(path):
        _write_text(path, palette_file(parse_palette(report.config.palette)))
    for suggestion in report.suggestions:
        if suggestion.file:
            _write_text(*suggestion.file)


def _write_text(path: str, text: str) -> None:
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)
