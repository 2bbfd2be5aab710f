"""Cluster the features of the training images, at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

from spade_jax.config.config import Config
from spade_jax.data.files.label_maps import EvenlySpaced, LabelsOfSource
from spade_jax.sampling import TrainedGenerator, feature_clusters, load
from spade_jax.sampling.feature_clusters import Rows
from spade_jax.training.session import TrainingData

MOST_IMAGES = 2000


def are_missing(config: Config, workdir: str) -> bool:
    """True if a run should have clusters and has none: it ended before it wrote them."""
    return config.model.feature_table is not None and feature_clusters.read(workdir) is None


def write_clusters(config: Config, workdir: str, data: TrainingData) -> None:
    """Write the clusters of a run, if the latent of its model is a table of features."""
    if not config.model.feature_table:
        return
    generator = load(workdir)
    clusters = feature_clusters.cluster(_rows(generator, data), generator.config)
    feature_clusters.write(workdir, clusters)
    found = f'{int(clusters.counts.sum())} clusters of {int((clusters.counts > 0).sum())} classes'
    print(f'Features of the training images: {found}')


def _rows(generator: TrainedGenerator, data: TrainingData) -> Iterator[Rows]:
    maps = LabelsOfSource(data.source, generator.config.data)
    maps = EvenlySpaced(maps, MOST_IMAGES, data.skipped.reasons)
    for index in range(len(maps.names)):
        image, (_, label, instance) = maps.read_photo(index), maps.read(index)
        assert image is not None
        yield generator.features(image, label, instance)
