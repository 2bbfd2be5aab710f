"""Which classes of a model the colors and numbers of a file may be."""

import collections
from typing import NamedTuple

import numpy as np

from spade_jax.config.catalog import builtin_classes, builtin_palettes, known_classes
from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.config.label_format import LabelClass
from spade_jax.data.files.label_reader import LabelReader, check_label_ids
from spade_jax.data.files.palette import classes_of, color_code, color_text, nearest_colors
from spade_jax.errors import UserError
from spade_jax.studio.correspondences import match
from spade_jax.studio.label_numbers import class_ids

# What a file can be taken for, besides the tables of the package by name.
AUTO, IDS, OWN, GAUGAN = 'auto', 'ids', 'model', 'gaugan'
SAME, NEAR, UNKNOWN = 'same', 'nearest', 'unknown'
_COCO_STUFF = 'coco_stuff'


class Proposal(NamedTuple):
    """What a color or number of a file may be.

    Attributes:
      value: '#rrggbb', 'transparent' or a number.
      kind: 'same': this class is meant; 'nearest': the class of another table, which the model
        lacks; 'unknown': the table has no such color or number.
      id: The proposed class of the model; None if there is none to propose.
      name: The class in the table, of an unknown color the nearest one; None if there is none.
      distance: Of an unknown color from that class: the largest difference in red, green or blue.
      first_byte: Of an unknown color of a GauGAN drawing: the COCO-Stuff class with the number of
        its first byte, which is how GauGAN chose its colors.
    """

    value: str
    kind: str
    id: int | None
    name: str | None
    distance: int = 0
    first_byte: str | None = None


def take_as_choices() -> list[str]:
    """Return all that a file can be taken for."""
    return [AUTO, IDS, OWN, *builtin_palettes()]


def page_ids(ids: np.ndarray, data: DataConfig) -> np.ndarray:
    """Return ids as `class_ids` has them: files may call the last channel 255 or by its number."""
    if not data.dontcare:
        return ids
    return np.where((ids == DONTCARE_ID) | (ids == data.num_classes), class_ids(data)[-1], ids)


class Proposals:
    """Proposes classes of one model."""

    def __init__(self, data: DataConfig):
        self._data, self._names = data, classes_of(data).names
        self._ids = class_ids(data)

    def of_ids(self, ids: np.ndarray) -> list[Proposal]:
        """Return the classes of ids [N] of the model."""
        return [self._own(str(number), int(number)) for number in ids]

    def of_numbers(self, numbers: np.ndarray) -> list[Proposal]:
        """Return what the numbers [N] of a gray file become as `label_remap` says."""
        reader, found = LabelReader(self._data), []
        for number in numbers:
            try:
                ids = reader.renumber(np.array([[number]]), '')
                check_label_ids(ids, self._data, '')
                found.append(self._own(str(number), int(page_ids(ids, self._data)[0, 0])))
            except UserError:
                found.append(Proposal(str(number), UNKNOWN, None, None))
        return found

    def of_colors(self, codes: np.ndarray, table: str) -> list[Proposal]:
        """Return the classes of `color_codes` [N] in a table.

        Raises:
          UserError: The table has no colors.
        """
        classes = self._colored(table)
        if not classes:
            problem = f'as={table}: this table has no colors'
            raise UserError(problem, 'take the file for something else')
        known = {color_code(entry.color or ''): entry for entry in reversed(classes)}
        nearest, distances = nearest_colors(classes, codes)
        first_bytes = collections.Counter(int(code) >> 16 for code in codes)
        found = []
        for code, place, distance in zip(map(int, codes), nearest, distances, strict=True):
            if code in known:
                found.append(self._of_table(table, known[code]))
                continue
            if distance > 255:  # Transparent pixels are near no color.
                found.append(Proposal(color_text(code), UNKNOWN, None, None))
                continue
            near = self._of_table(table, classes[place])._replace(kind=UNKNOWN)
            near = near._replace(value=color_text(code), distance=int(distance))
            is_alone = first_bytes[code >> 16] == 1
            found.append(
                self._by_first_byte(near, code >> 16, is_alone) if table == GAUGAN else near
            )
        return found

    def best_table(self, codes: np.ndarray, counts: np.ndarray) -> tuple[str, int, float]:
        """Return the table that has the colors of most pixels; how many colors, and their share."""
        sizes = {name: len(builtin_classes(name)) for name in builtin_palettes()}
        best = OWN, 0, 0.0
        for table in (OWN, GAUGAN, *sorted(sizes, key=lambda name: sizes[name])):
            colors = [color_code(entry.color or '') for entry in self._colored(table)]
            known = np.isin(codes, colors)
            share = float(counts[known].sum() / counts.sum())
            if share > best[2]:
                best = table, int(known.sum()), share
        return best

    def has_table(self) -> bool:
        """Return whether the model's own colors are known, not only made up for display."""
        return bool(known_classes(self._data))

    def _colored(self, table: str) -> list[LabelClass]:
        """Return the classes of a table that have a color."""
        if table != OWN:
            return [entry for entry in builtin_classes(table) if entry.color]
        if known := [entry for entry in known_classes(self._data) if entry.color]:
            return known
        made_up = zip(self._ids, classes_of(self._data).colors, strict=True)
        return [LabelClass(i, '', '#{:02x}{:02x}{:02x}'.format(*color)) for i, color in made_up]

    def _own(self, value: str, number: int) -> Proposal:
        return Proposal(value, SAME, number, self._names[self._ids.index(number)])

    def _of_table(self, table: str, entry: LabelClass) -> Proposal:
        color = entry.color or ''
        if table == OWN:
            return self._own(color, int(page_ids(np.array(entry.id), self._data)))
        if (found := match(entry.name, self._names)) is None:
            return Proposal(color, NEAR, None, entry.name)
        return Proposal(color, SAME if found.is_same else NEAR, self._ids[found.id], entry.name)

    def _by_first_byte(self, near: Proposal, number: int, is_alone: bool) -> Proposal:
        """Add the COCO-Stuff class of a color; for COCO-Stuff itself, propose it.

        Several colors with one first byte are blends of others, which say nothing.
        """
        classes = builtin_classes(_COCO_STUFF)
        if number >= len(classes):
            return near
        name = classes[number].name
        if is_alone and self._data.dataset == _COCO_STUFF and name in self._names:
            near = near._replace(id=self._ids[self._names.index(name)])
        return near._replace(first_byte=name)
