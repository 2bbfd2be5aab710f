"""Procedural landscapes: a label map, an instance map and the picture that goes with them.

The renderer behind the `scenes` data set. A height field is traced column by column (the nearest surface that a pixel's ray meets), every ground pixel is
classified from its place in the world, lit, and veiled by haze; trees and rocks are sprites with normals; water mirrors what stands behind it.

Layout and style are separate. `render_scene(seed, ...)` draws layout from the seed alone, so one label map can be had in any light: the many-valued
mapping that a style encoder is there to learn. Coordinates are in units of the image height, so a scene is the same at every resolution and a wider
image shows more of it. Everything is drawn at twice the resolution: colours are averaged, labels and instances follow the majority of the four samples.

Random numbers come from `np.random.RandomState`, whose streams NumPy keeps fixed for good; nothing global is read or written.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class SceneClass(NamedTuple):
    name: str
    color: tuple[int, int, int]  # sRGB, for showing label maps


CLASSES: tuple[SceneClass, ...] = (
    SceneClass("sky", (135, 190, 235)),
    SceneClass("cloud", (236, 240, 245)),
    SceneClass("sun", (255, 221, 51)),
    SceneClass("mountain", (126, 110, 120)),
    SceneClass("snow", (200, 222, 255)),
    SceneClass("hill", (62, 104, 84)),
    SceneClass("grass", (124, 178, 66)),
    SceneClass("flowers", (214, 92, 150)),
    SceneClass("tree", (24, 88, 36)),
    SceneClass("water", (42, 98, 172)),
    SceneClass("sand", (236, 208, 150)),
    SceneClass("road", (170, 126, 90)),
    SceneClass("rock", (84, 84, 92)),
)
SKY, CLOUD, SUN, MOUNTAIN, SNOW, HILL, GRASS, FLOWERS, TREE, WATER, SAND, ROAD, ROCK = range(len(CLASSES))

SUN_INSTANCE = 1  # instance 0 is all stuff without instances; trees and rocks count from 2
MIN_SIZE = 16  # pixels
SUPERSAMPLING = 2
EXPOSURE = 1.4


class Style(NamedTuple):
    """Light and palette of a scene. Colours are display RGB in [0, 1] for the sky and linear intensities for light; other numbers are in [0, 1]."""

    time_of_day: str  # the mood that weighs most
    zenith: np.ndarray  # [3], display
    horizon: np.ndarray  # [3], display
    glow: np.ndarray  # [3], display, around the sun
    sunlight: np.ndarray  # [3], linear
    ambient: np.ndarray  # [3], linear
    sun_height: float  # 0 grazing .. 1 overhead
    haze: float
    mist: float  # haze that lies in the low ground
    season: float  # 0 spring, 0.5 summer, 1 autumn
    dryness: float
    rock_warmth: float
    water_teal: float
    flower_hue: float


class Scene(NamedTuple):
    image: np.ndarray  # uint8 [H, W, 3]
    label: np.ndarray  # uint8 [H, W], index into CLASSES
    instance: np.ndarray  # uint16 [H, W], 0 for stuff


class _Mood(NamedTuple):
    zenith: tuple[int, int, int]
    horizon: tuple[int, int, int]
    glow: tuple[int, int, int]
    sunlight: tuple[float, float, float]
    ambient: tuple[float, float, float]
    sun_height: float
    haze: float
    mist: float


_MOODS = {
    "dawn": _Mood((98, 136, 190), (242, 208, 192), (255, 190, 150), (1.40, 1.02, 0.80), (0.44, 0.49, 0.62), 0.30, 0.50, 0.9),
    "day": _Mood((44, 104, 190), (190, 220, 242), (255, 250, 235), (1.62, 1.52, 1.36), (0.40, 0.50, 0.66), 0.75, 0.30, 0.1),
    "golden hour": _Mood((84, 130, 186), (252, 220, 166), (255, 186, 96), (1.90, 1.30, 0.70), (0.40, 0.43, 0.56), 0.34, 0.40, 0.3),
    "dusk": _Mood((62, 70, 128), (236, 184, 150), (250, 184, 128), (1.15, 0.66, 0.50), (0.36, 0.37, 0.56), 0.20, 0.40, 0.4),
    "overcast": _Mood((140, 156, 172), (206, 214, 220), (238, 238, 236), (0.55, 0.56, 0.56), (0.62, 0.66, 0.70), 0.85, 0.55, 0.5),
}


class _Biome(NamedTuple):
    """Ranges from which a layout is drawn. Lengths are world units, about a metre near the camera; mountains are stage scenery, not to scale."""

    water: str  # lake, river, sea or none
    roll: tuple[float, float]  # height of the near ground's waves
    hill: tuple[float, float]
    mountain: tuple[float, float]
    beach: float  # height of sand above the water
    road: float  # probability
    flowers: float  # probability
    trees: tuple[int, int]  # how many are planted over the whole panorama
    conifers: float  # share
    rocks: tuple[int, int]
    desert: bool = False


_BIOMES = (
    _Biome("lake", (0.3, 0.7), (4, 8), (40, 66), 0.16, 0.15, 0.35, (40, 90), 0.9, (6, 24)),  # mountain lake
    _Biome("sea", (0.3, 0.8), (3, 7), (0, 34), 0.50, 0.15, 0.25, (8, 40), 0.15, (8, 30)),  # coast
    _Biome("river", (0.3, 0.7), (4, 8), (34, 60), 0.12, 0.20, 0.40, (30, 80), 0.6, (6, 20)),  # river valley
    _Biome("none", (0.6, 1.2), (6, 11), (0, 26), 0.0, 0.80, 0.60, (24, 60), 0.15, (0, 10)),  # hills
    _Biome("none", (0.4, 0.9), (5, 9), (10, 40), 0.0, 0.60, 0.30, (130, 190), 0.6, (0, 12)),  # forest
    _Biome("none", (1.2, 2.2), (1, 3), (16, 42), 1e3, 0.35, 0.0, (0, 10), 0.0, (12, 40), desert=True),  # desert
    _Biome("lake", (0.5, 1.0), (3, 6), (34, 56), 0.0, 0.30, 0.45, (6, 30), 1.0, (24, 60)),  # highland
)


class _Object(NamedTuple):
    z: float
    u: float
    height: float  # world units
    kind: str  # conifer, broadleaf or boulder
    variant: int  # which of the sprites of its kind
    mirrored: bool
    tone: float  # 0 dark .. 1 light
    aspect: float  # width over height


class _Layout(NamedTuple):
    """Everything about a scene that labels depend on. Screen places are in image heights: u from the middle, v from the top."""

    biome: _Biome
    horizon: float
    eye: float  # height of the camera over the water
    focal: float
    sun: tuple[float, float]  # u, v
    sun_visible: bool
    cloud_cover: float  # threshold on noise of unit variance: high is clear
    cloud_scale: float
    roll: float
    hill: float
    hill_start: float
    mountain: float
    mountain_start: float
    snow_line: float
    water: tuple[float, float, float, float]  # x, z, width, tilt
    road: tuple[float, float, float, float] | None  # x, sway, phase, half width
    flower_threshold: float
    offset: tuple[float, float]  # of the world in the noise
    objects: tuple["_Object", ...]  # far ones first; their order is their instance id


def _rng(stream: int, seed: int) -> np.random.RandomState:
    return np.random.RandomState([stream, seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF])


def sample_style(seed: int) -> Style:
    """Mixes two moods, the first weighing most, and draws the palette."""
    rng = _rng(1, seed)
    names = list(_MOODS)
    first, second = names[rng.randint(len(names))], names[rng.randint(len(names))]
    share = 0.35 * rng.rand() ** 2
    mix = [(1 - share) * np.asarray(a, np.float32) + share * np.asarray(b, np.float32) for a, b in zip(_MOODS[first], _MOODS[second])]
    zenith, horizon, glow = (np.clip(c / 255 + rng.uniform(-0.03, 0.03, 3), 0.02, 0.985).astype(np.float32) for c in mix[:3])
    light, ambient = (c * np.float32(rng.uniform(0.92, 1.1)) for c in mix[3:5])
    sun_height, haze, mist = (float(c) * rng.uniform(0.75, 1.25) for c in mix[5:])
    palette = rng.rand(5)
    return Style(first, zenith, horizon, glow, light, ambient, sun_height, haze, mist, *(float(p) for p in palette))


def _sample_layout(seed: int) -> _Layout:
    rng = _rng(0, seed)
    biome = _BIOMES[rng.randint(len(_BIOMES))]
    eye = float(rng.uniform(2.4, 4.2))
    mountain = float(rng.uniform(*biome.mountain))
    water_width = {"lake": rng.uniform(9, 24), "river": rng.uniform(1.5, 3.5), "sea": rng.uniform(0, 8), "none": 0.0}[biome.water]
    water_depth = {"lake": rng.uniform(20, 38), "sea": rng.uniform(8, 18)}.get(biome.water, 0.0)
    road = (rng.uniform(-1.5, 1.5), rng.uniform(-2.5, 2.5), rng.uniform(0, 6.28), rng.uniform(0.6, 1.1))
    horizon = float(rng.uniform(0.36, 0.56))
    return _Layout(
        biome=biome,
        horizon=horizon,
        eye=eye,
        focal=float(rng.uniform(1.0, 1.3)),
        sun=(float(rng.uniform(0.08, 0.42) * rng.choice([-1, 1])), float(horizon * rng.uniform(0.2, 0.7))),
        sun_visible=bool(rng.rand() < 0.5),
        cloud_cover=float(rng.uniform(-0.2, 2.0)),
        cloud_scale=float(rng.uniform(0.5, 0.9)),
        roll=float(rng.uniform(*biome.roll)),
        hill=float(rng.uniform(*biome.hill)),
        hill_start=float(rng.uniform(22, 42)),
        mountain=mountain,
        mountain_start=float(rng.uniform(70, 120)),
        snow_line=mountain * float(rng.uniform(0.2, 1.0)),
        water=(float(rng.uniform(-6, 6)), float(water_depth), float(water_width), float(rng.uniform(-0.6, 0.6))),
        road=tuple(map(float, road)) if rng.rand() < biome.road else None,
        flower_threshold=float(rng.uniform(0.0, 0.7)) if rng.rand() < biome.flowers else 9.0,
        offset=(float(rng.uniform(0, 256)), float(rng.uniform(0, 256))),
        objects=_scatter_objects(rng, biome),
    )


def _scatter_objects(rng: np.random.RandomState, biome: _Biome) -> tuple[_Object, ...]:
    """Trees and rocks over a panorama of four image heights, far ones first."""
    n_trees, n_rocks = rng.randint(biome.trees[0], biome.trees[1] + 1), rng.randint(biome.rocks[0], biome.rocks[1] + 1)
    n_rocks *= int(rng.rand() < 0.75)
    objects = []
    for index, draw in enumerate(rng.rand(n_trees + n_rocks, 8).tolist()):
        u, aspect = 4 * draw[1] - 2, 0.85 + 0.35 * draw[7]
        if index >= n_trees:
            kind, z, height, aspect = "boulder", 5 * 6 ** draw[0], 0.35 + 1.3 * draw[2] ** 3, 1.7 * aspect
        else:
            kind, z = "conifer" if draw[3] < biome.conifers else "broadleaf", 9 * 9 ** draw[0]
            height = (3.0 if kind == "conifer" else 2.6) + 2.8 * draw[2] ** 2
            if z < 16 and abs(u) < 0.24:  # a tree right before the lens hides the scene: near ones step aside and frame it
                u += -0.24 if u < 0 else 0.24
        objects.append(_Object(z, u, height, kind, int(6 * draw[4]), draw[5] < 0.5, draw[6], aspect))
    return tuple(sorted(objects, key=lambda thing: -thing.z))


# ---------------------------------------------------------------------------------------------------------------------------------- noise


def _ramp(x, low, high):
    """Smoothstep: 0 below low, 1 above high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@functools.lru_cache(maxsize=None)
def _lattice() -> np.ndarray:
    """[257 * 257] values in [-1, 1], the last row and column repeating the first."""
    values = _rng(2, 0).uniform(-1, 1, (256, 256)).astype(np.float32)
    return np.pad(values, (0, 1), mode="wrap").ravel()


def _value_noise(x, y):
    """Noise in [-1, 1] with continuous second derivatives and features of unit size; x and y broadcast."""
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = x - x0, y - y0
    fx, fy = fx * fx * fx * (fx * (fx * 6 - 15) + 10), fy * fy * fy * (fy * (fy * 6 - 15) + 10)
    corner = ((y0.astype(np.int32) & 255) * 257 + (x0.astype(np.int32) & 255)).astype(np.intp)
    return _bilinear(_lattice(), 257, corner, fx, fy)


def _fractal(x, y, octaves, spacing, ridged=False):
    """Octaves of value noise, each half as large and half as strong; those finer than two `spacing` (in units of x) fade out.

    Returns about [-1, 1]; ridged: about [0, 1] with sharp crests, rough on high ground and smooth in the valleys.
    """
    total, gain, carry = 0.0, 0.5, 1.0
    for octave in range(octaves):
        noise = _value_noise(x, y)
        fade = _ramp(2.0**-octave / spacing, 1.5, 3.0)
        if ridged and octave < 2:
            noise = (1.1 - np.sqrt(noise * noise + 0.04)) ** 2 * carry  # a crest rounded enough for the steps of the trace
            carry = np.clip(noise * 1.6, 0, 1)
        elif ridged:
            noise = 0.45 * noise * carry
        total = total + noise * (gain * fade)
        gain *= 0.5
        x, y = 1.6 * x - 1.2 * y + 17.3, 1.2 * x + 1.6 * y + 5.1  # twice as fine, turned so that lattice lines do not add up
    return total


def _halve(image: np.ndarray) -> np.ndarray:
    """Means over 2 x 2 blocks of the first two axes."""
    return (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4


_TILE_CELLS = 8
_TILE_SIZE = 512
_TILE_LEVELS = 6


@functools.lru_cache(maxsize=None)
def _noise_tile() -> tuple[np.ndarray, ...]:
    """A periodic fractal texture of unit variance as flat mip levels: level l has n = 512 >> l rows and columns, and repeats the first of each at the end."""
    rng, size = _rng(3, 0), _TILE_SIZE
    total = np.zeros((size, size), np.float32)
    for octave in range(6):
        cells = _TILE_CELLS << octave
        values = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
        place = np.arange(size) * cells / size
        low = place.astype(int)
        weight = (_ramp(place - low, 0, 1)).astype(np.float32)
        values = values[low] * (1 - weight[:, None]) + values[(low + 1) % cells] * weight[:, None]
        total += 0.6**octave * (values[:, low] * (1 - weight) + values[:, (low + 1) % cells] * weight)
    total /= total.std()
    levels = [total]
    for _ in range(_TILE_LEVELS - 1):
        levels.append(_halve(levels[-1]))
    return tuple(np.pad(level, (0, 1), mode="wrap").ravel() for level in levels)


_CHUNK = 8192  # pixels whose working arrays stay in the cache


def _texture(x, y, footprint):
    """Fractal noise of unit variance at x, y (unit: its coarsest feature), all of one shape.

    `footprint`, the size of a pixel in the same unit, picks the mip level, one for each chunk of pixels in row order: rows are of like distance.
    """
    shape = x.shape
    x, y, footprint = x.ravel(), y.ravel(), footprint.ravel()
    out = np.empty(x.size, np.float32)
    for start in range(0, x.size, _CHUNK):
        chunk = slice(start, start + _CHUNK)
        level = np.log2(max(float(footprint[chunk].mean()), 1e-6) * (_TILE_SIZE / _TILE_CELLS)) + 0.5
        out[chunk] = _sample_level(int(np.clip(level, 0, _TILE_LEVELS - 1)), x[chunk], y[chunk])
    return out.reshape(shape)


def _sample_level(level: int, x, y):
    """Bilinear lookup of one mip level at 1-D x, y."""
    size, tile = _TILE_SIZE >> level, _noise_tile()[level]
    x, y = x * np.float32(size / _TILE_CELLS), y * np.float32(size / _TILE_CELLS)
    x0, y0 = np.floor(x), np.floor(y)
    x -= x0
    y -= y0
    corner = ((y0.astype(np.int32) & (size - 1)) * (size + 1) + (x0.astype(np.int32) & (size - 1))).astype(np.intp)
    return _bilinear(tile, size + 1, corner, x, y)


def _bilinear(values, stride: int, corner, x, y):
    """Interpolates a flat table of rows of `stride` at index `corner`, with weights x and y in [0, 1]."""
    top, bottom = values.take(corner), values[stride:].take(corner)
    top += x * (values[1:].take(corner) - top)
    bottom += x * (values[stride + 1 :].take(corner) - bottom)
    bottom -= top
    bottom *= y
    top += bottom
    return top


# -------------------------------------------------------------------------------------------------------------------------------- terrain


class _Terrain(NamedTuple):
    """The height field over rays [D, W]; depth grows along the first axis."""

    z: np.ndarray  # [D]
    x: np.ndarray  # [D, W]
    screen: np.ndarray  # [D, W]: v at which the surface is seen, in image heights
    fields: np.ndarray  # [D, W, 6]: height (negative under water), slope in x, slope in z, mountain part, hill part, shore distance


class _Ground(NamedTuple):
    """What the ground pixels see; every array is [N], N the number of ground pixels."""

    pixel: np.ndarray  # flat index into the image
    x: np.ndarray
    z: np.ndarray
    v: np.ndarray
    footprint: np.ndarray  # world units across a pixel
    height: np.ndarray
    slope_x: np.ndarray
    slope_z: np.ndarray
    mountain: np.ndarray
    hill: np.ndarray
    shore: np.ndarray


def _shore_distance(layout: _Layout, x, z, spacing):
    """About the distance to the water's edge, negative on the water; [D, W]."""
    wx, wz, width, tilt = layout.water
    kind = layout.biome.water
    if kind == "none":
        return np.full(np.broadcast_shapes(x.shape, z.shape), 99, np.float32)
    bays = _fractal(x / 16 + layout.offset[1], z / 16, 3, spacing / 16)
    if kind == "lake":
        return (np.sqrt(((x - wx) / width) ** 2 + ((z - wz) / (0.6 * wz)) ** 2) - 1) * 9 + 3.5 * bays
    if kind == "river":
        bend = wx * 0.6 + tilt * (z - 12) * 0.5 + 3.2 * np.sin(z / 9 + wx) * _ramp(z, 4, 24)
        return np.abs(x - bend) - width * (0.8 + z / 60) + 0.8 * bays
    headlands = _fractal(x / 70 + layout.offset[0], z / 70 + 3.7, 2, spacing / 70)
    return wz + width - z + 1.6 * tilt * x + 5 * bays + _ramp(z, 30, 80) * (z * 0.95 * (0.3 + 1.4 * headlands) + 12)


def _heights(layout: _Layout, x, z, spacing):
    """Height over the water, its mountain and hill parts and the shore distance; each [D, W]."""
    ox, oz = layout.offset
    roll = _fractal(x / 15 + ox, z / 15 + oz, 3, spacing / 15)
    if layout.biome.desert:
        crest = 1 - np.abs(_value_noise(x / 13 + 0.5 * roll + oz, z / 9 + ox))
        roll = 0.7 * roll + 0.9 * crest * crest
    hill = layout.hill * _ramp(z, layout.hill_start, 2.2 * layout.hill_start) * (0.45 + _fractal(x / 48 + oz, z / 48 + ox, 3, spacing / 48))
    mountain = np.zeros_like(hill)
    far = int(np.searchsorted(z[:, 0], layout.mountain_start))
    if layout.mountain > 4:
        xf, zf = x[far:], z[far:]
        warp = 0.25 * _value_noise(xf / 40 + ox, zf / 40)
        crests = _fractal(xf / 95 + ox + warp, zf / 95 + oz + warp, 6, spacing[far:] / 95, ridged=True)
        mountain[far:] = layout.mountain * _ramp(zf, layout.mountain_start, 230) * np.maximum(crests * 2.2 - 0.35, -0.1)
    land = 0.9 + layout.roll * _ramp(z, 3, 20) * roll * 1.3 + hill + mountain
    shore = _shore_distance(layout, x, z, spacing)
    bank = _ramp(shore, 0, 9 + 0.35 * z)  # far shores rise gently: a valley has no walls
    height = np.maximum(land, 0.35) * np.maximum(bank, 0.1 * _ramp(shore, 0, 9)) + 0.06 * np.clip(shore, -20, 5)
    return height, mountain * bank, hill, shore


def _trace_terrain(layout: _Layout, u: np.ndarray, rows: int) -> _Terrain:
    steps = int(np.clip(rows * 0.5, 76, 220))
    t = np.linspace(0, 1, steps, dtype=np.float32)
    # Half the steps reach to 80, half to 330: mountains are far, and steep enough to need close steps.
    z = np.where(t < 0.5, 1.6 * 50 ** (2 * t), 80 * 4.1 ** (2 * t - 1)).astype(np.float32)[:, None]
    x = u * z / layout.focal
    spacing = np.maximum(np.gradient(z, axis=0) * 0.9, z / (layout.focal * rows))
    height, mountain, hill, shore = _heights(layout, x, z, spacing)
    slope_x = np.gradient(height, axis=1) / np.gradient(x, axis=1)
    slope_z = np.gradient(height, axis=0) / np.gradient(z, axis=0) - slope_x * (u / layout.focal)  # rays fan out: remove the drift in x
    screen = layout.horizon + layout.focal * (layout.eye - np.maximum(height, 0)) / z
    fields = np.stack([height, slope_x, slope_z, mountain, hill, shore], axis=-1)
    return _Terrain(z[:, 0], x, screen, fields)


def _see_ground(terrain: _Terrain, layout: _Layout, v: np.ndarray) -> _Ground:
    """Finds for every pixel the first stretch of terrain that its ray meets."""
    steps, columns = terrain.screen.shape
    rows = len(v)
    skyline = np.minimum.accumulate(terrain.screen, axis=0)
    first_row = np.clip(np.ceil(skyline * rows - 0.5), 0, rows).astype(np.intp)  # the first row that this step, or one before it, covers
    histogram = np.bincount((first_row * columns + np.arange(columns)).ravel(), minlength=(rows + 1) * columns)
    step = steps - np.cumsum(histogram.reshape(rows + 1, columns)[:rows], axis=0)
    pixel = np.flatnonzero(step < steps)
    step, column, v = np.maximum(step.ravel()[pixel], 1), pixel % columns, v[pixel // columns]
    near, far = (step - 1) * columns + column, step * columns + column
    z0, z1 = terrain.z[step - 1], terrain.z[step]
    ahead, behind = (terrain.screen.take(near) - v) * z0, (v - terrain.screen.take(far)) * z1
    part = np.clip(ahead / np.maximum(ahead + behind, 1e-6), 0, 1)
    fields = terrain.fields.reshape(-1, terrain.fields.shape[-1])
    lower = fields.take(near, axis=0)
    values = np.ascontiguousarray((lower + part[:, None] * (fields.take(far, axis=0) - lower)).T)
    z = z0 + part * (z1 - z0)
    x0 = terrain.x.take(near)
    x = x0 + part * (terrain.x.take(far) - x0)
    return _Ground(pixel, x, z, v, z / (layout.focal * rows), *values)


def _road_center(layout: _Layout, z):
    """x of the road's middle at distance z."""
    x, sway, phase, _ = layout.road
    return x * 8 / (z + 6) + sway * (np.sin(z / 8 + phase) - np.sin(phase)) * _ramp(z, 2, 30) + 0.04 * sway * z


def _classify(layout: _Layout, ground: _Ground) -> np.ndarray:
    """Class of each ground pixel, uint8 [N], before trees and rocks."""
    z, height, biome = ground.z, ground.height, layout.biome
    patches = _texture(ground.x / 9 + layout.offset[0], z / 9, ground.footprint / 4)
    label = np.full(z.shape, SAND if biome.desert else GRASS, np.uint8)
    meadow = (patches > layout.flower_threshold) & (z < 45) & (not biome.desert)
    label[meadow] = FLOWERS
    label[(z > layout.hill_start * 1.25 + 5 * patches) & ((ground.hill > 1.0) | (not biome.desert))] = HILL
    label[ground.mountain > np.maximum(1.5 + 0.8 * patches, 0.5)] = MOUNTAIN
    steepness = np.abs(ground.slope_x) + np.abs(ground.slope_z)
    snowy = (height - 1.5 * patches - 4.0 * np.maximum(steepness - 1.0, 0)) > layout.snow_line
    label[(label == MOUNTAIN) & snowy] = SNOW
    if not biome.desert:
        label[(height < biome.beach * (1 + 0.25 * patches)) & (z < 110)] = SAND
    if layout.road is not None:
        label[(np.abs(ground.x - _road_center(layout, z)) < layout.road[3] * (1 + 0.06 * patches)) & (z < 75)] = ROAD
    label[height < 0] = WATER
    return label


# ------------------------------------------------------------------------------------------------------------------------ light and colour


def _albedo(*rgb: float) -> np.ndarray:
    """Display colour in 0..255 to linear reflectance [3]; squaring stands for the display's gamma."""
    return (np.asarray(rgb, np.float32) / 255) ** 2


def _radiance(display: np.ndarray) -> np.ndarray:
    """The light that `_develop` shows as this display colour in [0, 1]; held under 0.95, where the light needed runs off to infinity."""
    return (-np.log1p(-np.square(np.clip(display, 0, 0.95))) / EXPOSURE).astype(np.float32)


def _develop(light: np.ndarray) -> np.ndarray:
    """Light to display colour in [0, 1]; the exponential rolls highlights off softly."""
    return np.sqrt(1 - np.exp(-EXPOSURE * np.maximum(light, 0)))


def _blend(stops: list, amount: float) -> np.ndarray:
    """The colour [3] at `amount` in [0, 1] along equally spaced stops."""
    place = amount * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    return stops[low] + np.float32(place - low) * (stops[low + 1] - stops[low])


def _tone(tones: tuple, amount: np.ndarray) -> np.ndarray:
    """Colours [N, 3] between a dark and a light tone; amount [N] is clipped to [0, 1]."""
    dark, light = tones
    return dark + np.clip(amount, 0, 1)[:, None] * (light - dark)


class _Palette(NamedTuple):
    """Linear reflectances [3] of a style: a dark and a light tone for each material."""

    grass: tuple
    hill: tuple
    rock: tuple
    snow: tuple
    sand: tuple
    road: tuple
    conifer: tuple
    crown: tuple
    petals: np.ndarray
    trunk: np.ndarray
    water: np.ndarray


def _palette(style: Style) -> _Palette:
    season = style.season
    dry = 0.55 * style.dryness
    straw = _albedo(196, 172, 96)
    grass = _blend([_albedo(116, 164, 62), _albedo(98, 142, 54), _albedo(158, 140, 62)], season)
    hill = _blend([_albedo(70, 112, 66), _albedo(48, 88, 56), _albedo(128, 84, 46)], season)
    crown = _blend([_albedo(146, 178, 72), _albedo(84, 124, 48), _albedo(214, 128, 40)], season)
    rock = _blend([_albedo(112, 112, 122), _albedo(134, 116, 104), _albedo(158, 108, 82)], style.rock_warmth)
    petals = _blend([_albedo(226, 60, 48), _albedo(240, 120, 150), _albedo(160, 104, 214), _albedo(246, 214, 70), _albedo(248, 240, 232)], style.flower_hue)
    sand = _blend([_albedo(232, 214, 172), _albedo(230, 188, 126)], style.rock_warmth)
    grass = grass + dry * (straw - grass)
    return _Palette(
        grass=(0.50 * grass, 1.25 * grass),
        hill=(0.40 * hill, 1.15 * hill),
        rock=(0.55 * rock, 1.25 * rock),
        snow=(_albedo(214, 224, 240), _albedo(250, 251, 253)),
        sand=(0.70 * sand, 1.0 * sand),
        road=(_albedo(124, 98, 78), _albedo(186, 156, 124)),
        petals=petals,
        conifer=(_albedo(20, 42, 34), _albedo(82, 122, 74) * (1 - 0.3 * dry)),
        crown=(0.22 * crown, 1.1 * crown),
        trunk=_albedo(92, 70, 54),
        water=_blend([_albedo(20, 52, 78), _albedo(24, 84, 96)], style.water_teal),
    )


class _Material(NamedTuple):
    label: int
    palette: str
    scale: tuple[float, float]  # features per world unit, across and away
    contrast: float  # how far the noise moves the tone
    relief: float  # and the light
    rugged: bool = False  # relief by the slope of the noise rather than its height
    rows: float = 0.0  # rows of tufts in each e-fold of distance; 0 for bare ground
    petals: tuple[float, float] | None = None  # features per world unit of the blossoms on top


_MATERIALS = (
    _Material(GRASS, "grass", (9.0, 2.4), 0.20, 0.12, rows=24),
    _Material(FLOWERS, "grass", (9.0, 2.4), 0.16, 0.10, rows=24, petals=(11.0, 6.0)),
    _Material(HILL, "hill", (0.55, 0.4), 0.26, 0.22, rows=40),
    _Material(SAND, "sand", (0.7, 3.2), 0.20, 0.10),
    _Material(ROAD, "road", (1.8, 0.5), 0.22, 0.08),
    _Material(MOUNTAIN, "rock", (0.22, 0.14), 0.16, 0.40, rugged=True),
    _Material(SNOW, "snow", (0.2, 0.12), 0.16, 0.14, rugged=True),
)


def _light_direction(layout: _Layout, style: Style) -> np.ndarray:
    """Unit vector to the light, x right, y up, z away: from the sun's side but over the shoulder, since a picture lit from behind is all shadow."""
    side = 1.0 if layout.sun[0] > 0 else -1.0
    direction = np.array([side * (1.0 - 0.35 * style.sun_height), 0.25 + 0.75 * style.sun_height, -0.35], np.float32)
    return direction / np.linalg.norm(direction)


def _sky_light(layout: _Layout, style: Style, v: np.ndarray, sun_distance: np.ndarray) -> np.ndarray:
    """The clear sky's light [R, W, 3]: blue overhead, pale at the horizon, warm around the sun."""
    height = np.clip((layout.horizon - v) / 0.6, 0, 1)[:, None]
    sky = _radiance(style.zenith + np.exp(-3.2 * height) * (style.horizon - style.zenith))[:, None]  # mixed as displayed: light would turn dusk magenta
    glow = _radiance(style.glow)
    warm = (0.60 * np.exp(np.square(sun_distance) / -0.06))[..., None]
    return sky + warm * (glow - sky) * np.float32(0.25 + 0.75 * layout.sun_visible)


def _cloud_layer(layout: _Layout, style: Style, u: np.ndarray, v: np.ndarray, sun_distance: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Light [R, W, 3] and opacity [R, W] of a flat ceiling of clouds: in perspective, smaller and lower towards the horizon, where it dissolves."""
    away = (1 / (np.maximum(layout.horizon - v, 0) + 0.16))[:, None].astype(np.float32)
    x = u * away * layout.cloud_scale + layout.offset[0]
    y = np.broadcast_to(away * layout.cloud_scale * 1.5 + layout.offset[1], x.shape)
    footprint = np.broadcast_to(layout.cloud_scale * away / rows, x.shape)
    density = _texture(x, y, footprint)
    toward_sun = density - _texture(x + 0.10 * np.sign(layout.sun[0]), y + 0.14, footprint)  # positive where the cloud thins out to the sun's side
    clearing = 1.2 * np.exp(-np.square(sun_distance / 0.11)) if layout.sun_visible else 0.0
    body = density - layout.cloud_cover - clearing - 1.2 * _ramp(away, 3.4, 6.2)
    horizon = _radiance(style.horizon)
    bright = 0.75 * _radiance(0.5 * style.glow + 0.5) * style.sunlight / style.sunlight.max() + 0.25 * horizon
    dark = 0.55 * _radiance(style.zenith) + 0.36 * horizon
    shine = np.clip(0.62 + 0.55 * toward_sun - 0.16 * body, 0, 1)[..., None]
    return dark + shine * (bright - dark), _ramp(body, -0.18, 0.36)


def _draw_sky(layout: _Layout, style: Style, u: np.ndarray, v: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Light [R, W, 3], label and instance [R, W] of the sky rows, the first R of an image of `rows`."""
    sun_distance = np.sqrt(np.square(u - layout.sun[0]) + np.square((v - layout.sun[1])[:, None]))
    light = _sky_light(layout, style, v, sun_distance)
    cloud, alpha = _cloud_layer(layout, style, u, v, sun_distance, rows)
    light += alpha[..., None] * (cloud - light)
    label = np.where(alpha > 0.5, CLOUD, SKY).astype(np.uint8)
    instance = np.zeros(label.shape, np.uint16)
    if layout.sun_visible:
        disc = sun_distance < 0.042
        label[disc], instance[disc] = SUN, SUN_INSTANCE
        light[disc] = 0.75 * _radiance(0.6 * style.glow + 0.4) + 0.6 * style.sunlight
    return light, label, instance


def _lay_materials(layout: _Layout, palette: _Palette, ground: _Ground, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reflectance [N, 3] of the ground and its relief [N], which brightens or darkens the direct light; water stays black."""
    color = np.zeros((len(label), 3), np.float32)
    relief = np.zeros(len(label), np.float32)
    ox, oz = layout.offset
    for material in _MATERIALS:
        at = np.flatnonzero(label == material.label)
        if not len(at):
            continue
        x, z, footprint = ground.x[at], ground.z[at], ground.footprint[at]
        fx, fz = material.scale
        depth = z + 1.5 * ground.height[at] if material.label in (MOUNTAIN, SNOW) else z
        coarse = _texture(x * (fx / 9) + oz, depth * (fz / 6), footprint * (fx + fz) / 8)
        if material.rows:
            tips, strand = _strands(x, z, material.rows, fx, footprint, coarse)
            fine = strand + 1.6 * (tips - 0.5)
        else:
            fine = _texture(x * fx + ox, depth * fz + oz, footprint * (fx + fz))
        bump = fine
        if material.rugged:  # a slope towards the light is bright, not a summit
            bump = 2.5 * (fine - _texture(x * fx + ox + 0.12 * np.sign(layout.sun[0]), depth * fz + oz + 0.06, footprint * (fx + fz)))
        color[at] = _tone(getattr(palette, material.palette), 0.5 + material.contrast * (0.65 * fine + 0.5 * coarse))
        relief[at] = material.relief * bump
        if material.petals:
            px, pz = material.petals
            blossom = _ramp(_texture(x * px + oz, z * pz, footprint * (px + pz)) + 0.25 * coarse, 0.0, 0.5)
            color[at] += (0.9 * blossom)[:, None] * (palette.petals - color[at])
    return color, relief


def _strands(x, z, rows: float, density: float, footprint, jag):
    """Rows of upright tufts, one before the other: how far up its tuft a pixel is [0, 1], and noise [N] that is the same all the way up a strand."""
    place = rows * np.log(z) + 0.55 * _texture(x * (0.35 * density), z * 0.4, footprint * density) + 0.3 * jag
    row = np.floor(place)
    row_x = x * (np.exp(row / rows) / z)  # where the strand's foot stands: straight up in the picture is straight up in the meadow
    return place - row, _texture(row_x * density + 0.37 * row, 0.3 * (place - row) + 1.7 * row, footprint * density)


def _light_ground(layout: _Layout, style: Style, ground: _Ground, color: np.ndarray, relief: np.ndarray) -> np.ndarray:
    """Light [N, 3] that the ground sends: sun on its slopes under drifting cloud shadows, and sky light from above."""
    lx, ly, lz = _light_direction(layout, style)
    up = 1 / np.sqrt(1 + np.square(ground.slope_x) + np.square(ground.slope_z))
    facing = np.maximum((ly - lx * ground.slope_x - lz * ground.slope_z) * up, 0)
    shade = _texture(ground.x / 30 + layout.offset[1], ground.z / 30, ground.footprint / 10)
    sun = facing * (0.62 + 0.38 * _ramp(shade, -0.6, 0.4)) * np.maximum(1 + relief * 1.5, 0.2)
    sky = (0.55 + 0.45 * up) * (1 + 0.5 * relief)
    return color * (sun[:, None] * style.sunlight + sky[:, None] * style.ambient)


def _haze_light(style: Style) -> np.ndarray:
    """Colour of the veil, [3]: bluer than the horizon, so that ridges stand off from the sky."""
    return _radiance(0.72 * style.horizon + 0.28 * style.zenith)


def _haze_amount(style: Style, z, height):
    """Share of haze [0, 1) in the light from distance z and height over the water."""
    thickness = z * (0.0016 + 0.0034 * style.haze) * (0.8 + 1.2 * style.mist * np.exp(-np.maximum(height, 0) / 5))
    return 0.88 * (1 - np.exp(-thickness))


# -------------------------------------------------------------------------------------------------------------------------------- sprites


_SPRITE_SIZE = 128


def _mip(sprite: np.ndarray) -> tuple[np.ndarray, ...]:
    """Levels of half the size each, [K, K, 5]: coverage, normal x, normal y (up), tone in [0, 1], trunk."""
    levels = [sprite]
    while len(levels[-1]) > 8:
        levels.append(_halve(levels[-1]))
    return tuple(levels)


def _stamp(sprite: np.ndarray, cx: float, cy: float, rx: float, ry: float, rough: float, tone: float, rng: np.random.RandomState):
    """Draws a ragged tuft of leaves, an ellipse at (cx, cy) in [0, 1] from the top left, over the sprite."""
    size = len(sprite)
    x0, x1 = np.clip([int((cx - 1.3 * rx) * size), int((cx + 1.3 * rx) * size) + 2], 0, size)
    y0, y1 = np.clip([int((cy - 1.3 * ry) * size), int((cy + 1.3 * ry) * size) + 2], 0, size)
    a = ((np.arange(x0, x1) + 0.5) / size - cx) / rx
    b = (((np.arange(y0, y1) + 0.5) / size - cy) / ry)[:, None]
    leaves = rng.uniform(-1, 1, (y1 - y0, x1 - x0)).astype(np.float32)
    inside = a * a + b * b + rough * leaves < 1
    patch = sprite[y0:y1, x0:x1]
    values = np.stack(np.broadcast_arrays(1.0, 0.85 * a, -0.85 * b, np.clip(tone + 0.16 * leaves, 0, 1), 0.0), axis=-1)
    patch[inside] = values[inside]


def _trunk(sprite: np.ndarray, top: float, half_width: float):
    """Draws a trunk, round in its normals and wider at the foot, from `top` (0..1) to the ground."""
    size = len(sprite)
    y = ((np.arange(size) + 0.5) / size)[:, None]
    a = ((np.arange(size) + 0.5) / size - 0.5) / (half_width * (0.6 + 0.6 * y * y))
    sprite[(np.abs(a) < 1) & (y > top)] = [1, 0, 0, 0.5, 1]
    sprite[..., 1] += np.where(sprite[..., 4] > 0, np.clip(a, -1, 1) * 0.8, 0)


@functools.lru_cache(maxsize=None)
def _conifer(variant: int) -> tuple[np.ndarray, ...]:
    rng = _rng(10, variant)
    sprite = np.zeros((_SPRITE_SIZE, _SPRITE_SIZE, 5), np.float32)
    _trunk(sprite, 0.5, 0.025)
    slim = rng.uniform(0.55, 0.85)
    for level in np.linspace(0.95, 0.03, 22):  # whorls of branches from the ground up, so that upper ones lie over lower ones
        reach = slim * 0.46 * level**0.9 * rng.uniform(0.85, 1.1) + 0.012
        y = 0.01 + 0.92 * level
        for place in rng.permutation(np.linspace(-1, 1, 7)):
            droop = 0.05 * level * place * place
            tone = 0.42 + 0.25 * (1 - abs(place)) + rng.uniform(-0.12, 0.12)
            _stamp(sprite, 0.5 + 0.8 * place * reach, y + droop, 0.26 * reach + 0.012, 0.030 + 0.018 * level, 0.5, tone, rng)
    return _mip(sprite)


@functools.lru_cache(maxsize=None)
def _broadleaf(variant: int) -> tuple[np.ndarray, ...]:
    rng = _rng(11, variant)
    sprite = np.zeros((_SPRITE_SIZE, _SPRITE_SIZE, 5), np.float32)
    _trunk(sprite, 0.45, 0.035)
    width, center, tall = rng.uniform(0.34, 0.44), rng.uniform(0.38, 0.44), rng.uniform(0.32, 0.38)
    angle, radius = rng.uniform(0, 6.28, 130), np.sqrt(rng.rand(130)) * 0.92
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    for i in np.argsort(-y + 0.8 * rng.rand(130)):  # low tufts first: the lit tops lie over them
        tone = 0.52 - 0.34 * y[i] + rng.uniform(-0.1, 0.1)
        _stamp(sprite, 0.5 + width * x[i], center + tall * y[i], rng.uniform(0.05, 0.09), rng.uniform(0.04, 0.07), 0.55, tone, rng)
    crown = (sprite[..., 0] > 0) & (sprite[..., 4] == 0)
    grid = (np.arange(_SPRITE_SIZE) + 0.5) / _SPRITE_SIZE
    sprite[..., 1] = np.where(crown, 0.45 * sprite[..., 1] + 0.6 * (grid - 0.5) / width, sprite[..., 1])
    sprite[..., 2] = np.where(crown, 0.45 * sprite[..., 2] - 0.6 * (grid[:, None] - center) / tall, sprite[..., 2])
    return _mip(sprite)


@functools.lru_cache(maxsize=None)
def _boulder(variant: int) -> tuple[np.ndarray, ...]:
    """A convex stone: the front of an intersection of random half-spaces, so that each face is flat."""
    rng = _rng(12, variant)
    around = np.arange(7) * 0.9 + rng.uniform(-0.25, 0.25, 7)  # the faces of its outline, so that it closes on every side
    outline = np.stack([np.cos(around), np.sin(around), np.full(7, 0.35)], axis=1)
    normals = np.concatenate([outline, rng.normal(size=(9, 3))])
    normals[:, 2] = np.abs(normals[:, 2]) + 0.15
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    reach = rng.uniform(0.58, 0.78, 16)
    grid = ((np.arange(_SPRITE_SIZE) + 0.5) / _SPRITE_SIZE) * 2 - 1
    a, b = grid, 0.35 - 0.65 * grid[:, None]  # b points up; the lower third is in the ground
    faces = (reach - normals[:, 0] * a[..., None] - normals[:, 1] * b[..., None]) / normals[:, 2]
    depth, face = faces.min(axis=-1), faces.argmin(axis=-1)
    grain = rng.uniform(-1, 1, depth.shape)
    tone = 0.5 + rng.uniform(-0.15, 0.15, 16)[face] + 0.07 * grain
    above_ground = grid[:, None] < 0.72 + 0.26 * (1 - a * a)  # it meets the ground along the near half of an ellipse
    solid = (depth > 0) & above_ground
    sprite = np.stack([solid, normals[face, 0], normals[face, 1], tone, np.zeros_like(depth)], axis=-1)
    return _mip((sprite * solid[..., None]).astype(np.float32))


class _Canvas(NamedTuple):
    """The picture in the making at rendering resolution: light [H, W, 3], label and instance [H, W], distance z [H, W] (inf for sky)."""

    light: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    z: np.ndarray


class _Kind(NamedTuple):
    sprite: Callable[[int], tuple[np.ndarray, ...]]  # mip levels of a variant
    label: int
    tones: str  # of the palette
    stands_on: tuple[int, ...]
    shadow: float  # depth of its shadow in heights


_KINDS = {
    "conifer": _Kind(_conifer, TREE, "conifer", (GRASS, FLOWERS, HILL), 0.10),
    "broadleaf": _Kind(_broadleaf, TREE, "crown", (GRASS, FLOWERS, HILL, SAND), 0.10),
    "boulder": _Kind(_boulder, ROCK, "rock", (GRASS, SAND, HILL, WATER, SNOW, MOUNTAIN), 0.20),
}


def _draw_objects(canvas: _Canvas, layout: _Layout, style: Style, palette: _Palette, terrain: _Terrain, u: np.ndarray):
    """Draws trees and rocks where their foot is in sight and on ground that suits them; feet under the lower border always are."""
    rows, columns = canvas.label.shape
    ground_label = canvas.label.copy()  # what a tree stands on must not depend on the trees behind it
    light = _light_direction(layout, style)
    for number, thing in enumerate(layout.objects):
        tall = thing.height * layout.focal / thing.z
        wide = tall * thing.aspect
        left, right = (thing.u - 0.5 * wide - u[0]) * rows, (thing.u + 0.5 * wide - u[0]) * rows
        if right < 1 or left > columns - 1 or tall * rows < 2:
            continue
        column = int(np.clip((thing.u - u[0]) * rows, 0, columns - 1))
        surface = max(float(terrain.fields[np.searchsorted(terrain.z, thing.z), column, 0]), 0.0)
        base = layout.horizon + layout.focal * (layout.eye - surface) / thing.z
        row = int(np.clip(base * rows, 0, rows - 1))
        kind = _KINDS[thing.kind]
        in_sight = 0.9 * thing.z < canvas.z[row, column] < 1.2 * thing.z and ground_label[row, column] in kind.stands_on
        if base > 1.25 or (base < 1 and not in_sight):
            continue
        _cast_shadow(canvas, (thing.u - u[0]) * rows, base * rows, 0.5 * wide * rows, tall * rows * kind.shadow, light[0], thing.z)
        top, bottom = int((base - tall) * rows), int(base * rows) + 1
        box = (int(left), top, max(int(right), int(left) + 2), max(bottom, top + 2))
        _draw_sprite(canvas, thing, box, light, style, palette, surface, number + SUN_INSTANCE + 1)


def _cast_shadow(canvas: _Canvas, x: float, y: float, rx: float, ry: float, side: float, z: float):
    """Darkens a soft ellipse of ground (pixels) under an object, drawn out away from the light."""
    rows, columns = canvas.label.shape
    x -= 0.5 * rx * side
    x0, x1 = max(int(x - 1.3 * rx), 0), min(int(x + 1.3 * rx) + 1, columns)
    y0, y1 = max(int(y - ry), 0), min(int(y + ry) + 1, rows)
    if x0 >= x1 or y0 >= y1:
        return
    a, b = (np.arange(x0, x1) - x) / (1.3 * rx), (np.arange(y0, y1) - y) / ry
    shade = 0.55 * np.clip(1.2 * (1 - a * a - (b * b)[:, None]), 0, 1)
    near = np.abs(canvas.z[y0:y1, x0:x1] - z) < 0.35 * z
    canvas.light[y0:y1, x0:x1] *= (1 - shade * near)[..., None]


def _draw_sprite(canvas: _Canvas, thing: _Object, box, light: np.ndarray, style: Style, palette: _Palette, surface: float, instance: int):
    """Draws one object into box (left, top, right, bottom in pixels, may overhang) where nothing nearer stands; its foot is at height `surface`."""
    rows, columns = canvas.label.shape
    left, top, right, bottom = box
    kind = _KINDS[thing.kind]
    levels = kind.sprite(thing.variant)
    level = levels[int(np.clip(np.log2(_SPRITE_SIZE / (bottom - top)), 0, len(levels) - 1))]
    x0, x1, y0, y1 = max(left, 0), min(right, columns), max(top, 0), min(bottom, rows)
    if x0 >= x1 or y0 >= y1:
        return
    ix = (np.arange(x0, x1) - left) * len(level) // (right - left)
    iy = (np.arange(y0, y1) - top) * len(level) // (bottom - top)
    texels = level[iy[:, None], len(level) - 1 - ix if thing.mirrored else ix]
    inside = np.flatnonzero((texels[..., 0] > 0.5) & (canvas.z[y0:y1, x0:x1] > 0.97 * thing.z))
    pixel = (inside // (x1 - x0) + y0) * columns + inside % (x1 - x0) + x0
    texels = texels.reshape(-1, texels.shape[-1]).take(inside, axis=0)
    texels /= texels[:, :1]  # coarse levels have averaged in some of the void around
    nx, ny = texels[:, 1] * (-1 if thing.mirrored else 1), texels[:, 2]
    nz = np.sqrt(np.maximum(1 - nx * nx - ny * ny, 0))
    facing = np.maximum(nx * light[0] + ny * light[1] - nz * light[2], 0)
    color = _tone(getattr(palette, kind.tones), texels[:, 3] + 0.3 * (thing.tone - 0.5))
    color += texels[:, 4:] * (palette.trunk - color)
    lit = color * (facing[:, None] * style.sunlight * 1.1 + (0.65 + 0.35 * ny)[:, None] * style.ambient)
    haze = 0.9 * float(_haze_amount(style, thing.z, surface))
    canvas.light.reshape(-1, 3)[pixel] = lit + haze * (_haze_light(style) - lit)
    canvas.label.ravel()[pixel] = kind.label
    canvas.instance.ravel()[pixel] = instance
    canvas.z.ravel()[pixel] = thing.z


def _draw_water(canvas: _Canvas, layout: _Layout, style: Style, palette: _Palette, ground: _Ground, is_water: np.ndarray, u: np.ndarray):
    """Mirrors the picture at the farthest shore, broken by ripples; near water shows its own colour, as Fresnel has it.

    One mirror line for all columns: far shores are level in perspective, and a line that followed the near banks would tear the reflection.
    """
    rows, columns = canvas.label.shape
    shown = is_water & (canvas.label.ravel()[ground.pixel] == WATER)
    if not shown.any():
        return
    pixel, x, z, v = ground.pixel[shown], ground.x[shown], ground.z[shown], ground.v[shown]
    ripple = _texture(x * 0.35, z * 0.9, ground.footprint[shown] * 2) + 0.5 * _texture(x * 1.3, z * 3.1, ground.footprint[shown] * 5)
    row, column = pixel // columns, pixel % columns
    shore = int(np.percentile(row, 1))
    depth = np.maximum(row - shore, 0)
    mirrored = shore - 1 - depth + ripple * (0.012 * rows * _ramp(depth, 0, 0.08 * rows))
    mirrored = np.clip(np.abs(mirrored), 0, max(shore - 1, 0)).astype(np.intp)  # what would lie over the upper border is folded back
    image = canvas.light.reshape(-1, 3)
    image[pixel] = _haze_light(style)  # seen where a mirrored place is itself water
    reflection = 0.5 * (image[mirrored * columns + column] + image[np.maximum(mirrored - rows // 64, 0) * columns + column])
    grazing = np.exp(-3.0 * (v - layout.horizon) / layout.focal)
    fresnel = (0.30 + 0.62 * grazing) * (1 + 0.10 * np.clip(ripple, -2, 2))
    body = palette.water * (style.ambient * 1.6 + 0.5 * style.sunlight)
    shallow = np.exp(np.minimum(ground.height[shown], 0) * 5)[:, None]
    body = body + 0.45 * shallow * (palette.sand[0] * (style.ambient + 0.5 * style.sunlight) - body)
    light = body + np.clip(fresnel, 0, 0.97)[:, None] * (reflection - body)
    glitter = np.exp(-np.square((u[column] - layout.sun[0]) / (0.05 + 0.12 * (v - layout.horizon)))) * np.maximum(ripple - 0.7, 0)
    light += (0.5 * layout.sun_visible * glitter)[:, None] * _radiance(style.glow)
    haze = _haze_amount(style, z, 3.0)[:, None]
    image[pixel] = light + 0.7 * haze * (_haze_light(style) - light)


# ---------------------------------------------------------------------------------------------------------------------------------- scene


def _majority(blocks: np.ndarray) -> np.ndarray:
    """The value that most of 2 x 2 samples have, [H, W] to [H/2, W/2]; the first of two equally frequent ones."""
    a, b, c, d = blocks[::2, ::2], blocks[::2, 1::2], blocks[1::2, ::2], blocks[1::2, 1::2]
    return np.where((a == b) | (a == c) | (a == d), a, np.where((b == c) | (b == d), b, np.where(c == d, c, a)))


def _finish(light: np.ndarray, layout: _Layout, style: Style, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Sun glare over everything, development and the average over the samples of a pixel: [2H, 2W, 3] to uint8 [H, W, 3]."""
    display = _halve(_develop(light))
    if layout.sun_visible:
        distance = np.square(u[::2] - layout.sun[0]) + np.square((v[::2] - layout.sun[1])[:, None])
        glare = (0.30 * np.exp(-distance / 0.035))[..., None] * style.glow
        display += glare * (1 - display)
    return (np.clip(display, 0, 1) * 255 + 0.5).astype(np.uint8)


def render_scene(seed: int, height: int, width: int, style: Style | None = None) -> Scene:
    """Draws scene `seed` of [height, width] pixels; label and instance depend on the seed and the size alone, the image also on the style.

    style: `sample_style(seed)` unless given. Trees and rocks fill views up to four times as wide as high.
    Raises ValueError for sizes under 16 pixels and for negative seeds.
    """
    for name, value in (("height", height), ("width", width)):
        if value < MIN_SIZE:
            raise ValueError(f"{name}={value} is too small to show a landscape; use {MIN_SIZE} or more")
    if seed < 0:
        raise ValueError(f"seed={seed} is negative; use 0 or more")
    seed = int(seed)  # narrow NumPy integers would overflow in the generator's key
    style = sample_style(seed) if style is None else style
    layout, palette = _sample_layout(seed), _palette(style)
    rows, columns = SUPERSAMPLING * height, SUPERSAMPLING * width
    u = ((np.arange(columns, dtype=np.float32) + 0.5) - columns / 2) / np.float32(rows)
    v = (np.arange(rows, dtype=np.float32) + 0.5) / np.float32(rows)

    terrain = _trace_terrain(layout, u, rows)
    ground = _see_ground(terrain, layout, v)
    ground_label = _classify(layout, ground)

    canvas = _Canvas(
        np.zeros((rows, columns, 3), np.float32),
        np.zeros((rows, columns), np.uint8),
        np.zeros((rows, columns), np.uint16),
        np.full((rows, columns), np.inf, np.float32),
    )
    sky_rows = rows if not len(ground.pixel) else _last_sky_row(ground.pixel, rows, columns)
    canvas.light[:sky_rows], canvas.label[:sky_rows], canvas.instance[:sky_rows] = _draw_sky(layout, style, u, v[:sky_rows], rows)

    color, relief = _lay_materials(layout, palette, ground, ground_label)
    lit = _light_ground(layout, style, ground, color, relief)
    haze = _haze_amount(style, ground.z, ground.height)[:, None]
    canvas.light.reshape(-1, 3)[ground.pixel] = lit + haze * (_haze_light(style) - lit)
    canvas.label.ravel()[ground.pixel] = ground_label
    canvas.instance.ravel()[ground.pixel] = 0
    canvas.z.ravel()[ground.pixel] = ground.z

    _draw_objects(canvas, layout, style, palette, terrain, u)
    _draw_water(canvas, layout, style, palette, ground, ground_label == WATER, u)

    code = _majority(canvas.instance.astype(np.int32) * len(CLASSES) + canvas.label)
    image = _finish(canvas.light, layout, style, u, v)
    return Scene(image, (code % len(CLASSES)).astype(np.uint8), (code // len(CLASSES)).astype(np.uint16))


def _last_sky_row(ground_pixel: np.ndarray, rows: int, columns: int) -> int:
    """The number of rows from the top that hold any sky."""
    covered = np.bincount(ground_pixel // columns, minlength=rows)
    return int(np.flatnonzero(covered < columns).max(initial=-1)) + 1
