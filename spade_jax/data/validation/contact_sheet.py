"""Render a contact sheet: examples of each split and what the colors of their labels mean."""

import functools
import pathlib
import unicodedata
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.data.files.palette import UNKNOWN_COLOR, Classes, classes_of, colorize
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.validation.inspect import SplitReport
from spade_jax.files.image_grid import evenly_spaced, image_grid, write_png

NO_CLASS_COLOR = (255, 0, 255)
_FONT = pathlib.Path(__file__).parents[2] / 'studio/static/inter.woff2'  # Latin letters.
_EXAMPLES = 12  # of each split
_TEXT_WIDTH, _MARGIN = 1456, 32  # pixels
_TILE_WIDTH, _CAPTION, _LINE = 236, 24, 28  # pixels
_LEGEND_COLUMNS = 6
_FRAME, _OUTLINE = (236, 238, 240), (120, 126, 132)
_NEAREST, _BICUBIC = Image.Resampling.NEAREST, Image.Resampling.BICUBIC


def write_contact_sheet(path: str, config: DataConfig, splits: Sequence[SplitReport]) -> bool:
    """Write the sheet as PNG, or remove an earlier one and return False if nothing is readable."""
    shown = [split for split in splits if split.readable]
    if not shown:
        pathlib.Path(path).unlink(missing_ok=True)
        return False
    classes = classes_of(config) if config.uses_labels else None
    rows = [_text(f'{config.dataset}   {config.data_dir}', 24)]
    for split in shown:
        rows += [_text(f'{split.split}: {len(split.names)} examples', 18), _grid(split, classes)]
    if classes:
        rows += [_text('Classes, with their share of the pixels', 18), _legend(splits, classes)]
    pad = functools.partial(np.pad, constant_values=255)
    rows = [pad(row, ((0, 0), (0, _TEXT_WIDTH - row.shape[1]), (0, 0))) for row in rows]
    write_png(path, pad(np.concatenate(rows), ((_MARGIN,) * 2, (_MARGIN,) * 2, (0, 0))))
    return True


def _grid(split: SplitReport, classes: Classes | None) -> np.ndarray:
    """Photo, label map and, if there are instances, their edges, for some examples."""
    assert split.read is not None
    ratio = np.median([width / height for width, height in split.sizes.elements()])
    size = _TILE_WIDTH, round(_TILE_WIDTH / float(np.clip(ratio, 0.6, 2.5)))
    groups = []
    for index in evenly_spaced(split.readable, _EXAMPLES):
        tiles = _tiles(split.read(index), classes, size)
        caption = _text(split.names[index], 13, _TILE_WIDTH, _CAPTION)
        captions = [caption, *[np.full_like(caption, 255)] * (len(tiles) - 1)]
        groups.append(map(np.concatenate, zip(tiles, captions, strict=True)))
    columns = [np.stack(column) for column in zip(*groups, strict=True)]
    return image_grid(columns, per_row=6 // len(columns))


def _tiles(example: Example, classes: Classes | None, size: tuple[int, int]) -> list[np.ndarray]:
    photo = _framed(np.asarray(example.image), size)
    if classes is None:
        return [photo, *([_framed(example.label, size)] if example.label.size else [])]
    label = _fit(example.label, size)
    colors = colorize(label, classes.colors)
    known = (label >= 0) & (label < len(classes.colors)) | (label == DONTCARE_ID)
    colors[~known] = NO_CLASS_COLOR
    tiles = [photo, _framed(colors, size)]
    if example.instance is not None:
        instance = _fit(example.instance, size)
        edges = np.zeros(instance.shape, bool)
        edges[:, :-1] |= instance[:, :-1] != instance[:, 1:]
        edges[:-1] |= instance[:-1] != instance[1:]
        tiles.append(_framed(np.where(edges[..., None], np.uint8(255), colors), size))
    return tiles


def _fit(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(ImageOps.contain(Image.fromarray(ids.astype(np.int32)), size, _NEAREST))


def _framed(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[H, W, 3] uint8, scaled to fit into a tile, with an outline: an image may be white."""
    image = ImageOps.contain(Image.fromarray(pixels), size, _BICUBIC)
    corners = (0, 0, image.width - 1, image.height - 1)
    ImageDraw.Draw(image).rectangle(corners, outline=_OUTLINE)
    return np.asarray(ImageOps.pad(image, size, color=_FRAME))


def _text(text: str, font_size: int, width: int = _TEXT_WIDTH, height: int = 44) -> np.ndarray:
    """One line of text on white, cut if it is too long."""
    image = Image.new('RGB', (width, height), 'white')
    text = unicodedata.normalize('NFC', ' '.join(text.splitlines()))
    draw, font, shown = ImageDraw.Draw(image), _font(font_size), text
    while draw.textlength(shown, font) > width and text:
        text = text[:-1]
        shown = f'{text}...'
    draw.text((0, (height - font_size) // 2 - 2), shown, 'black', font)
    return np.asarray(image)


@functools.lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of the studio; that of Pillow, which has only ASCII, cannot write many names."""
    try:
        return ImageFont.truetype(_FONT, size)
    except OSError:  # A FreeType without WOFF2.
        return ImageFont.load_default(size)


def _legend(splits: Sequence[SplitReport], classes: Classes) -> np.ndarray:
    """The classes that occur, with their colors, in columns."""
    pixels = sum((split.pixels for split in splits), start=type(splits[0].pixels)())
    entries = []
    for number in sorted(pixels):
        color, name = NO_CLASS_COLOR, '(no class)'
        if 0 <= number < len(classes.names):
            color, name = classes.colors[number], classes.names[number]
        elif number == DONTCARE_ID:
            color, name = UNKNOWN_COLOR, 'unknown'
        entries.append((color, f'{number} {name}  {pixels[number] / pixels.total():.1%}'))
    rows, width = -(-len(entries) // _LEGEND_COLUMNS), _TEXT_WIDTH // _LEGEND_COLUMNS
    legend = np.full((max(rows, 1) * _LINE, _TEXT_WIDTH, 3), 255, np.uint8)
    for place, (color, text) in enumerate(entries):
        top, left = place % rows * _LINE, place // rows * width
        legend[top + 4 : top + 22, left : left + 26] = color
        legend[top : top + _LINE, left + 34 : left + width] = _text(text, 14, width - 34, _LINE)
    return legend
