"""Label maps of a directory or a data set -> files of pictures of the same names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from spade_jax.config.config import Config
from spade_jax.data.files.label_maps import LabelMaps
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.errors import UserError
from spade_jax.files.image_grid import write_png
from spade_jax.sampling.sizes import scaled
from spade_jax.sampling.styles import Styles
from spade_jax.sampling.trained_generator import TrainedGenerator, check_size


class Drawn(NamedTuple):
    """One label map and what was drawn from it.

    index: number of the map.
    maps: as they were drawn.
    pictures: [H, W, 3] uint8, one for each sample.
    """

    index: int
    maps: Example
    pictures: list[np.ndarray]


class Viewer(Protocol):
    """Shows the pictures beside their label maps.

    files: paths that it writes, each with what messages call it; no picture may take them.
    """

    files: dict[str, str]

    def show(self, drawn: Drawn, paths: list[str]) -> None:
        """Takes one map, its pictures and where they were written; called in order."""

    def finish(self) -> None:
        """Called after the last."""


def draw(
    generator: TrainedGenerator,
    maps: LabelMaps,
    output_dir: str,
    styles: Styles,
    *,
    size: tuple[int, int] | None,
    batch_size: int = 8,
    viewer: Viewer | None = None,
) -> list[str]:
    """Draws label maps to files, and keeps their names. Shows a progress bar.

    Args:
      output_dir: gets `<name>.png`, or `<name>_<i>.png` for each of several samples.
      styles: of the pictures, and how many there are of each map.
      size: (width, height) to which maps are scaled, nearest; None: drawn at their own.
      batch_size: maps that are drawn at a time.
      viewer: is shown all of them.

    Returns:
      The paths of the pictures.

    Raises:
      UserError: when a picture would replace a label map, another picture or a file of the viewer, or a map cannot be drawn.
    """
    outputs = output_files(
        maps, output_dir, styles.num_samples, {} if viewer is None else viewer.files
    )
    read = (readable(maps, index, generator.config, size) for index in range(len(maps.names)))
    written = []
    with tqdm(
        total=len(outputs) * styles.num_samples,
        unit='picture',
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 20,
    ) as progress:
        for first, group in batches_of_one_size(read, batch_size):
            for drawn in drawings(generator, first, group, styles, batch_size):
                for path, picture in zip(outputs[drawn.index], drawn.pictures):
                    write_png(path, picture)
                    written.append(path)
                    progress.update()
                if viewer:
                    viewer.show(drawn, outputs[drawn.index])
    if viewer:
        viewer.finish()
    return written


def drawings(
    generator: TrainedGenerator, first: int, group: list[Example], styles: Styles, batch_size: int
) -> Iterator[Drawn]:
    """The pictures of maps of one size, whose first has the number `first`."""
    if (
        styles.num_samples > 1 and not generator.statistics_of_batch
    ):  # most of the work is the same for all styles of a map
        even = -(-styles.num_samples // -(-styles.num_samples // batch_size))
        for index, maps in enumerate(group, first):
            latents = np.concatenate(
                [styles.of(sample, np.array([index])) for sample in range(styles.num_samples)]
            )
            yield Drawn(
                index,
                maps,
                list(generator.prepare(maps.label, maps.instance)(latents, batch_size=even)),
            )
        return
    labels, instances = stacked(group)
    indices = first + np.arange(len(group))
    filled = np.arange(batch_size) % len(
        group
    )  # a single map too: a short last batch is not to compile again
    samples = []
    for sample in range(styles.num_samples):
        pictures = generator(
            labels[filled],
            None if instances is None else instances[filled],
            style=styles.of(sample, indices[filled]),
            batch_size=batch_size,
        )
        samples.append(pictures[: len(group)])
    for index, maps, *pictures in zip(indices, group, *samples):
        yield Drawn(int(index), maps, pictures)


def stacked(group: list[Example]) -> tuple[np.ndarray, np.ndarray | None]:
    """The label maps [N, H, W] of maps of one size, and their instance maps, if they have any."""
    labels = np.stack([maps.label for maps in group])
    return labels, None if group[0].instance is None else np.stack(
        [maps.instance for maps in group]
    )


def readable(maps: LabelMaps, index: int, config: Config, size: tuple[int, int] | None) -> Example:
    """A label map at the size at which it is drawn. Raises UserError, with its file, when the generator cannot draw it."""
    example = maps.read(index)
    if size is not None:
        return scaled(example, size)
    try:
        check_size(config, *example.label.shape[:2])
    except UserError as error:
        raise UserError(
            f'{maps.locations[index]}: {error.problem}',
            f'{error.remedy} (--sample_size=training scales every map to it)',
        ) from None
    return example


def output_files(
    maps: LabelMaps, output_dir: str, num_samples: int, others: dict[str, str] | None = None
) -> list[list[str]]:
    """Paths of the pictures of each label map.

    Args:
      others: more files that will be written, each with what messages call it.

    Raises:
      UserError: where one file would replace a label map or another file.
    """
    suffixes = [f'_{sample}' for sample in range(num_samples)] if num_samples > 1 else ['']
    outputs = [
        [os.path.join(output_dir, name + suffix + '.png') for suffix in suffixes]
        for name in maps.names
    ]
    taken: dict[str, str] = {os.path.realpath(path): path for path in maps.paths}
    for location, paths in zip(maps.locations, outputs):
        for path in map(os.path.realpath, paths):
            if path in taken:
                raise UserError(
                    f'the picture of {location} would be written over {"the label map" if taken[path] == location else taken[path]} ({path})',
                    'choose another output_dir, or give the label maps different names',
                )
            taken[path] = f'that of {location}'
    for path, what in (others or {}).items():
        if (real := os.path.realpath(path)) in taken:
            raise UserError(
                f'{what} would be written over {taken[real]} ({real})',
                'choose another output_dir, or --nogallery',
            )
    return outputs


def batches_of_one_size(
    items: Iterable[Any], batch_size: int
) -> Iterator[tuple[int, list[Example]]]:
    """Runs of at most `batch_size` neighbours whose maps have one size, each with the index of its first."""
    group: list[Example] = []
    first = 0
    for item in items:
        if group and (len(group) == batch_size or item.label.shape != group[0].label.shape):
            yield first, group
            first, group = first + len(group), []
        group.append(item)
    if group:
        yield first, group
