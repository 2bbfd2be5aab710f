import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.sampling.styles import (
    GivenStyles,
    InterpolatedStyles,
    NoStyles,
    RandomStyles,
    linear,
    spherical,
)

INDICES = np.arange(3)


def test_random_styles_depend_on_seed_sample_and_map():
    styles = RandomStyles(4, seed=1, num_samples=2)
    assert styles.of(0, INDICES).shape == (3, 4)
    np.testing.assert_array_equal(styles.of(1, INDICES)[2:], styles.of(1, np.array([2])))
    latents = [RandomStyles(4, seed).of(sample, INDICES) for seed in (1, 2) for sample in (0, 1)]
    assert len({row.tobytes() for group in latents for row in group}) == 12


def test_fixed_style_is_that_of_first_map():
    fixed = RandomStyles(4, seed=1, fixed=True).of(0, INDICES)
    first = RandomStyles(4, seed=1).of(0, INDICES)[:1]
    np.testing.assert_array_equal(fixed, np.repeat(first, 3, axis=0))


def test_truncation_scales_random_styles():
    truncated = RandomStyles(4, truncation=0.25).of(0, INDICES)
    np.testing.assert_array_equal(truncated, 0.25 * RandomStyles(4).of(0, INDICES))


@pytest.mark.parametrize('truncation', [2, -0.5, float('nan')])
def test_truncation_outside_range_is_refused(truncation):
    with pytest.raises(UserError, match=r'is not in \[0, 1\]'):
        RandomStyles(4, truncation=truncation).of(0, INDICES)


def test_given_styles_are_for_each_map_or_for_all():
    latents = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(GivenStyles(latents).of(0, np.array([2, 0])), latents[[2, 0]])
    np.testing.assert_array_equal(GivenStyles(latents[:1]).of(0, INDICES), latents[[0, 0, 0]])


def test_no_styles_have_no_latents():
    assert NoStyles().of(0, INDICES) is None


def test_interpolation_of_random_styles_keeps_their_norm():
    start, end = RandomStyles(256, seed=1), RandomStyles(256, seed=2)
    styles = InterpolatedStyles(start, end, 5)
    np.testing.assert_allclose(styles.of(0, INDICES), start.of(0, INDICES), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(styles.of(4, INDICES), end.of(0, INDICES), rtol=1e-5, atol=1e-6)
    norms = np.linalg.norm(styles.of(2, INDICES), axis=-1)
    np.testing.assert_allclose(norms, 16, rtol=0.15)  # sqrt(256)
    straight = linear(start.of(0, INDICES), end.of(0, INDICES), 0.5)
    assert np.all(np.linalg.norm(straight, axis=-1) < 0.8 * norms)


def test_interpolation_of_given_styles_is_straight():
    start, end = GivenStyles(np.array([[1.0, 0.0]])), GivenStyles(np.array([[3.0, 2.0]]))
    styles = InterpolatedStyles(start, end, 3)
    latents = [styles.of(sample, np.array([0]))[0] for sample in range(3)]
    np.testing.assert_allclose(latents, [[1, 0], [2, 1], [3, 2]])


def test_spherical_follows_great_circle():
    third = spherical(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1 / 3)
    np.testing.assert_allclose(third, [np.cos(np.pi / 6), np.sin(np.pi / 6)], rtol=1e-6)


@pytest.mark.parametrize('end', [[2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
def test_spherical_is_straight_between_collinear_latents(end):
    middle = spherical(np.array([1.0, 0.0]), np.array(end), 0.5)
    np.testing.assert_allclose(middle, [(1 + end[0]) / 2, 0])
