"""Classes of one table in another, by their names: GauGAN's materials in a model, and back.

Materials are found as `--palette=gaugan` finds them. Classes of other tables meet through the
materials: if "earth" is the same as GauGAN's "dirt", the "earth" of a file is a model's "dirt".
"""

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spade_jax.config.catalog import builtin_palette
from spade_jax.config.label_format import counterpart
from spade_jax.files.whole_file import read_file

_ENDING = re.compile(r'(-other|-stuff|s)+$')


class Match(NamedTuple):
    """A class of the model; `is_same` is false if it is only the nearest."""

    id: int
    is_same: bool


class Material(NamedTuple):
    """What a class of the model is in GauGAN; `name` and `color` are None if nothing is near."""

    name: str | None
    color: str | None
    is_same: bool


@functools.cache
def materials() -> list[Mapping[str, Any]]:
    """Return the 32 materials of GauGAN with their colors, in the order of their names."""
    return json.loads(read_file(builtin_palette('gaugan') or ''))['classes']


def match(name: str, names: Sequence[str]) -> Match | None:
    """Return which class of a model, whose classes have these `names`, a name stands for.

    Names that differ only in case, plural, or an ending "-other" or "-stuff" are the same if no
    name is found as it is written.
    """
    entries = [{'name': name}]
    entries += [entry for entry in materials() if entry['name'] == name]
    entries += [entry for entry in materials() if name in entry.get('same', ())]
    for spelling in (str, _stem):
        ids = {spelling(known): number for number, known in reversed([*enumerate(names)])}
        for entry in entries:
            spelled = {key: [*map(spelling, entry.get(key, ()))] for key in ('same', 'like')}
            if found := counterpart({'name': spelling(entry['name']), **spelled}, ids):
                return Match(ids[found.name], found.is_same)
    return None


def materials_of(names: Sequence[str]) -> list[Material]:
    """Return the material that each class of a model is in a GauGAN drawing."""
    found: list[Material] = [Material(None, None, False)] * len(names)
    matches = [(entry, match(entry['name'], names)) for entry in materials()]
    for entry, matched in matches:
        if matched is None:
            continue
        rank = _rank(entry['name'], matched.is_same, names[matched.id])
        before = found[matched.id]
        if before.name is None or rank < _rank(before.name, before.is_same, names[matched.id]):
            found[matched.id] = Material(entry['name'], entry['color'], matched.is_same)
    return found


def _rank(material: str, is_same: bool, name: str) -> tuple[bool, bool]:
    """Return what sorts materials of a class: of its very name first, then the same thing."""
    return material != name, not is_same


def _stem(name: str) -> str:
    return _ENDING.sub('', name.lower().replace('_', ' ').strip())
