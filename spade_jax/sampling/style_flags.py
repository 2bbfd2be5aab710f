"""Turn the style flags into style latents; reject what the model does not support."""

import dataclasses
import os

import numpy as np

from spade_jax.data.files.image_files import read_photo
from spade_jax.data.files.label_maps import LabelFolder, LabelMaps, files_for
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
    style_label: str = ''
    style_instance: str = ''
    style_cluster: int | None = None

    def __post_init__(self):
        styles.check_truncation(self.truncation)
        if self.style_interpolation:
            self._check_interpolation()
        elif self.style_image_to or self.seed_to is not None:
            name = 'style_image_to' if self.style_image_to else 'seed_to'
            remedy = 'add --style_interpolation=N, the number of images of each label map'
            raise UserError(f'{name} is the end of an interpolation, but there is none', remedy)
        for given in ('style_image', 'style_cluster'):
            if getattr(self, given) in ('', None):
                continue
            ends = ('seed_to', 'style_interpolation') if given == 'style_cluster' else ()
            for name in ('seed', 'num_samples', 'truncation', 'fixed_style', *ends):
                if (value := getattr(self, name)) != getattr(StyleOptions, name):
                    problem = f'{name}={value} with {given}={getattr(self, given)}'
                    remedy = 'leave one of the two out'
                    raise UserError(f'{problem}: it is for random styles', remedy)
        if self.style_image and self.style_cluster is not None:
            problem = f'style_cluster={self.style_cluster} with style_image={self.style_image}'
            raise UserError(problem, 'leave one of the two out')

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
        self._check_table(generator)
        if self.style_cluster is not None and generator.clusters:
            latent = generator.clusters.cluster(self.style_cluster)
            return styles.GivenStyles(latent[None])
        if self.style_image and generator.clusters:
            files = self.style_image, self.style_label, self.style_instance
            return encode_files_with_maps(generator, maps, *files)
        if self.style_image:
            start = encode_files(generator, maps, self.style_image, 'style_image')
            if not self.style_interpolation:
                return start
            end = encode_files(generator, maps, self.style_image_to, 'style_image_to')
        else:
            start = styles.RandomStyles(
                generator.latent_dim,
                self.seed,
                self.num_samples,
                self.truncation,
                self.fixed_style,
                generator.clusters,
            )
            if self.seed_to is None:
                return start
            end = dataclasses.replace(start, seed=self.seed_to)
        return styles.InterpolatedStyles(start, end, self.style_interpolation)

    def _check_table(self, generator: TrainedGenerator) -> None:
        """Raises UserError for flags that do not fit the kind of latent."""
        if generator.clusters is None:
            for name in ('style_label', 'style_instance', 'style_cluster'):
                if (value := getattr(self, name)) not in ('', None):
                    problem = f'{name}={value}, but the style of this model is not one of classes'
                    raise UserError(problem, f'leave --{name} out')
        elif self.style_image_to:
            problem = f'style_image_to={self.style_image_to}: this model has a style of each class'
            raise UserError(problem, 'interpolate between random styles: --seed and --seed_to')
        elif self.style_image:
            needs_instances = generator.config.data.instance_edges
            for name in ('style_label', *['style_instance'] * needs_instances):
                if not getattr(self, name):
                    problem = f'style_image={self.style_image} without a {name.split("_")[1]} map'
                    problem += ', but the style of this model is one of each class'
                    raise UserError(problem, f'add --{name}, a file or directory as --style_image')
        elif self.style_label or self.style_instance:
            name = 'style_label' if self.style_label else 'style_instance'
            problem = f'{name}={getattr(self, name)} without an image'
            raise UserError(problem, f'add --style_image, or leave --{name} out')

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
        photos, labels, instances = [], [], []
        for index in indices:
            if (photo := self._maps.read_photo(index)) is None:
                problem = f'{self._maps.locations[index]} has no photo to take the style of'
                raise UserError(problem, 'give --photo_dir')
            photos.append(photo)
            if self._generator.clusters:
                _, label, instance = self._maps.read(index)
                labels.append(label)
                instances += [] if instance is None else [instance]
        return self._generator.encode(photos, labels or None, instances or None)


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


def encode_files_with_maps(
    generator: TrainedGenerator, maps: LabelMaps, image: str, label: str, instance: str
) -> styles.GivenStyles:
    """The styles of each class in an image, for all maps, or in those of a directory.

    `label` and `instance` are the maps of the image, or directories of them.
    """
    image, label, instance = map(os.path.expanduser, (image, label, instance))
    folder = LabelFolder(generator.config.data, label, instance, image)
    names = list(folder.names)
    latents = StylesOfPhotos(generator, folder).of(0, np.arange(len(names)))
    if len(names) == 1:
        return styles.GivenStyles(latents)
    if missing := [name for name in maps.names if name not in names]:
        problem = f'style_label={label} has no label map {missing[0]}'
        raise UserError(problem, 'set it to a file, or to a directory with one for each label map')
    return styles.GivenStyles(latents[[names.index(name) for name in maps.names]])
