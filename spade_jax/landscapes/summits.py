"""Large, near mountains and hills: height fields of given silhouettes.

A silhouette alone gives the whole relief, so that a mountain of any outline has faces: from each
point of the crest, the ground falls towards the camera in spurs that turn aside, between gullies.
"""

import numpy as np

from spade_jax.landscapes.interpolation import smoothstep
from spade_jax.landscapes.layout import Layout, Summit
from spade_jax.landscapes.noise import fractal, ridged_fractal, value_noise

_Heights = tuple[np.ndarray, np.ndarray, np.ndarray]  # Over the water; mountain and hill parts.


def add_summits(layout: Layout, u: np.ndarray, z: np.ndarray, heights: _Heights) -> _Heights:
    """Raise the heights, each [D, W], to the summits, for columns u [W] and distances z [D, 1]."""
    height, mountain, hill = heights
    for number, summit in enumerate(layout.summits):
        # Some of the far side, so that the slope of the crest is that of its ground.
        reach = summit.z - summit.depth, summit.z + 0.15 * summit.depth
        first, last = np.searchsorted(z[:, 0], reach)
        rows = slice(int(first), int(last))
        seed = layout.offset[0] + 31 * number
        raised = _heights_of(summit, layout, u, z[rows], seed)
        part = hill if summit.wooded else mountain
        part[rows] = np.where(raised > height[rows], np.maximum(raised, part[rows]), part[rows])
        height[rows] = np.maximum(height[rows], raised)
    return height, mountain, hill


def _heights_of(
    summit: Summit, layout: Layout, u: np.ndarray, z: np.ndarray, seed: float
) -> np.ndarray:
    """The heights [D, W] over the water; negative outside of the silhouette."""
    down = np.abs(summit.z - z) / summit.depth  # [D, 1], 0 at the crest, 1 at the foot
    across = np.broadcast_to(u, (len(z), len(u)))
    # Spurs turn aside on their way down, each in its own direction.
    turns = value_noise(across * 2.6 + seed, down * 1.4 + seed)
    finer = value_noise(across * 7 + seed, down * 4 + 2 * seed)
    along = across + down * (0.22 * turns + 0.07 * finer)
    scale = summit.z / layout.focal  # World units for an image height, at the crest.
    shape = _silhouette(summit, along, seed)  # [D, W], image heights
    # The flanks keep their slope to the side on the way down, so that they are lit apart.
    fall = 0.5 * shape + 0.5 * summit.rise
    height = layout.eye * (1 - down) + (shape - down * fall) * scale
    spacing = np.maximum(3 * np.gradient(z, axis=0) / summit.depth, 7 * (u[1] - u[0]))
    relief = down * (1.15 - down) * np.maximum(shape, 0) * scale
    if summit.wooded:
        return height + 0.3 * relief * fractal(across * 3 + seed, down * 2.5, 4, spacing)
    # Gullies join on their way down, and cross the spurs aslant.
    bends = 0.7 * fractal(across * 4 + seed, down * 3 + seed, 3, spacing)
    gullies = ridged_fractal(along * 6 + bends + seed, down * 3 + 2 * bends + seed, 6, spacing)
    return height + 1.1 * relief * (gullies - 0.45)


def _silhouette(summit: Summit, u: np.ndarray, seed: float) -> np.ndarray:
    """The rise above the horizon in image heights."""
    offset = u - summit.u
    part = np.abs(offset) / np.where(offset < 0, summit.left, summit.right)
    inside = np.maximum(1 - np.minimum(part, 1) ** summit.bulge, 0) ** summit.steepness
    rise = summit.rise * inside - 2 * np.maximum(part - 1, 0)
    if not summit.rough:
        return rise
    ragged = fractal(u * 9 + seed, np.full_like(u, seed), 5, np.full((len(u), 1), 0.02, np.float32))
    return rise + summit.rough * ragged * smoothstep(inside, 0, 0.3)
