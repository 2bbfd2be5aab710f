"""One picture of a data set: some examples of each split, and what the colours stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from spade_jax.data.files.palette import UNKNOWN_COLOR, colorize
from spade_jax.data.pipeline.paired_transforms import Example

_MARGIN, _GAP, _GROUP_GAP = 32, 4, 24  # pixels
_WIDTH = 1520
_LARGEST_KEPT = 1024
_CAPTION, _HEADING, _LINE = 32, 44, 28
_LEGEND_COLUMNS = 6
_SWATCH = (26, 18)
_PAGE, _FRAME, _INK, _PALE_INK = (255, 255, 255), (236, 238, 240), (28, 32, 36), (110, 116, 122)
_EDGE = (255, 255, 255)
_OUTLINE = (120, 126, 132)
NO_CLASS_COLOR = (255, 0, 255)


class Section(NamedTuple):
    """A split. title: its heading. examples: (caption, function that reads it), so that only one example is in memory at a time."""

    title: str
    examples: Sequence[tuple[str, Callable[[], Example]]]


class LegendEntry(NamedTuple):
    """A colour and what it stands for. note: what is printed paler behind it."""

    color: tuple[int, int, int]
    text: str
    note: str = ''


def contact_sheet(
    title: str,
    sections: Sequence[Section],
    legend: Sequence[LegendEntry],
    colors: np.ndarray | None,
    unknown: frozenset[int],
) -> Image.Image:
    """Photographs beside their label maps, with a legend below.

    Args:
      title: above all.
      sections: one for each split.
      legend: the classes that occur.
      colors: [N, 3] uint8, of the ids 0 to N - 1; None where the examples have pictures in the place of label maps.
      unknown: ids that are black; any other without a colour is shown in NO_CLASS_COLOR.
    """
    rows = [
        _heading(title, size=24),
        *(part for section in sections for part in _section(section, colors, unknown)),
    ]
    if legend:
        rows += [_heading('Classes, with their share of the pixels'), *_legend(legend)]
    sheet = Image.new('RGB', (_WIDTH, sum(row.height for row in rows) + 2 * _MARGIN), _PAGE)
    top = _MARGIN
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    return sheet


def _section(
    section: Section, colors: np.ndarray | None, unknown: frozenset[int]
) -> list[Image.Image]:
    """A heading and rows of groups of tiles, each group with its name below."""
    groups = [(caption, _shrunk(read())) for caption, read in section.examples]
    if not groups:
        return [_heading(section.title)]
    tiles = 3 if any(example.instance is not None for _, example in groups) else 2
    per_row = 3 if tiles == 2 else 2
    width = (
        (_WIDTH - 2 * _MARGIN - (per_row - 1) * _GROUP_GAP) // per_row - (tiles - 1) * _GAP
    ) // tiles
    height = round(
        width
        / float(
            np.clip(
                np.median(
                    [example.image.shape[1] / example.image.shape[0] for _, example in groups]
                ),
                0.6,
                2.5,
            )
        )
    )
    rows = [_heading(section.title)]
    for start in range(0, len(groups), per_row):
        row = Image.new('RGB', (_WIDTH, height + _CAPTION), _PAGE)
        draw = ImageDraw.Draw(row)
        for place, (caption, example) in enumerate(groups[start : start + per_row]):
            left = _MARGIN + place * (tiles * (width + _GAP) - _GAP + _GROUP_GAP)
            for number, tile in enumerate(_tiles(example, colors, unknown, (width, height))):
                row.paste(tile, (left + number * (width + _GAP), 0))
            draw.text(
                (left, height + 3),
                _shortened(draw, caption, _font(13), tiles * width),
                _PALE_INK,
                _font(13),
            )
        rows.append(row)
    return rows


def _shrunk(example: Example) -> Example:
    """The example, no larger than it will be looked at; so that a dozen of large ones can be in memory."""

    def shrink(pixels, resample):
        scale = _LARGEST_KEPT / max(pixels.shape[:2])
        if scale >= 1:
            return pixels
        size = tuple(max(1, round(side * scale)) for side in pixels.shape[1::-1])
        return np.asarray(Image.fromarray(pixels).resize(size, resample))

    def shrink_map(ids):
        return shrink(ids.astype(np.int32), Image.Resampling.NEAREST)

    label = (
        shrink(example.label, Image.Resampling.BICUBIC)
        if example.label.ndim == 3
        else shrink_map(example.label)
    )
    return Example(
        shrink(example.image, Image.Resampling.BICUBIC),
        label,
        None if example.instance is None else shrink_map(example.instance),
    )


def _tiles(
    example: Example, colors: np.ndarray | None, unknown: frozenset[int], tile: tuple[int, int]
) -> Iterator[Image.Image]:
    """Photograph, label map and, with instances, the label map with their borders; each as large as `tile` (width, height) holds it."""
    yield _framed(_fitted(example.image, tile, Image.Resampling.BICUBIC), tile)
    if colors is None:
        yield _framed(_fitted(example.label, tile, Image.Resampling.BICUBIC), tile)
        return
    label = _fitted(example.label, tile, Image.Resampling.NEAREST)
    shown = colorize(label, colors)
    shown[~(np.isin(label, list(unknown)) | (label >= 0) & (label < len(colors)))] = NO_CLASS_COLOR
    yield _framed(shown, tile)
    if example.instance is not None:
        instance = _fitted(example.instance, tile, Image.Resampling.NEAREST)
        yield _framed(
            _with_edges(shown, instance) if instance.shape == label.shape else shown, tile
        )


def _fitted(pixels: np.ndarray, tile: tuple[int, int], resample: Image.Resampling) -> np.ndarray:
    picture = Image.fromarray(pixels)
    scale = min(tile[0] / picture.width, tile[1] / picture.height)
    return np.asarray(
        picture.resize(
            (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))), resample
        )
    )


def _framed(pixels: np.ndarray, tile: tuple[int, int]) -> Image.Image:
    """[H, W, 3] uint8 in the middle of a pale ground of the size of a tile, with a line around it: a picture may be as white as the page."""
    framed = Image.new('RGB', tile, _FRAME)
    left, top = (tile[0] - pixels.shape[1]) // 2, (tile[1] - pixels.shape[0]) // 2
    framed.paste(Image.fromarray(pixels), (left, top))
    ImageDraw.Draw(framed).rectangle(
        (left, top, left + pixels.shape[1] - 1, top + pixels.shape[0] - 1), outline=_OUTLINE
    )
    return framed


def _with_edges(shown: np.ndarray, instance: np.ndarray) -> np.ndarray:
    """The picture [H, W, 3] with a line wherever the instance changes."""
    edges = np.zeros(instance.shape, bool)
    edges[:, :-1] |= instance[:, :-1] != instance[:, 1:]
    edges[:-1] |= instance[:-1] != instance[1:]
    return np.where(edges[..., None], np.uint8(_EDGE), shown)


def _heading(text: str, size: int = 18) -> Image.Image:
    row = Image.new('RGB', (_WIDTH, _HEADING), _PAGE)
    draw = ImageDraw.Draw(row)
    draw.text(
        (_MARGIN, 10), _shortened(draw, text, _font(size), _WIDTH - 2 * _MARGIN), _INK, _font(size)
    )
    return row


def _legend(entries: Sequence[LegendEntry]) -> list[Image.Image]:
    """Rows of swatches with their names, to be read column by column."""
    columns = min(_LEGEND_COLUMNS, len(entries))
    count = -(-len(entries) // columns)
    width = (_WIDTH - 2 * _MARGIN) // _LEGEND_COLUMNS
    font = _font(15)
    rows = []
    for number in range(count):
        row = Image.new('RGB', (_WIDTH, _LINE), _PAGE)
        draw = ImageDraw.Draw(row)
        for column, entry in enumerate(entries[number::count]):
            left = _MARGIN + column * width
            draw.rectangle(
                (left, 4, left + _SWATCH[0], 4 + _SWATCH[1]), fill=entry.color, outline=_PALE_INK
            )
            note_width = draw.textlength(entry.note, _font(13)) + 8 if entry.note else 0
            text = _shortened(draw, entry.text, font, width - _SWATCH[0] - 8 - note_width - 16)
            draw.text((left + _SWATCH[0] + 8, 4), text, _INK, font)
            draw.text(
                (left + _SWATCH[0] + 16 + draw.textlength(text, font), 6),
                entry.note,
                _PALE_INK,
                _font(13),
            )
        rows.append(row)
    return rows


def _shortened(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont, width: float
) -> str:
    """The text, cut at its end where it is wider than `width` pixels."""
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f'{text}...', font) > width:
        text = text[:-1]
    return f'{text}...'


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


def legend_of(
    shares: Sequence[tuple[int, float]],
    names: Sequence[str],
    colors: np.ndarray,
    unknown: frozenset[int],
) -> list[LegendEntry]:
    """The legend of the ids that occur.

    Args:
      shares: (id, share of the pixels).
      names, colors: of the ids from 0 on.
      unknown: ids that are black.
    """
    entries = []
    for number, share in shares:
        note = _percent(share)
        if number in unknown:
            entries.append(LegendEntry(UNKNOWN_COLOR, f'{number} unknown', note))
        elif 0 <= number < len(names):
            entries.append(
                LegendEntry(tuple(map(int, colors[number])), f'{number} {names[number]}', note)
            )
    foreign = [
        (number, share)
        for number, share in shares
        if number not in unknown and not 0 <= number < len(names)
    ]
    if foreign:
        numbers = ', '.join(str(number) for number, _ in foreign[:4]) + (
            ', ...' if len(foreign) > 4 else ''
        )
        entries.append(
            LegendEntry(
                NO_CLASS_COLOR, f'no class: {numbers}', _percent(sum(share for _, share in foreign))
            )
        )
    return entries


def _percent(share: float) -> str:
    return f'{share:.1%}' if share >= 0.0005 else '<0.1%'
