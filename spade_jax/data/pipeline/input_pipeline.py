"""From a source to batches of numpy arrays, in an order that is a function of the step alone.

Training shows an endless sequence of positions 0, 1, 2, ...: step s of a run takes the positions s * batch_size and following. Position p is example
`permutation(seed, epoch)[p % N]` of epoch `p // N`, and its crop and flip come from a hash of (seed, p). So every epoch shows every example
exactly once, a batch may straddle two epochs, and a resumed run needs to know nothing but its step. An example that cannot be used and may be skipped
gives its place to the next one of its epoch that can.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import functools
import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.data.files.label_reader import check_label_ids, label_dtype
from spade_jax.data.pipeline.paired_transforms import Example, Geometry, crop_room, transform
from spade_jax.data.pipeline.tensorflow_cpu import import_tensorflow
from spade_jax.data.sources.open_source import open_source
from spade_jax.data.sources.source import Source
from spade_jax.errors import UserError

# Streams of random numbers under one seed.
_ORDER_STREAM = 0
_AUGMENTATION_STREAM = 1
# So many bad examples in a row are no accident: a disk is gone, or the flags are wrong.
_MOST_SKIPPED = 100

_open_iterators: weakref.WeakSet[Iterator[Batch]] = weakref.WeakSet()


@atexit.register
def _close_open_iterators() -> None:
    """Lets a program end in the middle of an epoch. It would hang: TensorFlow waits for its workers, and those for the interpreter that is gone."""
    for batches in list(_open_iterators):
        with contextlib.suppress(ValueError):  # Another thread is in it.
            batches.close()


class Skipped:
    """Counts the examples that were skipped, see `Config.on_bad_example`, and names each of them once, on standard error.

    Attributes:
      count: how often an example was skipped; one that is bad counts in every epoch.
      reasons: what is wrong, by the location of the example.
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
        """Says that an example is skipped, or will be, unless that was said before."""
        with self._lock:
            if location in self.reasons:
                return
            self.reasons[location] = error
        problem = error.problem if location in error.problem else f'{location}: {error.problem}'
        tqdm.write(
            f'skipped: {problem}', file=sys.stderr
        )  # beside the progress bar, and not into it


def training_batches(
    source: Source,
    config: Config,
    *,
    first_step: int,
    process_index: int = 0,
    process_count: int = 1,
    skipped: Skipped | None = None,
) -> Iterator[Batch]:
    """The batches of steps `first_step`, `first_step + 1`, ... without end. Close the iterator to release its threads.

    Args:
      source: the examples.
      config: batch size, seed, preprocessing and number of workers.
      first_step: the step to begin with; the examples before it are not read.
      process_index, process_count: of several processes, each reads its contiguous share of every batch, batch_size / process_count examples; of every
        part of it, where a batch goes through the networks in parts.
      skipped: counts what this process skips; it runs ahead of the batches, as the workers do.

    Raises:
      UserError: at once when the batch does not divide among the processes; from the iterator when an example cannot be read.
    """
    unit = process_count * config.optimizer.accumulation_steps
    if config.optimizer.batch_size % unit:
        parts = (
            ''
            if config.optimizer.accumulation_steps == 1
            else f' x accumulation_steps={config.optimizer.accumulation_steps}'
        )
        raise UserError(
            f'batch_size={config.optimizer.batch_size} does not divide among {process_count} processes{parts}',
            f'use a multiple of {unit}',
        )
    batches = _training_batches(
        source,
        config,
        first_step,
        process_index,
        config.optimizer.batch_size // process_count,
        skipped or Skipped(),
    )
    _open_iterators.add(batches)
    return batches


def validation_examples(
    source: Source, config: Config, count: int, skipped: Skipped | None = None
) -> Batch:
    """`count` examples spread evenly over the source, cropped in the centre and not mirrored: the same ones on every call.

    A source with fewer examples gives all that it has. One that cannot be used gives way to the next, where that is allowed; `skipped` names it, but counts
    what training skips alone.
    """
    count = min(count, len(source))
    indices = [number * len(source) // count for number in range(count)]

    def read(index):
        candidates = (other % len(source) for other in range(index, index + len(source)))
        return _first_usable(
            candidates,
            functools.partial(read_centre_crop, source, config),
            source,
            config,
            (skipped or Skipped()).name,
        )

    with concurrent.futures.ThreadPoolExecutor(config.data.data_workers) as pool:
        examples = list(pool.map(read, indices))
    return Batch(*(np.stack(parts) if parts[0] is not None else None for parts in zip(*examples)))


def split_examples(config: Config, split: str, count: int) -> Batch:
    """`validation_examples` of a split of a run's data. Raises UserError where they have no such split."""
    source = open_source(config.data, split)
    if source is None:
        raise UserError(
            f'the data of this run have no {split} split; set --data_dir to where they have one'
        )
    return validation_examples(source, config, count)


def example_index(seed: int, position: int, num_examples: int) -> int:
    """The example that is shown at `position` of the endless training sequence."""
    epoch, place = divmod(position, num_examples)
    return int(_permutation(seed, epoch, num_examples)[place])


def locations_of_step(source: Source, config: Config, step: int) -> list[str]:
    """Where the examples in the batch of step `step`, the first of which is 1, come from; where one was skipped, the one that it stands for."""
    positions = range((step - 1) * config.optimizer.batch_size, step * config.optimizer.batch_size)
    return [
        source.locations[example_index(config.run.seed, position, len(source))]
        for position in positions
    ]


def steps_in_epochs(epochs: int, batch_size: int, num_examples: int) -> int:
    """The least number of steps that shows every example at least `epochs` times."""
    return -(-epochs * num_examples // batch_size)


def read_for_training(
    source: Source, config: Config, position: int, skipped: Skipped | None = None
) -> Example:
    """The example at `position` of the training sequence, cropped and mirrored at random, at the training size."""
    num_examples = len(source)
    epoch, place = divmod(position, num_examples)
    random_x, random_y, random_flip = _augmentation_words(config.run.seed, position)

    def crop_position(room):
        return random_x % (room[0] + 1), random_y % (room[1] + 1)

    candidates = (
        example_index(config.run.seed, epoch * num_examples + other % num_examples, num_examples)
        for other in range(place, place + num_examples)
    )
    read = functools.partial(
        _read,
        source,
        config,
        crop_position=crop_position,
        flip=config.data.flip and random_flip % 2 == 1,
    )
    return _first_usable(candidates, read, source, config, (skipped or Skipped()).add)


def read_centre_crop(source: Source, config: Config, index: int) -> Example:
    """Example `index` of the source, cropped in the centre, at the training size."""
    return _read(source, config, index, lambda room: (room[0] // 2, room[1] // 2), flip=False)


def _first_usable(
    indices: Iterator[int],
    read: Callable[[int], Example],
    source: Source,
    config: Config,
    on_skipped: Callable[[str, UserError], None],
) -> Example:
    """Reads the first example that can be used; only the very first where none may be skipped."""
    for index in itertools.islice(indices, _MOST_SKIPPED):
        try:
            return read(index)
        except UserError as error:
            if config.data.on_bad_example == 'error':
                raise
            on_skipped(source.locations[index], error)
            last = error
    raise UserError(
        f'no usable example after {_MOST_SKIPPED if len(source) > _MOST_SKIPPED else len(source)} that were skipped, the last because: {last.problem}',
        last.remedy,
    )


def _read(
    source: Source,
    config: Config,
    index: int,
    crop_position: Callable[[tuple[int, int]], tuple[int, int]],
    flip: bool,
) -> Example:
    """Example `index` at the training size; `crop_position` makes a position of the room for the crop, which depends on the size of the picture."""
    example = source.read(index)
    geometry = _geometry(config, source.already_scaled)
    if not source.already_scaled:  # else they were checked when that was done
        check_label_ids(example.label, config.data, source.locations[index])
    height, width = example.label.shape[:2]
    try:
        room = crop_room(geometry, width, height)
        result = transform(example, geometry, crop_position(room), flip)
    except UserError as error:
        raise error.at(source.locations[index]) from None
    # Widened only now: before the crop there were several times as many pixels.
    return result._replace(
        label=result.label.astype(label_dtype(config.data), copy=False),
        instance=result.instance.astype(np.int32, copy=False)
        if config.data.instance_edges
        else None,
    )


@functools.lru_cache(maxsize=4)
def _geometry(config: Config, already_scaled: bool) -> Geometry:
    geometry = Geometry.from_config(config.data)
    return geometry.already_scaled() if already_scaled else geometry


def _training_batches(
    source: Source,
    config: Config,
    first_step: int,
    process_index: int,
    local_batch_size: int,
    skipped: Skipped,
) -> Iterator[Batch]:
    tf = import_tensorflow()
    assembly = _Assembly(config, local_batch_size)
    share, process_count = (
        local_batch_size // config.optimizer.accumulation_steps,
        config.optimizer.batch_size // local_batch_size,
    )

    def load(number):
        step, place = divmod(int(number), local_batch_size)
        try:
            part, place_in_share = divmod(place, share)
            position = (
                step * config.optimizer.batch_size
                + (part * process_count + process_index) * share
                + place_in_share
            )
            assembly.put(step, place, read_for_training(source, config, position, skipped))
        except (
            Exception
        ) as error:  # One that went through TensorFlow would come out unrecognisable.
            assembly.fail(step, place, error)
        return number

    options = tf.data.Options()
    options.threading.private_threadpool_size = config.data.data_workers
    # TensorFlow deals out the numbers of the examples to its workers; their pixels do not go through it, which would take as long as reading them.
    dataset = (
        tf.data.Dataset.range(first_step * local_batch_size, np.iinfo(np.int64).max)
        .map(
            lambda number: tf.ensure_shape(tf.numpy_function(load, [number], tf.int64), ()),
            num_parallel_calls=config.data.data_workers,
            deterministic=True,
        )
        .batch(local_batch_size, drop_remainder=True)
        .prefetch(2)
        .with_options(options)
    )
    for step, _ in enumerate(dataset, start=first_step):
        yield assembly.take(step)


class _Assembly:
    """The batches that workers are putting together, by their steps."""

    def __init__(self, config: Config, batch_size: int):
        size = config.data.image_height, config.data.image_width
        image = (batch_size, *size, 3), np.uint8
        self._shapes = Batch(
            image,
            image
            if config.data.condition == 'rgb'
            else ((batch_size, *size), label_dtype(config.data)),
            ((batch_size, *size), np.int32) if config.data.instance_edges else None,
        )
        self._batches: dict[int, Batch] = {}
        self._errors: dict[int, dict[int, Exception]] = {}
        self._lock = threading.Lock()

    def put(self, step: int, place: int, example: Example) -> None:
        """Copies an example to its place in the batch of a step."""
        with self._lock:
            if step not in self._batches:
                self._batches[step] = Batch(
                    *(None if shape is None else np.empty(*shape) for shape in self._shapes)
                )
            batch = self._batches[step]
        for part, pixels in zip(batch, example):
            if part is not None:
                part[place] = pixels

    def fail(self, step: int, place: int, error: Exception) -> None:
        """Keeps what is wrong with an example until its batch is taken."""
        with self._lock:
            self._errors.setdefault(step, {})[place] = error

    def take(self, step: int) -> Batch:
        """The batch of a step whose examples have all been put; raises the error of the first that failed."""
        with self._lock:
            if errors := self._errors.get(step):
                raise errors[min(errors)]
            return self._batches.pop(step)


@functools.lru_cache(maxsize=4)  # The workers may be on both sides of the end of an epoch.
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order [N] int64 of an epoch: the examples sorted by random words.

    NumPy promises the words of a bit generator for all its versions, but not the result of `Generator.permutation`; and a run may be resumed
    years later.
    """
    words = np.random.PCG64(np.random.SeedSequence((seed, _ORDER_STREAM, epoch))).random_raw(
        num_examples
    )
    return np.argsort(words, kind='stable')


def _augmentation_words(seed: int, position: int) -> list[int]:
    """Three random words of 64 bits: for the crop's x and y, and for the flip."""
    return [
        int(word)
        for word in np.random.SeedSequence((seed, _AUGMENTATION_STREAM, position)).generate_state(
            3, np.uint64
        )
    ]
