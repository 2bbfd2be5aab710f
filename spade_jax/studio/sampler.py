"""What samples the images of the studio. JAX is imported by `load`, in the sampling thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from spade_jax.errors import UserError
from spade_jax.studio.style_messages import Style

# (stage in words, number of finished stages, number of all stages)
Report = Callable[[str, int, int], None]


class Refused(UserError):
    """There is no image of this request.

    Attributes:
      code: See `messages.Refusal`.
    """

    def __init__(self, code: str, problem: str, remedy: str = ''):
        super().__init__(problem, remedy)
        self.code = code


class Sampler(Protocol):
    """A model that samples images. Its methods are for one thread.

    Attributes:
      milliseconds: What an image takes, measured by `load`; 0 before.
    """

    milliseconds: int

    def load(self, report: Report) -> None:
        """Load and compile. Raises UserError if the model cannot be used in the studio."""
        ...

    def sample(self, ids: np.ndarray, style: Style | None) -> np.ndarray:
        """The image [H, W, 3] uint8 of a label map [H, W]. Raises Refused."""
        ...

    def prepare(self, ids: np.ndarray) -> None:
        """Make later images of this label map faster, if that is possible."""
        ...

    def variations(self, ids: np.ndarray, styles: Sequence[Style]) -> np.ndarray:
        """Images [N, H, W, 3] of one label map, four at most. Raises Refused."""
        ...

    def encode(self, image: np.ndarray) -> np.ndarray:
        """The latent [D] float32 of an image [H, W, 3] uint8. Raises Refused."""
        ...
