import numpy as np
import pytest

from spade_jax.evaluation.pair_scores import mean_absolute_error, psnr, ssim


def constant(value, size=16):
    return np.full((size, size, 3), value, np.uint8)


def test_scores_of_equal_images():
    image = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
    assert mean_absolute_error(image, image) == 0
    assert psnr(image, image) == np.inf
    assert ssim(image, image) == pytest.approx(1)


def test_scores_by_hand():
    a, b = constant(100), constant(110)
    assert mean_absolute_error(a, b) == 10
    assert psnr(a, b) == pytest.approx(20 * np.log10(25.5))
    # Constant images differ in luminance only.
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 110 + c1) / (100**2 + 110**2 + c1))


def test_ssim_falls_with_noise():
    random = np.random.default_rng(0)
    image = random.integers(60, 200, (32, 32, 3)).astype(np.uint8)
    scores = []
    for strength in (5, 20, 50):
        noise = random.normal(scale=strength, size=image.shape)
        scores.append(ssim(image, np.clip(image + noise, 0, 255).astype(np.uint8)))
    assert 1 > scores[0] > scores[1] > scores[2] > 0
