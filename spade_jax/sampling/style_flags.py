"""Turn the style flags into style latents; reject what the model does not support."""

import dataclasses
import os

import numpy as np

from spade_jax.data.files.image_files import read_photo
from spade_jax.data.files.label_maps import LabelMaps, files_for
from spade_jax.errors import UserError
from spade_jax.sampling import styles
from spade_jax.sampling.trained_generator import NO_STYLE, NO_STYLE_REMEDY, TrainedGenerator


@dataclasses.dataclass(frozen=True)
class StyleOptions:
    """The flags of the same names; options that contradict each other raise UserError."""

    seed: int = 0
    num_samples: int = 1
    truncation: float = 1.0
    fixed_style: bool = False
    style_image: str = ''
    style_image_to: str = ''
    seed_to: int | None = None
    style_interpolation: int = 0

    def __post_init__(self):
        styles.check_truncation(self.truncation)
        if self.style_interpolation:
            self._check_interpolation()
        elif self.style_image_to or self.seed_to is not None:
            name = 'style_image_to' if self.style_image_to else 'seed_to'
            remedy = 'add --style_interpolation=N, the number of images of each label map'
            raise UserError(f'{name} is the end of an interpolation, but there is none', remedy)
        for name in (
            ('seed', 'num_samples', 'truncation', 'fixed_style') if self.style_image else ()
        ):
            if (value := getattr(self, name)) != getattr(StyleOptions, name):
                problem = f'{name}={value} with style_image={self.style_image}'
                raise UserError(f'{problem}: it is for random styles', 'leave one of the two out')

    def _check_interpolation(self) -> None:
        found = f'style_interpolation={self.style_interpolation}'
        if self.num_samples > 1:
            problem = f'num_samples={self.num_samples} with {found}, which is that number, too'
            raise UserError(problem, 'leave --num_samples out')
        has_start, has_end = bool(self.style_image), bool(self.style_image_to)
        if has_start != has_end or has_start == (self.seed_to is not None):
            remedy = 'give --style_image and --style_image_to, or --seed and --seed_to'
            raise UserError(f'{found} needs two ends of the same kind', remedy)
        if self.style_interpolation < 2:
            raise UserError(f'{found} has only one end', 'use 2 or more')

    def styles(self, generator: TrainedGenerator, maps: LabelMaps) -> styles.Styles:
        """The style of each sample; UserError if the model has no styles or an image is missing."""
        if generator.latent_dim is None:
            self._reject_styles()
            return styles.NoStyles()
        if self.style_image:
            start = encode_files(generator, maps, self.style_image, 'style_image')
            if not self.style_interpolation:
                return start
            end = encode_files(generator, maps, self.style_image_to, 'style_image_to')
        else:
            random = self.num_samples, self.truncation, self.fixed_style
            start = styles.RandomStyles(generator.latent_dim, self.seed, *random)
            if self.seed_to is None:
                return start
            end = dataclasses.replace(start, seed=self.seed_to)
        return styles.InterpolatedStyles(start, end, self.style_interpolation)

    def _reject_styles(self) -> None:
        for field in dataclasses.fields(self):
            if field.name != 'seed' and (value := getattr(self, field.name)) != field.default:
                remedy = f'leave --{field.name} out, or {NO_STYLE_REMEDY}'
                raise UserError(f'{field.name}={value}, but {NO_STYLE}', remedy)


class StylesOfPhotos:
    """The style of each label map is that of its photo, which is read when the map is sampled."""

    num_samples = 1

    def __init__(self, generator: TrainedGenerator, maps: LabelMaps):
        if generator.latent_dim is None:
            raise UserError(f'styles of photos, but {NO_STYLE}', NO_STYLE_REMEDY)
        self._generator, self._maps = generator, maps

    def of(self, sample: int, indices: np.ndarray) -> np.ndarray:
        photos = []
        for index in indices:
            if (photo := self._maps.read_photo(index)) is None:
                problem = f'{self._maps.locations[index]} has no photo to take the style of'
                raise UserError(problem, 'give --photo_dir')
            photos.append(photo)
        return self._generator.encode(photos)


def encode_files(
    generator: TrainedGenerator, maps: LabelMaps, path: str, flag: str
) -> styles.GivenStyles:
    """The mean style of an image, for all maps, or those of a directory, one for each map."""
    path, what = os.path.expanduser(path), 'style image'
    files, data = [path], generator.config.data
    if os.path.isdir(path):
        files = files_for(maps.names, path, data, flag=flag, what=what)
    latents = []
    for file in files:
        try:
            photo = read_photo(file, role=what)
        except UserError as error:
            remedy = f'set --{flag} to an image, or to a directory with one for each label map'
            raise UserError(f'{flag}: {error.problem}', remedy) from None
        latents.append(generator.encode(photo))
    return styles.GivenStyles(np.stack(latents))
