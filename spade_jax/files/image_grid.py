"""Tile images into a grid, write PNG files, and encode images for pages."""

import base64
import io
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from PIL import Image

from spade_jax.files.atomic_write import atomic_write

GAP = 4  # pixels between images
BACKGROUND = 255
LEGIBLE_SIZE = 128  # pixels; smaller images are enlarged

T = TypeVar('T')


def image_grid(
    panels: Sequence[np.ndarray], per_row: int = 2, most_wide: int | None = None
) -> np.ndarray:
    """Tile groups of images on white; small images are enlarged by an integer factor.

    Args:
      panels: What each group shows from left to right, each [N, H, W, 3] uint8: for example the
        label maps, the fake images and the real images of N examples.
      per_row: Groups in a row.
      most_wide: Wider images are scaled down to this width.

    Returns:
      [height, width, 3] uint8.
    """
    if most_wide and panels[0].shape[2] > most_wide:
        panels = [np.stack([_scaled_down(image, most_wide) for image in panel]) for panel in panels]
    factor = -(-LEGIBLE_SIZE // panels[0].shape[2])
    panels = [panel.repeat(factor, axis=1).repeat(factor, axis=2) for panel in panels]
    count, height, width, _ = panels[0].shape
    rows = -(-count // per_row)
    group = len(panels) * (width + GAP) + GAP  # one more gap between groups
    grid_size = rows * (height + GAP) - GAP, min(per_row, count) * group - 2 * GAP
    grid = np.full((*grid_size, 3), BACKGROUND, np.uint8)
    for i in range(count):
        top, left = i // per_row * (height + GAP), i % per_row * group
        for j, panel in enumerate(panels):
            x = left + j * (width + GAP)
            grid[top : top + height, x : x + width] = panel[i]
    return grid


def _scaled_down(image: np.ndarray, width: int) -> np.ndarray:
    height = max(1, round(width * image.shape[0] / image.shape[1]))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def evenly_spaced(items: Sequence[T], most: int) -> list[T]:
    """At most `most` items (two or more), the first and the last among them."""
    places = np.linspace(0, len(items) - 1, min(len(items), most))
    return [items[round(place)] for place in places]


def write_png(path: str, image: np.ndarray) -> None:
    """Write [H, W, 3] uint8 atomically."""
    with atomic_write(path) as partial:
        Image.fromarray(image).save(partial, format='PNG')


def data_url(image: Image.Image, most_wide: int | None = None) -> str:
    """The image as a data URL: PNG if that is small, else JPEG.

    Args:
      image: Of any mode.
      most_wide: Wider images are scaled down.
    """
    image = image.convert('RGB')
    image.thumbnail((most_wide or image.width, image.height), Image.Resampling.LANCZOS)
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, 'png', optimize=True)
    image.save(jpeg, 'jpeg', quality=88)
    kind, buffer = ('png', png) if png.tell() <= 1.5 * jpeg.tell() else ('jpeg', jpeg)
    return f'data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}'
