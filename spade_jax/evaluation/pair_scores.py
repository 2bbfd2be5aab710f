"""Scores of an image against the photo of the same label map; of uint8 [H, W, 3]."""

from __future__ import annotations

import numpy as np

from spade_jax.errors import UserError

_WINDOW = np.exp(-0.5 * np.square(np.arange(-5, 6) / 1.5))  # 11 pixels, deviation 1.5.
_WINDOW /= _WINDOW.sum()
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def mean_absolute_error(image: np.ndarray, photo: np.ndarray) -> float:
    """Mean absolute difference, in gray levels of 255."""
    return float(np.abs(image.astype(np.float64) - photo).mean())


def psnr(image: np.ndarray, photo: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels; infinite for equal images."""
    error = np.square(image.astype(np.float64) - photo).mean()
    return float(10 * np.log10(255**2 / error)) if error else float('inf')


def ssim(image: np.ndarray, photo: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004), the mean over the channels.

    The window is a Gaussian of 11 pixels, used where it lies within the image. Raises UserError
    if the image is smaller.
    """
    if min(image.shape[:2]) < len(_WINDOW):
        problem = f'ssim needs {len(_WINDOW)} pixels or more on each side'
        raise UserError(problem, 'leave ssim out')
    x, y = image.astype(np.float64), photo.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return float((luminance * structure).mean())


def _blur(x: np.ndarray) -> np.ndarray:
    """[H, W, C] -> [H - 10, W - 10, C]."""
    for axis in (0, 1):
        length = x.shape[axis] - len(_WINDOW) + 1
        parts = [np.take(x, range(i, i + length), axis) for i in range(len(_WINDOW))]
        x = np.tensordot(_WINDOW, np.stack(parts), axes=1)
    return x


PAIR_SCORES = {'l1': mean_absolute_error, 'psnr': psnr, 'ssim': ssim}
