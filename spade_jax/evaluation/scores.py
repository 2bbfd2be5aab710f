"""The scores by name: what each compares, and how it was computed."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from spade_jax.data.files.image_files import read_ids
from spade_jax.errors import UserError, user_errors
from spade_jax.evaluation.confusion import Confusion
from spade_jax.evaluation.features import InceptionFeatures
from spade_jax.evaluation.frechet import Gaussian, fit_gaussian, frechet_distance, gaussian
from spade_jax.evaluation.image_folder import ImageFolder, pairs_of
from spade_jax.evaluation.kernel_distance import kernel_distance, random_subsets
from spade_jax.evaluation.networks.lpips import Lpips
from spade_jax.evaluation.pair_scores import PAIR_SCORES
from spade_jax.files.whole_file import require_bounded

INCEPTION_DOWNLOAD = (
    'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/'
    'pt_inception-2015-12-05-6726825d.pth'
)


class Options(NamedTuple):
    """The choices of a protocol; see the flags of `--mode=evaluate`."""

    fid_mode: str = 'pytorch_fid'
    inception_weights: str = ''
    photo_statistics: str = ''
    feature_cache_dir: str = '~/.cache/spade_jax/features'
    kid_subset_size: int = 1000
    kid_subsets: int = 100
    lpips_network: str = 'alex'
    lpips_weights: str = ''
    prediction_dir: str = ''
    label_dir: str = ''
    iou_classes: int = 0
    iou_mean: str = 'in_labels'


class Result(NamedTuple):
    """A score.

    Attributes:
      value: The score; infinite for the PSNR of equal images.
      deviation: Standard deviation over subsets or pairs, if it is a mean over them.
      protocol: Every choice that decides the value.
    """

    value: float
    deviation: float | None
    protocol: dict[str, Any]


class Comparison:
    """Two sides that are compared.

    Attributes:
      photos: The real images; None if there are statistics of them only.
      options: The protocol.
      names: The scores to compute.
    """

    def __init__(
        self,
        images: ImageFolder | None,
        photos: ImageFolder | None,
        options: Options,
        names: Sequence[str],
    ):
        self._images, self.photos, self.options, self.names = images, photos, options, names

    @property
    def images(self) -> ImageFolder:
        """The images to evaluate; raises UserError if there are none."""
        if self._images is None:
            raise UserError('--image_dir is missing', 'give the directory of the images')
        return self._images

    def real_images(self) -> ImageFolder:
        """The photos; raises UserError if there are none."""
        if self.photos is None:
            raise UserError('--photo_dir is missing', 'give the directory of the real images')
        return self.photos

    @functools.cached_property
    def inception(self) -> InceptionFeatures:
        """The features; raises UserError without weights."""
        options = self.options
        if not options.inception_weights:
            remedy = f'download {INCEPTION_DOWNLOAD} and pass --inception_weights=FILE'
            raise UserError('fid and kid need the weights of Inception', remedy)
        return InceptionFeatures(
            options.fid_mode, options.inception_weights, options.feature_cache_dir
        )

    def inception_protocol(self) -> dict[str, Any]:
        """What decides the features."""
        return {'mode': self.options.fid_mode} | self.inception.weights.protocol()

    @functools.cached_property
    def lpips(self) -> Lpips:
        """LPIPS; raises UserError without weights."""
        return Lpips(self.options.lpips_network, self.options.lpips_weights)

    @functools.cached_property
    def pair_values(self) -> dict[str, list[float]]:
        """Of each score of pairs, the values of the pairs, whose images are read once for all."""
        images, photos = self.images, self.real_images()
        scores = {name: PAIR_SCORES[name] for name in self.names if name in PAIR_SCORES}
        if 'lpips' in self.names:
            scores['lpips'] = self.lpips.distance
        values: dict[str, list[float]] = {name: [] for name in scores}
        for index, partner in tqdm(pairs_of(images, photos), unit='pair', dynamic_ncols=True):
            image, photo = images.read(index), photos.read(partner)
            if image.shape != photo.shape:
                sizes = ' and '.join(f'{x.shape[1]}x{x.shape[0]}' for x in (image, photo))
                problem = f'{images.path(index)} and {photos.path(partner)} have {sizes} pixels'
                raise UserError(problem, f'resize the photos, or leave {", ".join(scores)} out')
            for name, score in scores.items():
                values[name].append(score(image, photo))
        return values


def frechet_inception_distance(comparison: Comparison) -> Result:
    """FID over the 2048 features."""
    options, images = comparison.options, comparison.images
    one = fit_gaussian(comparison.inception.of(images))
    protocol = comparison.inception_protocol() | {'images': len(images)}
    if options.photo_statistics:
        other = _read_statistics(options.photo_statistics)
        protocol['photo_statistics'] = os.path.basename(options.photo_statistics)
    else:
        other = fit_gaussian(comparison.inception.of(comparison.real_images()))
        protocol['photos'] = other.count
    if len(one.mean) != len(other.mean):
        problem = f'photo_statistics={options.photo_statistics} are of {len(other.mean)} features'
        raise UserError(problem, f'give those of {len(one.mean)}')
    return Result(frechet_distance(one, other), None, protocol)


def kernel_inception_distance(comparison: Comparison) -> Result:
    """KID over the 2048 features, in subsets."""
    options, sides = comparison.options, (comparison.images, comparison.real_images())
    if (fewest := min(map(len, sides))) < options.kid_subset_size:
        problem = f'kid_subset_size={options.kid_subset_size} with {fewest} images on one side'
        raise UserError(problem, f'use --kid_subset_size={fewest} or less, or more images')
    x, y = map(comparison.inception.of, sides)
    subsets = random_subsets(
        len(x), len(y), size=options.kid_subset_size, count=options.kid_subsets
    )
    mean, deviation = kernel_distance(x, y, subsets)
    protocol = comparison.inception_protocol() | {'images': len(x), 'photos': len(y)}
    protocol |= {'subset_size': options.kid_subset_size, 'subsets': options.kid_subsets}
    return Result(mean, deviation, protocol)


def pair_score(name: str, comparison: Comparison) -> Result:
    """The mean of a score over the pairs of an image and its photo."""
    values = comparison.pair_values[name]
    protocol: dict[str, Any] = comparison.lpips.protocol() if name == 'lpips' else {}
    protocol['pairs'] = len(values)
    deviation = float(np.std(values)) if np.isfinite(values).all() else None
    return Result(float(np.mean(values)), deviation, protocol)


def segmentation(comparison: Comparison) -> Result:
    """Mean IoU of label maps that a segmentation network predicted from the images."""
    options = comparison.options
    if not (options.prediction_dir and options.label_dir and options.iou_classes):
        remedy = 'give the predicted label maps, the true ones and the number of classes'
        raise UserError('miou needs --prediction_dir, --label_dir and --iou_classes', remedy)
    predictions = ImageFolder('prediction_dir', options.prediction_dir)
    labels = ImageFolder('label_dir', options.label_dir)
    confusion = Confusion(options.iou_classes)
    for index, partner in pairs_of(predictions, labels):
        label, prediction = read_ids(labels.path(partner)), read_ids(predictions.path(index))
        try:
            confusion.add(label.astype(np.int64), prediction)
        except UserError as error:
            raise error.at(predictions.path(index)) from error
    scores = confusion.scores(options.iou_mean)
    protocol = {'label_maps': len(predictions), 'classes': options.iou_classes}
    protocol |= {'mean_over': options.iou_mean, 'pixel_accuracy': scores.pixel_accuracy}
    protocol |= {'pixel_accuracy_with_unlabeled_as_wrong': scores.pixel_accuracy_of_all}
    return Result(scores.mean_iou, None, protocol | {'mean_accuracy': scores.mean_accuracy})


def _read_statistics(path: str) -> Gaussian:
    """The mean `mu` and covariance `sigma` of an .npz file, as pytorch-fid writes it."""
    path = os.path.expanduser(path)
    with user_errors(f'photo_statistics={path} cannot be read', 'give an .npz of mu and sigma'):
        require_bounded(path)
        with np.load(path, allow_pickle=False) as arrays:
            return gaussian(arrays['mu'], arrays['sigma'], count=0)


class Score(NamedTuple):
    """A row of the table of scores.

    Attributes:
      compute: The score of a comparison.
      help: What it is.
      is_better: 'lower' or 'higher'.
    """

    compute: Callable[[Comparison], Result]
    help: str
    is_better: str = 'lower'


# To add a score, add its row.
SCORES: Mapping[str, Score] = {
    'fid': Score(frechet_inception_distance, 'Frechet inception distance'),
    'kid': Score(kernel_inception_distance, 'kernel inception distance'),
    'lpips': Score(functools.partial(pair_score, 'lpips'), 'LPIPS to the photo of the same name'),
    'l1': Score(functools.partial(pair_score, 'l1'), 'mean absolute difference, of 255'),
    'psnr': Score(functools.partial(pair_score, 'psnr'), 'signal to noise in dB', 'higher'),
    'miou': Score(segmentation, 'mean IoU of predicted label maps', 'higher'),
    'ssim': Score(functools.partial(pair_score, 'ssim'), 'structural similarity', 'higher'),
}
