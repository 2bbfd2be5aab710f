"""A page and a contact sheet that show label maps, samples and photos side by side."""

from __future__ import annotations

import html
import os
import urllib.parse

import numpy as np
from PIL import Image

from spade_jax.config.config import Config
from spade_jax.data.files.label_maps import LabelMaps
from spade_jax.data.files.palette import classes_of, colorize_input
from spade_jax.data.pipeline.paired_transforms import resize_image
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.html_page import GENERATOR, html_page
from spade_jax.files.image_grid import BACKGROUND, evenly_spaced, image_grid, write_png
from spade_jax.sampling.sample_files import SampledMap

SHEET, PAGE, DIRECTORY = 'contact_sheet.png', 'index.html', 'gallery'
# Limits of the contact sheet.
MAX_MAPS, MAX_SAMPLES, MAX_COLUMNS, MAX_TILE_SIZE = 24, 8, 10, 256
_STYLE = """
body { max-width: 1400px; }
section { border-top: 1px solid var(--line); padding: .5rem 0 1rem; }
h2 { font-size: 1rem; font-weight: 600; margin: .25rem 0; overflow-wrap: anywhere; }
.row { display: flex; gap: .5rem; overflow-x: auto; }
figure { margin: 0; flex: 0 1 256px; min-width: 112px; } figcaption { font-size: .8rem; }
img { display: block; height: auto; width: 100%; background: var(--line); }
img.label { image-rendering: pixelated; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; list-style: none; }
.legend i { display: inline-block; width: 1em; height: 1em; margin-right: .4em;
  vertical-align: -.15em; border: 1px solid var(--line); }
"""


class Gallery:
    """Writes index.html and contact_sheet.png, and their label maps and photos to gallery/.

    The page shows all maps; the contact sheet at most 24 evenly spaced ones with 8 samples each.

    Args:
      config: The configuration; it defines the colors of the classes.
      maps: The label maps, and their photos if there are any.
      output_dir: Directory of the samples.
      num_samples: Samples of each map.
      title: Title of the page.

    Attributes:
      files: See `sample_files.Viewer`.

    Raises:
      UserError: On construction, when a page that is not a gallery would be overwritten.
    """

    def __init__(
        self, config: Config, maps: LabelMaps, output_dir: str, num_samples: int, title: str
    ):
        self._data, self._maps, self._directory, self._title = config.data, maps, output_dir, title
        self._samples = evenly_spaced(range(num_samples), MAX_SAMPLES)
        self._on_sheet = set(evenly_spaced(range(len(maps.names)), MAX_MAPS))
        self._rows: list[list[np.ndarray]] = []  # tiles of the contact sheet
        self._sections: list[str] = []
        self._ids: set[int] = set()
        sheet, page = os.path.join(output_dir, SHEET), os.path.join(output_dir, PAGE)
        _reject_other_page(page)
        self.files = {sheet: 'the contact sheet', page: 'the gallery'}
        for index, name in enumerate(maps.names):
            self.files[self._label_path(index)] = f'the colored label map of {name}'
            self.files[self._photo_path(index)] = f'the photo of {name}'

    def show(self, sampled: SampledMap, paths: list[str]) -> None:
        """Add a map, its samples and their files."""
        index, maps, images = sampled
        label, photo = colorize_input(maps.label, self._data), self._maps.read_photo(index)
        write_png(self._label_path(index), label)
        figures = [self._figure(self._label_path(index), 'label map', label, kind='label')]
        for i, (path, image) in enumerate(zip(paths, images, strict=True)):
            figures.append(self._figure(path, f'image {i}' if len(paths) > 1 else 'image', image))
        tiles = [label, *(images[sample] for sample in self._samples)]
        if photo is not None:
            height, width = images[0].shape[:2]
            photo = resize_image(photo, (width, height))
            _write_jpeg(self._photo_path(index), photo)
            figures.append(self._figure(self._photo_path(index), 'photo', photo))
            tiles.append(photo)
        name, row = html.escape(self._maps.names[index]), ''.join(figures)
        self._sections.append(f'<section><h2>{name}</h2><div class="row">{row}</div></section>')
        if self._data.uses_labels:
            self._ids.update(np.unique(maps.label).tolist())
        if index in self._on_sheet:
            self._rows.append(tiles)

    def finish(self) -> None:
        """Write the contact sheet and the page."""
        write_png(os.path.join(self._directory, SHEET), contact_sheet(self._rows))
        count = f'<p class="quiet">{len(self._sections)} label maps</p>'
        page = html_page(self._title, '\n'.join([count, self._legend(), *self._sections]), _STYLE)
        with atomic_write(os.path.join(self._directory, PAGE)) as partial:
            with open(partial, 'w', encoding='utf-8', errors='surrogateescape') as file:
                file.write(page)

    def _legend(self) -> str:
        """The colors of the classes that occur."""
        if not self._ids:
            return ''
        classes = classes_of(self._data)
        # 255, don't-care, is the last channel.
        ids = sorted({min(class_id, self._data.label_channels - 1) for class_id in self._ids})
        entries = []
        for class_id in ids:
            color = f'rgb{tuple(map(int, classes.colors[class_id]))}'
            name = html.escape(classes.names[class_id])
            entries.append(f'<li><i style="background: {color}"></i>{name}</li>')
        return f'<ul class="legend">{"".join(entries)}</ul>'

    def _figure(self, path: str, caption: str, image: np.ndarray, kind: str = '') -> str:
        relative = os.path.relpath(path, self._directory).replace(os.sep, '/')
        link = html.escape(urllib.parse.quote(relative, errors='surrogateescape'))
        height, width = image.shape[:2]
        attributes = f'width="{width}" height="{height}" loading="lazy" alt="{caption}"'
        return (
            f'<figure><a href="{link}"><img class="{kind}" src="{link}" {attributes}></a>'
            f'<figcaption>{caption}</figcaption></figure>'
        )

    def _label_path(self, index: int) -> str:
        return os.path.join(self._directory, DIRECTORY, 'labels', f'{self._maps.names[index]}.png')

    def _photo_path(self, index: int) -> str:
        return os.path.join(self._directory, DIRECTORY, 'photos', f'{self._maps.names[index]}.jpg')


def contact_sheet(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Tile groups of images on white, several groups a row if they are narrow.

    Args:
      rows: Groups of equal length of images [H, W, 3] uint8 of any sizes. They are fitted into
        tiles of the shape of the first image.

    Returns:
      [height, width, 3] uint8.
    """
    height, width = rows[0][0].shape[:2]
    shrink = min(1.0, MAX_TILE_SIZE / max(height, width))
    tile = max(1, round(width * shrink)), max(1, round(height * shrink))
    panels = [
        np.stack([fit_into(image, tile) for image in panel]) for panel in zip(*rows, strict=True)
    ]
    return image_grid(panels, per_row=max(1, MAX_COLUMNS // len(panels)))


def fit_into(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an image [H, W, 3] uint8 to fit into (width, height) `size`, centered on white."""
    height, width = image.shape[:2]
    if (width, height) == size:
        return image
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = Image.fromarray(image).resize(inner, Image.Resampling.BOX)
    tile = np.full((size[1], size[0], 3), BACKGROUND, np.uint8)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    tile[top : top + inner[1], left : left + inner[0]] = np.asarray(scaled)
    return tile


def _reject_other_page(path: str) -> None:
    """Raises UserError if a file exists that this package did not write."""
    if not os.path.exists(path):
        return
    with open(path, encoding='utf-8', errors='replace') as file:
        if GENERATOR not in file.read(1000):
            problem = f'the gallery would overwrite {path}, which is another page'
            raise UserError(problem, 'choose another output_dir, or --nogallery')


def _write_jpeg(path: str, image: np.ndarray) -> None:
    with atomic_write(path) as partial:
        Image.fromarray(image).save(partial, format='JPEG', quality=90)
