"""The surfaces of the ground: what each class reflects, and its relief."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.classes import FLOWERS, GRASS, HILL, MOUNTAIN, ROAD, SAND, SNOW
from spade_jax.landscapes.ground import Ground
from spade_jax.landscapes.interpolation import mix, smoothstep
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.palette import Palette
from spade_jax.landscapes.texture import texture


class _Material(NamedTuple):
    """tones: field of `Palette`.
    scale: features per world unit, across and away.
    contrast: how far the noise moves the tone.
    relief: and the light.
    rugged: for steep ground: relief by the slope of the noise rather than its height.
    tufts: rows of tufts in each e-fold of distance; 0 for bare ground.
    petals: features per world unit of the blossoms on top, across and away.
    """

    label: int
    tones: str
    scale: tuple[float, float]
    contrast: float
    relief: float
    rugged: bool = False
    tufts: float = 0.0
    petals: tuple[float, float] | None = None


_MATERIALS = (
    _Material(GRASS, 'grass', scale=(9.0, 2.4), contrast=0.20, relief=0.12, tufts=24),
    _Material(
        FLOWERS, 'grass', scale=(9.0, 2.4), contrast=0.16, relief=0.10, tufts=24, petals=(11.0, 6.0)
    ),
    _Material(HILL, 'hill', scale=(0.55, 0.4), contrast=0.26, relief=0.22, tufts=40),
    _Material(SAND, 'sand', scale=(0.7, 3.2), contrast=0.20, relief=0.10),
    _Material(ROAD, 'road', scale=(1.8, 0.5), contrast=0.22, relief=0.08),
    _Material(MOUNTAIN, 'rock', scale=(0.22, 0.14), contrast=0.16, relief=0.40, rugged=True),
    _Material(SNOW, 'snow', scale=(0.2, 0.12), contrast=0.16, relief=0.14, rugged=True),
)


class _Patch(NamedTuple):
    """The ground pixels of one material; every array is [M].

    x: world; depth: z, on steep ground with the height, so that noise does not smear down the slopes.
    """

    x: np.ndarray
    z: np.ndarray
    depth: np.ndarray
    footprint: np.ndarray


def lay_materials(
    layout: Layout, palette: Palette, ground: Ground, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Linear reflectance [3, N] of the ground and its relief [N], about [-1, 1]; water stays black."""
    color = np.zeros((3, len(label)), np.float32)
    relief = np.zeros(len(label), np.float32)
    for material in _MATERIALS:
        at = np.flatnonzero(label == material.label)
        if not len(at):
            continue
        x, z = ground.x[at], ground.z[at]
        patch = _Patch(
            x, z, z + 1.5 * ground.height[at] if material.rugged else z, ground.footprint[at]
        )
        patch_color, relief[at] = _surface(material, layout, palette, patch)
        for plane, values in zip(
            color, patch_color
        ):  # A third of the time of one assignment to all channels.
            plane[at] = values
    return color, relief


def _surface(
    material: _Material, layout: Layout, palette: Palette, patch: _Patch
) -> tuple[np.ndarray, np.ndarray]:
    """Linear reflectance [3, M] and relief [M] of a patch."""
    offset_x, offset_z = layout.offset
    scale_x, scale_z = material.scale
    x, z, depth, footprint = patch
    coarse = texture(
        x * (scale_x / 9) + offset_z, depth * (scale_z / 6), footprint * (scale_x + scale_z) / 8
    )
    if material.tufts:
        tip, strand = _tufts(patch, material.tufts, scale_x, coarse)
        fine = strand + 1.6 * (tip - 0.5)
    else:
        fine = texture(
            x * scale_x + offset_x, depth * scale_z + offset_z, footprint * (scale_x + scale_z)
        )
    bump = fine
    if material.rugged:  # A slope towards the light is bright, not a summit.
        side = np.sign(layout.sun[0])
        bump = 2.5 * (
            fine
            - texture(
                x * scale_x + offset_x + 0.12 * side,
                depth * scale_z + offset_z + 0.06,
                footprint * (scale_x + scale_z),
            )
        )
    color = getattr(palette, material.tones).at(
        0.5 + material.contrast * (0.65 * fine + 0.5 * coarse)
    )
    if material.petals:
        petals_x, petals_z = material.petals
        blossom = smoothstep(
            texture(x * petals_x + offset_z, z * petals_z, footprint * (petals_x + petals_z))
            + 0.25 * coarse,
            0.0,
            0.5,
        )
        color = mix(color, palette.petals, 0.9 * blossom)
    return color, material.relief * bump


def _tufts(
    patch: _Patch, rows: float, density: float, jag: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of upright tufts, one before the other.

    Args:
      rows: in each e-fold of distance.
      density: strands per world unit.
      jag: [M], noise that breaks the rows.

    Returns:
      How far up its tuft a pixel is, [0, 1], and noise of unit variance that is the same all the way up a strand; each [M].
    """
    x, z, _, footprint = patch
    place = (
        rows * np.log(z)
        + 0.55 * texture(x * (0.35 * density), z * 0.4, footprint * density)
        + 0.3 * jag
    )
    row = np.floor(place)
    tip = place - row
    row_x = x * (
        np.exp(row / rows) / z
    )  # Where the strand's foot stands: straight up in the picture is straight up in the meadow.
    return tip, texture(row_x * density + 0.37 * row, 0.3 * tip + 1.7 * row, footprint * density)
