import math
import re
from xml.etree import ElementTree

import pytest

from spade_jax.reports.svg_charts import MOST_POINTS, chart, nice_ticks


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
def test_ticks_are_round_numbers_around_the_values(low, high, expected):
    assert nice_ticks(low, high) == pytest.approx(expected)


def test_a_curve_runs_from_corner_to_corner_of_its_axes():
    (line,) = points_of(chart('loss', {'d_real': ([0, 50, 100], [0.0, 0.5, 1.0])}))
    (left, bottom), (middle_x, middle_y), (right, top) = line
    assert left < middle_x < right and middle_x == pytest.approx((left + right) / 2)
    assert top < middle_y < bottom and middle_y == pytest.approx(
        (top + bottom) / 2
    )  # SVG counts downwards
    texts = texts_of(chart('loss', {'d_real': ([0, 50, 100], [0.0, 0.5, 1.0])}))
    assert {'loss', '0.2', '1', '100', 'step', 'd_real 1'} <= set(texts)


def test_what_is_not_finite_is_left_out():
    svg = chart(
        'loss',
        {
            'a': ([1, 2, 3, 4], [1.0, float('nan'), float('inf'), 2.0]),
            'gone': ([1, 2], [float('nan')] * 2),
        },
    )
    assert [len(line) for line in points_of(svg)] == [2]
    assert 'nan' not in svg.lower().replace('finance', '') and 'gone' not in svg
    assert chart('loss', {'gone': ([1], [float('nan')])}) == chart('loss', {}) == ''


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
def test_curves_of_few_or_equal_or_extreme_values(steps, values):
    svg = chart('loss', {'a': (steps, values)})
    for number in re.findall(r' (?:[xy][12]?|c[xy]|width|height)="([^"]*)"', svg):
        assert math.isfinite(float(number))
    ElementTree.fromstring(svg)


def test_values_over_many_powers_of_ten_get_a_logarithmic_axis():
    (line,) = points_of(chart('norm', {'a': ([0, 1, 2], [1.0, 100.0, 10000.0])}))
    assert line[1][1] == pytest.approx((line[0][1] + line[2][1]) / 2)


def test_the_healthy_range_is_shaded_as_far_as_the_axes_go():
    def shaded(healthy):
        return [
            element
            for element in ElementTree.fromstring(
                chart('loss', {'a': ([0, 1], [0.0, 1.0])}, healthy=healthy)
            ).iter('rect')
            if element.get('class') == 'healthy'
        ]

    (inside,), (beyond,) = shaded((0.25, 0.75)), shaded((-3, 0.5))
    assert float(inside.get('height')) == pytest.approx(float(beyond.get('height')))
    assert not shaded((2, 3))


def test_long_curves_are_drawn_as_means_between_their_extremes():
    count = 10 * MOST_POINTS
    svg = chart('loss', {'a': (range(count), [i % 2 for i in range(count)])})
    (line,) = points_of(svg)
    assert len(line) == MOST_POINTS
    assert len({y for _, y in line}) == 1  # of zeros and ones: one half everywhere
    assert svg.count('class="spread') == 1 and len(svg) < 60_000


def test_names_cannot_break_the_page():
    assert '<script>' not in chart('<script>', {'<script>': ([1, 2], [1.0, 2.0])})
