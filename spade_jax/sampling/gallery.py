"""What was drawn, to look at: a contact sheet, and a page that opens without network. Label map | pictures | photograph."""

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
from spade_jax.files.image_grid import BACKGROUND, evenly_spaced, image_grid, write_png
from spade_jax.sampling.sample_files import Drawn

SHEET, PAGE, DIRECTORY = 'contact_sheet.png', 'index.html', 'gallery'
MOST_MAPS, MOST_SAMPLES, MOST_COLUMNS = 24, 8, 10  # of the contact sheet
LARGEST_TILE = 256  # pixels
_SIGN = '<meta name="generator" content="spade_jax">'
_STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --quiet: #59636e; --line: #e3e6ea; }
@media (prefers-color-scheme: dark) { :root { --back: #0f1318; --text: #e6edf3; --quiet: #9aa4af; --line: #262c34; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1400px; padding: 0 1rem; background: var(--back); color: var(--text); }
h1 { margin-bottom: 0; overflow-wrap: anywhere; } .quiet, figcaption { color: var(--quiet); }
section { border-top: 1px solid var(--line); padding: .5rem 0 1rem; } h2 { font-size: 1rem; font-weight: 600; margin: .25rem 0; overflow-wrap: anywhere; }
.row { display: flex; gap: .5rem; overflow-x: auto; } figure { margin: 0; flex: 0 1 256px; min-width: 112px; } figcaption { font-size: .8rem; }
img { display: block; height: auto; width: 100%; background: var(--line); } img.label { image-rendering: pixelated; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; list-style: none; } .legend i { display: inline-block; width: 1em; height: 1em; margin-right: .4em;
  vertical-align: -.15em; border: 1px solid var(--line); }
"""


class Gallery:
    """Writes index.html and contact_sheet.png beside the pictures, and label maps and photographs for them to gallery/.

    The contact sheet shows at most 24 maps, evenly chosen, and 8 pictures of each; the page shows all.

    Args:
      config: says the colours of the classes.
      maps: that are drawn; they know the photographs too, if there are any.
      output_dir: of the pictures.
      num_samples: pictures of each map.
      title: of the page.

    Attributes:
      files: see `drawing.Viewer`.

    Raises:
      UserError: on construction, where a page that no gallery wrote would be replaced.
    """

    def __init__(
        self, config: Config, maps: LabelMaps, output_dir: str, num_samples: int, title: str
    ):
        self._config, self._maps, self._directory, self._title = config, maps, output_dir, title
        self._samples = evenly_spaced(range(num_samples), MOST_SAMPLES)
        self._on_sheet = set(evenly_spaced(range(len(maps.names)), MOST_MAPS))
        self._rows: list[list[np.ndarray]] = []  # tiles of the contact sheet
        self._sections: list[str] = []
        self._ids: set[int] = set()
        _refuse_foreign(os.path.join(output_dir, PAGE))
        self.files = {
            os.path.join(output_dir, SHEET): 'the contact sheet',
            os.path.join(output_dir, PAGE): 'the gallery',
        }
        for number, name in enumerate(maps.names):
            self.files[self._label_path(number)] = f'the colours of {name}'
            self.files[self._photo_path(number)] = f'the photograph of {name}'

    def show(self, drawn: Drawn, paths: list[str]) -> None:
        """Takes one map, its pictures and where they lie."""
        height, width = drawn.pictures[0].shape[:2]
        label, photo = (
            colorize_input(drawn.maps.label, self._config.data),
            self._maps.read_photo(drawn.index),
        )
        write_png(self._label_path(drawn.index), label)
        figures = [self._figure(self._label_path(drawn.index), 'label map', label, kind='label')]
        figures += [
            self._figure(path, f'picture {i}' if len(paths) > 1 else 'picture', picture)
            for i, (path, picture) in enumerate(zip(paths, drawn.pictures))
        ]
        if photo is not None:
            photo = resize_image(photo, (width, height))
            _write_jpeg(self._photo_path(drawn.index), photo)
            figures.append(self._figure(self._photo_path(drawn.index), 'photograph', photo))
        self._sections.append(
            f'<section><h2>{html.escape(self._maps.names[drawn.index])}</h2><div class="row">{"".join(figures)}</div></section>'
        )
        if self._config.condition != 'rgb':
            self._ids.update(np.unique(drawn.maps.label).tolist())
        if drawn.index in self._on_sheet:
            self._rows.append(
                [label, *(drawn.pictures[sample] for sample in self._samples)]
                + ([] if photo is None else [photo])
            )

    def finish(self) -> None:
        """Writes the contact sheet and the page."""
        write_png(os.path.join(self._directory, SHEET), contact_sheet(self._rows))
        with (
            atomic_write(os.path.join(self._directory, PAGE)) as partial,
            open(partial, 'w', encoding='utf-8', errors='surrogateescape') as file,
        ):
            file.write(self._page())

    def _page(self) -> str:
        title = html.escape(self._title)
        legend = self._legend()
        return (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">{_SIGN}<title>{title}</title>\n'
            f'<style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n<p class="quiet">{len(self._sections)} label maps</p>\n{legend}\n'
            + '\n'.join(self._sections)
            + '\n</body></html>\n'
        )

    def _legend(self) -> str:
        """The colours of the classes that occur."""
        if not self._ids:
            return ''
        classes, last = classes_of(self._config.data), self._config.label_channels - 1
        ids = sorted(
            {min(number, last) for number in self._ids}
        )  # 255, don't-care, is the last channel
        entries = [
            f'<li><i style="background: rgb{tuple(map(int, classes.colors[number]))}"></i>{html.escape(classes.names[number])}</li>'
            for number in ids
        ]
        return f'<ul class="legend">{"".join(entries)}</ul>'

    def _figure(self, path: str, caption: str, picture: np.ndarray, kind: str = '') -> str:
        link = html.escape(
            urllib.parse.quote(
                os.path.relpath(path, self._directory).replace(os.sep, '/'),
                errors='surrogateescape',
            )
        )
        height, width = picture.shape[:2]
        return (
            f'<figure><a href="{link}"><img {f"class={kind} " if kind else ""}src="{link}" width="{width}" height="{height}" loading="lazy" decoding="async" '
            f'alt="{caption}"></a><figcaption>{caption}</figcaption></figure>'
        )

    def _label_path(self, number: int) -> str:
        return os.path.join(self._directory, DIRECTORY, 'labels', f'{self._maps.names[number]}.png')

    def _photo_path(self, number: int) -> str:
        return os.path.join(self._directory, DIRECTORY, 'photos', f'{self._maps.names[number]}.jpg')


def contact_sheet(rows: list[list[np.ndarray]]) -> np.ndarray:
    """Groups of pictures on white, several groups a row where they are narrow.

    Args:
      rows: groups of equal length of pictures [H, W, 3] uint8, of any sizes; they are fitted into tiles of the shape of the first.

    Returns:
      [height, width, 3] uint8.
    """
    height, width = rows[0][0].shape[:2]
    shrink = min(1.0, LARGEST_TILE / max(height, width))
    tile = max(1, round(width * shrink)), max(1, round(height * shrink))
    columns = [np.stack([fitted(picture, tile) for picture in column]) for column in zip(*rows)]
    return image_grid(columns, per_row=max(1, MOST_COLUMNS // len(columns)))


def fitted(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture [H, W, 3] uint8 scaled to fit into `size` (width, height), in the middle of white."""
    if picture.shape[1::-1] == size:
        return picture
    height, width = picture.shape[:2]
    scale = min(size[0] / width, size[1] / height)
    inner = max(1, round(width * scale)), max(1, round(height * scale))
    tile = np.full((size[1], size[0], 3), BACKGROUND, np.uint8)
    left, top = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    tile[top : top + inner[1], left : left + inner[0]] = np.asarray(
        Image.fromarray(picture).resize(inner, Image.Resampling.BOX)
    )
    return tile


def _refuse_foreign(path: str) -> None:
    """Raises UserError where there is a page of somebody else."""
    if not os.path.exists(path):
        return
    with open(path, encoding='utf-8', errors='replace') as file:
        if _SIGN not in file.read(1000):
            raise UserError(
                f'the gallery would be written over {path}, which is another page',
                'choose another output_dir, or --nogallery',
            )


def _write_jpeg(path: str, picture: np.ndarray) -> None:
    with atomic_write(path) as partial:
        Image.fromarray(picture).save(partial, format='JPEG', quality=90)
