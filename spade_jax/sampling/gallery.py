"""A page and a contact sheet that show label maps, samples and photos side by side."""

import functools
import html
import os
import pathlib
import urllib.parse

import numpy as np
from PIL import Image, ImageOps

from spade_jax.config.catalog import known_classes
from spade_jax.config.config import Config
from spade_jax.data.files.image_files import color_codes
from spade_jax.data.files.label_maps import LabelMaps
from spade_jax.data.files.palette import color_code, colorize_input
from spade_jax.data.pipeline.paired_transforms import resize_ids, resize_image
from spade_jax.data.sources.source import size_of
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.html_page import (
    GALLERY_DIRECTORY,
    GALLERY_PAGE,
    GALLERY_SHEET,
    GENERATOR,
    html_page,
)
from spade_jax.files.image_grid import BACKGROUND, evenly_spaced, image_grid, write_png
from spade_jax.files.writable import check_writable
from spade_jax.sampling.image_row import colors_of

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

    Attributes:
      files: The paths that it writes, each with its name for errors; no sample may have them.

    Raises:
      UserError: On construction, when a page that is not a gallery would be overwritten, or the
        files cannot be written.
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
        self._codes: set[int] = set()  # of the colors of color masks
        self._sheet, self._page = (
            os.path.join(output_dir, name) for name in (GALLERY_SHEET, GALLERY_PAGE)
        )
        stem = os.path.join(output_dir, GALLERY_DIRECTORY)
        places = stem, *(os.path.join(stem, name) for name in ('labels', 'photos'))
        # What is not there yet is made with its first file.
        check_writable(filter(os.path.lexists, (output_dir, *places)), [self._sheet, self._page])
        _reject_other_page(self._page)
        self._labels = [os.path.join(stem, 'labels', f'{name}.png') for name in maps.names]
        self._photos = [os.path.join(stem, 'photos', f'{name}.jpg') for name in maps.names]
        self.files = {self._sheet: 'the contact sheet', self._page: 'the gallery'}
        self.files |= dict.fromkeys([*self._labels, *self._photos], 'a file of the gallery')

    def show(
        self, index: int, label_map: np.ndarray, images: list[np.ndarray], paths: list[str]
    ) -> None:
        """Add the map of a number as the generator saw it, its samples, and their files."""
        label, photo = self._colored(index, label_map), self._maps.read_photo(index)
        figures, tiles = [], [images[sample] for sample in self._samples]
        if label.size:  # There is a condition.
            write_png(self._labels[index], label)
            figures.append(self._figure(self._labels[index], 'label map', label, kind='label'))
            tiles.insert(0, label)
        for i, (path, image) in enumerate(zip(paths, images, strict=True)):
            figures.append(self._figure(path, f'image {i}' if len(paths) > 1 else 'image', image))
        if photo is not None:
            height, width = images[0].shape[:2]
            tiles.append(photo := resize_image(photo, (width, height)))
            with atomic_write(self._photos[index]) as partial:
                Image.fromarray(photo).save(partial, format='JPEG', quality=90)
            figures.append(self._figure(self._photos[index], 'photo', photo))
        name, row = html.escape(self._maps.names[index]), ''.join(figures)
        self._sections.append(f'<section><h2>{name}</h2><div class="row">{row}</div></section>')
        if self._data.uses_labels:
            self._ids.update(np.unique(label_map).tolist())
        if index in self._on_sheet:
            self._rows.append(tiles)

    def finish(self) -> None:
        """Write the contact sheet and the page; called after the last map."""
        write_png(self._sheet, contact_sheet(self._rows))
        number, what = len(self._sections), 'image' if self._data.unconditional else 'label map'
        count = f'<p class="quiet">{number} {what}{"s" * (number != 1)}</p>'
        page = html_page(self._title, '\n'.join([count, self._legend(), *self._sections]), _STYLE)
        with atomic_write(self._page) as partial:
            pathlib.Path(partial).write_text(page, encoding='utf-8', errors='surrogateescape')

    def _legend(self) -> str:
        """The colors of the classes that occur."""
        if not self._ids:
            return ''
        items = []
        for name, color in colors_of(self._data, self._ids).items():
            colors = [entry.color for entry in known_classes(self._data) if entry.name == name]
            drawn = [each for each in filter(None, colors) if color_code(each) in self._codes]
            boxes = (f'<i style="background: {each}"></i>' for each in drawn or [f'rgb{color}'])
            items.append(f'<li>{"".join(boxes)}{html.escape(name)}</li>')
        return f'<ul class="legend">{"".join(items)}</ul>'

    def _colored(self, index: int, label_map: np.ndarray) -> np.ndarray:
        """A map in the colors of its file, of which a class may have several, or of its classes."""
        if (colors := self._maps.read_colors(index)) is None:
            return colorize_input(label_map, self._data)
        codes = resize_ids(color_codes(colors), size_of(label_map))
        self._codes.update(np.unique(codes).tolist())
        return (codes[..., None] >> np.array([16, 8, 0]) & 255).astype(np.uint8)

    def _figure(self, path: str, caption: str, image: np.ndarray, kind: str = '') -> str:
        relative = os.path.relpath(path, self._directory).replace(os.sep, '/')
        link = html.escape(urllib.parse.quote(relative, errors='surrogateescape'))
        height, width = image.shape[:2]
        attributes = f'width="{width}" height="{height}" loading="lazy" alt="{caption}"'
        image_tag = f'<img class="{kind}" src="{link}" {attributes}>'
        caption_tag = f'<figcaption>{caption}</figcaption>'
        return f'<figure><a href="{link}">{image_tag}</a>{caption_tag}</figure>'


def contact_sheet(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Tile groups of images [H, W, 3] uint8, fitted into tiles of the shape of the first one."""
    height, width = rows[0][0].shape[:2]
    shrink = min(1.0, MAX_TILE_SIZE / max(height, width))
    tile = max(1, round(width * shrink)), max(1, round(height * shrink))
    fit = functools.partial(fit_into, size=tile)
    panels = [np.stack([*map(fit, column)]) for column in zip(*rows, strict=True)]
    return image_grid(panels, per_row=max(1, MAX_COLUMNS // len(panels)))


def fit_into(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale an image [H, W, 3] uint8 to fit into (width, height) `size`, centered on white."""
    white = (BACKGROUND,) * 3
    return np.asarray(ImageOps.pad(Image.fromarray(image), size, Image.Resampling.BOX, white))


def _reject_other_page(path: str) -> None:
    """Raises UserError if a file exists that this package did not write."""
    page = pathlib.Path(path)
    if page.exists() and GENERATOR not in page.read_text('utf-8', 'replace')[:1000]:
        problem = f'the gallery would overwrite {path}, which is another page'
        raise UserError(problem, 'choose another output_dir, or --nogallery')
