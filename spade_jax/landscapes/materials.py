"""The surface of the ground: reflectance and relief of each class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.classes import FLOWERS, GRASS, HILL, MOUNTAIN, ROAD, SAND, SNOW
from spade_jax.landscapes.ground import Ground
from spade_jax.landscapes.interpolation import mix, smoothstep
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.noise import texture
from spade_jax.landscapes.palette import Palette


class _Material(NamedTuple):
    """The surface of a class."""

    label: int
    tones: str  # field of `Palette`
    scale: tuple[float, float]  # features per world unit, across and away
    contrast: float  # effect of the noise on the tone
    relief: float  # effect of the noise on the light
    rugged: bool = False  # relief by the slope of the noise rather than its height
    tufts: float = 0.0  # rows of tufts in each e-fold of distance
    petals: tuple[float, float] | None = None  # blossoms per world unit, across and away


_FLOWERS = _Material(FLOWERS, 'grass', (9.0, 2.4), 0.16, 0.10, tufts=24, petals=(11.0, 6.0))
_MATERIALS = (
    _Material(GRASS, 'grass', scale=(9.0, 2.4), contrast=0.20, relief=0.12, tufts=24),
    _FLOWERS,
    _Material(HILL, 'hill', scale=(0.55, 0.4), contrast=0.26, relief=0.22, tufts=40),
    _Material(SAND, 'sand', scale=(0.7, 3.2), contrast=0.20, relief=0.10),
    _Material(ROAD, 'road', scale=(1.8, 0.5), contrast=0.22, relief=0.08),
    _Material(MOUNTAIN, 'rock', scale=(0.22, 0.14), contrast=0.16, relief=0.40, rugged=True),
    _Material(SNOW, 'snow', scale=(0.2, 0.12), contrast=0.16, relief=0.14, rugged=True),
)


class _Patch(NamedTuple):
    """The ground pixels of one material; every array is [M]."""

    x: np.ndarray
    z: np.ndarray
    depth: np.ndarray  # z, on steep ground plus height: noise does not smear down the slopes
    footprint: np.ndarray  # world units across a pixel


def surface_of(
    layout: Layout, palette: Palette, ground: Ground, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Linear reflectance [3, N] of the ground and its relief [N], about [-1, 1]; 0 for water."""
    color = np.zeros((3, len(label)), np.float32)
    relief = np.zeros(len(label), np.float32)
    for material in _MATERIALS:
        at = np.flatnonzero(label == material.label)
        if not len(at):
            continue
        x, z = ground.x[at], ground.z[at]
        depth = z + 1.5 * ground.height[at] if material.rugged else z
        patch = _Patch(x, z, depth, ground.footprint[at])
        patch_color, relief[at] = _surface(material, layout, palette, patch)
        # One plane at a time takes a third of the time of one assignment.
        for plane, values in zip(color, patch_color, strict=True):
            plane[at] = values
    return color, relief


def _surface(
    material: _Material, layout: Layout, palette: Palette, patch: _Patch
) -> tuple[np.ndarray, np.ndarray]:
    """Linear reflectance [3, M] and relief [M] of a patch."""
    offset_x, offset_z = layout.offset
    scale_x, scale_z = material.scale
    x, z, depth, footprint = patch
    feature = footprint * (scale_x + scale_z)
    coarse_x, coarse_z = x * (scale_x / 9) + offset_z, depth * (scale_z / 6)
    coarse = texture(coarse_x, coarse_z, feature / 8)
    fine_x, fine_z = x * scale_x + offset_x, depth * scale_z
    if material.tufts:
        tip, strand = _tufts(patch, material.tufts, scale_x, coarse)
        fine = strand + 1.6 * (tip - 0.5)
    else:
        fine = texture(fine_x, fine_z + offset_z, feature)
    bump = fine
    if material.rugged:
        # Slopes that face the light are bright, not summits.
        side = np.sign(layout.sun[0])
        bump = 2.5 * (fine - texture(fine_x + 0.12 * side, fine_z + offset_z + 0.06, feature))
    tone = 0.5 + material.contrast * (0.65 * fine + 0.5 * coarse)
    color = getattr(palette, material.tones).at(tone)
    if material.petals:
        petals_x, petals_z = material.petals
        noise = texture(x * petals_x + offset_z, z * petals_z, footprint * (petals_x + petals_z))
        blossom = smoothstep(noise + 0.25 * coarse, 0.0, 0.5)
        color = mix(color, palette.petals, 0.9 * blossom)
    return color, material.relief * bump


def _tufts(
    patch: _Patch, rows: float, density: float, jag: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of upright tufts, one in front of the other.

    Args:
      patch: The ground pixels.
      rows: Rows in each e-fold of distance.
      density: Strands per world unit.
      jag: [M], noise that makes the rows uneven.

    Returns:
      How far up its tuft a pixel is, [0, 1], and noise of unit variance that is constant along a
      strand; each [M].
    """
    x, z, _, footprint = patch
    uneven = 0.55 * texture(x * (0.35 * density), z * 0.4, footprint * density)
    place = rows * np.log(z) + uneven + 0.3 * jag
    row = np.floor(place)
    tip = place - row
    row_x = x * (np.exp(row / rows) / z)  # X of the foot: strands are vertical in the image.
    strand = texture(row_x * density + 0.37 * row, 0.3 * tip + 1.7 * row, footprint * density)
    return tip, strand
