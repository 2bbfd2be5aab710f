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


def test_random_styles_are_of_seed_sample_and_map():
    styles = RandomStyles(4, seed=1, num_samples=2)
    assert styles.of(0, INDICES).shape == (3, 4)
    np.testing.assert_array_equal(styles.of(1, INDICES)[2:], styles.of(1, np.array([2])))
    latents = [RandomStyles(4, seed).of(sample, INDICES) for seed in (1, 2) for sample in (0, 1)]
    assert len({row.tobytes() for group in latents for row in group}) == 12


def test_a_fixed_style_is_that_of_the_first_map():
    fixed = RandomStyles(4, seed=1, fixed=True).of(0, INDICES)
    np.testing.assert_array_equal(
        fixed, np.repeat(RandomStyles(4, seed=1).of(0, INDICES)[:1], 3, axis=0)
    )


def test_truncation():
    np.testing.assert_array_equal(
        RandomStyles(4, truncation=0.25).of(0, INDICES), 0.25 * RandomStyles(4).of(0, INDICES)
    )
    for truncation in (2, -0.5):
        with pytest.raises(UserError, match=r'is not in \[0, 1\]'):
            RandomStyles(4, truncation=truncation)


def test_given_styles_for_all_or_each():
    latents = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(GivenStyles(latents).of(0, np.array([2, 0])), latents[[2, 0]])
    np.testing.assert_array_equal(GivenStyles(latents[:1]).of(0, INDICES), latents[[0, 0, 0]])
    assert NoStyles().of(0, INDICES) is None


def test_random_styles_keep_their_length_on_the_way():
    start, end = RandomStyles(256, seed=1), RandomStyles(256, seed=2)
    way = InterpolatedStyles(start, end, 5)
    np.testing.assert_allclose(way.of(0, INDICES), start.of(0, INDICES), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(way.of(4, INDICES), end.of(0, INDICES), rtol=1e-5, atol=1e-6)
    lengths = np.linalg.norm(way.of(2, INDICES), axis=-1)
    assert np.all(np.abs(lengths / 16 - 1) < 0.15)
    straight = linear(start.of(0, INDICES), end.of(0, INDICES), 0.5)
    assert np.all(np.linalg.norm(straight, axis=-1) < 0.8 * lengths)


def test_given_styles_change_evenly():
    start, end = np.array([[1.0, 0.0]]), np.array([[3.0, 2.0]])
    way = InterpolatedStyles(GivenStyles(start), GivenStyles(end), 3)
    np.testing.assert_allclose(
        [way.of(sample, np.array([0]))[0] for sample in range(3)], [[1, 0], [2, 1], [3, 2]]
    )


def test_a_great_circle_by_hand():
    np.testing.assert_allclose(
        spherical(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1 / 3),
        [np.cos(np.pi / 6), np.sin(np.pi / 6)],
        rtol=1e-6,
    )
    for end in ([2.0, 0.0], [-1.0, 0.0], [0.0, 0.0]):  # no circle is the shortest
        np.testing.assert_allclose(
            spherical(np.array([1.0, 0.0]), np.array(end), 0.5), (np.array([1.0, 0.0]) + end) / 2
        )


def test_one_picture_has_no_way():
    with pytest.raises(UserError, match='use 2 or more'):
        InterpolatedStyles(RandomStyles(4), RandomStyles(4, seed=1), 1)
