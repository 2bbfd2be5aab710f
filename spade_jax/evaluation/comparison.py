"""What is compared: images, photos and label maps, and the networks that compare them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from spade_jax.config.evaluation_config import EvaluationConfig
from spade_jax.errors import UserError
from spade_jax.evaluation.feature_networks import FEATURE_NETWORKS
from spade_jax.evaluation.features import Features
from spade_jax.evaluation.frechet import Gaussian, fit_gaussian
from spade_jax.evaluation.image_sets import ImageFolder, ImageSet, LabelSet, by_name, pairs_of
from spade_jax.evaluation.judges import FittedJudge, fit_layout_judge, fit_unet_judge
from spade_jax.evaluation.networks.lpips import Lpips
from spade_jax.evaluation.pair_scores import PAIR_SCORES
from spade_jax.evaluation.segmenters import Segmenter, load_segmenter


class PerImage(NamedTuple):
    """A score by image.

    Attributes:
      values: [N] Of each image; nan if it has none.
      score_of: From indices of images, of which some may be repeated, to the score of these images.
    """

    values: np.ndarray
    score_of: Callable[[np.ndarray], float]


class Result(NamedTuple):
    """A score.

    Attributes:
      value: The score; infinite for the PSNR of equal images.
      deviation: Standard deviation over subsets or pairs, if it is a mean over them.
      protocol: Every choice that decides the value.
      per_image: The score by image, in their order; None if it is one of all images only.
    """

    value: float
    deviation: float | None
    protocol: dict[str, Any]
    per_image: PerImage | None = None


class Score(NamedTuple):
    """A row of the table of scores.

    Attributes:
      compute: The score of a comparison; raises UserError when something that it needs is missing.
      help: What it is.
      is_better: 'lower' or 'higher'.
      prepare: Loads what does not depend on the images; raises the same errors.
    """

    compute: Callable[[Comparison], Result]
    help: str
    is_better: str = 'lower'
    prepare: Callable[[Comparison], object] = lambda comparison: None


class Sides(NamedTuple):
    """The data of a comparison; None for what there is not.

    Attributes:
      images: The images to evaluate.
      photos: The real images.
      labels: The label maps of the images.
      predictions: Label maps that a segmentation network predicted from the images.
      restyled: From `seed` to the images in other random styles.
      training: Gives the photos and label maps of the training set, on which judges are fitted.
      missing: Why other sides are None, by name, if not because a flag was not given.
    """

    images: ImageSet | None = None
    photos: ImageSet | None = None
    labels: LabelSet | None = None
    predictions: ImageFolder | None = None
    training: Callable[[], tuple[ImageSet, LabelSet]] | None = None
    restyled: Callable[..., ImageSet] | None = None
    missing: Mapping[str, UserError] = {}


class Comparison:
    """Images that are compared with photos or label maps.

    Attributes:
      config: The protocol.
      names: The scores to compute.
    """

    def __init__(self, sides: Sides, config: EvaluationConfig, names: Sequence[str]):
        self._sides, self.config, self.names = sides, config, names
        self._features: dict[str, Features] = {}
        self._gaussians: dict[str, Gaussian] = {}

    def set_images(self, images: ImageSet, restyled: Callable[..., ImageSet] | None = None) -> None:
        """Compare other images, with the networks that are loaded."""
        self._sides = self._sides._replace(images=images, restyled=restyled)
        self.__dict__.pop('pair_values', None)

    @property
    def images(self) -> ImageSet:
        """The images to evaluate; this and its siblings raise UserError if there are none."""
        return self._given('images', '--image_dir is missing', 'the images')

    def fingerprints(self) -> dict[str, str]:
        """Digests that change with the images, the photos and the predictions that there are."""
        sides = {name: getattr(self._sides, name) for name in ('images', 'photos', 'predictions')}
        return {name: side.fingerprint() for name, side in sides.items() if side is not None}

    @property
    def photos(self) -> ImageSet:
        """The real images."""
        return self._given('photos', '--photo_dir is missing', 'the real images')

    @property
    def photos_of_images(self) -> ImageSet:
        """The real images, of which each image has its own; not so without a condition."""
        if (error := self._sides.missing.get('pairs')) is not None:
            raise error
        return self.photos

    @property
    def labels(self) -> LabelSet:
        """The label maps of the images."""
        return self._given('labels', '--label_dir is missing', 'the label maps')

    @property
    def predictions(self) -> ImageFolder:
        """Predicted label maps."""
        what = 'predicted label maps, or --segmentation_network'
        return self._given('predictions', '--prediction_dir is missing', what)

    @functools.cached_property
    def training(self) -> tuple[ImageSet, LabelSet]:
        """Photos and label maps of the training set."""
        if self._sides.training is None:
            problem = 'a judge is fitted to the training set, and there is none'
            raise UserError(problem, 'give --workdir, the run whose data it is')
        return self._sides.training()

    def restyled(self, seed: int) -> ImageSet:
        """The images in other random styles."""
        if self._sides.restyled is None:
            problem = 'the diversity of styles needs several images of each label map'
            remedy = 'give --workdir, a run whose model has styles'
            raise self._sides.missing.get('restyled', UserError(problem, remedy))
        return self._sides.restyled(seed=seed)

    def panels_of(self, index: int) -> list[np.ndarray]:
        """What there is of label map, image and photo, each [H, W, 3] uint8."""
        name, panels = list(by_name(self.images))[index], [self.images.read(index)]
        labels, photos = self._sides.labels, self._sides.photos
        if labels and (partner := by_name(labels).get(name)) is not None:
            panels.insert(0, labels.colorized(partner))
        if photos and (partner := by_name(photos).get(name)) is not None:
            panels.append(photos.read(partner))
        return panels

    def features(self, network: str) -> Features:
        """The features of one of FEATURE_NETWORKS; raises UserError without weights."""
        if network not in self._features:
            made = FEATURE_NETWORKS[network](self.config)
            self._features[network] = Features(made, self._cache_dir)
        return self._features[network]

    def photo_gaussian(self, network: str) -> Gaussian:
        """Mean and covariance of the features of the photos, computed once for all images."""
        if network not in self._gaussians:
            self._gaussians[network] = fit_gaussian(self.features(network).of(self.photos))
        return self._gaussians[network]

    @functools.cached_property
    def lpips(self) -> Lpips:
        """LPIPS; raises UserError without weights."""
        return Lpips(self.config.lpips_network, self.config.lpips_weights)

    @functools.cached_property
    def segmenter(self) -> Segmenter:
        """The segmentation network; raises UserError without weights."""
        if self._sides.predictions is not None:
            problem = (
                f'--prediction_dir and segmentation_network={self.config.segmentation_network}'
            )
            raise UserError(problem, 'give one of them')
        return load_segmenter(self.config.segmentation_network, self.config.segmentation_weights)

    @functools.cached_property
    def layout_judge(self) -> FittedJudge:
        """The layout judge; raises UserError if there is no training set."""
        return fit_layout_judge(self.training, self.photos, self.labels)

    @functools.cached_property
    def unet_judge(self) -> FittedJudge:
        """The U-Net, trained if need be; raises UserError if there is no training set."""
        return fit_unet_judge(self.training, self.photos, self.labels, self._cache_dir)

    @property
    def _cache_dir(self) -> str:
        return os.path.expanduser(self.config.feature_cache_dir)

    @functools.cached_property
    def pair_values(self) -> Mapping[str, list[float]]:
        """Of each score of pairs, the values of the pairs, whose images are read once for all."""
        images, photos = self.images, self.photos_of_images
        scores = {name: PAIR_SCORES[name] for name in self.names if name in PAIR_SCORES}
        if 'lpips' in self.names:
            scores['lpips'] = self.lpips.distance
        values: dict[str, list[float]] = {name: [] for name in scores}
        for index, partner in tqdm(pairs_of(images, photos), unit='pair', dynamic_ncols=True):
            image, photo = images.read(index), photos.read(partner)
            if image.shape != photo.shape:
                sizes = ' and '.join(f'{x.shape[1]}x{x.shape[0]}' for x in (image, photo))
                locations = f'{images.location(index)} and {photos.location(partner)}'
                remedy = f'resize the photos, or leave {", ".join(scores)} out'
                raise UserError(f'{locations} have {sizes} pixels', remedy)
            for name, score in scores.items():
                try:
                    values[name].append(score(image, photo))
                except UserError as error:
                    raise error.at(images.location(index)) from error
        return values

    def _given(self, name: str, problem: str, what: str) -> Any:
        """A side; raises UserError if it is missing."""
        if (side := getattr(self._sides, name)) is None:
            error = UserError(problem, f'give the directory of {what}')
            raise self._sides.missing.get(name, error)
        return side
