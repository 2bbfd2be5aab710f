"""The latents of styles are those of --mode=sample."""

import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.sampling import styles
from spade_jax.sampling.feature_clusters import FeatureClusters
from spade_jax.studio.style_messages import Blend, Photo, Seed, latent_of

DIM = 8
FIRST = np.arange(1)
LATENT = np.linspace(-1, 2, DIM, dtype=np.float32)
PHOTO = Photo(LATENT.astype('<f4').tobytes())


def of_the_program(start, end, sample, number):
    """A latent of --style_interpolation=NUMBER."""
    return styles.InterpolatedStyles(start, end, number).of(sample, FIRST)[0]


def test_latent_of_a_seed_is_that_of_fixed_style():
    expected = styles.RandomStyles(DIM, 7, truncation=0.5, fixed=True).of(0, np.array([3]))[0]
    np.testing.assert_array_equal(latent_of(Seed(7, 0.5), DIM), expected)


def test_strength_scales_the_latent_of_a_photo():
    np.testing.assert_array_equal(latent_of(PHOTO, DIM), LATENT)
    half = latent_of(Photo(PHOTO.latent, 0.5), DIM)
    np.testing.assert_array_equal(half, styles.linear(0 * LATENT, LATENT, 0.5))


@pytest.mark.parametrize('sample', range(5))
def test_blend_of_seeds_is_on_the_circle(sample):
    expected = of_the_program(styles.RandomStyles(DIM, 1), styles.RandomStyles(DIM, 2), sample, 5)
    np.testing.assert_array_equal(latent_of(Blend(Seed(1), Seed(2), sample / 4), DIM), expected)


def test_blend_with_a_photo_is_on_the_line():
    given = styles.GivenStyles(LATENT[None])
    expected = of_the_program(given, styles.RandomStyles(DIM, 2), 1, 4)
    np.testing.assert_array_equal(latent_of(Blend(PHOTO, Seed(2), 1 / 3), DIM), expected)


def test_styles_of_clusters_are_chosen_and_blended_on_the_line():
    centers = np.random.default_rng(0).normal(size=(4, 3, 2)).astype(np.float32)
    clusters = FeatureClusters(centers, np.full(4, 3), centers.mean(1))
    ends = [styles.RandomStyles(DIM, seed, clusters=clusters) for seed in (1, 2)]
    blend = latent_of(Blend(Seed(1), Seed(2), 0.5), DIM, clusters)
    np.testing.assert_array_equal(blend, of_the_program(*ends, 1, 3))
    np.testing.assert_array_equal(latent_of(Seed(1), DIM, clusters), ends[0].of(0, FIRST)[0])


def test_photo_of_another_model_is_refused():
    with pytest.raises(UserError, match='has 8 numbers, not 4; .* choose the photo again'):
        latent_of(PHOTO, 4)
