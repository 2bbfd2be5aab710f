"""What every source of examples offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from spade_jax.data.pipeline.paired_transforms import Example

SPLITS = ('train', 'validation')


class Source(Protocol):
    """Examples by number, one decoded and checked at a time; it knows nothing of order, crops or batches. Reading is safe from several threads.

    names: what output files call each example, in order.
    locations: what messages call it: the path of its label map.
    already_scaled: True where the pictures have been brought to the size from which they are cropped.
    """

    names: Sequence[str]
    locations: Sequence[str]
    already_scaled: bool

    def __len__(self) -> int: ...

    def read(self, index: int) -> Example:
        """The example; its maps have the size of its photograph, or at least its shape. Raises UserError, with the file's name, where that cannot be had."""

    def read_maps(self, index: int) -> Example:
        """The example without its photograph, whose pixels are not decoded; only its size is compared. Raises UserError as `read` does."""
