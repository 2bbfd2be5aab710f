"""The surface of the ground: reflectance and relief of each class, and its light."""

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.classes import FLOWERS, GRASS, HILL, MOUNTAIN, ROAD, SAND, SNOW
from spade_jax.landscapes.ground import Ground
from spade_jax.landscapes.interpolation import mix, set_columns, smoothstep
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.look import Look, Palette, haze_amount
from spade_jax.landscapes.noise import texture


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
    _Material(GRASS, 'grass', scale=(12.0, 2.4), contrast=0.20, relief=0.12, tufts=32),
    _FLOWERS,
    _Material(HILL, 'hill', scale=(0.55, 0.4), contrast=0.26, relief=0.22, tufts=40),
    _Material(SAND, 'sand', scale=(0.7, 3.2), contrast=0.20, relief=0.10),
    _Material(ROAD, 'road', scale=(1.8, 0.5), contrast=0.22, relief=0.08),
    _Material(MOUNTAIN, 'rock', scale=(0.22, 0.14), contrast=0.16, relief=0.26, rugged=True),
    _Material(SNOW, 'snow', scale=(0.2, 0.12), contrast=0.16, relief=0.14, rugged=True),
)


def ground_light(layout: Layout, look: Look, ground: Ground) -> np.ndarray:
    """The light [3, N] of the ground in haze: sun under cloud shadows, and sky; water is black."""
    color = np.zeros((3, len(ground.z)), np.float32)  # linear reflectance
    relief = np.zeros(len(ground.z), np.float32)  # about [-1, 1], brightens or darkens
    for material in _MATERIALS:
        at = np.flatnonzero(ground.label == material.label)
        if len(at):
            patch_color, relief[at] = _surface(material, layout, look.palette, ground.at(at))
            set_columns(color, at, patch_color)
    light_x, light_y, light_z = look.direction
    # The upward component of the normal.
    up = 1 / np.sqrt(1 + np.square(ground.slope_x) + np.square(ground.slope_z))
    facing = np.maximum((light_y - light_x * ground.slope_x - light_z * ground.slope_z) * up, 0)
    clearing = texture(ground.x / 30 + layout.offset[1], ground.z / 30, ground.footprint / 10)
    shadow = 0.62 + 0.38 * smoothstep(clearing, -0.6, 0.4)
    sun = facing * shadow * np.maximum(1 + relief * 1.5, 0.2)
    # Brighter towards the sun, so that faces differ under a gray sky.
    sky = (0.42 + 0.4 * up + 0.3 * facing) * (1 + 0.5 * relief)
    light = color * (sun * look.sunlight + sky * look.ambient)
    return mix(light, look.haze_light, haze_amount(look, ground.z, ground.height))


def _surface(
    material: _Material, layout: Layout, palette: Palette, patch: Ground
) -> tuple[np.ndarray, np.ndarray]:
    """Linear reflectance [3, M] and relief [M] of a patch of ground pixels."""
    offset_x, offset_z = layout.offset
    scale_x, scale_z = material.scale
    x, z, footprint = patch.x, patch.z, patch.footprint
    # With the height, noise does not smear down steep ground.
    depth = z + 1.5 * patch.height if material.rugged else z
    feature = footprint * (scale_x + scale_z)
    coarse = texture(x * (scale_x / 9) + offset_z, depth * (scale_z / 6), feature / 8)
    fine_x, fine_z = x * scale_x + offset_x, depth * scale_z
    if material.tufts:
        bump = fine = _tufts(patch, material.tufts, scale_x, coarse)
    else:
        bump = fine = texture(fine_x, fine_z + offset_z, feature)
    if material.rugged:
        # Slopes that face the light are bright, not summits.
        side = np.sign(layout.sun[0])
        bump = 2.5 * (fine - texture(fine_x + 0.12 * side, fine_z + offset_z + 0.06, feature))
    tone = 0.5 + material.contrast * (0.65 * fine + 0.5 * coarse)
    color = getattr(palette, material.tones).at(tone)
    if material.petals:
        petals_x, petals_z = material.petals
        noise = texture(x * petals_x + offset_z, z * petals_z, footprint * (petals_x + petals_z))
        blossom = smoothstep(noise + 0.25 * coarse, -0.2, 0.3)
        color = mix(color, palette.petals, 0.9 * blossom)
    return color, material.relief * bump


def _tufts(patch: Ground, rows: float, density: float, jag: np.ndarray) -> np.ndarray:
    """Noise [M] of rows of upright tufts, light at their tips, uneven by `jag` [M].

    There are `rows` in each e-fold of distance, with `density` strands per world unit.
    """
    x, z, footprint = patch.x, patch.z, patch.footprint
    uneven = 0.55 * texture(x * (0.35 * density), z * 0.4, footprint * density)
    place = rows * np.log(z) + uneven + 0.3 * jag
    row = np.floor(place)
    tip = place - row  # how far up its tuft a pixel is, [0, 1]
    row_x = x * (np.exp(row / rows) / z)  # X of the foot: strands are vertical in the image.
    strand = texture(row_x * density + 0.37 * row, 0.3 * tip + 1.7 * row, footprint * density)
    return strand + 1.6 * (tip - 0.5)
