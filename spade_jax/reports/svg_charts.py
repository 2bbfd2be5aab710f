"""Line charts as SVG text, in the colors of `html_page`: axes, ticks, legend, a shaded range."""

import html
import math
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

Points = list[tuple[float, float]]  # (step, value), finite

WIDTH, HEIGHT = 520, 270
LEFT, RIGHT, TOP, BOTTOM = 58, 12, 44, 34  # margins
MAX_POINTS = 400  # of a curve; longer ones show the mean, minimum and maximum of groups
NUM_COLORS = 6

STYLE = """
.chart text { font: 11px system-ui, sans-serif; fill: var(--quiet); }
.chart .title { font-size: 13px; font-weight: 600; fill: var(--text); }
.chart .axis { stroke: var(--quiet); stroke-width: 1; fill: none; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .healthy { fill: var(--healthy); }
.chart polyline { fill: none; stroke: var(--color); stroke-width: 1.6; stroke-linejoin: round; }
.chart .dot, .chart .key { fill: var(--color); }
.chart .spread { fill: var(--color); opacity: .2; }"""


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

    def places(self, points: Iterable) -> str:
        """The points as an SVG attribute."""
        return ' '.join(f'{self.x(step):.1f},{self.y(value):.1f}' for step, value in points)


def chart(title: str, curves: dict[str, Points], healthy: tuple[float, float] | None = None) -> str:
    """An SVG element that shows curves over the steps.

    Positive values over more than two powers of ten get a logarithmic axis.

    Args:
      title: Heading of the chart.
      curves: By their names in the legend. One without points is left out, but keeps its color.
      healthy: Range of values to shade.
    """
    axes, title = _axes(sum(curves.values(), [])), html.escape(title)
    elements = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">',
        f'<text class="title" x="{LEFT}" y="16">{title}</text>',
        *([_healthy_range(axes, *healthy)] if healthy else []),
        *_ticks(axes),
    ]
    left = LEFT
    for number, (name, points) in enumerate(curves.items()):
        if not points:
            continue
        label = f'{name} {_number(points[-1][1])}'
        elements += [
            f'<g style="--color: var(--c{number % NUM_COLORS})">',
            *_curve(axes, points),
            f'<rect class="key" x="{left:g}" y="24" width="9" height="9"/></g>',
            f'<text x="{left + 13:g}" y="32">{html.escape(label)}</text>',
        ]
        left += 6.2 * len(label) + 27
    return '\n'.join([*elements, '</svg>'])


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers, 1, 2 or 5 times a power of ten apart, that enclose a range."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    distance = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    begin, end = math.floor(low / distance + 1e-9), math.ceil(high / distance - 1e-9)
    ticks = [i * distance for i in range(begin, end + 1)]
    return [round(tick, 12) for tick in ticks] if distance > 1e-9 else ticks


def _axes(points: Points) -> _Axes:
    steps, values = zip(*points, strict=True)
    first, last, low, high = min(steps), max(steps), min(values), max(values)
    if first == last:
        first, last = first - 1, last + 1
    if 0 < 100 * low < high:
        begin, end = math.floor(math.log10(low)), math.ceil(math.log10(high))
        powers = range(begin, end + 1, max(1, (end - begin) // 6))
        return _Axes(first, last, 10.0**begin, 10.0**end, [10.0**power for power in powers], True)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, high + margin
    ticks = nice_ticks(low, high)
    return _Axes(first, last, ticks[0], ticks[-1], ticks, False)


def _healthy_range(axes: _Axes, low: float, high: float) -> str:
    bottom, top = (axes.y(min(max(bound, axes.low), axes.high)) for bound in (low, high))
    area = f'x="{LEFT}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT}" height="{bottom - top:.1f}"'
    return f'<rect class="healthy" {area}><title>healthy: {low:g} to {high:g}</title></rect>'


def _ticks(axes: _Axes) -> Iterator[str]:
    """The axes, with grid lines at the values and marks at the steps."""
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    for tick in axes.ticks:
        y = axes.y(tick)
        yield f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>'
    for tick in nice_ticks(axes.first, axes.last):
        if axes.first <= tick <= axes.last and tick == int(tick):
            x = f'{axes.x(tick):.1f}'
            yield f'<line class="axis" x1="{x}" x2="{x}" y1="{bottom}" y2="{bottom + 4}"/>'
            yield f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{int(tick)}</text>'
    yield f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>'
    yield f'<text x="{right}" y="{HEIGHT - 4}" text-anchor="end">step</text>'


def _number(value: float) -> str:
    """Four digits, with a short exponent: 1.5e7."""
    return re.sub(r'e\+?(-?)0*', r'e\1', f'{value:.4g}')


def _curve(axes: _Axes, points: Points) -> Iterator[str]:
    if len(points) == 1:
        x, y = axes.places(points).split(',')
        yield f'<circle class="dot" cx="{x}" cy="{y}" r="3"/>'
        return
    groups = np.array_split(points, min(len(points), MAX_POINTS))  # [size, 2] each
    means = [group.mean(axis=0) for group in groups]
    if len(points) > MAX_POINTS:
        highs = [(step, group[:, 1].max()) for (step, _), group in zip(means, groups, strict=True)]
        lows = [(step, group[:, 1].min()) for (step, _), group in zip(means, groups, strict=True)]
        yield f'<polygon class="spread" points="{axes.places(highs + lows[::-1])}"/>'
    yield f'<polyline points="{axes.places(means)}"/>'
