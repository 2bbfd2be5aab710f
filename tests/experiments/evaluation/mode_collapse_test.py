"""Mode collapse, measured: points of a ring, and biomes of the landscapes."""

import numpy as np

from experiments.evaluation import mode_coverage
from experiments.evaluation.ring_of_gaussians import MODES, centers, coverage, measure


def test_coverage_of_a_ring_counts_modes_and_good_points():
    points = np.repeat(centers(), 10, axis=0)
    assert coverage(points) == (MODES, 1.0)
    assert coverage(points[:30]) == (3, 1.0)
    assert coverage(np.concatenate([points[:40], np.zeros((40, 2))])) == (4, 0.5)


def test_original_game_finds_no_mode_where_a_penalized_critic_covers_several():
    """With five discriminator steps: its discriminator is sure, and the gradient vanishes.

    The other has covered 3 to 6 modes: rounding alone changes the number.
    """
    assert measure('minimax').modes == 0
    assert measure('wasserstein', penalty=True).modes >= 2


def test_coverage_of_biomes():
    real = np.full(8, 1 / 8)
    assert mode_coverage.Coverage(real, real).covered == 8
    collapsed = mode_coverage.Coverage(mode_coverage.shares([2, 2, 5, 5]), real)
    assert collapsed.covered == 2
    assert round(collapsed.distance, 6) == round(6 / 8, 6)


def test_scenes_have_their_biomes():
    images, biomes = mode_coverage.scenes(6, 16, 16, first_seed=3)
    assert images.shape == (6, 16, 16, 3)
    assert set(biomes) <= set(range(8))
    assert len(mode_coverage.NAMES) == len(mode_coverage.BIOMES) + 1


def test_classifier_learns_what_colors_tell():
    biomes = np.arange(28) % 7
    images = np.broadcast_to(
        (biomes * 36)[:, None, None, None] * np.array([1, 0, 1]), (28, 8, 8, 3)
    ).astype(np.uint8)
    params = mode_coverage.fit(images, biomes, steps=150)
    assert (mode_coverage.predict(params, images) == biomes).mean() > 0.9
