"""Curves as SVG text, for a page that opens without network and follows its colours: axes, ticks, legend, a shaded range."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

Curve = tuple[Sequence[float], Sequence[float]]  # steps, values

WIDTH, HEIGHT = 520, 270
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 44, 34
MOST_POINTS = 400  # of a curve; more are drawn as means, between smallest and largest
NUM_COLORS = 6  # classes c0 ... c5

STYLE = """
.chart text { font: 11px system-ui, sans-serif; fill: var(--quiet); }
.chart .title { font-size: 13px; font-weight: 600; fill: var(--text); }
.chart .axis { stroke: var(--quiet); stroke-width: 1; fill: none; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .healthy { fill: var(--healthy); }
.chart polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.chart .spread { opacity: .2; stroke: none; }
""" + '\n'.join(
    f'.chart polyline.c{i} {{ stroke: var(--c{i}); }} .chart .dot.c{i}, .chart .spread.c{i}, .chart .key.c{i} {{ fill: var(--c{i}); }}'
    for i in range(NUM_COLORS)
)


def chart(
    title: str, curves: dict[str, Curve], *, healthy: tuple[float, float] | None = None
) -> str:
    """An SVG element with some curves over the steps.

    Values that are not finite are left out, and so are curves without values. Positive values over more than two powers of ten get a logarithmic axis.

    Args:
      curves: by the name in the legend.
      healthy: range of values to shade.

    Returns:
      The element; '' where there is nothing to draw.
    """
    curves = {name: curve for name, points in curves.items() if (curve := _finite(points))}
    if not curves:
        return ''
    values = [value for points in curves.values() for _, value in points]
    steps = [step for points in curves.values() for step, _ in points]
    logarithmic = min(values) > 0 and max(values) > 100 * min(values)
    low, high, ticks = (_logarithmic_axis if logarithmic else _linear_axis)(
        min(values), max(values)
    )
    first, last = (
        (min(steps), max(steps)) if min(steps) < max(steps) else (min(steps) - 1, max(steps) + 1)
    )

    def x(step):
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value):
        place = (
            (math.log(value / low) / math.log(high / low))
            if logarithmic
            else (value - low) / (high - low)
        )
        return HEIGHT - BOTTOM - place * (HEIGHT - BOTTOM - TOP)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        f'<text class="title" x="{LEFT}" y="16">{html.escape(title)}</text>',
    ]
    if healthy:
        bottom, top = (min(max(bound, low), high) for bound in healthy)
        if top > bottom:
            parts.append(
                f'<rect class="healthy" x="{LEFT}" y="{y(top):.1f}" width="{WIDTH - LEFT - RIGHT}" height="{y(bottom) - y(top):.1f}">'
                f'<title>healthy: {healthy[0]:g} to {healthy[1]:g}</title></rect>'
            )
    for tick in ticks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
        )
    for tick in [
        tick for tick in nice_ticks(first, last) if first <= tick <= last and tick == int(tick)
    ]:
        parts.append(
            f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 4}"/>'
            f'<text x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{int(tick)}</text>'
        )
    parts.append(
        f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/><text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">step</text>'
    )
    for number, points in enumerate(curves.values()):
        parts += _curve(points, f'c{number % NUM_COLORS}', x, y)
    return '\n'.join([*parts, *_legend(curves), '</svg>'])


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) from at most `low` to at least `high`."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    distance = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    begin, end = math.floor(low / distance + 1e-9), math.ceil(high / distance - 1e-9)
    return [
        round(i * distance, 12) if abs(distance) > 1e-9 else i * distance
        for i in range(begin, end + 1)
    ]


def _finite(points: Curve) -> list[tuple[float, float]]:
    return [(step, value) for step, value in zip(*points) if math.isfinite(value)]


def _linear_axis(low: float, high: float) -> tuple[float, float, list[float]]:
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, high + margin
    ticks = nice_ticks(low, high)
    return ticks[0], ticks[-1], ticks


def _logarithmic_axis(low: float, high: float) -> tuple[float, float, list[float]]:
    begin, end = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (end - begin) // 6)
    return 10.0**begin, 10.0**end, [10.0**power for power in range(begin, end + 1, every)]


def _number(value: float) -> str:
    return (
        '0'
        if value == 0
        else f'{value:.4g}'
        if 1e-3 <= abs(value) < 1e5
        else re.sub(r'\.?0*e([+-])0*', r'e\1', f'{value:.2e}').replace('e+', 'e')
    )


def _curve(points, color, x, y) -> list[str]:
    if len(points) == 1:
        return [
            f'<circle class="dot {color}" cx="{x(points[0][0]):.1f}" cy="{y(points[0][1]):.1f}" r="3"/>'
        ]
    if len(points) <= MOST_POINTS:
        return [
            f'<polyline class="{color}" points="{" ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in points)}"/>'
        ]
    size = -(-len(points) // MOST_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    middle = [
        (sum(step for step, _ in group) / len(group), [value for _, value in group])
        for group in groups
    ]
    outline = [(step, max(values)) for step, values in middle] + [
        (step, min(values)) for step, values in reversed(middle)
    ]
    return [
        f'<polygon class="spread {color}" points="{" ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in outline)}"/>',
        *_curve([(step, sum(values) / len(values)) for step, values in middle], color, x, y),
    ]


def _legend(curves) -> list[str]:
    """Names with the last values, in a row below the title."""
    parts, left = [], LEFT
    for number, (name, points) in enumerate(curves.items()):
        text = f'{name} {_number(points[-1][1])}'
        parts.append(
            f'<rect class="key c{number % NUM_COLORS}" x="{left}" y="24" width="9" height="9"/><text x="{left + 13}" y="32">{html.escape(text)}</text>'
        )
        left += 6.2 * len(text) + 27
    return parts
