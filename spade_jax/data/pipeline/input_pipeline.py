"""The input pipeline: a tf.data dataset of training batches, and fixed validation examples.

The elements of the dataset are the examples: positions -> (image, label, instance) -> batches.
Sources read by random access, so the position alone decides what is read (see `example_order`), and
a resumed run skips positions before any decoding.
"""

import atexit
import concurrent.futures
import contextlib
import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from spade_jax.batch import Batch
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import check_label_ids, label_dtype
from spade_jax.data.pipeline.coarsening import coarsened
from spade_jax.data.pipeline.example_order import (
    BatchSchedule,
    augmentation_words,
    coarsening_numbers,
    example_index,
)
from spade_jax.data.pipeline.paired_transforms import Example, Geometry, max_crop_offset, transform
from spade_jax.data.pipeline.tensorflow_cpu import import_tensorflow
from spade_jax.data.sources.source import Source
from spade_jax.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

MAX_SKIPPED_IN_A_ROW = 100  # More of them point to a lost disk or to wrong flags.

_open_iterators: weakref.WeakSet[Generator[Batch]] = weakref.WeakSet()


class Skipped:
    """Counts the skipped examples (`on_bad_example=skip`) and names each once on standard error.

    Attributes:
      count: How often an example was skipped; a bad example counts in every epoch.
      reasons: The error of each example, by its location.
    """

    def __init__(self):
        self.count = 0
        self.reasons: dict[str, UserError] = {}
        self._lock = threading.Lock()

    def add(self, location: str, error: UserError) -> None:
        with self._lock:
            self.count += 1
        self.name(location, error)

    def name(self, location: str, error: UserError) -> None:
        """Print that an example is, or will be, skipped, unless it was printed before."""
        with self._lock:
            is_new = self.reasons.setdefault(location, error) is error
        if is_new:
            place = '' if location in error.problem else f'{location}: '
            tqdm.write(f'skipped: {place}{error.problem}', file=sys.stderr)


def training_batches(
    source: Source,
    config: DataConfig,
    schedule: BatchSchedule,
    first_step: int = 0,
    skipped: Skipped | None = None,
) -> Generator[Batch]:
    """Return an endless iterator over the batches of steps `first_step`, `first_step + 1`, ...

    Close the iterator to release its threads.

    Args:
      source: The examples.
      config: Preprocessing and number of workers.
      schedule: Batch size, seed and the share of this process.
      first_step: The first step; earlier examples are not read.
      skipped: Counts what this process skips; the workers run ahead of the batches.

    Raises:
      UserError: From the iterator, when an example cannot be read.
    """
    # Errors wait here for their batch: TensorFlow would pass on the text of an exception alone.
    errors: dict[int, Exception] = {}
    placeholder = Example(*(spec and np.zeros(*spec) for spec in _example_specs(config)))
    size, skipped = schedule.local_batch_size, skipped or Skipped()

    def read(number: int) -> Example:
        try:
            position = schedule.position(number)
            return read_for_training(source, config, schedule.seed, position, skipped)
        except Exception as error:
            errors[number] = error
            return placeholder

    def batches():
        dataset = training_dataset(config, size, first_step * size, read)
        for step, parts in enumerate(dataset.as_numpy_iterator(), start=first_step):
            if failed := [number for number in list(errors) if number < (step + 1) * size]:
                raise errors[min(failed)]
            yield Batch(*parts)

    iterator = batches()
    _open_iterators.add(iterator)
    return iterator


def training_dataset(
    config: DataConfig, batch_size: int, first: int, read: Callable[[int], Example]
) -> 'tf.data.Dataset':
    """Return the endless dataset of batches; threads `read` the examples from number `first` on."""
    tf = import_tensorflow()
    specs = [spec for spec in _example_specs(config) if spec is not None]

    def load(number: np.int64) -> list[np.ndarray]:
        return [pixels for pixels in read(int(number)) if pixels is not None]

    def example(number):
        parts = tf.numpy_function(load, [number], [dtype for _, dtype in specs])
        for part, (shape, _) in zip(parts, specs, strict=True):
            part.set_shape(shape)
        return tuple(parts)

    options = tf.data.Options()
    options.threading.private_threadpool_size = config.data_workers
    return (
        tf.data.Dataset.range(first, np.iinfo(np.int64).max)
        .map(example, num_parallel_calls=config.data_workers, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(2)
        .with_options(options)
    )


def abstract_batch(config: DataConfig, batch_size: int) -> Batch:
    """Return the shapes and dtypes of a batch as `jax.ShapeDtypeStruct`, None where it has none."""
    import jax

    specs = _example_specs(config)
    return Batch(*(s and jax.ShapeDtypeStruct((batch_size, *s[0]), s[1]) for s in specs))


def validation_examples(
    source: Source, config: DataConfig, count: int, skipped: Skipped | None = None
) -> Batch:
    """Return `count` examples spread evenly over the source, center-cropped and not mirrored.

    They are the same on every call; a source with fewer examples gives all it has. With
    `on_bad_example=skip`, the next example replaces an unusable one, which `skipped` names.
    """
    count = min(count, len(source))
    on_skipped = (skipped or Skipped()).name

    def read_near(index: int) -> Example:
        indices = (other % len(source) for other in range(index, index + len(source)))
        return _read_usable(source, config, indices, None, on_skipped)

    with concurrent.futures.ThreadPoolExecutor(config.data_workers) as pool:
        examples = pool.map(read_near, (number * len(source) // count for number in range(count)))
        parts = zip(*examples, strict=True)
        return Batch(*(None if part[0] is None else np.stack(part) for part in parts))


def locations_of_step(source: Source, schedule: BatchSchedule, step: int) -> list[str]:
    """Return the locations of the examples of a step (from 1), skipped ones included."""
    positions = range((step - 1) * schedule.batch_size, step * schedule.batch_size)
    indices = [example_index(schedule.seed, position, len(source)) for position in positions]
    return [source.locations[index] for index in indices]


def read_for_training(
    source: Source, config: DataConfig, seed: int, position: int, skipped: Skipped | None = None
) -> Example:
    """Read the example at `position` at the training size, augmented at random.

    It is cropped and mirrored, and its label map may be coarsened.
    """
    count = len(source)
    epoch, place = divmod(position, count)
    positions = (epoch * count + other % count for other in range(place, place + count))
    indices = (example_index(seed, other, count) for other in positions)
    words, on_skipped = augmentation_words(seed, position), (skipped or Skipped()).add
    example = _read_usable(source, config, indices, words, on_skipped)
    if not config.coarsen_labels:
        return example
    numbers = coarsening_numbers(seed, position)
    return example._replace(label=coarsened(example.label, config.coarsen_labels, numbers))


def _read_usable(
    source: Source,
    config: DataConfig,
    indices: Iterable[int],
    words: Sequence[int] | None,
    on_skipped: Callable[[str, UserError], None],
) -> Example:
    """Read the first usable example; only the very first unless bad examples may be skipped."""
    last = UserError('the source has no examples')
    for index in itertools.islice(indices, MAX_SKIPPED_IN_A_ROW):
        try:
            return _read(source, config, index, words)
        except UserError as error:
            if config.on_bad_example == 'error':
                raise
            on_skipped(source.locations[index], error)
            last = error
    problem = f'no usable example among {min(MAX_SKIPPED_IN_A_ROW, len(source))} in a row'
    raise UserError(f'{problem}; the last one: {last.problem}', last.remedy)


def _read(source: Source, config: DataConfig, index: int, words: Sequence[int] | None) -> Example:
    """Read an example, cropped and mirrored by random words; centered without words."""
    image, label, instance = source.read(index)
    example = Example(image, label, instance if config.instance_edges else None)
    geometry = Geometry.from_config(config, prescaled=source.already_scaled)
    if not source.already_scaled:  # Prepared records were checked when they were written.
        check_label_ids(label, config, source.locations[index])
    try:
        max_x, max_y = max_crop_offset(geometry, label.shape[1], label.shape[0])
        offset, flip = (max_x // 2, max_y // 2), False
        if words:
            offset = words[0] % (max_x + 1), words[1] % (max_y + 1)
            flip = config.flip and words[2] % 2 == 1
        image, label, instance = transform(example, geometry, offset, flip)
    except UserError as error:
        raise error.at(source.locations[index]) from None
    # Converted after the crop, which leaves fewer pixels.
    instance = None if instance is None else instance.astype(np.int32, copy=False)
    return Example(image, label.astype(label_dtype(config), copy=False), instance)


def _example_specs(config: DataConfig) -> tuple[Any, Any, Any]:
    """Shape and dtype, or None, of each part of an example."""
    size = config.image_height, config.image_width
    image = (*size, 3), np.uint8
    label = (*size, config.label_channels), np.uint8
    if config.uses_labels:
        label = size, label_dtype(config)
    return image, label, (size, np.int32) if config.instance_edges else None


@atexit.register
def _close_open_iterators() -> None:
    """Close the iterators before the interpreter ends; TensorFlow would wait for its workers."""
    for batches in list(_open_iterators):
        with contextlib.suppress(ValueError):  # Another thread is running it.
            batches.close()
