"""A trained generator: NumPy label maps in, images out. Its Config is in the checkpoint.

generator = spade_jax.load('runs/quickstart')
images = generator(labels, seed=1)       # [N, H, W] class ids -> [N, H, W, 3] uint8
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

import jax
import numpy as np

from spade_jax.config.config import Config
from spade_jax.data.files.label_reader import check_label_ids
from spade_jax.data.pipeline.paired_transforms import resize_image
from spade_jax.errors import UserError
from spade_jax.models.model import Variables, build_model
from spade_jax.sampling import jitted
from spade_jax.sampling.sizes import check_size
from spade_jax.sampling.styles import random_styles

BATCH_SIZE = 4  # Larger batches are hardly faster and need more memory.
LabelBatch = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # labels, instances, style
NO_STYLE = 'this model has no style latent'
NO_STYLE_REMEDY = 'train one that has, such as SPADE with --style_encoder'
_IMAGES = '[N, H, W, 3] or [H, W, 3] uint8'


class TrainedGenerator:
    """A generator that samples images from NumPy label maps.

    Attributes:
      config: Of the run that trained it.
      latent_dim: Dimensions of the style latent; None if the model has none.
      use_batch_statistics: Normalize by the statistics of the maps that are sampled together.

    Args:
      config: See the attribute.
      variables: Of the sampling networks of the model, with the vectors of spectral norms or with
        kernels divided by them (`fold_spectral_norm`). They are put on the default device.
      use_batch_statistics: See the attribute.

    Raises:
      UserError: On construction, when the model has no batch statistics to use.
    """

    def __init__(
        self, config: Config, variables: Mapping[str, Variables], use_batch_statistics: bool = False
    ):
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
          instances: Instance ids [N, H, W], exactly if the model was trained with instance edges.
          style: Latents [N, latent_dim], see `encode`; [latent_dim] or [1, latent_dim] for all
            maps; None: random, from (seed, sample, index of the map).
          seed: Names a random style, with `sample`.
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
        if is_single := labels.ndim == self._map_rank:
            labels, instances = labels[None], _expanded(instances)
        self._check(labels, instances, style)
        if not len(labels):
            return np.zeros((*labels.shape[:3], 3), np.uint8)
        if style is None and self.latent_dim is not None:
            style = random_styles(self.latent_dim, seed, sample, np.arange(len(labels)), truncation)
        if style is not None:
            style = np.broadcast_to(np.float32(style), (len(labels), np.shape(style)[-1]))
        options = self.config, self.use_batch_statistics, False  # not portable
        sampler = functools.partial(jitted.sample, *options, self._variables)
        images = jitted.in_batches(sampler, (labels, instances, style), batch_size)
        return images[0] if is_single else images

    def prepare(self, labels: np.ndarray, instances: np.ndarray | None = None) -> PreparedMap:
        """Compute once what of a label map [H, W] does not depend on the style; see `__call__`."""
        labels = np.asarray(labels)
        if labels.ndim != self._map_rank:
            problem = f'label maps of shape {labels.shape}, but one map is prepared at a time'
            raise UserError(problem, 'give one of them, for example labels[0]')
        if self.latent_dim is None:
            raise UserError(NO_STYLE, 'call the generator itself')
        if self.use_batch_statistics:
            problem = 'a map cannot be prepared for normalization by the statistics of a batch'
            raise UserError(problem, 'prepare it with the generator that uses running statistics')
        labels, instances = labels[None], _expanded(instances)
        self._check(labels, instances)
        cache = jitted.prepare(self.config, self._variables, labels, instances)
        name = self._model.sampling_networks[0]
        variables = self._variables | {name: self._variables[name] | cache}
        return PreparedMap(self.config, variables, labels, instances)

    def encode(self, images: np.ndarray, *, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """The mean styles of images.

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
            problem = f'images of shape {images.shape} and type {images.dtype}'
            raise UserError(problem, f'give {_IMAGES}')
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

        See `__call__` for the shapes; nothing is checked. The program may run on any platform.
        """
        # Behind the barrier the parameters are not constants: XLA would fold some of them at
        # compile time, which rounds differently.
        variables = {
            name: jax.lax.optimization_barrier(network) for name, network in self._variables.items()
        }
        options = self.config, self.use_batch_statistics, True  # portable
        return jitted.sample(*options, variables, labels, instances, style)

    def with_batch_statistics(self) -> TrainedGenerator:
        """The same generator, normalizing by the statistics of the maps sampled together."""
        return TrainedGenerator(self.config, self._variables, use_batch_statistics=True)

    def recalibrated(self, batches: Iterable[LabelBatch]) -> TrainedGenerator:
        """The same generator with running statistics recomputed over some batches.

        For weights that have others, such as an EMA, or label maps unlike those of the training.

        Args:
          batches: (labels, instances, style) as a call takes them, of one length.

        Raises:
          UserError: The model has no running statistics, or there is no batch.
        """
        self._check_has_batch_statistics()
        found = [jitted.batch_statistics(self.config, self._variables, *batch) for batch in batches]
        if not found:
            problem = 'there are no label maps to compute statistics over'
            raise UserError(problem, 'give at least one batch')
        mean = jax.tree.map(lambda *leaves: sum(leaves) / len(found), *found)
        name = self._model.sampling_networks[0]
        network = self._variables[name] | {'batch_stats': mean}
        return TrainedGenerator(self.config, self._variables | {name: network})

    @property
    def _map_rank(self) -> int:
        return 2 if self.config.data.uses_labels else 3

    def _check_has_batch_statistics(self) -> None:
        if 'batch_stats' not in self._variables[self._model.sampling_networks[0]]:
            problem = 'this model normalizes each image by its own statistics'
            raise UserError(problem, 'it has no batch statistics to choose')

    def _check(self, labels, instances, style=None) -> None:
        data = self.config.data
        dtype, channels, expected = np.uint8, (3,), _IMAGES
        if data.uses_labels:
            dtype, channels, expected = np.integer, (), '[N, H, W] or [H, W] integers'
        has_rank = labels.ndim == self._map_rank + 1 and labels.shape[3:] == channels
        if not has_rank or not np.issubdtype(labels.dtype, dtype):
            problem = f'label maps of shape {labels.shape} and type {labels.dtype}'
            raise UserError(problem, f'give {expected}')
        check_size(self.config, *labels.shape[1:3])
        known = f'0..{data.num_classes - 1}' + ' and 255 ("unknown")' * data.dontcare
        for i, label in enumerate(labels):
            check_label_ids(label, data, f'label map {i}', f'renumber the ids to {known}')
        if instances is not None and not data.instance_edges:
            problem = 'this model was trained without instance edges'
            raise UserError(problem, 'leave the instance maps out')
        shape = None if instances is None else np.shape(instances)
        if data.instance_edges and shape != labels.shape:
            problem = f'instance maps of shape {shape}, but the model has instance edges'
            raise UserError(problem, f'give instance maps of shape {labels.shape}')
        dim = self.latent_dim
        if style is not None and dim is None:
            raise UserError(f'{NO_STYLE}, so it takes no style', NO_STYLE_REMEDY)
        if style is not None and np.shape(style) not in ((len(labels), dim), (1, dim), (dim,)):
            remedy = f'give ({len(labels)}, {dim}), or ({dim},) for one style'
            raise UserError(f'a style of shape {np.shape(style)}', remedy)


class PreparedMap:
    """A label map with what does not depend on the style, made by `TrainedGenerator.prepare`.

    It holds gamma and beta of all SPADE layers on the device, 5 kB a pixel at the published width.
    """

    def __init__(self, config: Config, variables, labels, instances):
        # The map enters only through the cache among the variables.
        options = config, False, False  # running statistics, not portable
        self._sampler = functools.partial(jitted.sample, *options, variables, labels, instances)
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
        """Sample images [N, H, W, 3] of the map in styles [N, latent_dim].

        One style [latent_dim], or the random style of (seed, sample), gives one image [H, W, 3].
        See `TrainedGenerator.__call__` for the arguments and errors; its images are the same up to
        rounding.
        """
        dim = self._latent_dim
        if style is None:
            style = random_styles(dim, seed, sample, np.arange(1), truncation)[0]
        style = np.asarray(style, np.float32)
        if style.ndim not in (1, 2) or style.shape[-1] != dim:
            remedy = f'give [N, {dim}], or [{dim}] for one style'
            raise UserError(f'styles of shape {style.shape}', remedy)
        if style.ndim == 1:
            return self(style[None], batch_size=batch_size)[0]
        if not len(style):
            return np.zeros((0, *self._size, 3), np.uint8)
        return jitted.in_batches(self._sampler, (style,), batch_size)


def _expanded(array: np.ndarray | None) -> np.ndarray | None:
    """The array with an axis of one map in front."""
    return None if array is None else np.asarray(array)[None]
