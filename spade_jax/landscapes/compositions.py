"""Simple compositions: one large, near thing fills the image, as in what people paint."""

from collections.abc import Callable
from typing import Any

import numpy as np

from spade_jax.landscapes.layout import (
    Layout,
    Puff,
    Road,
    SceneObject,
    Summit,
    Water,
    sample_panorama,
)
from spade_jax.landscapes.random_state import Stream, random_state

SHARE = 0.35  # Of the scenes.
_NOWHERE = 1e6  # A distance beyond the landscape.

_Random = np.random.RandomState


def sample_layout(seed: int) -> Layout:
    """Sample the layout of a scene: a wide country or, for a share of the seeds, a composition."""
    layout, rng = sample_panorama(seed), random_state(Stream.COMPOSITION, seed)
    if rng.rand() >= SHARE:
        return layout
    names = list(COMPOSITIONS)
    weights = np.cumsum([COMPOSITIONS[name][1] for name in names])
    name = names[int(np.searchsorted(weights, rng.rand() * weights[-1], side='right'))]
    return composed(name, layout, rng)


def composed(name: str, layout: Layout, rng: _Random) -> Layout:
    """Turn a wide country into the composition of a name."""
    layout = COMPOSITIONS[name][0](layout, rng)._replace(composition=name)
    if layout.puffs or rng.rand() >= 0.3:
        return layout
    center = rng.uniform(-0.4, 0.4), layout.horizon * rng.uniform(0.2, 0.5)
    return _with_cloud(layout, rng, center, rng.uniform(0.06, 0.14))


def _bare(layout: Layout, water: str = 'none', desert: bool = False, **changes: Any) -> Layout:
    """The layout without hills, mountains, trees, rocks, flowers and roads."""
    beach = 1e3 if desert else min(layout.biome.beach, 0.2)
    biome = layout.biome._replace(water=water, desert=desert, beach=beach)
    bare = dict(hill_start=_NOWHERE, mountain=0.0, road=None, flower_threshold=9.0, objects=())
    return layout._replace(biome=biome, **(bare | changes))


def _with_cloud(layout: Layout, rng: _Random, center: tuple[float, float], radius: float) -> Layout:
    """The layout with a cumulus of a height of about twice the radius, with a flat base."""
    u, v = center
    width = rng.uniform(1.2, 2.6)
    puffs = [Puff(u, v + 0.45 * radius, width * radius, 0.4 * radius)]
    for place in np.linspace(-1, 1, rng.randint(3, 7)).tolist():
        size = radius * (1 - 0.5 * place * place) * rng.uniform(0.6, 0.95)
        puff_u = u + (0.8 * place + rng.uniform(-0.1, 0.1)) * width * radius
        puffs.append(Puff(puff_u, v + 0.5 * radius - 0.7 * size, size * rng.uniform(1, 1.3), size))
    return layout._replace(puffs=layout.puffs + tuple(puffs))


def _summit(
    rng: _Random, u: float, rise: float, width: float, z: float, wooded: bool = False
) -> Summit:
    """A summit of a random silhouette, of about a half width."""
    bulge, steepness = rng.choice([1.0, 1.0, 1.0, 1.3, 2.2]), rng.choice([1.0, 1.3, 0.8])
    if wooded:
        bulge, steepness = rng.uniform(1.8, 2.4), rng.uniform(0.6, 1.1)
    left, right = width * rng.uniform(0.7, 1.3), width * rng.uniform(0.7, 1.3)
    rough = 0.0 if rng.rand() < 0.35 else rise * rng.uniform(0.02, 0.16)
    rough *= 0.2 if wooded else 1.0
    depth = z * rng.uniform(0.45, 0.75)
    return Summit(z, depth, u, rise, left, right, bulge, steepness, rough, wooded)


def _peak(layout: Layout, rng: _Random) -> Layout:
    """One to three mountains that fill the image, or a crest, over any ground."""
    horizon = rng.uniform(0.5, 1.0)
    z, u = rng.uniform(80, 150), rng.uniform(-0.22, 0.22)
    rise = horizon - rng.uniform(0.06, 0.3)
    summits = [_summit(rng, u, rise, rise * rng.uniform(0.6, 1.5), z)]
    others = rng.choice([0, 0, 1, 1, 2, 4])
    for _ in range(others):
        lower, aside = rise * rng.uniform(0.45, 0.95), rng.uniform(0.2, 0.6) * rng.choice([-1, 1])
        # Those of a crest are at one distance; others overlap.
        at = z if others == 4 else z * rng.uniform(0.75, 1.3)
        width = lower * rng.uniform(0.5, 1.3)
        summits.append(_summit(rng, u + aside, lower, width, at))
    top = layout.eye + rise * z / layout.focal
    snow_line = top * rng.choice(
        [rng.uniform(0.45, 0.95), rng.uniform(0, 0.4), 2.0], p=[0.6, 0.1, 0.3]
    )
    if rng.rand() < 0.5:
        water = rng.choice(['none', 'none', 'bay', 'lake'])
        layout = _bare(layout, water, desert=rng.rand() < 0.15)
        shore = Water(layout.water.x, rng.uniform(24, 34), rng.uniform(12, 24), layout.water.tilt)
        layout = layout._replace(water=shore)
    mountain = 0.0 if rng.rand() < 0.6 else layout.mountain
    kept = rng.choice([0.0, 0.2, 0.5])
    objects = tuple(item for item in layout.objects if rng.rand() < kept)
    return layout._replace(
        horizon=horizon,
        sun=(layout.sun[0], horizon * rng.uniform(0.1, 0.4)),
        mountain=mountain,
        snow_line=snow_line,
        summits=tuple(summits),
        objects=objects,
        road=layout.road if rng.rand() < 0.5 else None,
    )


def _hill(layout: Layout, rng: _Random) -> Layout:
    """One or two near, round hills."""
    horizon, z = rng.uniform(0.6, 1.0), rng.uniform(40, 70)
    summits = []
    for _ in range(rng.randint(1, 3)):
        rise = horizon - rng.uniform(0.3, 0.55)
        u = rng.uniform(-0.45, 0.45)
        summits.append(_summit(rng, u, rise, rng.uniform(0.35, 0.9), z, wooded=True))
        z *= rng.uniform(1.1, 1.3)
    foot = min(summit.z - summit.depth for summit in summits)
    near = tuple(item for item in layout.objects if item.z < 30 and rng.rand() < 0.5)
    bare = _bare(layout, hill_start=0.8 * foot, hill=0.0, objects=near)
    return bare._replace(horizon=horizon, summits=tuple(summits))


def _horizon(layout: Layout, rng: _Random) -> Layout:
    """Sky over nothing but water, grass or sand."""
    water = rng.choice(['ocean', 'ocean', 'none'])
    horizon = rng.uniform(0.3, 0.75)
    sky = dict(horizon=horizon, sun=(layout.sun[0], horizon * rng.uniform(0.3, 0.9)))
    cover = layout.cloud_cover if rng.rand() < 0.5 else 9.0
    return _bare(layout, water, desert=rng.rand() < 0.4, cloud_cover=cover, **sky)


def _tree(layout: Layout, rng: _Random) -> Layout:
    """One large tree on a meadow, sometimes with another."""
    layout = _horizon(layout, rng) if rng.rand() < 0.2 else layout
    layout = _bare(layout, hill_start=rng.choice([layout.hill_start, _NOWHERE]), desert=False)
    trees = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        z = rng.uniform(7, 12)
        height = rng.uniform(0.5, 0.95) * z / layout.focal
        kind = rng.choice(['conifer', 'broadleaf', 'broadleaf'])
        u, variant = rng.uniform(-0.34, 0.34), rng.randint(6)
        look = rng.rand() < 0.5, rng.rand(), rng.uniform(0.8, 1.25)
        trees.append(SceneObject(z, u, height, str(kind), variant, *look))
    trees.sort(key=lambda item: -item.z)
    return layout._replace(objects=tuple(trees))


def _cloud(layout: Layout, rng: _Random) -> Layout:
    """One big cloud over a low horizon."""
    layout = _horizon(layout, rng) if rng.rand() < 0.6 else layout
    horizon = rng.uniform(0.65, 0.9)
    layout = layout._replace(horizon=horizon, cloud_cover=9.0, sun_visible=rng.rand() < 0.3)
    center = rng.uniform(-0.2, 0.2), horizon * rng.uniform(0.35, 0.6)
    return _with_cloud(layout, rng, center, rng.uniform(0.12, 0.24))


def _sun(layout: Layout, rng: _Random) -> Layout:
    """A big sun over a bare horizon."""
    layout = _horizon(layout, rng)
    sun = rng.uniform(-0.35, 0.35), layout.horizon * rng.uniform(0.3, 1.0)
    return layout._replace(sun=sun, sun_visible=True, sun_radius=rng.uniform(0.06, 0.13))


def _road(layout: Layout, rng: _Random) -> Layout:
    """A road straight at the viewer."""
    sway, half_width = rng.uniform(-0.6, 0.6), rng.uniform(0.8, 2.2)
    road = Road(rng.uniform(-0.4, 0.4), sway, 0.0, half_width)
    objects = tuple(item for item in layout.objects if rng.rand() < 0.3)
    if rng.rand() < 0.6:
        bare = _bare(layout, desert=layout.biome.desert, objects=objects)
        return bare._replace(road=road._replace(reach=_NOWHERE), roll=0.4)
    biome = layout.biome._replace(water='none')
    return layout._replace(biome=biome, road=road, objects=objects)


def _river(layout: Layout, rng: _Random) -> Layout:
    """A river straight at the viewer."""
    water = Water(rng.uniform(-1, 1), 0.0, rng.uniform(1.5, 4), 0.1 * layout.water.tilt, sway=0.8)
    objects = tuple(item for item in layout.objects if abs(item.u) > 0.3 and rng.rand() < 0.3)
    biome = layout.biome._replace(water='river', beach=rng.choice([0.0, 0.15]))
    biome = biome._replace(desert=False)
    return layout._replace(biome=biome, water=water, objects=objects, road=None)


def _rocks(layout: Layout, rng: _Random) -> Layout:
    """Large rocks on a beach."""
    shore = Water(layout.water.x, rng.uniform(9, 16), rng.uniform(2, 6), layout.water.tilt)
    layout = _bare(layout, 'sea')._replace(water=shore, roll=0.3)
    layout = layout._replace(biome=layout.biome._replace(beach=1e3))
    rocks = []
    for _ in range(rng.randint(1, 5)):
        z = rng.uniform(4.5, 11)
        height = rng.uniform(0.12, 0.42) * z / layout.focal
        look = rng.randint(6), rng.rand() < 0.5, rng.rand(), rng.uniform(1.1, 1.9)
        rocks.append(SceneObject(z, rng.uniform(-0.5, 0.5), height, 'boulder', *look))
    return layout._replace(objects=tuple(sorted(rocks, key=lambda item: -item.z)))


def _lake(layout: Layout, rng: _Random) -> Layout:
    """Water from the viewer to a far shore."""
    biome = layout.biome._replace(water='bay', desert=False)
    shore = Water(0.0, rng.uniform(20, 60), 0.0, layout.water.tilt)
    objects = tuple(item for item in layout.objects if item.z > 15)
    return layout._replace(biome=biome, water=shore, objects=objects, road=None)


def _flowers(layout: Layout, rng: _Random) -> Layout:
    """A field of flowers to the horizon."""
    start = rng.choice([_NOWHERE, layout.hill_start])
    bare = _bare(layout, hill_start=start)
    return bare._replace(flower_threshold=rng.choice([-9.0, -0.8]), flower_reach=_NOWHERE)


# What composes, and its weight.
COMPOSITIONS: dict[str, tuple[Callable[[Layout, _Random], Layout], float]] = {
    'peak': (_peak, 0.36),
    'horizon': (_horizon, 0.10),
    'tree': (_tree, 0.12),
    'hill': (_hill, 0.08),
    'cloud': (_cloud, 0.06),
    'sun': (_sun, 0.06),
    'road': (_road, 0.04),
    'river': (_river, 0.04),
    'rocks': (_rocks, 0.05),
    'lake': (_lake, 0.05),
    'flowers': (_flowers, 0.04),
}
