"""What the values of a label map mean, as text: palettes, and tables that renumber ids.

A Config contains both as text, so that a checkpoint reads label maps like its training did, even if
the palette file is gone.
"""

import json
import os
import re
from collections.abc import Container, Iterable, Mapping
from typing import Any, NamedTuple

from spade_jax.errors import UserError, user_errors
from spade_jax.files.whole_file import read_file

LARGEST_ID = 65535
_VOID_ID = 255
TRANSPARENT = 'transparent'  # The color of pixels whose alpha is 0.
_COLOR = re.compile(rf'#[0-9a-fA-F]{{6}}|{TRANSPARENT}')
_MISTYPED_COLOR = {'colour', 'colours', 'Color', 'Colour', 'Colors', 'rgb', 'RGB', 'hex'}
_REMAP_ENTRY = re.compile(
    r'(?P<first>\d{1,9})(-(?P<last>\d{1,9}))?:(?P<to_first>\d{1,9})(-(?P<to_last>\d{1,9}))?'
)
_SURROGATE = re.compile('[\ud800-\udfff]')
_EXAMPLE = '{"name": "sky", "color": "#80c0ff"}'
_PALETTE_REMEDY = f'give a JSON file with {{"classes": [{_EXAMPLE}, ...]}}'


class LabelClass(NamedTuple):
    """One color of a palette: '#rrggbb' in lower case, 'transparent', or None.

    A class with several colors is several entries of one id and name.
    """

    id: int
    name: str
    color: str | None


class Counterpart(NamedTuple):
    """The name of a class of another table: of the same thing, or of what is nearest to it."""

    name: str
    is_same: bool


class Remap(NamedTuple):
    """The new id of each listed id (`targets`) and of all others (`other`, None: unchanged)."""

    targets: dict[int, int]
    other: int | None

    def new_id(self, old: int) -> int:
        return self.targets.get(old, old if self.other is None else self.other)


def read_palette(path: str) -> str:
    """Read a palette file as the text for `DataConfig.palette`.

    Args:
      path: JSON: {"classes": [...]} or the list alone, with {"name": ..., "color": "#rrggbb" or
        [r, g, b], "id": ...} for each class; "colors": [...] if it has several. Ids default to
        the index. Id 255 stands for "unknown", as does "void": {...} next to "classes". Classes may
        share a color that no color mask uses.

    Raises:
      UserError: The file cannot be read, lacks a name, or has an id with two names.
    """
    with user_errors(f'palette={path} cannot be read', _PALETTE_REMEDY):
        content = json.loads(read_file(os.path.expanduser(path)))  # Detects the encoding.
    content = content if isinstance(content, dict) else {'classes': content}
    entries, void = content.get('classes'), content.get('void')
    if not isinstance(entries, list) or not entries:
        raise UserError(f'palette={path} has no list "classes"', _PALETTE_REMEDY)
    if isinstance(void, dict) and 'color' in void:
        entries.append({'id': _VOID_ID, 'name': 'void', **void})
    classes: list[LabelClass] = []
    for index, entry in enumerate(entries):
        classes += _label_classes(entry, f'palette={path}, class {index}', index)
    names: dict[int, str] = {}
    for number, name, _ in classes:
        if names.setdefault(number, name) != name:
            problem = f'palette={path}: {names[number]} and {name} have the same id {number}'
            remedy = 'give each class its own id, or the colors of one class the same name'
            raise UserError(problem, remedy)
    return palette_text(classes)


def palette_text(classes: Iterable[LabelClass]) -> str:
    """Return the text for `DataConfig.palette`; the colors of a class keep their order."""
    by_id = sorted(dict.fromkeys(classes), key=lambda entry: entry.id)
    return json.dumps(by_id, separators=(',', ':'))


def by_names(path: str, ids: Mapping[str, int]) -> str:
    """Read a palette like `read_palette`, but with the `ids` of classes of these names; '' if none.

    A class of another name becomes its `counterpart`; without one, it is left out.
    """
    found = []
    for entry in json.loads(read_file(path))['classes']:
        if match := counterpart(entry, ids):
            found.append(LabelClass(ids[match.name], match.name, entry.get('color')))
    return palette_text(found) if found else ''


def counterpart(entry: Mapping[str, Any], names: Container[str]) -> Counterpart | None:
    """Return which of `names` stands for a class of a palette file; None if there is none.

    It is the name of the class, else the first of its lists "same" and "like".
    """
    same = [Counterpart(name, True) for name in (entry['name'], *entry.get('same', ()))]
    like = [Counterpart(name, False) for name in entry.get('like', ())]
    return next((found for found in same + like if found.name in names), None)


def parse_palette(text: str) -> list[LabelClass]:
    """Return the classes of a text from `read_palette`, by id; UserError for any other text."""
    try:
        return [
            LabelClass(int(number), str(name), color if color is None else str(color))
            for number, name, color in json.loads(text)
        ]
    except (ValueError, TypeError) as error:
        problem = f'palette={text[:60]} is not the text of a palette'
        raise UserError(problem, 'read the file with label_format.read_palette(path)') from error


def parse_remap(text: str) -> Remap:
    """Parse a table that renumbers ids.

    Args:
      text: Comma-separated: "7:0" one id, "1-12:0-11" a range, "1-6:255" a range to one id, "*:255"
        all that are not listed (default: unchanged).

    Raises:
      UserError: An entry has another form, ranges differ in length, an id is listed twice or
        exceeds 65535.
    """
    targets: dict[int, int] = {}
    other = None
    for entry in filter(None, map(str.strip, text.split(','))):
        if other is None and re.fullmatch(r'\*:\d{1,9}', entry):
            other = int(entry[2:])
            continue
        pairs = _remap_entry(entry)
        if twice := targets.keys() & pairs.keys():
            problem = f'label_remap: id {min(twice)} is listed twice'
            raise UserError(problem, 'remove one of the entries')
        targets |= pairs
    if other is not None and other > LARGEST_ID:
        raise UserError(f'label_remap: "*:{other}" is above {LARGEST_ID}', 'use a smaller id')
    return Remap(targets, other)


def _remap_entry(entry: str) -> dict[int, int]:
    """Return the new id of each id of an entry like '1-12:0-11'."""
    match = _REMAP_ENTRY.fullmatch(entry)
    if not match:
        remedy = 'write "7:0", "1-12:0-11", "1-6:255" or "*:255", separated by commas'
        raise UserError(f'label_remap: "{entry}" is not an entry', remedy)
    first, to_first = int(match['first']), int(match['to_first'])
    last, to_last = int(match['last'] or first), int(match['to_last'] or to_first)
    step = 1 if match['to_last'] else 0
    to_end = to_first + step * (last - first)
    if not (first <= last <= LARGEST_ID and to_last == to_end <= LARGEST_ID):
        rule = f'does not map a range to one of the same length within 0..{LARGEST_ID}'
        raise UserError(f'label_remap: "{entry}" {rule}', 'write for example "1-12:0-11"')
    return {number: to_first + step * (number - first) for number in range(first, last + 1)}


def _label_classes(entry: Any, where: str, index: int) -> list[LabelClass]:
    """Return the class of an entry, once for each of its colors."""
    if not isinstance(entry, dict) or not isinstance(entry.get('name'), str):
        raise UserError(f'{where}: {json.dumps(entry)[:60]} has no name', f'write {_EXAMPLE}')
    where = f'{where} ({entry["name"]})'
    if _SURROGATE.search(entry['name']):  # JSON can escape half a character.
        raise UserError(f'{where}: the name is not valid Unicode', 'write the file in UTF-8')
    mistyped = _MISTYPED_COLOR & entry.keys()
    if mistyped and not {'color', 'colors'} & entry.keys():
        raise UserError(f'{where}: "{min(mistyped)}" is not a key of a class', 'write "color"')
    class_id, colors = entry.get('id', index), entry.get('colors', entry.get('color'))
    if not _is_id(class_id, LARGEST_ID):
        problem = f'{where}: {json.dumps(class_id)} is not an id'
        raise UserError(problem, f'use a number in 0..{LARGEST_ID}')
    if not isinstance(colors, list) or all(isinstance(part, int) for part in colors):
        colors = [colors or None]
    return [LabelClass(class_id, entry['name'], _color(color, where)) for color in colors]


def _color(color: Any, where: str) -> str | None:
    """Return a color of a palette file as `LabelClass` has it."""
    if isinstance(color, list) and len(color) == 3 and all(_is_id(part, 255) for part in color):
        color = '#{:02x}{:02x}{:02x}'.format(*color)
    if color is not None and not (isinstance(color, str) and _COLOR.fullmatch(color)):
        problem = f'{where}: {json.dumps(color)} is not a color'
        raise UserError(problem, f'write "#rrggbb", [r, g, b] or "{TRANSPARENT}"')
    return color and color.lower()


def _is_id(value: Any, largest: int) -> bool:
    return isinstance(value, int) and 0 <= value <= largest
