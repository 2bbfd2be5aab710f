"""Every random number of a scene: a stream for each purpose, so that a further draw in one moves nothing in another."""

from __future__ import annotations

import enum

import numpy as np


class Stream(enum.IntEnum):
    LAYOUT = 0
    STYLE = 1
    NOISE_LATTICE = 2
    TEXTURE_TILE = 3
    CONIFER = 10
    BROADLEAF = 11
    BOULDER = 12


def random_state(stream: Stream, seed: int) -> np.random.RandomState:
    """The generator of `seed`, of which the lower 64 bits count."""
    return np.random.RandomState([int(stream), seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])
