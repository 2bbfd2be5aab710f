"""Which statistics a model with batch normalisation draws with."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from spade_jax.data.files.label_maps import LabelMaps
from spade_jax.sampling.sample_files import batches_of_one_size, readable, stacked
from spade_jax.sampling.styles import Styles
from spade_jax.sampling.trained_generator import TrainedGenerator

MOST_BATCHES = 64


def with_statistics(
    generator: TrainedGenerator,
    kind: str,
    maps: LabelMaps,
    styles: Styles,
    *,
    size: tuple[int, int] | None,
    batch_size: int,
) -> TrainedGenerator:
    """The generator as it is to draw `maps`.

    Args:
      kind: 'running': as it was trained. 'batch': by the statistics of the maps drawn together. 'recalibrated': by statistics taken over these maps,
        at most `MOST_BATCHES` batches of them.
      styles, size, batch_size: of the drawing.

    Raises:
      UserError: the model has no batch statistics.
    """
    if kind == 'running':
        return generator
    if kind == 'batch':
        return generator.with_statistics_of_batch()
    return generator.recalibrated(_batches(generator, maps, styles, size, batch_size))


def _batches(
    generator, maps, styles, size, batch_size
) -> Iterator[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]]:
    """Batches of maps spread evenly over all of them; short ones only where there is no other."""
    count = min(len(maps.names), MOST_BATCHES * batch_size)
    indices = np.arange(count) * len(maps.names) // count
    read = (readable(maps, int(index), generator.config, size) for index in indices)
    short = None
    for first, group in batches_of_one_size(read, batch_size):
        batch = *stacked(group), styles.of(0, indices[first : first + len(group)])
        if len(group) == batch_size:
            short = False
            yield batch
        elif short is None:
            short = batch
    if short:
        yield short
