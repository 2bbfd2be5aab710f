"""Label maps of a directory or a data set -> image files of the same names."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

import numpy as np
from tqdm import tqdm

from spade_jax.config.config import Config
from spade_jax.data.files.label_maps import LabelMaps
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.errors import UserError
from spade_jax.files.image_grid import write_png
from spade_jax.sampling.sizes import resized
from spade_jax.sampling.styles import Styles
from spade_jax.sampling.trained_generator import LabelBatch, TrainedGenerator, check_size

MAX_RECALIBRATION_BATCHES = 64


@dataclasses.dataclass(frozen=True)
class SampleRequest:
    """What to sample.

    Attributes:
      maps: The label maps.
      styles: The style of each image, and the number of images of each map.
      size: (width, height) to which maps are resized; None: each keeps its size.
      batch_size: Number of maps sampled together.
    """

    maps: LabelMaps
    styles: Styles
    size: tuple[int, int] | None
    batch_size: int = 8

    def read(self, indices: Iterable[int], config: Config) -> Iterator[tuple[int, list[Example]]]:
        """The maps in batches of one size, each with the position of its first map in `indices`."""
        items = (load_for_sampling(self.maps, index, config, self.size) for index in indices)
        return batches_of_one_size(items, self.batch_size)


class SampledMap(NamedTuple):
    """One label map and its samples.

    Attributes:
      index: Number of the map.
      maps: Label map and instance map as the generator saw them.
      images: [H, W, 3] uint8, one for each sample.
    """

    index: int
    maps: Example
    images: list[np.ndarray]


class Viewer(Protocol):
    """Presents the samples, e.g. on a page.

    Attributes:
      files: The paths that it writes, each with its name for errors; no sample may have them.
    """

    files: dict[str, str]

    def show(self, sampled: SampledMap, paths: list[str]) -> None:
        """Add a map, its samples and their files; called in the order of the maps."""

    def finish(self) -> None:
        """Write the presentation; called after the last map."""


def write_samples(
    generator: TrainedGenerator,
    request: SampleRequest,
    output_dir: str,
    viewer: Viewer | None = None,
) -> list[str]:
    """Write `<name>.png` for each label map, or `<name>_<i>.png` for each of several samples.

    Shows a progress bar.

    Returns:
      The paths of the images.

    Raises:
      UserError: An image would overwrite a label map, another image or a file of the viewer, or a
        map cannot be read or has an illegal size.
    """
    maps, num_samples = request.maps, request.styles.num_samples
    others = {} if viewer is None else viewer.files
    outputs = output_files(maps, output_dir, num_samples, others)
    total, interval = len(outputs) * num_samples, 0.5 if sys.stderr.isatty() else 20
    with tqdm(total=total, unit='image', dynamic_ncols=True, mininterval=interval) as progress:
        for first, group in request.read(range(len(maps.names)), generator.config):
            for sampled in _sample_group(generator, first, group, request):
                for path, image in zip(outputs[sampled.index], sampled.images, strict=True):
                    write_png(path, image)
                    progress.update()
                if viewer:
                    viewer.show(sampled, outputs[sampled.index])
    if viewer:
        viewer.finish()
    return [path for paths in outputs for path in paths]


def _sample_group(
    generator: TrainedGenerator, first: int, group: list[Example], request: SampleRequest
) -> Iterator[SampledMap]:
    """Sample maps of one size; `first` is the number of the first."""
    styles, batch_size = request.styles, request.batch_size
    if styles.num_samples > 1 and not generator.use_batch_statistics:
        # Most of the computation is the same for all styles of a map: one map at a time.
        num_batches = -(-styles.num_samples // batch_size)
        even_size = -(-styles.num_samples // num_batches)
        for index, maps in enumerate(group, first):
            numbers = range(styles.num_samples)
            latents = np.array([styles.of(number, np.array([index])) for number in numbers])
            prepared = generator.prepare(maps.label, maps.instance)
            images = prepared(latents[:, 0], batch_size=even_size)
            yield SampledMap(index, maps, list(images))
        return
    labels, instances = _stack(group)
    indices = first + np.arange(len(group))
    # A short last batch is filled up, even a single map: another shape would compile again.
    filled = np.arange(batch_size) % len(group)
    instances = None if instances is None else instances[filled]
    samples = []
    for sample in range(styles.num_samples):
        style = styles.of(sample, indices[filled])
        images = generator(labels[filled], instances, style=style, batch_size=batch_size)
        samples.append(images[: len(group)])
    for index, maps, *images in zip(indices, group, *samples, strict=True):
        yield SampledMap(int(index), maps, images)


def with_statistics(
    generator: TrainedGenerator, kind: str, request: SampleRequest
) -> TrainedGenerator:
    """The generator with the statistics of batch normalization that it samples with.

    Args:
      generator: The generator as it was trained.
      kind: 'running': those of the training. 'batch': those of the maps sampled together.
        'recalibrated': recomputed over at most `MAX_RECALIBRATION_BATCHES` batches of the maps.
      request: What to sample.

    Raises:
      UserError: The model has no batch statistics.
    """
    if kind == 'running':
        return generator
    if kind == 'batch':
        return generator.with_batch_statistics()
    return generator.recalibrated(_recalibration_batches(generator.config, request))


def _recalibration_batches(config: Config, request: SampleRequest) -> Iterator[LabelBatch]:
    """Batches of evenly spaced maps; a short one only if there is no full one."""
    total = len(request.maps.names)
    count = min(total, MAX_RECALIBRATION_BATCHES * request.batch_size)
    indices = np.arange(count) * total // count
    short, any_full = None, False
    for first, group in request.read(map(int, indices), config):
        style = request.styles.of(0, indices[first : first + len(group)])
        batch = *_stack(group), style
        if len(group) == request.batch_size:
            any_full = True
            yield batch
        else:
            short = short or batch
    if short and not any_full:
        yield short


def load_for_sampling(
    maps: LabelMaps, index: int, config: Config, size: tuple[int, int] | None
) -> Example:
    """Read a label map and resize it to (width, height) `size`, or keep its size if None.

    Raises:
      UserError: The map cannot be read, or the generator does not support its size.
    """
    example = maps.read(index)
    if size is not None:
        return resized(example, size)
    try:
        check_size(config, *example.label.shape[:2])
    except UserError as error:
        remedy = f'{error.remedy} (--sample_size=training resizes every map to it)'
        raise UserError(f'{maps.locations[index]}: {error.problem}', remedy) from None
    return example


def output_files(
    maps: LabelMaps, output_dir: str, num_samples: int, others: Mapping[str, str] | None = None
) -> list[list[str]]:
    """The paths of the samples of each label map.

    Args:
      maps: The label maps.
      output_dir: Directory of the images.
      num_samples: Samples of each map.
      others: More paths that will be written, each with its name for errors.

    Raises:
      UserError: A file would overwrite a label map or another file.
    """
    suffixes = [f'_{sample}' for sample in range(num_samples)] if num_samples > 1 else ['']
    stems = [os.path.join(output_dir, name) for name in maps.names]
    outputs = [[f'{stem}{suffix}.png' for suffix in suffixes] for stem in stems]
    taken = {os.path.realpath(path): path for path in maps.paths}
    for location, paths in zip(maps.locations, outputs, strict=True):
        for path in map(os.path.realpath, paths):
            if path in taken:
                victim = 'the label map' if taken[path] == location else taken[path]
                problem = f'the image of {location} would overwrite {victim} ({path})'
                remedy = 'choose another output_dir, or give the label maps different names'
                raise UserError(problem, remedy)
            taken[path] = f'the image of {location}'
    for path, name in (others or {}).items():
        if (real := os.path.realpath(path)) in taken:
            problem = f'{name} would overwrite {taken[real]} ({real})'
            raise UserError(problem, 'choose another output_dir, or --nogallery')
    return outputs


def batches_of_one_size(
    items: Iterable[Example], batch_size: int
) -> Iterator[tuple[int, list[Example]]]:
    """Group at most `batch_size` successive maps of one size; yields (position of first, group)."""
    group: list[Example] = []
    first = 0
    for item in items:
        if group and (len(group) == batch_size or item.label.shape != group[0].label.shape):
            yield first, group
            first, group = first + len(group), []
        group.append(item)
    if group:
        yield first, group


def _stack(group: list[Example]) -> tuple[np.ndarray, np.ndarray | None]:
    """Label maps [N, H, W] of one size, and their instance maps, if they have any."""
    labels = np.stack([maps.label for maps in group])
    instances = [maps.instance for maps in group if maps.instance is not None]
    return labels, np.stack(instances) if instances else None
