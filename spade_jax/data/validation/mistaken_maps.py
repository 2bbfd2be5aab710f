"""Pictures in the place of label maps that no flag makes into label maps: smoothed masks, and the photographs themselves."""

from __future__ import annotations

import collections
import os
from collections.abc import Mapping

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import ID_EXTENSIONS, PHOTO_EXTENSIONS
from spade_jax.data.sources.folders import folders_of
from spade_jax.data.sources.pairing import Role, files_below
from spade_jax.data.validation.inspect import looks_like_mask, looks_like_photo
from spade_jax.errors import UserError

_SHARE_OF_MAIN_COLORS = 0.8  # of the pixels of a mask: its large areas, without their borders
_MOST_MAIN_COLORS = 32
_MOST_BLENDS_LOOKED_AT = 512
_LEAST_BLENDS = 4
_NEAR = 6.0  # steps of 0..255
_GRAYS_OF_A_SMOOTHED_MAP = 24
_MOST_GRAYS_OF_IDS = 64
_BLENDS_PER_MAIN_GRAY = 8
_FILES_LOOKED_AT = 8


def are_smoothed_colors(colors: Mapping[int, int]) -> bool:
    """True where most colours are rare and lie between two of those that cover nearly everything, as at the borders of a mask that was scaled or drawn smoothly.

    Args:
      colors: number of pixels of each colour, 0xrrggbb.
    """
    main, rest = _main_and_rest(colors)
    if all(
        color >> 16 == color >> 8 & 255 == color & 255 for color in colors
    ):  # All grays lie between others, those of ids too.
        return len(colors) > _MOST_GRAYS_OF_IDS and len(rest) > _BLENDS_PER_MAIN_GRAY * len(main)
    rest = rest[:_MOST_BLENDS_LOOKED_AT]
    if len(main) < 2 or len(rest) < max(_LEAST_BLENDS, len(main)):
        return False
    points, ends = (
        np.array([(color >> 16, color >> 8 & 255, color & 255) for color in some], np.float32)
        for some in (rest, main)
    )
    between = np.zeros(len(points), bool)
    for number, start in enumerate(ends):
        directions = ends[number + 1 :] - start  # [E, 3]
        if not len(directions):
            continue
        along = np.clip((points - start) @ directions.T / (directions**2).sum(-1), 0, 1)  # [P, E]
        nearest = start + along[..., None] * directions  # [P, E, 3]
        between |= (np.linalg.norm(points[:, None] - nearest, axis=-1) < _NEAR).any(-1)
    return bool(between.mean() > 0.5)


def are_smoothed_grays(pixels: Mapping[int, int], pictures: Mapping[int, int]) -> bool:
    """As `are_smoothed_colors`, of ids: where a picture has dozens of them, and a few cover nearly everything.

    Args:
      pixels, pictures: by id, the number of pixels that have it and of pictures where it occurs.
    """
    if not pixels or max(pixels) > 255:
        return False
    main, rest = _main_and_rest(pixels)
    a_picture = sum(pictures.values()) / max(pictures.values())
    return (
        a_picture >= _GRAYS_OF_A_SMOOTHED_MAP
        and len(rest) >= 3 * len(main)
        and len(main) <= _GRAYS_OF_A_SMOOTHED_MAP // 3
    )


def swapped_directories(config: DataConfig) -> dict[str, str]:
    """The flags that exchange the directories of photographs and label maps, where some files of each look like the other; else none."""
    if config.dataset != 'folders' or config.records_dir:
        return {}
    folders = folders_of(config, 'train')
    photos, labels = (
        _some_files(folders.photo, ID_EXTENSIONS),
        _some_files(folders.label, PHOTO_EXTENSIONS),
    )
    if not (
        photos
        and labels
        and all(map(looks_like_mask, photos))
        and all(map(looks_like_photo, labels))
    ):
        return {}
    pairs = [
        ('train_image_dir', 'train_label_dir'),
        ('image_suffix', 'label_suffix'),
        ('validation_image_dir', 'validation_label_dir'),
    ]
    values = {name: getattr(config, name) for pair in pairs for name in pair}
    exchanged = {
        name: values[other]
        for one, two in pairs
        for name, other in ((one, two), (two, one))
        if values[one] != values[two]
    }
    if not os.path.isdir(
        os.path.join(os.path.expanduser(config.data_dir), config.validation_image_dir)
    ):
        exchanged = {
            name: value for name, value in exchanged.items() if not name.startswith('validation_')
        }
    return exchanged


def _main_and_rest(counts: Mapping[int, int]) -> tuple[list[int], list[int]]:
    """The values that together make up most of the pixels, and all others; the frequent ones first."""
    ordered = collections.Counter(counts).most_common()
    needed, main = _SHARE_OF_MAIN_COLORS * sum(counts.values()), []
    while ordered[len(main) :] and needed > 0 and len(main) < _MOST_MAIN_COLORS:
        value, count = ordered[len(main)]
        main.append(value)
        needed -= count
    return main, [value for value, _ in ordered[len(main) :]]


def _some_files(role: Role, extensions: frozenset[str]) -> list[str]:
    """Files of a role, spread evenly; none where one of them has another extension."""
    try:
        paths = [
            path
            for path in files_below(role.directory)
            if os.path.splitext(path)[0].endswith(role.suffix)
        ]
    except UserError:
        return []
    if not all(os.path.splitext(path)[1].lower() in extensions for path in paths):
        return []
    return [
        paths[number * len(paths) // _FILES_LOOKED_AT]
        for number in range(min(len(paths), _FILES_LOOKED_AT))
    ]
