"""Styles as the page writes them in JSON, and the latents that they name.

{"kind": "seed", "seed": 2, "truncation": 1}
{"kind": "photo", "latent": BASE64 of little-endian float32, "strength": 1}
{"kind": "blend", "from": SEED OR PHOTO, "to": SEED OR PHOTO, "share": 0.35}
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from spade_jax.config.option import LARGEST_SEED
from spade_jax.errors import UserError

if TYPE_CHECKING:
    from spade_jax.sampling.feature_clusters import FeatureClusters


@dataclasses.dataclass(frozen=True)
class Seed:
    """The random style of --seed, the same for all label maps, as with --fixed_style."""

    seed: int
    truncation: float = 1.0


@dataclasses.dataclass(frozen=True)
class Photo:
    """The style of a photo: the bytes of its latent, as float32."""

    latent: bytes
    strength: float = 1.0


@dataclasses.dataclass(frozen=True)
class Blend:
    """A style on the way between two: on a great circle between two seeds, else on a line."""

    start: Seed | Photo
    end: Seed | Photo
    share: float


Style = Seed | Photo | Blend


class BadMessage(ValueError):
    """A message that no page of this version writes."""


def parse_style(message: Any) -> Style:
    """The style of a JSON object; BadMessage for anything else."""
    if isinstance(message, dict) and message.get('kind') == 'blend':
        start, end, share = fields(message, 'from', 'to', 'share')
        return Blend(_parse_end(start), _parse_end(end), _share('share', share))
    return _parse_end(message)


def fields(message: Any, *names: str) -> list[Any]:
    """The values of an object's fields, which has these and the one that tells its kind."""
    if not isinstance(message, dict) or len(message) != len(names) + 1:
        raise BadMessage(f'an object needs the fields {", ".join(names)}, and no others')
    if missing := [name for name in names if name not in message]:
        raise BadMessage(f'the field {missing[0]} is missing')
    return [message[name] for name in names]


def whole(name: str, value: Any, most: int, least: int = 0) -> int:
    """A whole number in a range; BadMessage for anything else."""
    if type(value) is not int or not least <= value <= most:
        raise BadMessage(f'{name} is no whole number from {least} to {most}')
    return value


def latent_of(style: Style, latent_dim: int, clusters: FeatureClusters | None = None) -> np.ndarray:
    """The latent [latent_dim] of a style, as `--mode=sample` computes it.

    Raises:
      UserError: The latent of a photo has not the size of this model's.
    """
    from spade_jax.sampling import styles

    if isinstance(style, Seed):
        place, options = (style.seed, 0, np.arange(1)), (style.truncation, clusters)
        return styles.random_styles(latent_dim, *place, *options)[0]
    if isinstance(style, Photo):
        latent = np.frombuffer(style.latent, '<f4')
        if len(latent) != latent_dim:
            problem = f'the style of the photo has {len(latent)} numbers, not {latent_dim}'
            raise UserError(problem, 'it is of another model: choose the photo again')
        return styles.linear(np.zeros_like(latent), latent, style.strength)
    start, end = (latent_of(end, latent_dim, clusters) for end in (style.start, style.end))
    on_circle = isinstance(style.start, Seed) and isinstance(style.end, Seed) and not clusters
    return (styles.spherical if on_circle else styles.linear)(start, end, style.share)


def _parse_end(message: Any) -> Seed | Photo:
    kind = message.get('kind') if isinstance(message, dict) else None
    if kind == 'seed':
        seed, truncation = fields(message, 'seed', 'truncation')
        return Seed(whole('seed', seed, LARGEST_SEED), _share('truncation', truncation))
    if kind == 'photo':
        latent, strength = fields(message, 'latent', 'strength')
        return Photo(_latent(latent), _share('strength', strength))
    raise BadMessage('a style is of no known kind')


def _share(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1 or math.isnan(value):
        raise BadMessage(f'{name} is no number from 0 to 1')
    return float(value)


def _latent(text: Any) -> bytes:
    try:
        latent = base64.b64decode(text, validate=True) if isinstance(text, str) else b''
    except (binascii.Error, ValueError):
        latent = b''
    if not latent or len(latent) % 4 or not np.isfinite(np.frombuffer(latent, '<f4')).all():
        raise BadMessage('a latent is no base64 of finite float32')
    return latent
