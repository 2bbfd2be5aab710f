"""The image at rendering resolution, and its conversion to pixels and maps."""

from typing import NamedTuple, Self

import numpy as np

from spade_jax.landscapes.classes import CLASSES, SKY
from spade_jax.landscapes.color import develop
from spade_jax.landscapes.interpolation import halve, set_columns
from spade_jax.landscapes.layout import Layout
from spade_jax.landscapes.look import Look

SUPERSAMPLING = 2  # Samples along each side of a pixel; `halve` and `_majority` are for two.


class Canvas(NamedTuple):
    """The image at rendering resolution; its arrays are changed in place."""

    rows: int  # H
    columns: int  # W
    u: np.ndarray  # [W], of the columns
    v: np.ndarray  # [H], of the rows
    light: np.ndarray  # [3, H, W] float32, linear, at least 0
    label: np.ndarray  # [H, W] uint8
    instance: np.ndarray  # [H, W] uint16
    z: np.ndarray  # [H, W] float32, distance; inf for the sky

    @classmethod
    def blank(cls, height: int, width: int) -> Self:
        """An empty canvas for an image of `height` x `width` pixels."""
        size = rows, columns = SUPERSAMPLING * height, SUPERSAMPLING * width
        return cls(
            *size,
            u=(np.arange(columns, dtype=np.float32) + 0.5 - columns / 2) / np.float32(rows),
            v=(np.arange(rows, dtype=np.float32) + 0.5) / np.float32(rows),
            light=np.zeros((3, *size), np.float32),
            label=np.full(size, SKY, np.uint8),
            instance=np.zeros(size, np.uint16),
            z=np.full(size, np.inf, np.float32),
        )

    def light_at(self, pixel: np.ndarray) -> np.ndarray:
        """The light [3, N] of pixels, given by their flat indices [N]."""
        return self.light.reshape(3, -1).take(pixel, axis=1)

    def set_light(self, pixel: np.ndarray, light: np.ndarray) -> None:
        """Set the light, [3, N] or [3, 1], of the pixels [N]."""
        set_columns(self.light.reshape(3, -1), pixel, light)

    def set_surface(self, pixel: np.ndarray, label, instance: int, z) -> None:
        """Set the class, instance and distance of the pixels [N]."""
        self.label.reshape(-1)[pixel] = label
        self.instance.reshape(-1)[pixel] = instance
        self.z.reshape(-1)[pixel] = z


def finish_image(canvas: Canvas, layout: Layout, look: Look) -> np.ndarray:
    """Convert the light to uint8 [H/2, W/2, 3], with the glare of the sun over everything."""
    display = halve(develop(canvas.light))  # [3, H/2, W/2]
    if layout.sun_visible:
        sun_u, sun_v = layout.sun
        distance = np.square(canvas.u[::2] - sun_u) + np.square((canvas.v[::2] - sun_v)[:, None])
        glare = 0.30 * np.exp(-distance / 0.035) * look.glow[..., None]
        display += glare * (1 - display)
    pixels = (display.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(1, 2, 0))


def finish_labels(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
    """Label uint8 and instance uint16 [H/2, W/2], decided together: they are of one object."""
    code = _majority(canvas.instance.astype(np.int32) * len(CLASSES) + canvas.label)
    instance, label = np.divmod(code, len(CLASSES))
    return label.astype(np.uint8), instance.astype(np.uint16)


def _majority(samples: np.ndarray) -> np.ndarray:
    """The most frequent value of 2x2 blocks, [H, W] to [H/2, W/2]; the first of two equal ones."""
    a, b, c, d = samples[::2, ::2], samples[::2, 1::2], samples[1::2, ::2], samples[1::2, 1::2]
    without_a = np.where((b == c) | (b == d), b, np.where(c == d, c, a))
    return np.where((a == b) | (a == c) | (a == d), a, without_a)
