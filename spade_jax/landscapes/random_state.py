"""The random numbers of a scene: one stream for each purpose, so that they do not interfere."""

import enum

import numpy as np


class Stream(enum.IntEnum):
    """The streams. Their values are part of what a seed means."""

    LAYOUT = 0
    STYLE = 1
    NOISE_LATTICE = 2
    TEXTURE_TILE = 3
    COMPOSITION = 4
    CONIFER = 10
    BROADLEAF = 11
    BOULDER = 12


def random_state(stream: Stream, seed: int) -> np.random.RandomState:
    """The generator of a stream for the lower 64 bits of a seed."""
    return np.random.RandomState([int(stream), seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])
