"""Semantic image synthesis in JAX: SPADE / GauGAN (Park et al. 2019) and related models."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spade_jax.sampling import TrainedGenerator

__version__ = '0.1.0'

DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'demo')
"""Work directory of the demo that ships with the package.

A small generator of landscapes with styles, with label maps (`labels`) and their `photos`.
"""


def load(workdir: str, step: int | None = None, *, use_ema: bool | None = None) -> TrainedGenerator:
    """The trained generator of a work directory, see `spade_jax.sampling.load`."""
    from spade_jax import sampling  # Imports JAX: not before it is needed.

    return sampling.load(workdir, step, use_ema=use_ema)
