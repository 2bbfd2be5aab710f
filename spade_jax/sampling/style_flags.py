"""Turn the style flags into style latents; reject what the model does not support."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from spade_jax.data.files.image_files import read_photo
from spade_jax.data.files.label_maps import LabelMaps, files_for
from spade_jax.errors import UserError
from spade_jax.sampling.styles import (
    GivenStyles,
    InterpolatedStyles,
    NoStyles,
    RandomStyles,
    Styles,
    check_truncation,
)
from spade_jax.sampling.trained_generator import NO_STYLE, NO_STYLE_REMEDY, TrainedGenerator


@dataclasses.dataclass(frozen=True)
class StyleOptions:
    """The flags of the same names.

    Attributes:
      seed: Seed of the random styles.
      num_samples: Samples of each label map.
      truncation: Scale of the random styles in [0, 1].
      fixed_style: Use one random style for all label maps.
      style_image: An image whose style all samples have, or a directory with one for each label
        map; '': random styles.
      style_image_to: The image or directory where an interpolation ends.
      seed_to: The seed where an interpolation ends.
      style_interpolation: Number of styles of an interpolation, both ends included; 0: none.

    Raises:
      UserError: On construction, when the options contradict each other.
    """

    seed: int = 0
    num_samples: int = 1
    truncation: float = 1.0
    fixed_style: bool = False
    style_image: str = ''
    style_image_to: str = ''
    seed_to: int | None = None
    style_interpolation: int = 0

    def __post_init__(self):
        check_truncation(self.truncation)
        if self.style_interpolation:
            self._check_interpolation()
        elif self.style_image_to or self.seed_to is not None:
            name = 'style_image_to' if self.style_image_to else 'seed_to'
            remedy = 'add --style_interpolation=N, the number of images of each label map'
            raise UserError(f'{name} is the end of an interpolation, but there is none', remedy)
        for name in ('num_samples', 'truncation', 'fixed_style') if self.style_image else ():
            if (value := getattr(self, name)) != getattr(StyleOptions, name):
                problem = f'{name}={value} with style_image={self.style_image}'
                raise UserError(f'{problem}: it is for random styles', 'leave one of the two out')

    def _check_interpolation(self) -> None:
        if self.num_samples > 1:
            problem = f'num_samples={self.num_samples} with an interpolation, which has '
            problem += f'style_interpolation={self.style_interpolation} images of a map'
            raise UserError(problem, 'leave --num_samples out')
        has_start, has_end = bool(self.style_image), bool(self.style_image_to)
        if has_start != has_end or has_start == (self.seed_to is not None):
            remedy = 'give --style_image and --style_image_to, or --seed and --seed_to'
            raise UserError('style_interpolation needs two ends of the same kind', remedy)
        if self.style_interpolation < 2:
            problem = f'style_interpolation={self.style_interpolation} has only one end'
            raise UserError(problem, 'use 2 or more')

    def styles(self, generator: TrainedGenerator, maps: LabelMaps) -> Styles:
        """The style of each sample.

        Raises:
          UserError: The model has no styles but an option asks for one, or an image is missing or
            cannot be read.
        """
        if generator.latent_dim is None:
            self._reject_styles()
            return NoStyles()
        if self.style_image:
            start = encode_files(generator, maps, self.style_image, 'style_image')
            if not self.style_interpolation:
                return start
            end = encode_files(generator, maps, self.style_image_to, 'style_image_to')
            return InterpolatedStyles(start, end, self.style_interpolation)
        random = (self.num_samples, self.truncation, self.fixed_style)
        start = RandomStyles(generator.latent_dim, self.seed, *random)
        if self.seed_to is None:
            return start
        end = RandomStyles(generator.latent_dim, self.seed_to, *random)
        return InterpolatedStyles(start, end, self.style_interpolation)

    def _reject_styles(self) -> None:
        for field in dataclasses.fields(self):
            if field.name != 'seed' and (value := getattr(self, field.name)) != field.default:
                remedy = f'leave --{field.name} out, or {NO_STYLE_REMEDY}'
                raise UserError(f'{field.name}={value}, but {NO_STYLE}', remedy)


def encode_files(generator: TrainedGenerator, maps: LabelMaps, path: str, flag: str) -> GivenStyles:
    """The mean style of an image, for all maps, or those of a directory, one for each map."""
    path, files = os.path.expanduser(path), [path]
    if os.path.isdir(path):
        data, what = generator.config.data, 'style image'
        files = files_for(maps.names, path, data, flag=flag, what=what)
    images = (_read_style_image(os.path.expanduser(file), flag) for file in files)
    return GivenStyles(np.concatenate([generator.encode(image[None]) for image in images]))


def _read_style_image(path: str, flag: str) -> np.ndarray:
    try:
        return read_photo(path, role='style image')
    except UserError as error:
        remedy = f'set --{flag} to an image, or to a directory with one for each label map'
        raise UserError(f'{flag}: {error.problem}', remedy) from None
