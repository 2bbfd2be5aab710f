"""The data of a run as sides of a comparison, and images that its generator samples from them."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence

import numpy as np

from spade_jax.config.catalog import known_classes
from spade_jax.config.config import Config
from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.config.model_options import ModelOptions
from spade_jax.data.files.image_files import read_ids
from spade_jax.data.files.label_maps import EvenlySpaced, LabelMaps, LabelsOfSource
from spade_jax.data.files.palette import colorize_input
from spade_jax.data.pipeline.paired_transforms import resize_image
from spade_jax.data.records.fingerprint import digest
from spade_jax.data.sources.open_source import bad_examples, open_source
from spade_jax.data.sources.source import Source
from spade_jax.errors import UserError
from spade_jax.evaluation.comparison import Sides
from spade_jax.evaluation.image_sets import ImageFolder
from spade_jax.sampling.arguments import NO_STYLE, NO_STYLE_REMEDY
from spade_jax.sampling.sample_files import SampleRequest, load_for_sampling, write_samples
from spade_jax.sampling.style_flags import StyleOptions, StylesOfPhotos
from spade_jax.sampling.styles import Styles
from spade_jax.sampling.trained_generator import TrainedGenerator


class RunLabels:
    """Label maps at the training size of a run, resized as for sampling; see `LabelSet`.

    Where the data set has a class "unknown", as ADE20K has id 0, its pixels have no label.
    """

    def __init__(self, maps: LabelMaps, config: Config):
        self._maps, self._config = maps, config
        self._unknown = _unknown_ids(config.data)
        self.num_classes = config.data.num_classes + len(self._unknown)
        self._size = config.data.image_width, config.data.image_height

    def __len__(self) -> int:
        return len(self._maps.names)

    def read(self, index: int) -> np.ndarray:
        """Ids [H, W]; those of pixels without a label are not in [0, num_classes)."""
        label = self._label(index)
        return np.where(np.isin(label, self._unknown), DONTCARE_ID, label)

    def read_file(self, index: int) -> np.ndarray:
        """Ids [H, W] as in the file."""
        if not os.path.isfile(self.location(index)):
            problem = f'the label map {self.location(index)} has no file in the numbering of miou'
            raise UserError(problem, 'give --label_dir with the label maps as downloaded')
        return read_ids(self.location(index))

    def colorized(self, index: int) -> np.ndarray:
        return colorize_input(self._label(index), self._config.data)

    def location(self, index: int) -> str:
        return self._maps.locations[index]

    def stems(self) -> Sequence[str]:
        return self._maps.names

    def _label(self, index: int) -> np.ndarray:
        return load_for_sampling(self._maps, index, self._config, self._size).label


class RunPhotos:
    """The photos of label maps, resized to the training size of a run; see `ImageSet`."""

    flag, is_temporary = 'photos', False

    def __init__(self, maps: LabelMaps, config: Config):
        self._maps = maps
        self._size = config.data.image_width, config.data.image_height

    def __len__(self) -> int:
        return len(self._maps.names)

    def read(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8, resized bicubically."""
        photo = self._maps.read_photo(index)
        if photo is None:
            raise UserError(f'{self._maps.locations[index]} has no photo', 'give --photo_dir')
        return resize_image(photo, self._size)

    def location(self, index: int) -> str:
        return f'the photo of {self._maps.locations[index]}'

    def stems(self) -> Sequence[str]:
        return self._maps.names

    def fingerprint(self) -> str:
        return digest([self._maps.fingerprint(), str(self._size)])


def _unknown_ids(data: DataConfig) -> list[int]:
    """The ids below `num_classes` that the classes of the data set call "unknown"."""
    if data.label_remap and not data.palette:  # Names and ids are those of the files.
        return []
    ids = [entry.id for entry in known_classes(data) if entry.name == 'unknown']
    return [number for number in ids if number < data.num_classes]


def sides_of(config: Config, maps: LabelMaps, predictions: ImageFolder | None = None) -> Sides:
    """What images of label maps are compared with: the data of the run."""
    labels = RunLabels(maps, config) if config.data.uses_labels else None
    training = functools.partial(training_examples, config)
    has_photos = maps.read_photo(0) is not None
    photos = RunPhotos(maps, config) if has_photos else None
    missing = {} if labels else {'labels': _needs_label_maps(config, 'the score')}
    if config.data.unconditional:
        problem = f'condition={config.data.condition}: an image has no photo of its own'
        missing['pairs'] = UserError(problem, 'choose scores of all images, such as fid or kid')
    return Sides(None, photos, labels, predictions, training, missing=missing)


def training_examples(config: Config) -> tuple[RunPhotos, RunLabels]:
    """Photos and label maps of the training set; raises UserError if it cannot be read."""
    if not config.data.uses_labels:
        raise _needs_label_maps(config, 'a judge')
    source = open_source(config.data, 'train')
    assert source is not None  # Only a validation set may be missing.
    maps: LabelMaps = LabelsOfSource(source, config.data)
    if bad := unusable(source, config):
        maps = EvenlySpaced(maps, len(maps.names), bad)
    return RunPhotos(maps, config), RunLabels(maps, config)


def unusable(source: Source, config: Config) -> set[str]:
    """The locations of the examples that `on_bad_example` 'skip' leaves out; reads all of them."""
    if config.data.on_bad_example == 'error':
        return set()
    return {*bad_examples(source.locations, source.read, config.data)}


def _needs_label_maps(config: Config, what: str) -> UserError:
    problem = f'condition={config.data.condition}: {what} needs label maps'
    return UserError(problem, 'choose scores that compare with the photos, such as fid or lpips')


def sample_images(
    generator: TrainedGenerator,
    maps: LabelMaps,
    directory: str,
    *,
    style_rule: str,
    seed: int,
    batch_size: int,
    is_temporary: bool = False,
) -> ImageFolder:
    """Sample an image of each label map, at the training size.

    The images are kept in a directory below `directory` whose name changes with the weights, the
    styles and the label maps: those that are there are not sampled again.

    Args:
      generator: Of the run.
      maps: Its label maps.
      directory: For the images.
      style_rule: See `EvaluationConfig`.
      seed: Of random styles.
      batch_size: Label maps sampled together.
      is_temporary: The directory is about to be removed.

    Raises:
      UserError: The model has no styles to choose, or data cannot be read.
    """
    styles, config = styles_of(generator, maps, style_rule, seed), generator.config
    key = digest([generator.fingerprint(), maps.fingerprint(), f'{style_rule} {seed}'])
    name = 'images' if generator.step is None else f'images_{generator.step}'
    output_dir = os.path.join(directory, f'{name}_{style_rule}_{key[:8]}')
    size = config.data.image_width, config.data.image_height
    request = SampleRequest(maps, styles, size, batch_size)
    write_samples(generator, request, output_dir, keep_existing=True)
    return ImageFolder('images', output_dir, is_temporary=is_temporary)


def check_styles(model: ModelOptions, style_rule: str, names: Sequence[str]) -> None:
    """Raise a UserError for a style rule or a score that a model cannot have."""
    remedy = 'use --style_rule=random'
    if style_rule != 'random' and not model.has_latent:
        raise UserError(f'style_rule={style_rule}, but {NO_STYLE}', remedy)
    if style_rule == 'photo' and not model.can_encode:
        raise UserError('style_rule=photo, but this model has no style encoder', remedy)
    if 'lpips_diversity' in names and not model.has_latent:
        raise UserError(f'lpips_diversity compares styles, but {NO_STYLE}', NO_STYLE_REMEDY)


def styles_of(generator: TrainedGenerator, maps: LabelMaps, style_rule: str, seed: int) -> Styles:
    """The styles of a style rule; raises UserError if the model has none to choose."""
    if style_rule == 'photo':
        return StylesOfPhotos(generator, maps)
    return StyleOptions(seed, fixed_style=style_rule == 'fixed').styles(generator, maps)
