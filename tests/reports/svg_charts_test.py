import math
import re
from xml.etree import ElementTree

import pytest

from spade_jax.reports.svg_charts import MAX_POINTS, chart, nice_ticks


def points_of(svg):
    """The polylines of a chart, as lists of (x, y)."""
    return [
        [tuple(map(float, pair.split(','))) for pair in element.get('points').split()]
        for element in ElementTree.fromstring(svg).iter('polyline')
    ]


@pytest.mark.parametrize(
    'value, text',
    [(0.0, '0'), (2e-4, '0.0002'), (-0.8, '-0.8'), (1.5e7, '1.5e7'), (-3e-9, '-3e-9')],
)
def test_numbers_are_short(value, text):
    assert f'>loss {text}<' in chart('', {'loss': [(1, value)]})


@pytest.mark.parametrize(
    'low, high, expected',
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.51, 0.83, [0.5, 0.6, 0.7, 0.8, 0.9]),
        (-37, 12, [-40, -30, -20, -10, 0, 10, 20]),
        (1e-4, 5e-4, [1e-4, 2e-4, 3e-4, 4e-4, 5e-4]),
    ],
)
def test_ticks_are_round_and_enclose_values(low, high, expected):
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_curve_spans_its_axes():
    svg = chart('loss', {'d_real': [(0, 0.0), (50, 0.5), (100, 1.0)]})
    (line,) = points_of(svg)
    (left, bottom), (middle_x, middle_y), (right, top) = line
    assert left < right
    assert top < bottom  # SVG counts downwards.
    assert middle_x == pytest.approx((left + right) / 2)
    assert middle_y == pytest.approx((top + bottom) / 2)
    texts = {element.text for element in ElementTree.fromstring(svg).iter('text')}
    assert {'loss', '0.2', '1', '100', 'step', 'd_real 1'} <= texts


@pytest.mark.parametrize(
    'values', [[3.0], [0.0], [5.0, 5.0], [0.0] * 3, [1e-30, 1e30], [-1e-12, 1e-12], [-1e300, 1e300]]
)
def test_chart_of_few_equal_or_extreme_values(values):
    svg = chart('loss', {'a': list(enumerate(values, 1))})
    for number in re.findall(r' (?:[xy][12]?|c[xy]|width|height)="([^"]*)"', svg):
        assert math.isfinite(float(number))
    ElementTree.fromstring(svg)


def test_values_over_many_powers_of_ten_use_logarithmic_axis():
    (line,) = points_of(chart('norm', {'a': [(0, 1.0), (1, 100.0), (2, 10000.0)]}))
    assert line[1][1] == pytest.approx((line[0][1] + line[2][1]) / 2)


def test_healthy_range_is_clipped_to_axes():
    def shaded_height(*healthy):
        svg = chart('loss', {'a': [(0, 0.0), (1, 1.0)]}, healthy)
        rectangles = ElementTree.fromstring(svg).iter('rect')
        (shaded,) = (element for element in rectangles if element.get('class') == 'healthy')
        return float(shaded.get('height'))

    assert shaded_height(0.25, 0.75) > 0
    assert shaded_height(-3, 0.5) == pytest.approx(shaded_height(0.25, 0.75))
    assert shaded_height(2, 3) == 0


def test_long_curve_shows_means_and_extremes():
    count = 10 * MAX_POINTS
    svg = chart('loss', {'a': [(i, i % 2) for i in range(count)]})
    (line,) = points_of(svg)
    assert len(line) == MAX_POINTS
    assert len({y for _, y in line}) == 1  # the mean of zeros and ones is constant
    assert svg.count('class="spread') == 1
    assert len(svg) < 60_000


def test_chart_escapes_names():
    assert '<script>' not in chart('<script>', {'<script>': [(1, 1.0), (2, 2.0)]})
