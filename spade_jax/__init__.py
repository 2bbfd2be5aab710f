"""SPADE (semantic image synthesis with spatially-adaptive normalisation, Park et al. 2019) for JAX."""

from __future__ import annotations

import os

__version__ = '0.1.0'

DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'demo')
"""Work directory of the demo that ships with the package: a small generator of landscapes with styles, with label maps to draw (`labels`) and their `photos`."""


def load(workdir: str, step: int | None = None, *, averaged: bool | None = None):
    """The trained generator of a work directory, see `spade_jax.sampling.load`."""
    from spade_jax import sampling  # imports JAX: not before it is needed

    return sampling.load(workdir, step, averaged=averaged)
