"""What samples the images of the studio. JAX is imported by `load`, in the sampling thread."""

from __future__ import annotations

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Traits:
    """What is known of a model once it is loaded.

    Attributes:
      has_style: Its images have a style, or noise that a seed names.
      can_encode: It has an encoder for the style of a photo.
      fixed_size: It samples at its training size only.
      multiple: Other sizes are divisible by this.
      milliseconds: What an image takes; 0 before the first.
      step: Of the checkpoint.
    """

    has_style: bool
    can_encode: bool
    fixed_size: bool
    multiple: int
    milliseconds: int
    step: int | None


class Sampler(Protocol):
    """A model that samples images. All methods but the attributes are for one thread.

    Attributes:
      traits: None before `load` has finished.
    """

    traits: Traits | None

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
