"""A trained generator: NumPy label maps in, images out. Its Config is in the checkpoint.

generator = spade_jax.load('runs/quickstart')
images = generator(labels, seed=1)       # [N, H, W] class ids -> [N, H, W, 3] uint8
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from spade_jax.config.config import Config
from spade_jax.config.option import nearest_multiples
from spade_jax.data.files.label_reader import check_label_ids
from spade_jax.data.pipeline.paired_transforms import resize_image
from spade_jax.errors import UserError
from spade_jax.models.model import Variables, build_model
from spade_jax.sampling import jitted
from spade_jax.sampling.styles import check_truncation, random_styles

BATCH_SIZE = 4  # Larger batches are hardly faster and need more memory.
LabelBatch = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # labels, instances, style
NO_STYLE = 'this model has no style latent'
NO_STYLE_REMEDY = 'train one that has, such as SPADE with --style_encoder'


class TrainedGenerator:
    """A generator that samples images from NumPy label maps.

    Attributes:
      config: Of the run that trained it.
      latent_dim: Dimensions of the style latent; None if the model has none.
      use_batch_statistics: Normalize by the statistics of the maps that are sampled together
        instead of the running ones.
    """

    def __init__(
        self,
        config: Config,
        variables: Mapping[str, Variables],
        *,
        use_batch_statistics: bool = False,
    ):
        """Put the variables on the default device.

        Args:
          config: Of the run.
          variables: Of the sampling networks of the model, with the vectors of spectral norms or
            with kernels divided by them (`fold_spectral_norm`).
          use_batch_statistics: See the attribute.

        Raises:
          UserError: The model has no batch statistics to use.
        """
        self.config, self.use_batch_statistics = config, use_batch_statistics
        self._model = build_model(config)
        self.latent_dim = self._model.latent_dim
        self._variables: dict[str, Variables] = jax.device_put(dict(variables))
        if use_batch_statistics:
            self._check_has_batch_statistics()

    def __call__(
        self,
        labels: np.ndarray,
        instances: np.ndarray | None = None,
        *,
        style: np.ndarray | None = None,
        seed: int = 0,
        sample: int = 0,
        truncation: float = 1.0,
        batch_size: int = BATCH_SIZE,
    ) -> np.ndarray:
        """Sample an image for each label map.

        Args:
          labels: [N, H, W] class ids, or for condition "rgb" [N, H, W, 3] uint8; without N: one
            map. H and W: multiples of the model's total upsampling; the training size if the model
            has a style encoder.
          instances: Instance ids in the shape of the label maps; needed exactly if the model was
            trained with instance edges.
          style: Latents [N, latent_dim], see `encode`; [latent_dim] or [1, latent_dim] for all
            maps; None: random, from (seed, sample, index of the map).
          seed: With `sample`, names a random style.
          sample: See `seed`.
          truncation: Scale of random styles in [0, 1]; smaller: closer to the mean style.
          batch_size: Maps sampled at a time; smaller groups, but not single maps, are padded to it.

        Returns:
          [N, H, W, 3] uint8; [H, W, 3] for one map.

        Raises:
          UserError: Ids are out of range, the size is illegal, or the model does not take these
            instances or styles.
        """
        labels = np.asarray(labels)
        instances = None if instances is None else np.asarray(instances)
        if labels.ndim == self._map_rank:
            labels, instances = labels[None], None if instances is None else instances[None]
            options: Any = dict(seed=seed, sample=sample, truncation=truncation)
            return self(labels, instances, style=style, batch_size=batch_size, **options)[0]
        self._check(labels, instances, style, truncation)
        if not len(labels):
            return np.zeros((*labels.shape[:3], 3), np.uint8)
        if style is None and self.latent_dim is not None:
            indices = np.arange(len(labels))
            style = random_styles(self.latent_dim, seed, sample, indices, truncation)
        if style is not None:
            style = np.asarray(style, np.float32)
            style = np.broadcast_to(style, (len(labels), style.shape[-1]))
        sampler = functools.partial(
            jitted.sample, self.config, self.use_batch_statistics, False, self._variables
        )
        return jitted.in_batches(sampler, (labels, instances, style), batch_size)

    def prepare(self, labels: np.ndarray, instances: np.ndarray | None = None) -> PreparedMap:
        """Prepare one label map [H, W] for sampling in many styles.

        What does not depend on the style is computed once. See `__call__` for arguments and errors.
        """
        labels = np.asarray(labels)
        if labels.ndim != self._map_rank:
            raise UserError(
                f'label maps of shape {labels.shape}, but one map is prepared at a time',
                'give one of them, for example labels[0]',
            )
        labels = labels[None]
        instances = None if instances is None else np.asarray(instances)[None]
        self._check(labels, instances, None, 1.0)
        if self.latent_dim is None:
            raise UserError(NO_STYLE, 'call the generator itself')
        if self.use_batch_statistics:
            raise UserError(
                'a map cannot be prepared for normalization by the statistics of a batch',
                'prepare it with the generator that uses running statistics',
            )
        cache = jitted.prepare(self.config, self._variables, labels, instances)
        name = self._model.sampling_networks[0]
        variables = self._variables | {name: self._variables[name] | cache}
        return PreparedMap(self.config, variables, labels, instances)

    def encode(self, images: np.ndarray, *, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """The mean styles [N, latent_dim] of images.

        Args:
          images: [N, H, W, 3] uint8 of any size (they are resized smoothly to the training size, as
            in training, because the encoder itself would subsample them); [H, W, 3]: one image.
          batch_size: Images encoded at a time.

        Returns:
          [N, latent_dim]; [latent_dim] of one image.

        Raises:
          UserError: The model has no encoder, or these are no images.
        """
        if not self._model.can_encode:
            raise UserError(f'{NO_STYLE}, so it cannot encode an image', NO_STYLE_REMEDY)
        images = np.asarray(images)
        is_image = images.ndim in (3, 4) and images.shape[-1] == 3
        if images.dtype != np.uint8 or not is_image or not images.size:
            raise UserError(
                f'images of shape {images.shape} and type {images.dtype}',
                'give [N, H, W, 3] or [H, W, 3] uint8',
            )
        if images.ndim == 3:
            return self.encode(images[None])[0]
        size = self.config.data.image_width, self.config.data.image_height
        images = np.stack([resize_image(image, size) for image in images])
        encoder = functools.partial(jitted.encode, self.config, self._variables)
        return jitted.in_batches(encoder, (images,), batch_size)

    def trace(
        self, labels: jax.Array, instances: jax.Array | None = None, style: jax.Array | None = None
    ) -> jax.Array:
        """Sample inside a traced program that contains the parameters, such as an exported one.

        A whole batch at a time and without checks; the program may run on any platform.

        Args:
          labels: [B, H, W] ids, or [B, H, W, 3] uint8.
          instances: As `labels`.
          style: [B, latent_dim].

        Returns:
          [B, H, W, 3] uint8.
        """
        # Behind the barrier the parameters are not constants: XLA would fold some of them at
        # compile time, which rounds differently.
        barrier = jax.lax.optimization_barrier
        variables = {name: barrier(network) for name, network in self._variables.items()}
        return jitted.sample(
            self.config, self.use_batch_statistics, True, variables, labels, instances, style
        )

    def with_batch_statistics(self) -> TrainedGenerator:
        """The same generator, normalizing by the statistics of the maps sampled together."""
        return TrainedGenerator(self.config, self._variables, use_batch_statistics=True)

    def recalibrated(self, batches: Iterable[LabelBatch]) -> TrainedGenerator:
        """The same generator with running statistics recomputed over some batches.

        For weights that they do not belong to, such as an EMA, or for label maps unlike those of
        the training.

        Args:
          batches: (labels, instances, style) as a call takes them, of one length.

        Raises:
          UserError: The model has no running statistics, or there is no batch.
        """
        self._check_has_batch_statistics()
        taken = [jitted.batch_statistics(self.config, self._variables, *batch) for batch in batches]
        if not taken:
            raise UserError(
                'there are no label maps to compute statistics over', 'give at least one batch'
            )
        mean = jax.tree.map(lambda *leaves: sum(leaves) / len(taken), *taken)
        name = self._model.sampling_networks[0]
        network = self._variables[name] | {'batch_stats': mean}
        return TrainedGenerator(self.config, self._variables | {name: network})

    @property
    def _map_rank(self) -> int:
        return 2 if self.config.data.uses_labels else 3

    def _check_has_batch_statistics(self) -> None:
        if 'batch_stats' not in self._variables[self._model.sampling_networks[0]]:
            raise UserError(
                'this model normalizes each image by its own statistics',
                'it has no batch statistics to choose',
            )

    def _check(self, labels, instances, style, truncation) -> None:
        data = self.config.data
        if not data.uses_labels:
            if labels.ndim != 4 or labels.shape[-1] != 3 or labels.dtype != np.uint8:
                raise UserError(
                    f'condition images of shape {labels.shape} and type {labels.dtype}',
                    'give [N, H, W, 3] or [H, W, 3] uint8',
                )
        elif labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f'label maps of shape {labels.shape} and type {labels.dtype}',
                'give [N, H, W] or [H, W] integers',
            )
        check_size(self.config, *labels.shape[1:3])
        known = f'0..{data.num_classes - 1}' + ' and 255 ("unknown")' * data.dontcare
        for i, label in enumerate(labels):
            check_label_ids(label, data, f'label map {i}', f'renumber the ids to {known}')
        self._check_instances(labels, instances)
        check_truncation(truncation)
        if style is None:
            return
        if self.latent_dim is None:
            raise UserError(f'{NO_STYLE}, so it takes no style', NO_STYLE_REMEDY)
        dim = self.latent_dim
        if np.shape(style) not in ((len(labels), dim), (1, dim), (dim,)):
            raise UserError(
                f'a style of shape {np.shape(style)}',
                f'give ({len(labels)}, {dim}), or ({dim},) for one style',
            )

    def _check_instances(self, labels, instances) -> None:
        if (instances is not None) != self.config.data.instance_edges:
            if instances is None:
                raise UserError(
                    'this model was trained with instance edges',
                    'give instances, one map for each label map',
                )
            raise UserError(
                'this model was trained without instance edges', 'leave the instance maps out'
            )
        if instances is not None and np.shape(instances) != labels.shape:
            raise UserError(
                f'instance maps of shape {np.shape(instances)} for label maps of shape '
                f'{labels.shape}',
                'give one of the same size for each label map',
            )


class PreparedMap:
    """A label map with what does not depend on the style, made by `TrainedGenerator.prepare`.

    It holds gamma and beta of all SPADE layers on the device, 5 kB a pixel at the published width.
    """

    def __init__(self, config: Config, variables, labels, instances):
        # The map enters only through the cache among the variables.
        self._sampler = functools.partial(
            jitted.sample, config, False, False, variables, labels, instances
        )
        self._latent_dim = build_model(config).latent_dim or 0
        self._size = labels.shape[1:3]

    def __call__(
        self,
        style: np.ndarray | None = None,
        *,
        seed: int = 0,
        sample: int = 0,
        truncation: float = 1.0,
        batch_size: int = BATCH_SIZE,
    ) -> np.ndarray:
        """Sample the map in some styles.

        Args:
          style: [N, latent_dim], or [latent_dim] for one image; None: the random style of (seed,
            sample), see `TrainedGenerator.__call__`.
          seed: See `style`.
          sample: See `style`.
          truncation: Of the random style.
          batch_size: Images sampled at a time.

        Returns:
          [N, H, W, 3] uint8; [H, W, 3] for one style: what the generator samples from the map in
          these styles, up to rounding.

        Raises:
          UserError: The style has another shape.
        """
        dim = self._latent_dim
        if style is None:
            check_truncation(truncation)
            style = random_styles(dim, seed, sample, np.arange(1), truncation)[0]
        style = np.asarray(style, np.float32)
        if style.ndim not in (1, 2) or style.shape[-1] != dim:
            raise UserError(
                f'styles of shape {style.shape}', f'give [N, {dim}], or [{dim}] for one style'
            )
        if style.ndim == 1:
            return self(style[None], batch_size=batch_size)[0]
        if not len(style):
            return np.zeros((0, *self._size, 3), np.uint8)
        return jitted.in_batches(self._sampler, (style,), batch_size)


def check_size(config: Config, height: int, width: int) -> None:
    """Raises UserError, with the nearest legal sizes, when the model cannot sample this size."""
    data, multiple = config.data, config.model.size_multiple
    training_size = f'{data.image_width}x{data.image_height}'
    is_training_size = (height, width) == (data.image_height, data.image_width)
    if build_model(config).size_is_fixed and not is_training_size:
        raise UserError(
            f'a label map of {width}x{height}, but a model with style encoder samples at its '
            f'training size {training_size} only',
            'resize it to that size',
        )
    for name, size in (('width', width), ('height', height)):
        if size % multiple or not size:
            raise UserError(
                f'a label map of {width}x{height}: its {name} is not divisible by {multiple} '
                f'({config.model.size_reason})',
                f'use {nearest_multiples(size, multiple)}, or the training size {training_size}',
            )
