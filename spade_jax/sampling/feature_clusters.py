"""Clusters of the features of each class, from which random styles are chosen.

A model whose latent is a table of features by class (`ModelOptions.feature_table`) has no
distribution to sample its latents from. Wang et al. 2018, section 3.4, cluster the features of the
training images: a random style takes one of the centers of each class.
"""

import collections
import dataclasses
import os
import warnings
from collections.abc import Iterable

import numpy as np
from scipy import special
from scipy.cluster import vq

from spade_jax.config.config import Config
from spade_jax.config.data_config import DONTCARE_ID
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.pickled_tables import read_table

FILE = 'feature_clusters.npz'
# Smaller regions than this share of the image do not count: the features of few pixels are noise.
SMALLEST_SHARE = 1 / 64
NO_CLUSTERS = (
    'the model has no clusters of features yet: all random styles are equal, with features of 0; '
    'the clusters come with the end of the training, or take the style of an image'
)
Rows = dict[int, np.ndarray]  # Class -> [N, features + 1].


@dataclasses.dataclass(frozen=True)
class FeatureClusters:
    """The centers of each class, those of large clusters first; a class without has zeros.

    Attributes:
      centers: [classes, clusters, features] float32, padded with zeros.
      counts: [classes], number of centers.
      means: [classes, features] float32, mean over all regions of the class.
    """

    centers: np.ndarray
    counts: np.ndarray
    means: np.ndarray

    def choose(self, noise: np.ndarray, truncation: float = 1.0) -> np.ndarray:
        """Latents [N, classes * features] from normal noise of that shape.

        Every class takes one of its centers; `truncation` in [0, 1] scales the distance of the
        center from the mean of the class.
        """
        if not self.counts.any():
            warnings.warn(NO_CLUSTERS, stacklevel=2)  # Python shows it once.
        noise = noise.reshape(len(noise), *self.means.shape)
        choices = np.floor(special.ndtr(noise[..., 0]) * self.counts).astype(int)
        choices = np.minimum(choices, np.maximum(self.counts - 1, 0))  # [N, classes]
        chosen = self.centers[np.arange(len(self.counts)), choices]
        latents = truncation * chosen + (1 - truncation) * self.means
        return latents.reshape(len(noise), -1).astype(np.float32)

    def cluster(self, number: int) -> np.ndarray:
        """The latent [classes * features] of a center of each class; `number` wraps around."""
        choices = number % np.maximum(self.counts, 1)
        return self.centers[np.arange(len(self.counts)), choices].reshape(-1)


def rows_of_image(features: np.ndarray, label: np.ndarray, regions: np.ndarray) -> Rows:
    """The features of the regions of an image, by class.

    Args:
      features: [H, W, features], constant within a region.
      label: [H, W] classes.
      regions: [H, W] ids.

    Returns:
      A row for each region of a class, in the order of its ids: the features, then the number of
      pixels as a multiple of a 32nd of the image.
    """
    pairs = (label.astype(np.int64) << 32) + regions.astype(np.int64)
    _, first, sizes = np.unique(pairs, return_index=True, return_counts=True)
    values = features.reshape(-1, features.shape[-1])[first]
    shares = sizes[:, None] / max(label.size // 32, 1)
    rows = np.concatenate([values, shares], axis=1).astype(np.float32)
    classes = label.reshape(-1)[first]
    return {int(number): rows[classes == number] for number in np.unique(classes)}


def cluster(images: Iterable[Rows], config: Config) -> FeatureClusters:
    """The clusters of each class, by k-means over the regions of all images."""
    data, table = config.data, config.model.feature_table
    assert table is not None
    num_classes, most = data.label_channels, table.clusters
    rows = collections.defaultdict(list)
    for image in images:
        for number, of_class in image.items():
            number = data.num_classes if number == DONTCARE_ID else number
            rows[number].append(of_class[of_class[:, -1] > 32 * SMALLEST_SHARE, :-1])
    centers = np.zeros((num_classes, most, table.features), np.float32)
    counts, means = np.zeros(num_classes, int), np.zeros((num_classes, table.features), np.float32)
    for number, parts in rows.items():
        values = np.concatenate(parts).astype(np.float64)
        if number < num_classes and len(values):
            found = _k_means(values, min(most, len(values)), config.run.seed)
            centers[number, : len(found)], counts[number] = found, len(found)
            means[number] = values.mean(axis=0)
    return FeatureClusters(centers, counts, means)


def _k_means(values: np.ndarray, number: int, seed: int) -> np.ndarray:
    """The centers of the clusters that are not empty, the largest first."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Of empty clusters.
        centers, labels = vq.kmeans2(values, number, minit='++', rng=seed)
    sizes = np.bincount(labels, minlength=number)
    order = np.argsort(-sizes, kind='stable')
    return centers[order[: np.count_nonzero(sizes)]]


def write(workdir: str, clusters: FeatureClusters) -> None:
    """Write the clusters of a run to its work directory."""
    with atomic_write(os.path.join(workdir, FILE)) as partial, open(partial, 'wb') as file:
        np.savez(file, **vars(clusters))


def from_published(path: str, config: Config) -> FeatureClusters:
    """The clusters in a file of the published code: class -> centers [N, features]."""
    data, table = config.data, config.model.feature_table
    assert table is not None
    centers = read_table(path)
    for number, of_class in centers.items():
        if not 0 <= number < data.num_classes or of_class.shape[1:] != (table.features,):
            problem = (
                f'{path} has centers of the shape {of_class.shape} for the class {number}, but '
            )
            problem += f'the model has {data.num_classes} classes with {table.features} features'
            raise UserError(problem, 'give the clusters of this model, or move the file away')
    most = max((len(of_class) for of_class in centers.values()), default=0)
    shape = data.label_channels, table.features
    clusters = FeatureClusters(
        np.zeros((shape[0], max(most, 1), shape[1]), np.float32),
        np.zeros(shape[0], int),
        np.zeros(shape, np.float32),
    )
    for number, of_class in centers.items():
        clusters.centers[number, : len(of_class)], clusters.counts[number] = of_class, len(of_class)
        if len(of_class):  # The means over the regions are not known.
            clusters.means[number] = of_class.mean(axis=0)
    return clusters


def read(workdir: str) -> FeatureClusters | None:
    """The clusters of a run; None before it has any. UserError for a damaged file."""
    path = os.path.join(workdir, FILE)
    if not os.path.exists(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return FeatureClusters(**file)
    except Exception as error:  # Of as many types as a zip file can be damaged.
        remedy = 'remove it, and resume the run, which writes it anew'
        raise UserError(f'{path} is damaged ({error})', remedy) from error
