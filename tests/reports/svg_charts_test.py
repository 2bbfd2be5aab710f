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


def texts_of(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter('text')]


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
    (line,) = points_of(chart('loss', {'d_real': ([0, 50, 100], [0.0, 0.5, 1.0])}))
    (left, bottom), (middle_x, middle_y), (right, top) = line
    assert left < right
    assert top < bottom  # SVG counts downwards.
    assert middle_x == pytest.approx((left + right) / 2)
    assert middle_y == pytest.approx((top + bottom) / 2)
    texts = texts_of(chart('loss', {'d_real': ([0, 50, 100], [0.0, 0.5, 1.0])}))
    assert {'loss', '0.2', '1', '100', 'step', 'd_real 1'} <= set(texts)


def test_chart_omits_values_that_are_not_finite():
    svg = chart(
        'loss',
        {
            'a': ([1, 2, 3, 4], [1.0, float('nan'), float('inf'), 2.0]),
            'gone': ([1, 2], [float('nan')] * 2),
        },
    )
    assert [len(line) for line in points_of(svg)] == [2]
    assert 'nan' not in svg.lower()
    assert 'gone' not in svg


def test_chart_without_values_is_empty():
    assert chart('loss', {'gone': ([1], [float('nan')])}) == ''
    assert chart('loss', {}) == ''


@pytest.mark.parametrize(
    'steps, values',
    [
        ([7], [3.0]),
        ([7], [0.0]),
        ([1, 2], [5.0, 5.0]),
        ([1, 2, 3], [0.0] * 3),
        ([1, 2], [1e-30, 1e30]),
        ([1, 2], [-1e-12, 1e-12]),
        ([1, 2], [-1e300, 1e300]),
    ],
)
def test_chart_of_few_equal_or_extreme_values(steps, values):
    svg = chart('loss', {'a': (steps, values)})
    for number in re.findall(r' (?:[xy][12]?|c[xy]|width|height)="([^"]*)"', svg):
        assert math.isfinite(float(number))
    ElementTree.fromstring(svg)


def test_values_over_many_powers_of_ten_use_logarithmic_axis():
    (line,) = points_of(chart('norm', {'a': ([0, 1, 2], [1.0, 100.0, 10000.0])}))
    assert line[1][1] == pytest.approx((line[0][1] + line[2][1]) / 2)


def test_healthy_range_is_clipped_to_axes():
    def shaded(healthy):
        svg = chart('loss', {'a': ([0, 1], [0.0, 1.0])}, healthy=healthy)
        rectangles = ElementTree.fromstring(svg).iter('rect')
        return [element for element in rectangles if element.get('class') == 'healthy']

    (inside,), (beyond,) = shaded((0.25, 0.75)), shaded((-3, 0.5))
    assert float(inside.get('height')) == pytest.approx(float(beyond.get('height')))
    assert not shaded((2, 3))


def test_long_curve_shows_means_and_extremes():
    count = 10 * MAX_POINTS
    svg = chart('loss', {'a': (range(count), [i % 2 for i in range(count)])})
    (line,) = points_of(svg)
    assert len(line) == MAX_POINTS
    assert len({y for _, y in line}) == 1  # the mean of zeros and ones is constant
    assert svg.count('class="spread') == 1
    assert len(svg) < 60_000


def test_chart_escapes_names():
    assert '<script>' not in chart('<script>', {'<script>': ([1, 2], [1.0, 2.0])})
