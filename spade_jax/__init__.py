"""SPADE (semantic image synthesis with spatially-adaptive normalization) in JAX."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spade_jax.sampling import TrainedGenerator

__version__ = '0.1.0'

# Work directory of the demo in the package: a small generator of landscapes with styles, with label
# maps to sample from (`labels`) and their `photos`.
DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'demo')


def load(workdir: str, step: int | None = None, *, use_ema: bool | None = None) -> TrainedGenerator:
    """Load the trained generator of a work directory; see `spade_jax.sampling.load`."""
    from spade_jax import sampling  # Imports JAX, so not before it is needed.

    return sampling.load(workdir, step, use_ema=use_ema)
