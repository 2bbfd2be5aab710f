"""A sampler without JAX: the image is the label map in colors that the style rotates."""

import time

import numpy as np

from spade_jax.studio.sampler import Refused
from spade_jax.studio.style_messages import Photo, Seed

LATENT_DIM = 8


def rotation(style):
    """A number that the style decides."""
    if style is None:
        return 0
    if isinstance(style, Seed):
        return style.seed
    if isinstance(style, Photo):
        return round(100 * style.strength) + sum(style.latent)
    return round(rotation(style.start) * (1 - style.share) + rotation(style.end) * style.share)


def image_of(ids, style=None):
    """The image [H, W, 3] uint8 of a label map: a color for each pair of class and style."""
    shift = np.array([17, 59, 113]) * (ids[..., None].astype(int) + 1)
    return ((shift + 7 * rotation(style)) % 256).astype(np.uint8)


class StandIn:
    """A `Sampler` that takes `delay()` seconds for an image.

    Attributes:
      sampled: The number of images.
      prepared: Label maps that were prepared.
      broken: An exception that the next images raise, or None.
      is_quick: Whether images of prepared label maps are quick, and a level darker.
    """

    def __init__(
        self, width=128, height=128, channels=13, *, delay=None, fixed_size=True, stages=('load',)
    ):
        self.size, self.fixed_size = (height, width), fixed_size
        self.channels, self.delay, self.stages = channels, delay, stages
        self.milliseconds, self.sampled, self.prepared, self.broken = 0, 0, [], None
        self.is_quick = False

    def load(self, report):
        for done, stage in enumerate(self.stages):
            report(stage, done, len(self.stages))
        self.milliseconds = 1

    def sample(self, ids, style):
        if self.delay:
            time.sleep(self.delay())
        if self.broken:
            raise self.broken
        self._check(ids)
        self.sampled += 1
        return image_of(ids, style)

    def quick(self, ids, style):
        is_prepared = any(np.array_equal(ids, prepared) for prepared in self.prepared)
        return self.sample(ids, style) - 1 if self.is_quick and is_prepared else None

    def prepare(self, ids):
        self.prepared.append(ids)

    def variations(self, ids, styles):
        return np.stack([self.sample(ids, style) for style in styles])

    def encode(self, image):
        return np.resize(image.mean((0, 1)), LATENT_DIM).astype(np.float32)

    def _check(self, ids):
        if self.fixed_size and ids.shape != self.size:
            raise Refused('size', f'a label map of {ids.shape}', f'use {self.size}')
        if ids.max() >= self.channels:
            raise Refused('ids', f'id {ids.max()}', f'use 0 to {self.channels - 1}')
