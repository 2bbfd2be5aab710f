"""From what was asked for to the styles of the pictures, with everything refused that the model cannot do or that says two things."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from spade_jax.data.files.image_files import PHOTO_EXTENSIONS, read_photo
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
from spade_jax.sampling.trained_generator import TrainedGenerator


@dataclasses.dataclass(frozen=True)
class StyleOptions:
    """The flags of the same names.

    style_image: a picture whose style all take, or a directory with a picture for each label map; '': random styles.
    style_image_to, seed_to: where an interpolation ends.
    style_interpolation: number of pictures on the way, both ends included; 0: none.
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
            if self.num_samples > 1:
                raise UserError(
                    f'num_samples={self.num_samples} with style_interpolation={self.style_interpolation}: the latter says how many pictures there are of a map',
                    'leave --num_samples out',
                )
            if bool(self.style_image) != bool(self.style_image_to) or bool(self.style_image) == (
                self.seed_to is not None
            ):
                raise UserError(
                    'style_interpolation has no two ends of one kind',
                    'give --style_image and --style_image_to, or --seed and --seed_to',
                )
            if self.style_interpolation < 2:
                raise UserError(
                    f'style_interpolation={self.style_interpolation} has no two ends',
                    'use 2 or more',
                )
        elif self.style_image_to or self.seed_to is not None:
            raise UserError(
                f'{"style_image_to" if self.style_image_to else "seed_to"} is where an interpolation ends, and there is none',
                'add --style_interpolation=N, the number of pictures on the way',
            )
        if self.style_image:
            for name in ('num_samples', 'truncation', 'fixed_style'):
                if getattr(self, name) != getattr(StyleOptions, name):
                    raise UserError(
                        f'{name}={getattr(self, name)} with style_image={self.style_image}: it is for random styles',
                        'leave one of the two out',
                    )

    def styles(self, generator: TrainedGenerator, maps: LabelMaps) -> Styles:
        """The style of each picture. Raises UserError when the model has no styles but one is asked for, or a picture is missing or cannot be read."""
        config = generator.config
        if not config.model.style_encoder:
            self._refuse_without_encoder()
            return NoStyles()
        if self.style_image:
            start = encoded(generator, maps, self.style_image, 'style_image')
            if not self.style_interpolation:
                return start
            return InterpolatedStyles(
                start,
                encoded(generator, maps, self.style_image_to, 'style_image_to'),
                self.style_interpolation,
            )
        start = RandomStyles(
            config.model.style_dim, self.seed, self.num_samples, self.truncation, self.fixed_style
        )
        if not self.style_interpolation:
            return start
        return InterpolatedStyles(
            start, dataclasses.replace(start, seed=self.seed_to), self.style_interpolation
        )

    def _refuse_without_encoder(self):
        for field in dataclasses.fields(self):
            if field.name != 'seed' and (value := getattr(self, field.name)) != field.default:
                raise UserError(
                    f'{field.name}={value}, but this model has no style encoder and draws a map in one way only',
                    f'leave --{field.name} out, or train with --style_encoder',
                )


def encoded(generator: TrainedGenerator, maps: LabelMaps, path: str, flag: str) -> GivenStyles:
    """The mean styles of a picture, for all maps, or of the pictures in a directory, one for each map."""
    path = os.path.expanduser(path)
    if not os.path.isdir(path):
        files = [path]
    else:
        files = files_for(
            maps.names,
            path,
            generator.config.data,
            PHOTO_EXTENSIONS,
            flag=flag,
            what='style picture',
        )
    return GivenStyles(
        np.concatenate([generator.encode(_picture(file, flag)[None]) for file in files])
    )


def _picture(path: str, flag: str) -> np.ndarray:
    try:
        return read_photo(path, role='style picture')
    except UserError as error:
        raise UserError(
            f'{flag}: {error.problem}',
            f'set --{flag} to a picture, or a directory with one for each label map',
        ) from None
