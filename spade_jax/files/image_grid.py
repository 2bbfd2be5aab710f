"""Pictures side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from spade_jax.files.atomic_write import atomic_write

GAP = 4  # pixels between pictures
BACKGROUND = 255
LEGIBLE = 128  # pixels; smaller pictures are enlarged


def image_grid(columns: Sequence[np.ndarray], per_row: int = 2) -> np.ndarray:
    """Groups of pictures that belong together, `per_row` groups a row; small pictures are enlarged by a whole factor.

    Args:
      columns: what each group shows from left to right, each [N, H, W, 3] uint8: for example label maps, generated pictures, photographs.
      per_row: groups beside one another.

    Returns:
      [height, width, 3] uint8 on white.
    """
    factor = -(-LEGIBLE // columns[0].shape[2])
    columns = [column.repeat(factor, axis=1).repeat(factor, axis=2) for column in columns]
    count, height, width, _ = columns[0].shape
    rows = -(-count // per_row)
    group = len(columns) * (width + GAP) + GAP  # one more gap between groups
    grid = np.full(
        (rows * (height + GAP) - GAP, min(per_row, count) * group - 2 * GAP, 3),
        BACKGROUND,
        np.uint8,
    )
    for i in range(count):
        top, left = i // per_row * (height + GAP), i % per_row * group
        for j, column in enumerate(columns):
            x = left + j * (width + GAP)
            grid[top : top + height, x : x + width] = column[i]
    return grid


def evenly_spaced(items: Sequence, most: int) -> list:
    """At most `most` items (two or more), the first and the last among them: which pictures to show of many."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def write_png(path: str, image: np.ndarray) -> None:
    """Writes [H, W, 3] uint8; a reader never sees half a file."""
    with atomic_write(path) as partial:
        Image.fromarray(image).save(partial, format='PNG')
