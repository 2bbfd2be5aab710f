"""Trees and rocks as small images of normals and tones, which are lit where they stand."""

import functools
from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.interpolation import halve
from spade_jax.landscapes.noise import texture
from spade_jax.landscapes.random_state import Stream, random_state

_SIZE = 256  # Texels along a side of the finest level.
_COARSEST = 8
_CENTERS = (np.arange(_SIZE) + 0.5) / _SIZE  # Of the texels.

# The channels of a sprite while it is painted, [5, K, K] float32, first row on top; normals point
# right and up.
_COVERAGE, _NORMAL_X, _NORMAL_Y, _TONE, _TRUNK = range(5)

_Pair = tuple[float, float]  # x and y, in [0, 1] from the top left


class SpriteLevel(NamedTuple):
    """A mip level of K x K texels, flat, row by row from the top.

    The texels are valid where it is solid: normal x (right), y (up), z (to the camera), tone in
    [0, 1] from dark to light, share of trunk.
    """

    size: int  # K
    solid: np.ndarray  # [K * K] bool
    texels: np.ndarray  # [5, K * K] float32


Sprite = tuple[SpriteLevel, ...]  # Fine to coarse, each half as large.


def level_for(sprite: Sprite, pixels: int) -> SpriteLevel:
    """The coarsest level of at least `pixels` texels, or the finest."""
    index = int(np.log2(_SIZE / pixels))
    return sprite[min(max(index, 0), len(sprite) - 1)]


@functools.cache
def conifer(variant: int) -> Sprite:
    """Whorls of drooping branches around a straight trunk."""
    rng = random_state(Stream.CONIFER, variant)
    sprite = _trunk(0.5, 0.025)
    slim = rng.uniform(0.55, 0.85)
    # From the ground up, so that upper whorls cover lower ones.
    for level in np.linspace(0.95, 0.03, 22):
        reach = slim * 0.46 * level**0.9 * rng.uniform(0.85, 1.1) + 0.012
        y = 0.01 + 0.92 * level
        radii = 0.26 * reach + 0.012, 0.030 + 0.018 * level
        for place in rng.permutation(np.linspace(-1, 1, 7)):
            droop = 0.05 * level * place * place
            tone = 0.42 + 0.25 * (1 - abs(place)) + rng.uniform(-0.12, 0.12)
            _paint_tuft(sprite, rng, (0.5 + 0.8 * place * reach, y + droop), radii, 0.5, tone)
    return _mip_levels(sprite)


@functools.cache
def broadleaf(variant: int) -> Sprite:
    """A round crown of many tufts."""
    rng = random_state(Stream.BROADLEAF, variant)
    sprite = _trunk(0.45, 0.035)
    width, center, tall = rng.uniform(0.34, 0.44), rng.uniform(0.38, 0.44), rng.uniform(0.32, 0.38)
    angle, radius = rng.uniform(0, 6.28, 130), np.sqrt(rng.rand(130)) * 0.92
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    # Low tufts first: the lit tops cover them.
    order: list[int] = np.argsort(-y + 0.8 * rng.rand(130)).tolist()
    for i in order:
        tone = 0.52 - 0.34 * y[i] + rng.uniform(-0.1, 0.1)
        radii = rng.uniform(0.05, 0.09), rng.uniform(0.04, 0.07)
        _paint_tuft(sprite, rng, (0.5 + width * x[i], center + tall * y[i]), radii, 0.55, tone)
    # Bend the normals of the leaves to those of the whole crown, so that it is lit as one.
    crown = (sprite[_COVERAGE] > 0) & (sprite[_TRUNK] == 0)
    normal_x, normal_y = sprite[_NORMAL_X], sprite[_NORMAL_Y]
    round_x, round_y = 0.6 * (_CENTERS - 0.5) / width, 0.6 * (_CENTERS[:, None] - center) / tall
    sprite[_NORMAL_X] = np.where(crown, 0.45 * normal_x + round_x, normal_x)
    sprite[_NORMAL_Y] = np.where(crown, 0.45 * normal_y - round_y, normal_y)
    return _mip_levels(sprite)


@functools.cache
def boulder(variant: int) -> Sprite:
    """A convex stone: the front of an intersection of random half-spaces, so faces are flat."""
    rng = random_state(Stream.BOULDER, variant)
    # The faces of its outline, which close it on every side.
    around = np.arange(7) * 0.9 + rng.uniform(-0.25, 0.25, 7)
    outline = np.stack([np.cos(around), np.sin(around), np.full(7, 0.35)], axis=1)
    normals = np.concatenate([outline, rng.normal(size=(9 + 9 * (variant % 3), 3))])  # [F, 3]
    normals[:, 2] = np.abs(normals[:, 2]) + 0.15
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    reach = rng.uniform(0.58, 0.78, len(normals))  # distance of each face from the center
    grid = _CENTERS * 2 - 1
    a, b = grid, 0.35 - 0.65 * grid[:, None]  # b points up; the lower third is in the ground.
    faces = reach - normals[:, 0] * a[..., None] - normals[:, 1] * b[..., None]
    faces = faces / normals[:, 2]  # [K, K, F]
    depth, face = faces.min(axis=-1), faces.argmin(axis=-1)
    grain = rng.uniform(-1, 1, depth.shape)
    x, y = np.broadcast_arrays(1.6 * a + 5 * variant, 2.4 * b)
    footprint = np.full(depth.shape, 4 / _SIZE)
    weathering = texture(x, y, footprint)
    tone = 0.5 + rng.uniform(-0.15, 0.15, len(normals))[face] + 0.05 * grain + 0.13 * weathering
    # Dents, by the slopes of the same noise.
    dents = [weathering - texture(x + dx, y + dy, footprint) for dx, dy in ((0.1, 0), (0, 0.1))]
    normal_x, normal_y = (0.22 * dent.clip(-2, 2) for dent in dents)
    normal_x, normal_y = normals[face, 0] + normal_x, normals[face, 1] + normal_y
    # It meets the ground along the near half of an ellipse.
    above_ground = grid[:, None] < 0.72 + 0.26 * (1 - a * a)
    solid = (depth > 0) & above_ground
    sprite = np.stack([solid, normal_x, normal_y, tone, np.zeros_like(depth)])
    return _mip_levels((sprite * solid).astype(np.float32))


def _trunk(top: float, half_width: float) -> np.ndarray:
    """A sprite with a round trunk, wider at the foot, from `top` in [0, 1] to the ground."""
    y = _CENTERS[:, None]
    a = (_CENTERS - 0.5) / (half_width * (0.6 + 0.6 * y * y))
    trunk = (np.abs(a) < 1) & (y > top)
    return (np.stack(np.broadcast_arrays(1.0, 0.8 * a, 0.0, 0.5, 1.0)) * trunk).astype(np.float32)


def _paint_tuft(sprite: np.ndarray, rng, center: _Pair, radii: _Pair, rough: float, tone: float):
    """Paint a ragged ellipse of leaves over the sprite; rough is the noise of its edge."""
    box = []
    for c, r in zip(center, radii, strict=True):
        low, high = int((c - 1.3 * r) * _SIZE), int((c + 1.3 * r) * _SIZE) + 2
        box.append(slice(max(low, 0), min(high, _SIZE)))
    columns, rows = box
    a, b = (_CENTERS[columns] - center[0]) / radii[0], (_CENTERS[rows] - center[1]) / radii[1]
    b = b[:, None]
    leaves = rng.uniform(-1, 1, (len(b), len(a))).astype(np.float32)
    inside = a * a + b * b + rough * leaves < 1
    tones = np.clip(tone + 0.16 * leaves, 0, 1)
    tuft = np.stack(np.broadcast_arrays(1.0, 0.85 * a, -0.85 * b, tones, 0.0))  # [5, h, w]
    np.copyto(sprite[:, rows, columns], tuft, where=inside, casting='same_kind')


def _mip_levels(sprite: np.ndarray) -> Sprite:
    levels = [sprite]
    while levels[-1].shape[-1] > _COARSEST:
        levels.append(halve(levels[-1]))
    return tuple(map(_finish_level, levels))


def _finish_level(sprite: np.ndarray) -> SpriteLevel:
    coverage, *channels = sprite.reshape(len(sprite), -1)
    solid = coverage > 0.5
    # Texels of coarse levels are averages that include empty texels.
    empty = np.zeros((4, coverage.size), np.float32)
    normal_x, normal_y, tone, trunk = np.divide(channels, coverage, where=solid, out=empty)
    normal_z = np.sqrt(np.maximum(1 - normal_x * normal_x - normal_y * normal_y, 0))
    texels = np.stack([normal_x, normal_y, normal_z, tone, trunk])
    return SpriteLevel(sprite.shape[-1], solid, texels)
