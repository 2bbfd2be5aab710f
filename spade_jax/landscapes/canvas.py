"""The picture in the making, at rendering resolution, and its development into bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from spade_jax.landscapes.classes import CLASSES, SKY
from spade_jax.landscapes.color import develop
from spade_jax.landscapes.interpolation import halve
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.lighting import Lighting

SUPERSAMPLING = 2  # Samples along each side of a pixel. `halve` and `_majority` are made for two.


class Canvas(NamedTuple):
    """u: [W] and v: [H], the places of columns and rows, in image heights from the middle and from the top.
    light: [3, H, W] float32, linear, 0 and more.
    label: [H, W] uint8; instance: [H, W] uint16.
    z: [H, W] float32, distance; inf for the sky.
    """

    u: np.ndarray
    v: np.ndarray
    light: np.ndarray
    label: np.ndarray
    instance: np.ndarray
    z: np.ndarray

    @classmethod
    def blank(cls, height: int, width: int) -> Canvas:
        """For a picture of `height` x `width` pixels."""
        rows, columns = SUPERSAMPLING * height, SUPERSAMPLING * width
        return cls(
            u=(np.arange(columns, dtype=np.float32) + 0.5 - columns / 2) / np.float32(rows),
            v=(np.arange(rows, dtype=np.float32) + 0.5) / np.float32(rows),
            light=np.zeros((3, rows, columns), np.float32),
            label=np.full((rows, columns), SKY, np.uint8),
            instance=np.zeros((rows, columns), np.uint16),
            z=np.full((rows, columns), np.inf, np.float32),
        )

    @property
    def rows(self) -> int:
        return len(self.v)

    @property
    def columns(self) -> int:
        return len(self.u)

    def light_at(self, pixel: np.ndarray) -> np.ndarray:
        """The light [3, N] of pixels, given by their flat index [N]."""
        return self.light.reshape(3, -1).take(pixel, axis=1)

    def set_light(self, pixel: np.ndarray, light: np.ndarray):
        """light: [3, N] or [3, 1]."""
        for plane, values in zip(
            self.light.reshape(3, -1), light
        ):  # A third of the time of one assignment to all channels.
            plane[pixel] = values

    def set_surface(
        self, pixel: np.ndarray, label: int | np.ndarray, instance: int, z: float | np.ndarray
    ):
        """What stands at the pixels [N], and how far."""
        self.label.reshape(-1)[pixel] = label
        self.instance.reshape(-1)[pixel] = instance
        self.z.reshape(-1)[pixel] = z


def finished_image(canvas: Canvas, layout: Layout, lighting: Lighting) -> np.ndarray:
    """Development, the average over the samples of a pixel, and the sun's glare over everything: uint8 [H/2, W/2, 3]."""
    display = halve(develop(canvas.light))  # [3, H/2, W/2]
    if layout.sun_visible:
        sun_u, sun_v = layout.sun
        distance = np.square(canvas.u[::2] - sun_u) + np.square((canvas.v[::2] - sun_v)[:, None])
        glare = 0.30 * np.exp(-distance / 0.035) * lighting.glow[..., None]
        display += glare * (1 - display)
    pixels = (display.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def finished_labels(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Label uint8 and instance uint16, both [H/2, W/2]. They are decided together: a pixel never has the label of one thing and the id of another."""
    code = _majority(canvas.instance.astype(np.int32) * len(CLASSES) + canvas.label)
    instance, label = np.divmod(code, len(CLASSES))
    return label.astype(np.uint8), instance.astype(np.uint16)


def _majority(samples: np.ndarray) -> np.ndarray:
    """The value that most of 2x2 samples have, [H, W] to [H/2, W/2]; the first of two equally frequent ones."""
    a, b, c, d = samples[::2, ::2], samples[::2, 1::2], samples[1::2, ::2], samples[1::2, 1::2]
    return np.where(
        (a == b) | (a == c) | (a == d), a, np.where((b == c) | (b == d), b, np.where(c == d, c, a))
    )
