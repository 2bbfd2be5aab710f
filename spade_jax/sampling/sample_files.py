"""Label maps of a directory or a data set -> image files of the same names."""

import dataclasses
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
from tqdm import tqdm

from spade_jax.config.config import Config
from spade_jax.data.files.label_maps import LabelMaps
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.sources.open_source import bad_examples
from spade_jax.data.sources.source import size_of
from spade_jax.errors import DatasetError, UserError
from spade_jax.files.image_grid import write_png
from spade_jax.files.names import is_inside
from spade_jax.files.writable import check_writable
from spade_jax.sampling.gallery import Gallery
from spade_jax.sampling.sizes import check_size, resized, shape_warning
from spade_jax.sampling.styles import Styles
from spade_jax.sampling.trained_generator import LabelBatch, TrainedGenerator

MAX_RECALIBRATION_BATCHES = 64


@dataclasses.dataclass(frozen=True)
class SampleRequest:
    """What to sample."""

    maps: LabelMaps
    styles: Styles  # of each image; it has the number of images of each map
    size: tuple[int, int] | None  # (width, height) of resized maps; None: each keeps its size
    batch_size: int = 8  # maps sampled together
    inputs: tuple[str, ...] = ()  # more files that no image may overwrite

    def read(self, indices: Iterable[int], config: Config) -> Iterator[tuple[int, list[Example]]]:
        """The maps in batches of one size, each with the position of its first map in `indices`."""
        examples = (load_for_sampling(self.maps, index, config, self.size) for index in indices)
        first = 0
        for _, of_one_size in itertools.groupby(examples, lambda example: example.label.shape):
            while group := list(itertools.islice(of_one_size, self.batch_size)):
                yield first, group
                first += len(group)


def write_samples(
    generator: TrainedGenerator,
    request: SampleRequest,
    output_dir: str,
    gallery: Gallery | None = None,
    *,
    keep_existing: bool = False,
) -> list[str]:
    """Write `<name>.png` for each label map, or `<name>_<i>.png` for each of several samples.

    Shows a progress bar and returns the paths of the images. With `keep_existing`, a label map
    whose images are there is not sampled again.

    Raises:
      UserError: An image would overwrite a label map, another image or a file of the gallery, or
        would not be in `output_dir`; a map cannot be read or has an illegal size; or a directory
        has the place of an image.
    """
    maps, num_samples = request.maps, request.styles.num_samples
    others = gallery.files if gallery else {}
    outputs = output_files(maps, output_dir, num_samples, others, request.inputs)
    check_writable([], [path for paths in outputs for path in paths])
    done = [keep_existing and all(map(os.path.exists, paths)) for paths in outputs]
    todo = np.flatnonzero(~np.array(done))
    total, interval = len(todo) * num_samples, 0.5 if sys.stderr.isatty() else 20
    with tqdm(total=total, unit='image', dynamic_ncols=True, mininterval=interval) as progress:
        for first, group in request.read(map(int, todo), generator.config):
            indices = todo[first : first + len(group)]
            samples = _sample_group(generator, indices, group, request)
            for index, example, images in zip(indices, group, samples, strict=True):
                for path, image in zip(outputs[index], images, strict=True):
                    write_png(path, image)
                    progress.update()
                if gallery:
                    gallery.show(index, example.label, images, outputs[index])
    if gallery:
        gallery.finish()
    return [path for paths in outputs for path in paths]


def _sample_group(
    generator: TrainedGenerator, indices: np.ndarray, group: list[Example], request: SampleRequest
) -> Iterator[list[np.ndarray]]:
    """The images of each of some maps of one size; `indices` are the numbers of the maps."""
    styles, batch_size = request.styles, request.batch_size
    numbers = range(styles.num_samples)
    if styles.num_samples > 1 and not generator.use_batch_statistics:
        # Most of the computation is the same for all styles of a map: one map at a time.
        num_batches = -(-styles.num_samples // batch_size)
        even_size = -(-styles.num_samples // num_batches)
        for index, example in zip(indices, group, strict=True):
            latents = np.array([styles.of(number, np.array([index])) for number in numbers])
            prepared = generator.prepare(example.label, example.instance)
            yield list(prepared(latents[:, 0], batch_size=even_size))
        return
    # A short last batch is filled up: another shape would compile again. A map on its own is not,
    # so that it gets the image of a call from Python, bit for bit.
    batch_size = min(batch_size, len(request.maps.names))
    filled = np.arange(batch_size) % len(group)
    labels, instances = _stack([group[i] for i in filled])
    samples = []
    for number in numbers:
        style = styles.of(number, indices[filled])
        samples.append(generator(labels, instances, style=style, batch_size=batch_size))
    yield from ([images[i] for images in samples] for i in range(len(group)))


def with_statistics(
    generator: TrainedGenerator, kind: str, request: SampleRequest
) -> TrainedGenerator:
    """The generator with the statistics of --batch_statistics: running, batch or recalibrated."""
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
        batch = *_stack(group), request.styles.of(0, indices[first : first + len(group)])
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
    """Read a label map at (width, height) `size`, or at its own size, which is checked, if None."""
    example = _read_checked(maps, index, config, size)
    return example if size is None else resized(example, size)


def _read_checked(
    maps: LabelMaps, index: int, config: Config, size: tuple[int, int] | None
) -> Example:
    """Read a label map at its own size, which must be legal if `size` is None."""
    example = maps.read(index)
    try:
        if size is None:
            check_size(config, *example.label.shape[:2])
    except UserError as error:
        remedy = f'{error.remedy} (--sample_size=training resizes every map to it)'
        raise UserError(f'{maps.locations[index]}: {error.problem}', remedy) from None
    return example


def check_maps(
    maps: LabelMaps, config: Config, size: tuple[int, int] | None, *, with_photos: bool
) -> dict[str, UserError]:
    """Read every label map once, so that a bad one stops the program before it writes anything.

    Warns of files that `size` squeezes to another shape; the maps of a data set are squeezed as in
    training. With `with_photos`, photos are read, too.

    Returns:
      The errors of bad maps by location, with `on_bad_example` 'skip', unless all are bad.

    Raises:
      UserError: The first bad map; with 'skip', if all are bad.
    """
    warnings: dict[int, str] = {}

    def check(index: int) -> None:
        label = _read_checked(maps, index, config, size).label
        if with_photos:
            maps.read_photo(index)
        if size and maps.paths:
            warnings[index] = shape_warning(config, size_of(label), size, '--sample_size={}')

    try:
        bad = bad_examples(maps.locations, check, config.data)
    except DatasetError:
        raise
    except UserError as error:
        if config.data.on_bad_example == 'skip' or len(maps.names) == 1:
            raise
        remedy = f'{error.remedy}; --on_bad_example=skip samples the others'
        raise UserError(error.problem, remedy) from error
    if changed := [index for index, warning in sorted(warnings.items()) if warning]:
        first, count = changed[0], f'{len(changed)} of {len(maps.names)} label maps'
        text = f'warning: {count} change their shape: {maps.locations[first]}: {warnings[first]}'
        print(text, file=sys.stderr)
    return bad


def output_files(
    maps: LabelMaps,
    output_dir: str,
    num_samples: int,
    others: Mapping[str, str],
    inputs: tuple[str, ...] = (),
) -> list[list[str]]:
    """The paths of the samples of each label map.

    Raises a UserError if one would overwrite a file or would not be in `output_dir`.

    `others` are more paths that will be written, each with its name for errors; `inputs` are files
    that must stay, besides the label maps.
    """
    for name, location in zip(maps.names, maps.locations, strict=True):
        if not is_inside(name):
            problem = f'the image of {location} would be outside of {output_dir} (name {name!r})'
            raise UserError(problem, 'rename the example')
    suffixes = [f'_{sample}' for sample in range(num_samples)] if num_samples > 1 else ['']
    stems = [os.path.join(output_dir, name) for name in maps.names]
    outputs = [[f'{stem}{suffix}.png' for suffix in suffixes] for stem in stems]
    taken = {os.path.realpath(path): f'the input {path}' for path in inputs}
    taken |= {os.path.realpath(path): f'the label map {path}' for path in maps.paths}
    images = [f'the image of {location}' for location in maps.locations]
    written = [
        (path, image) for image, paths in zip(images, outputs, strict=True) for path in paths
    ]
    for path, what in [*written, *others.items()]:
        if (real := os.path.realpath(path)) in taken:
            remedy = 'choose another output_dir, or give the label maps different names'
            raise UserError(f'{what} would overwrite {taken[real]}', remedy)
        taken[real] = what
    return outputs


def _stack(group: list[Example]) -> tuple[np.ndarray, np.ndarray | None]:
    """Label maps [N, H, W] of one size, and their instance maps, if they have any."""
    labels = np.stack([maps.label for maps in group])
    instances = [maps.instance for maps in group if maps.instance is not None]
    return labels, np.stack(instances) if instances else None
