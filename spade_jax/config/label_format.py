"""What the values of a label map mean, as text: palettes (ids, names, colours) and tables that renumber ids.

A Config holds both as text, so that a checkpoint reads label maps as its training did, wherever the palette file went.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any, NamedTuple

from spade_jax.errors import UserError

LARGEST_ID = 65535
_COLOR = re.compile(r'#[0-9a-fA-F]{6}')
_MISTYPED_COLOR = {'colour', 'colors', 'colours', 'Color', 'Colour', 'rgb', 'RGB', 'hex'}
_REMAP_ENTRY = re.compile(r'(?P<first>\d+)(-(?P<last>\d+))?:(?P<to_first>\d+)(-(?P<to_last>\d+))?')


class LabelClass(NamedTuple):
    """One entry of a palette. color: '#rrggbb', lower case; None where the data set has none."""

    id: int
    name: str
    color: str | None


class Remap(NamedTuple):
    """A parsed table of `parse_remap`. targets: new id of each listed one; other: new id of all others, None where they stay."""

    targets: dict[int, int]
    other: int | None


def read_palette(path: str) -> str:
    """The text of a palette file for `Config.palette`.

    Args:
      path: JSON: {"classes": [...]} or the list alone, with {"name": ..., "color": "#rrggbb" or [r, g, b], "id": ...} for each class. Ids are optional, for all
        or none: by default they count from 0. Id 255 stands for "unknown", as does an entry "void" beside the list. Classes may share a colour, as long as no colour mask uses it.

    Raises:
      UserError: when the file cannot be read, lacks a name, or has one id twice.
    """
    try:
        with open(os.path.expanduser(path), encoding='utf-8') as file:
            content = json.load(file)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(
            f'palette={path} cannot be read ({getattr(error, "strerror", None) or error})',
            'give a JSON file with {"classes": [{"name": "sky", "color": "#80c0ff"}, ...]}',
        ) from error
    classes = [
        _label_class(entry, number, path) for number, entry in enumerate(_entries(content, path))
    ]
    seen: dict[int, str] = {}
    for label_class in classes:
        if label_class.id in seen:
            raise UserError(
                f'palette={path}: {seen[label_class.id]} and {label_class.name} have the same id {label_class.id}',
                'give each class its own',
            )
        seen[label_class.id] = label_class.name
    return json.dumps(sorted(classes), separators=(',', ':'))


def parse_palette(text: str) -> list[LabelClass]:
    """The classes of a text that `read_palette` made, in order of their ids. Raises UserError on any other text."""
    try:
        return [
            LabelClass(int(number), str(name), color if color is None else str(color))
            for number, name, color in json.loads(text)
        ]
    except (ValueError, TypeError) as error:
        raise UserError(
            f'palette={text[:60]} is not the text of a palette',
            'read the file with label_table.read_palette(path)',
        ) from error


def parse_remap(text: str) -> Remap:
    """A table that renumbers ids.

    Args:
      text: comma-separated entries: "7:0" one id, "1-12:0-11" a range moved, "1-6:255" a range to one id, "*:255" all that are not listed (without it they stay).

    Raises:
      UserError: on an entry of another form, a range of another length than its target, an id listed twice or above 65535.
    """
    targets: dict[int, int] = {}
    other = None
    for entry in filter(None, (part.strip() for part in text.split(','))):
        if entry.startswith('*:') and entry[2:].isdigit() and other is None:
            other = int(entry[2:])
            continue
        match = _REMAP_ENTRY.fullmatch(entry)
        if not match:
            raise UserError(
                f'label_remap: "{entry}" is not an entry',
                'write "7:0", "1-12:0-11", "1-6:255" or "*:255", separated by commas',
            )
        first, to_first = int(match['first']), int(match['to_first'])
        last, to_last = int(match['last'] or first), int(match['to_last'] or to_first)
        if (
            last < first
            or (match['to_last'] and to_last - to_first != last - first)
            or max(last, to_last) > LARGEST_ID
        ):
            raise UserError(
                f'label_remap: "{entry}" does not map a range to one of the same length within 0..{LARGEST_ID}',
                'write for example "1-12:0-11"',
            )
        for number in range(first, last + 1):
            if number in targets:
                raise UserError(
                    f'label_remap: id {number} is listed twice', 'remove one of the entries'
                )
            targets[number] = to_first + number - first if match['to_last'] else to_first
    if other is not None and other > LARGEST_ID:
        raise UserError(f'label_remap: "*:{other}" is above {LARGEST_ID}', 'use a smaller id')
    return Remap(targets, other)


def _entries(content: Any, path: str) -> list:
    entries = content.get('classes') if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f'palette={path} has no list "classes"',
            'give {"classes": [{"name": "sky", "color": "#80c0ff"}, ...]}',
        )
    void = content.get('void') if isinstance(content, dict) else None
    return (
        entries + [{'id': 255, 'name': 'void', **void}]
        if isinstance(void, dict) and 'color' in void
        else entries
    )


def _label_class(entry: Any, number: int, path: str) -> LabelClass:
    where = f'palette={path}, class {number}'
    if not isinstance(entry, dict) or not isinstance(entry.get('name'), str):
        raise UserError(
            f'{where}: {json.dumps(entry)[:60]} has no name',
            'write {"name": "sky", "color": "#80c0ff"}',
        )
    for wrong in _MISTYPED_COLOR & entry.keys() if 'color' not in entry else ():
        raise UserError(
            f'{where} ({entry["name"]}): "{wrong}" is not a key of a class', 'write "color"'
        )
    color = entry.get('color')
    if (
        isinstance(color, list)
        and len(color) == 3
        and all(isinstance(part, int) and 0 <= part <= 255 for part in color)
    ):
        color = '#{:02x}{:02x}{:02x}'.format(*color)
    if color is not None and not (isinstance(color, str) and _COLOR.fullmatch(color)):
        raise UserError(
            f'{where} ({entry["name"]}): {json.dumps(color)} is not a colour',
            'write "#rrggbb" or [r, g, b]',
        )
    class_id = entry.get('id', number)
    if not isinstance(class_id, int) or not 0 <= class_id <= LARGEST_ID:
        raise UserError(
            f'{where} ({entry["name"]}): {json.dumps(class_id)} is not an id',
            f'use a number in 0..{LARGEST_ID}',
        )
    return LabelClass(class_id, entry['name'], color and color.lower())
