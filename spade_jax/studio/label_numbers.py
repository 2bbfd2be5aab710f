"""The classes of a page, and how the files of the training number them."""

from typing import Any

from spade_jax.config.catalog import known_classes
from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.config.label_format import LARGEST_ID, Remap, parse_palette, parse_remap


def class_ids(config: DataConfig) -> list[int]:
    """Return the id of each label channel: its number; 255 for the one that is "unknown"."""
    ids = [*range(config.label_channels)]
    named = {entry.id for entry in known_classes(config)}
    if config.dontcare and config.num_classes not in named:  # ADE20K names its last channel.
        ids[-1] = DONTCARE_ID
    return ids


def file_values(config: DataConfig) -> list[dict[str, Any]]:
    """Return what an exported label map holds for each of `class_ids`, as JSON.

    Returns:
      `number`: The gray value that the model's reader turns into the id, by `label_remap`; None if
      no value becomes it. `mask`, where the files of the training are color masks: the color of the
      class in them, '#rrggbb' or 'transparent'; None if it has none of its own.
    """
    remap, colors = parse_remap(config.label_remap), _own_colors(config)
    return [
        {'number': _old_id(number, remap)}
        | ({'mask': colors.get(number)} if config.palette else {})
        for number in class_ids(config)
    ]


def _own_colors(config: DataConfig) -> dict[int, str]:
    """Return the first color of each id that is the color of no other id."""
    remap, ids = parse_remap(config.label_remap), {}
    for entry in parse_palette(config.palette) if config.palette else ():
        if entry.color:
            ids.setdefault(entry.color, set()).add(remap.new_id(entry.id))
    return {number: color for color, (number, *others) in reversed(ids.items()) if not others}


def _old_id(number: int, remap: Remap) -> int | None:
    """Return the id of a file that becomes `number`: a listed one, else itself."""
    if number == DONTCARE_ID == remap.new_id(DONTCARE_ID):
        return DONTCARE_ID
    if listed := [old for old, new in remap.targets.items() if new == number]:
        return min(listed)
    if remap.new_id(number) == number:
        return number
    unlisted = (old for old in range(LARGEST_ID + 1) if old not in remap.targets)
    return next(unlisted, None) if remap.other == number else None
