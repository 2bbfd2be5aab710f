"""Label maps of files: what a file was taken for, its ids, and all that is unknown in it.

Files are read by the readers that training uses. What they do not read as ids of the model is
looked up by its colors in a table of the package: GauGAN's materials, ADE20K, ... Nothing is
decided for the user: a *source* is a color or a number of the file with the class that is proposed
for it, `values` has the source of each pixel, and the page may choose another class.
"""

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from spade_jax.config.config import Config
from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.data.files.image_files import (
    NamedContent,
    color_codes,
    is_copy,
    read_ids,
    read_ids_or_colors,
)
from spade_jax.data.files.label_reader import LabelReader, check_label_ids, label_dtype
from spade_jax.data.pipeline.paired_transforms import resize_ids
from spade_jax.errors import UserError
from spade_jax.studio.label_numbers import class_ids
from spade_jax.studio.messages import LARGEST_PIXELS
from spade_jax.studio.proposals import AUTO, IDS, OWN, Proposals, page_ids, take_as_choices

ASK, NEAREST, MAJORITY, KEEP = 'ask', 'nearest', 'majority', 'keep'
FITS = (ASK, NEAREST, MAJORITY, KEEP)
_MOST_SOURCES = 1 << 16
_PIECE = 1 << 18  # Pixels.


class Indexed(NamedTuple):
    """The distinct values of a map.

    Attributes:
      distinct: [N] the values.
      places: [H, W] uint16, the place of each pixel's value among them.
      firsts: [N] the first pixel of each, counted row by row.
      counts: [N] the number of pixels of each.
    """

    distinct: np.ndarray
    places: np.ndarray
    firsts: np.ndarray
    counts: np.ndarray


class Reading(NamedTuple):
    """How a file was understood.

    Attributes:
      taken_for: One of `take_as_choices()`, but not 'auto'.
      values: Ids of the model if `is_exact`, else numbers of a gray file or `color_codes`.
      is_exact: The reader of the model reads the file as these ids.
    """

    taken_for: str
    values: Indexed
    is_exact: bool


def import_map(
    content: bytes, config: Config, name: str = '', take_as: str = AUTO, fit: str = ASK
) -> dict[str, Any]:
    """Read a label map.

    Args:
      content: Of the file.
      config: Of the model.
      name: Of the file, for errors.
      take_as: One of `take_as_choices()`. 'auto': the model's ids if it can be read as such, else
        the table that has the colors of most pixels.
      fit: What becomes of a map of another size than the training: 'nearest' pixels, as
        `--mode=sample` does; the 'majority' of the pixels that become one; 'keep' the size. 'ask'
        is 'nearest', for a page that asks afterwards.

    Returns:
      JSON: `width`, `height`, and `ids` of the proposed classes (base64, row by row, of `dtype`,
      little-endian); `values` (`values_dtype`) likewise, the index of the source of each pixel;
      `taken_for`; and the `report`: `name`, `file_size`, `fit` (None: the size is as it was),
      `squeezed`, `exact` (an export of the same ids may be the file itself), and `sources`, the
      commonest first: each a `Proposal` with count, share, and first pixel (x, y).

    Raises:
      UserError: The file is damaged, of a lossy format, or no label map.
    """
    name = name or 'the file'
    for label, value, choices in (('as', take_as, take_as_choices()), ('fit', fit, FITS)):
        if value not in choices:
            raise UserError(f'{label}={value} of an import', f'use one of {", ".join(choices)}')
    reading = _read(NamedContent(content, name), config.data, take_as)
    values, sources = _sources(reading, config.data)
    fitted, how = _fitted(values, [source['id'] for source in sources], config, name, fit)
    size = values.shape[::-1]
    report = {
        'name': name,
        'file_size': [*size],
        'fit': how,
        'squeezed': not is_copy(size, fitted.shape[::-1]),
        'exact': reading.is_exact and how is None,
        'sources': sources,
    }
    arrays = _json_arrays(fitted, sources, config.data)
    return {**arrays, 'taken_for': reading.taken_for, 'report': report}


def _read(file: NamedContent, data: DataConfig, take_as: str) -> Reading:
    """Decide what a file is."""
    pixels = read_ids_or_colors(file)
    ids = _ids_of_training(file, data)
    if pixels.ndim == 2 or take_as == IDS:
        numbers = pixels if pixels.ndim == 2 else read_ids(file, thorough=False)
        return Reading(IDS, _indexed(numbers if ids is None else ids, file), ids is not None)
    if data.palette and ids is not None and take_as in (AUTO, OWN):
        return Reading(OWN, _indexed(ids, file), True)
    colors = _indexed(color_codes(pixels), file)
    if take_as != AUTO:
        return Reading(take_as, colors, False)
    proposals = Proposals(data)
    table, known, share = proposals.best_table(colors.distinct, colors.counts)
    if ids is not None:  # The file is indexed, or has grays saved as colors.
        if table == OWN and not proposals.has_table() or known < 2 or share < 0.5:
            return Reading(IDS, _indexed(ids, file), True)
        proposed = [proposal.id for proposal in proposals.of_colors(colors.distinct, table)]
        by_color = np.array([-1 if number is None else number for number in proposed])
        if (by_color[colors.places] == ids).all():
            return Reading(IDS, _indexed(ids, file), True)
    return Reading(table, colors, False)


def _indexed(values: np.ndarray, file: NamedContent) -> Indexed:
    """Return the distinct values of a map [H, W], found in pieces, which takes little memory."""
    pieces = np.array_split(values.ravel(), max(1, values.size // _PIECE))
    distinct = np.unique(np.concatenate([np.unique(piece) for piece in pieces]))
    if len(distinct) > min(_MOST_SOURCES, max(255, values.size // 16)):
        problem = f'{file} has {len(distinct)} colors or numbers, as many as a photo'
        raise UserError(problem, 'import a label map; a photo can be a style, or lie under the map')
    places = [np.searchsorted(distinct, piece).astype(np.uint16) for piece in pieces]
    firsts, start = np.full(len(distinct), values.size), 0
    for piece in places:
        found, first = np.unique(piece, return_index=True)
        firsts[found] = np.minimum(firsts[found], start + first)
        start += len(piece)
    joined = np.concatenate(places).reshape(values.shape)
    return Indexed(distinct, joined, firsts, np.bincount(joined.ravel(), minlength=len(distinct)))


def _ids_of_training(file: NamedContent, data: DataConfig) -> np.ndarray | None:
    """Return the ids that the reader of the model reads; None if it refuses the file."""
    try:
        ids = LabelReader(data).read(file, thorough=False)
        check_label_ids(ids, data, str(file))
    except UserError:
        return None
    return page_ids(ids, data)


def _sources(reading: Reading, data: DataConfig) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Return the index [H, W] of each pixel's source, and the sources, the commonest first."""
    distinct, places, firsts, counts = reading.values
    proposals = Proposals(data)
    if reading.is_exact:
        found = proposals.of_ids(distinct)
    elif reading.taken_for == IDS:
        found = proposals.of_numbers(distinct)
    else:
        found = proposals.of_colors(distinct, reading.taken_for)
    order = np.argsort(-counts, kind='stable')
    ranks = np.empty(len(order), np.uint16)
    ranks[order] = np.arange(len(order))
    width = places.shape[1]
    sources = [
        {
            **found[place]._asdict(),
            'count': int(counts[place]),
            'share': float(counts[place] / places.size),
            'first': [int(firsts[place] % width), int(firsts[place] // width)],
        }
        for place in order
    ]
    return ranks[places], sources


def _fitted(
    values: np.ndarray, ids: Sequence[int | None], config: Config, name: str, fit: str
) -> tuple[np.ndarray, str | None]:
    """Return the sources at the size of the model, and how they got it: None if they had it."""
    height, width = values.shape
    size = config.data.image_width, config.data.image_height
    if (width, height) == size:
        return values, None
    if fit == KEEP:
        multiple, found = config.model.size_multiple, f'{name}: {width}x{height}'
        if config.model.size_is_fixed:
            training = '{}x{}'.format(*size)
            raise UserError(f'{found}, but this model samples at {training} only', 'resize it')
        if width % multiple or height % multiple:
            reason = f'not divisible by {multiple} ({config.model.size_reason})'
            raise UserError(f'{found} is {reason}', 'resize it')
        if values.size > LARGEST_PIXELS:
            raise UserError(f'{found} has more than {LARGEST_PIXELS} pixels', 'resize it')
        return values, None
    if fit == MAJORITY:
        return _majority(values, ids, size), MAJORITY
    return resize_ids(values, size), NEAREST


def _majority(values: np.ndarray, ids: Sequence[int | None], size: tuple[int, int]) -> np.ndarray:
    """Return, for each pixel of `size`, the commonest source of the commonest class below it.

    Sources of one class vote together; each without a class votes for itself.
    """
    width, height = size
    columns = np.arange(values.shape[1]) * width // values.shape[1]
    pieces = []
    for rows in np.array_split(np.arange(len(values)), max(1, values.size // _PIECE)):
        cells = (rows * height // len(values) * width)[:, None] + columns
        pieces.append(np.unique(cells * len(ids) + values[rows], return_counts=True))
    found, counts = map(np.concatenate, zip(*pieces, strict=True))
    found, places = np.unique(found, return_inverse=True)
    counts = np.bincount(places, counts)
    cells, sources = np.divmod(found, len(ids))
    classes = np.array([-1 - i if number is None else number for i, number in enumerate(ids)])
    _, classes = np.unique(classes, return_inverse=True)
    _, voters = np.unique(cells * len(ids) + classes[sources], return_inverse=True)
    votes = np.bincount(voters, counts)[voters]
    order = np.lexsort((counts, votes, cells))  # By cell, then votes, then counts.
    last = order[np.append(np.diff(cells[order]) > 0, True)]
    fitted = resize_ids(values, size)  # A map that becomes larger has pixels for some cells only.
    fitted.flat[cells[last]] = sources[last]
    return fitted


def _json_arrays(
    values: np.ndarray, sources: Sequence[dict[str, Any]], data: DataConfig
) -> dict[str, Any]:
    """Return ids and sources of the pixels as JSON."""
    # "Unknown" where nothing is proposed, until one chooses.
    instead = DONTCARE_ID if DONTCARE_ID in class_ids(data) else 0
    proposed = [instead if source['id'] is None else source['id'] for source in sources]
    ids = np.array(proposed, label_dtype(data).newbyteorder('<'))[values]
    values = values.astype(np.uint8 if len(sources) <= 256 else '<u2')
    height, width = values.shape
    return {
        'width': width,
        'height': height,
        'ids': base64.b64encode(ids.tobytes()).decode(),
        'dtype': ids.dtype.name,
        'values': base64.b64encode(values.tobytes()).decode(),
        'values_dtype': values.dtype.name,
    }
