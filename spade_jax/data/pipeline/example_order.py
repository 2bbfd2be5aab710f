"""The order of the training examples: a pure function of seed, epoch and step.

Training shows an endless sequence of positions 0, 1, 2, ...: step s of a run takes the positions
s * batch_size and following. Position p is example `permutation(seed, epoch)[p % N]` of epoch
p // N, and its crop, flip and coarsening come from a hash of (seed, p). So every epoch shows every
example exactly once, a batch may straddle two epochs, and a resumed run needs nothing but its step.
"""

import dataclasses
import functools

import numpy as np

from spade_jax.errors import UserError

# Streams of random numbers under one seed.
_ORDER_STREAM, _AUGMENTATION_STREAM, _COARSENING_STREAM = range(3)


@dataclasses.dataclass(frozen=True)
class BatchSchedule:
    """The positions that each step of one process reads: its share of every microbatch.

    So a microbatch holds the same examples whatever the number of processes.

    Attributes:
      batch_size: Examples of a step over all processes, a multiple of processes x microbatches.
      seed: Seed of the order, the crops and the flips.
      num_microbatches: Microbatches of a step.
      process_index, process_count: Index of this process; number of processes.
    """

    batch_size: int
    seed: int
    num_microbatches: int = 1
    process_index: int = 0
    process_count: int = 1

    def __post_init__(self):
        unit = self.process_count * self.num_microbatches
        if self.batch_size % unit:
            parts = f'{self.process_count} processes x accumulation_steps={self.num_microbatches}'
            problem = f'batch_size={self.batch_size} does not divide among {parts}'
            raise UserError(problem, f'use a multiple of {unit}')

    @property
    def local_batch_size(self) -> int:
        """Examples of a step in this process."""
        return self.batch_size // self.process_count

    def position(self, number: int) -> int:
        """The position of the `number`-th example that this process reads, counted from step 0."""
        step, offset = divmod(number, self.local_batch_size)
        share = self.local_batch_size // self.num_microbatches
        microbatch, offset = divmod(offset, share)
        place = microbatch * self.process_count + self.process_index
        return step * self.batch_size + place * share + offset


def example_index(seed: int, position: int, num_examples: int) -> int:
    """Return the index of the example at `position` of the endless training sequence."""
    epoch, place = divmod(position, num_examples)
    return int(_permutation(seed, epoch, num_examples)[place])


def steps_in_epochs(epochs: int, batch_size: int, num_examples: int) -> int:
    """Return the least number of steps that shows every example at least `epochs` times."""
    return -(-epochs * num_examples // batch_size)


def augmentation_words(seed: int, position: int) -> list[int]:
    """Return three random words of 64 bits: for the crop's x and y, and for the flip."""
    return _words((seed, _AUGMENTATION_STREAM, position), 3)


def coarsening_numbers(seed: int, position: int) -> list[float]:
    """Return five random numbers in [0, 1): for the coarsening of a label map."""
    # A float holds 53 bits exactly.
    return [(word >> 11) / 2**53 for word in _words((seed, _COARSENING_STREAM, position), 5)]


def _words(entropy: tuple[int, int, int], count: int) -> list[int]:
    """Random words of 64 bits."""
    return [int(word) for word in np.random.SeedSequence(entropy).generate_state(count, np.uint64)]


@functools.lru_cache(maxsize=4)  # Workers may be on both sides of the end of an epoch.
def _permutation(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order [N] int64 of an epoch: the examples sorted by random words.

    Unlike `Generator.permutation`, the words of a bit generator are the same in all NumPy versions.
    """
    generator = np.random.PCG64(np.random.SeedSequence((seed, _ORDER_STREAM, epoch)))
    return np.argsort(generator.random_raw(num_examples), kind='stable')
