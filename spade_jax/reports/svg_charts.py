"""Line charts as SVG text, in the colors of `html_page`: axes, ticks, legend, a shaded range."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

Curve = tuple[Sequence[float], Sequence[float]]  # steps, values
Points = list[tuple[float, float]]  # (step, value), finite

WIDTH, HEIGHT = 520, 270
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 44, 34  # margins
MAX_POINTS = 400  # of a curve; longer ones show the mean, minimum and maximum of groups
NUM_COLORS = 6  # classes c0 ... c5

_COLOR_STYLE = """
.chart polyline.c{i} {{ stroke: var(--c{i}); }}
.chart .dot.c{i}, .chart .spread.c{i}, .chart .key.c{i} {{ fill: var(--c{i}); }}"""
STYLE = """
.chart text { font: 11px system-ui, sans-serif; fill: var(--quiet); }
.chart .title { font-size: 13px; font-weight: 600; fill: var(--text); }
.chart .axis { stroke: var(--quiet); stroke-width: 1; fill: none; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .healthy { fill: var(--healthy); }
.chart polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.chart .spread { opacity: .2; stroke: none; }""" + ''.join(
    _COLOR_STYLE.format(i=i) for i in range(NUM_COLORS)
)


class _Axes(NamedTuple):
    """The mapping from steps and values to places in the image."""

    first: float
    last: float
    low: float
    high: float
    ticks: list[float]
    logarithmic: bool

    def x(self, step: float) -> float:
        return LEFT + (step - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)

    def places(self, points: Points) -> str:
        """The points as an SVG attribute."""
        return ' '.join(f'{self.x(step):.1f},{self.y(value):.1f}' for step, value in points)


def chart(
    title: str, curves: Mapping[str, Curve], *, healthy: tuple[float, float] | None = None
) -> str:
    """An SVG element that shows curves over the steps.

    Values that are not finite are left out, and so are curves without values. Positive values over
    more than two powers of ten get a logarithmic axis.

    Args:
      title: Heading of the chart.
      curves: By their names in the legend.
      healthy: Range of values to shade.

    Returns:
      The element; '' if no curve has a value.
    """
    finite = {name: points for name, curve in curves.items() if (points := _finite(curve))}
    if not finite:
        return ''
    axes = _axes([point for points in finite.values() for point in points])
    title = html.escape(title)
    elements = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        f'<text class="title" x="{LEFT}" y="16">{title}</text>',
        *_healthy_range(axes, healthy),
        *_ticks(axes),
    ]
    for number, points in enumerate(finite.values()):
        elements += _curve(axes, points, f'c{number % NUM_COLORS}')
    return '\n'.join([*elements, *_legend(finite), '</svg>'])


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers, 1, 2 or 5 times a power of ten apart, that enclose a range."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    distance = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    begin, end = math.floor(low / distance + 1e-9), math.ceil(high / distance - 1e-9)
    ticks = [i * distance for i in range(begin, end + 1)]
    return [round(tick, 12) for tick in ticks] if distance > 1e-9 else ticks


def _finite(curve: Curve) -> Points:
    return [(step, value) for step, value in zip(*curve, strict=True) if math.isfinite(value)]


def _axes(points: Points) -> _Axes:
    steps, values = zip(*points, strict=True)
    logarithmic = min(values) > 0 and max(values) > 100 * min(values)
    make_axis = _logarithmic_axis if logarithmic else _linear_axis
    low, high, ticks = make_axis(min(values), max(values))
    first, last = min(steps), max(steps)
    if first == last:
        first, last = first - 1, last + 1
    return _Axes(first, last, low, high, ticks, logarithmic)


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


def _healthy_range(axes: _Axes, healthy: tuple[float, float] | None) -> list[str]:
    if healthy is None:
        return []
    bottom, top = (min(max(bound, axes.low), axes.high) for bound in healthy)
    if top <= bottom:
        return []
    y, height = axes.y(top), axes.y(bottom) - axes.y(top)
    return [
        f'<rect class="healthy" x="{LEFT}" y="{y:.1f}" width="{WIDTH - LEFT - RIGHT}" '
        f'height="{height:.1f}"><title>healthy: {healthy[0]:g} to {healthy[1]:g}</title></rect>'
    ]


def _ticks(axes: _Axes) -> list[str]:
    """The axes, with grid lines at the values and marks at the steps."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    elements = []
    for tick in axes.ticks:
        y = axes.y(tick)
        elements += [
            f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>',
        ]
    for tick in nice_ticks(axes.first, axes.last):
        if axes.first <= tick <= axes.last and tick == int(tick):
            x = f'{axes.x(tick):.1f}'
            elements += [
                f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>',
                f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{int(tick)}</text>',
            ]
    return [
        *elements,
        f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>',
        f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">step</text>',
    ]


def _number(value: float) -> str:
    if value == 0:
        return '0'
    if 1e-3 <= abs(value) < 1e5:
        return f'{value:.4g}'
    return re.sub(r'\.?0*e([+-])0*', r'e\1', f'{value:.2e}').replace('e+', 'e')


def _curve(axes: _Axes, points: Points, color: str) -> list[str]:
    if len(points) == 1:
        ((step, value),) = points
        x, y = f'{axes.x(step):.1f}', f'{axes.y(value):.1f}'
        return [f'<circle class="dot {color}" cx="{x}" cy="{y}" r="3"/>']
    if len(points) <= MAX_POINTS:
        return [f'<polyline class="{color}" points="{axes.places(points)}"/>']
    size = -(-len(points) // MAX_POINTS)
    highs, lows, means = [], [], []
    for start in range(0, len(points), size):
        steps, values = zip(*points[start : start + size], strict=True)
        step = sum(steps) / len(steps)
        highs.append((step, max(values)))
        lows.append((step, min(values)))
        means.append((step, sum(values) / len(values)))
    outline = axes.places(highs + lows[::-1])
    spread = f'<polygon class="spread {color}" points="{outline}"/>'
    return [spread, *_curve(axes, means, color)]


def _legend(curves: dict[str, Points]) -> list[str]:
    """The names with the last values, in a row below the title."""
    elements, left = [], LEFT
    for number, (name, points) in enumerate(curves.items()):
        text = f'{name} {_number(points[-1][1])}'
        color = f'c{number % NUM_COLORS}'
        elements += [
            f'<rect class="key {color}" x="{left:g}" y="24" width="9" height="9"/>',
            f'<text x="{left + 13:g}" y="32">{html.escape(text)}</text>',
        ]
        left += 6.2 * len(text) + 27
    return elements
