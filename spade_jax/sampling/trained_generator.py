"""A function that draws label maps. No flags of the model are needed: its Config is in the checkpoint.

generator = spade_jax.load('runs/quickstart')
pictures = generator(labels, seed=1)       # [N, H, W] class ids -> [N, H, W, 3] uint8
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.config.option import nearest_multiples
from spade_jax.data.files.label_reader import check_label_ids
from spade_jax.data.pipeline.paired_transforms import resize_image
from spade_jax.errors import UserError
from spade_jax.layers.normalization import MOMENTUM
from spade_jax.layers.spatially_adaptive_norm import MODULATIONS
from spade_jax.layers.spectral_norm import COLLECTION as SPECTRAL
from spade_jax.models.spade.model import build_networks, layout_of, to_signed, to_uint8
from spade_jax.models.spade.options import UPSAMPLINGS
from spade_jax.sampling.styles import check_truncation, random_styles

BATCH_SIZE = 4  # maps that are drawn at a time: larger ones are hardly faster, and need more memory


class TrainedGenerator:
    """A generator that draws NumPy label maps.

    Attributes:
      config: of the run that trained it.
      statistics_of_batch: normalise by the statistics of the maps that are drawn together, not by the running ones.
    """

    def __init__(
        self,
        config: Config,
        generator: dict[str, Any],
        encoder: dict[str, Any] | None = None,
        *,
        statistics_of_batch: bool = False,
    ):
        """generator, encoder: variables of the networks of `config`; the generator's with spectral norms or, see `folded`, without."""
        if statistics_of_batch:
            check_batch_statistics(config)
        self.config, self.statistics_of_batch = config, statistics_of_batch
        self._generator, self._encoder = jax.device_put((generator, encoder))

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
        """Draws label maps.

        Args:
          labels: [N, H, W] class ids, or for condition "rgb" [N, H, W, 3] uint8; without N: one map. N: any number. H and W: any multiples of
            2^upsamplings; with a style encoder the training size.
          instances: instance ids in the shape of the label maps; needed exactly if the model was trained with instance edges.
          style: [N, style_dim] latents, see `encode`, or [style_dim] or [1, style_dim] for all maps; None: drawn from (seed, sample, index of the map).
          seed, sample: two numbers that name a random style; the same ones give the same pictures.
          truncation: scale of the random styles in [0, 1]; less: nearer to the mean style, so less variety.
          batch_size: maps that are drawn at a time. Fewer are filled up to it, so that a size of the maps compiles once, but for a single map, which is drawn alone.

        Returns:
          [N, H, W, 3] uint8; [H, W, 3] for one map.

        Raises:
          UserError: on ids out of range, an illegal size, or instances or styles that the model does not take.
        """
        labels = np.asarray(labels)
        if labels.ndim == self._map_rank:
            instances = None if instances is None else np.asarray(instances)[None]
            return self(
                labels[None],
                instances,
                style=style,
                seed=seed,
                sample=sample,
                truncation=truncation,
                batch_size=batch_size,
            )[0]
        self._check(labels, instances, style, truncation)
        if not len(labels):
            return np.zeros((*labels.shape[:3], 3), np.uint8)
        if style is None and self.config.model.style_encoder:
            style = random_styles(
                self.config.model.style_dim, seed, sample, np.arange(len(labels)), truncation
            )
        if style is not None:
            style = np.broadcast_to(
                np.asarray(style, np.float32), (len(labels), self.config.model.style_dim)
            )
        drawn = functools.partial(_draw, self.config, self.statistics_of_batch, self._generator)
        return _in_groups(
            drawn, (labels, None if instances is None else np.asarray(instances), style), batch_size
        )

    def prepare(self, labels: np.ndarray, instances: np.ndarray | None = None) -> PreparedMap:
        """One label map [H, W], ready to be drawn in many styles: what does not depend on the style is computed here, once. See `__call__` for the arguments and errors."""
        labels = np.asarray(labels)
        if labels.ndim != self._map_rank:
            raise UserError(
                f'label maps of shape {labels.shape}, but one map is prepared at a time',
                'give one of them, for example labels[0]',
            )
        labels, instances = labels[None], None if instances is None else np.asarray(instances)[None]
        self._check(labels, instances, None, 1.0)
        if not self.config.model.style_encoder:
            raise UserError(
                'this model has no style encoder and draws a map in one way only',
                'call the generator itself',
            )
        if self.statistics_of_batch:
            raise UserError(
                'a map that is normalised by the statistics of those drawn with it cannot be prepared alone',
                'prepare it with the generator that uses running statistics',
            )
        modulations = _modulations(self.config, self._generator, labels, instances)
        return PreparedMap(
            self.config, self._generator | {MODULATIONS: modulations}, labels, instances
        )

    def encode(self, images: np.ndarray, *, batch_size: int = BATCH_SIZE) -> np.ndarray:
        """The mean style [N, style_dim] of pictures [N, H, W, 3] uint8; [style_dim] of one picture [H, W, 3].

        Pictures of any size: they are brought to the training size first, smoothly as in training, for the encoder itself takes single pixels of larger ones.
        """
        if self._encoder is None:
            raise UserError(
                "this model has no style encoder, so a picture's style means nothing to it; train one with style_encoder=True"
            )
        images = np.asarray(images)
        if (
            images.dtype != np.uint8
            or images.ndim not in (3, 4)
            or images.shape[-1] != 3
            or not images.size
        ):
            raise UserError(
                f'pictures of shape {images.shape} and type {images.dtype}; give [N, H, W, 3] or [H, W, 3] uint8'
            )
        if images.ndim == 3:
            return self.encode(images[None])[0]
        images = np.stack(
            [
                resize_image(image, (self.config.data.image_width, self.config.data.image_height))
                for image in images
            ]
        )
        return _in_groups(
            functools.partial(_encode, self.config, self._encoder), (images,), batch_size
        )

    def draw(
        self, labels: jax.Array, instances: jax.Array | None = None, style: jax.Array | None = None
    ) -> jax.Array:
        """For tracing, into a program that contains the parameters: a whole batch at a time and without checks, [B, H, W] ids -> [B, H, W, 3] uint8."""
        # Behind the barrier the parameters are no constants: XLA would compute with some of them while it compiles, to other bits than those of a call.
        arguments = jax.lax.optimization_barrier(self._generator), labels, instances, style

        def form(label_conv):
            return functools.partial(
                _draw, self.config.replace(label_conv=label_conv), self.statistics_of_batch
            )

        if self.config.model.label_conv != 'auto' or not can_number_layouts(self.config):
            return form(self.config.model.label_conv)(*arguments)
        return jax.lax.platform_dependent(
            *arguments, cpu=form('neighbourhoods'), default=form('everywhere')
        )  # the program may be for several platforms

    def with_statistics_of_batch(self) -> TrainedGenerator:
        """The same generator, normalising by the statistics of the maps that are drawn together."""
        return TrainedGenerator(
            self.config, self._generator, self._encoder, statistics_of_batch=True
        )

    def recalibrated(
        self, batches: Iterable[tuple[np.ndarray, np.ndarray | None, np.ndarray | None]]
    ) -> TrainedGenerator:
        """The same generator, with running statistics that are the mean of those of some batches: for weights that they do not belong to, such as averaged ones,
        or for label maps of another kind than those of the training.

        Args:
          batches: (labels, instances, style) as a call takes them, of one length.

        Raises:
          UserError: the model has no running statistics, or there is no batch.
        """
        check_batch_statistics(self.config)
        taken = [_statistics(self.config, self._generator, *batch) for batch in batches]
        if not taken:
            raise UserError(
                'there are no label maps to take statistics over', 'give at least one batch'
            )
        statistics = jax.tree.map(lambda *leaves: sum(leaves) / len(taken), *taken)
        return TrainedGenerator(
            self.config, self._generator | {'batch_stats': statistics}, self._encoder
        )

    @property
    def _map_rank(self) -> int:
        return 3 if self.config.data.condition == 'rgb' else 2

    def _check(self, labels, instances, style, truncation):
        config = self.config
        if config.data.condition == 'rgb':
            if labels.ndim != 4 or labels.shape[-1] != 3 or labels.dtype != np.uint8:
                raise UserError(
                    f'condition pictures of shape {labels.shape} and type {labels.dtype}',
                    'give [N, H, W, 3] or [H, W, 3] uint8',
                )
        elif labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
            raise UserError(
                f'label maps of shape {labels.shape} and type {labels.dtype}',
                'give [N, H, W] or [H, W] integers',
            )
        check_size(config, *labels.shape[1:3])
        for i, label in enumerate(labels):
            check_label_ids(
                label,
                config.data,
                f'label map {i}',
                f'renumber the ids: the model knows 0..{config.data.num_classes - 1}'
                + (' and 255, "unknown"' if config.data.dontcare else ''),
            )
        if (instances is not None) != config.data.instance_edges:
            raise UserError(
                'this model was trained with instance edges: give instances, one map for each label map'
                if config.data.instance_edges
                else 'this model was trained without instance edges: it takes no instance maps'
            )
        if instances is not None and np.shape(instances) != labels.shape:
            raise UserError(
                f'instance maps of shape {np.shape(instances)} for label maps of shape {labels.shape}; give one of the same size for each'
            )
        check_truncation(truncation)
        if style is None:
            return
        if not config.model.style_encoder:
            raise UserError(
                'this model has no style encoder, so it takes no style; train one with style_encoder=True'
            )
        if np.shape(style) not in (
            (len(labels), config.model.style_dim),
            (1, config.model.style_dim),
            (config.model.style_dim,),
        ):
            raise UserError(
                f'a style of shape {np.shape(style)}; give ({len(labels)}, {config.model.style_dim}), or ({config.model.style_dim},) for one style'
            )


class PreparedMap:
    """A label map with gamma and beta of all its SPADE layers, made by `TrainedGenerator.prepare`. It holds them on the device: 5 kB a pixel for the published width."""

    def __init__(
        self,
        config: Config,
        variables: dict[str, Any],
        labels: np.ndarray,
        instances: np.ndarray | None,
    ):
        self._draw = functools.partial(
            _draw, config, False, variables, labels, instances
        )  # the map enters through the modulations among the variables alone
        self._style_dim, self._size = config.model.style_dim, labels.shape[1:3]

    def __call__(
        self,
        style: np.ndarray | None = None,
        *,
        seed: int = 0,
        sample: int = 0,
        truncation: float = 1.0,
        batch_size: int = BATCH_SIZE,
    ) -> np.ndarray:
        """Draws the map.

        Args:
          style: [N, style_dim] latents, or [style_dim] for one picture; None: the one of (seed, sample), see `TrainedGenerator.__call__`.
          batch_size: pictures that are drawn at a time.

        Returns:
          [N, H, W, 3] uint8; [H, W, 3] for one style. What the generator draws of the map in these styles, up to rounding.

        Raises:
          UserError: on a style of another shape.
        """
        if style is None:
            check_truncation(truncation)
            style = random_styles(self._style_dim, seed, sample, np.arange(1), truncation)[0]
        style = np.asarray(style, np.float32)
        if style.ndim not in (1, 2) or style.shape[-1] != self._style_dim:
            raise UserError(
                f'styles of shape {style.shape}',
                f'give [N, {self._style_dim}], or [{self._style_dim}] for one style',
            )
        if style.ndim == 1:
            return self(style[None], batch_size=batch_size)[0]
        if not len(style):
            return np.zeros((0, *self._size, 3), np.uint8)
        return _in_groups(self._draw, (style,), batch_size)


def _in_groups(
    function: Callable[..., jax.Array], arrays: tuple[np.ndarray | None, ...], size: int
) -> np.ndarray:
    """`function` of arrays [N, ...], at most `size` entries at a time. The first entries fill the last group up, so that it does not compile again."""
    count = len(arrays[0])
    size = 1 if count == 1 else size
    results = []
    for first in range(0, count, size):
        indices = np.arange(first, first + size) % count
        results.append(
            np.asarray(function(*(None if array is None else array[indices] for array in arrays)))[
                : count - first
            ]
        )
    return np.concatenate(results)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _draw(config, statistics_of_batch, variables, labels, instances, style):
    layout = layout_of(Batch(None, labels, instances), config)
    return to_uint8(
        _network(config, variables).apply(variables, layout, style, train=statistics_of_batch)
    )  # nothing moves: no collection is mutable


@functools.partial(jax.jit, static_argnums=0)
def _modulations(config, variables, labels, instances):
    """Gamma and beta of every SPADE layer; the rest of the generator is not computed."""
    layout = layout_of(Batch(None, labels, instances), config)
    style = jnp.zeros((1, config.model.style_dim))  # any one
    _, kept = _network(config, variables).apply(
        variables, layout, style, train=False, mutable=[MODULATIONS]
    )
    return kept[MODULATIONS]


@functools.partial(jax.jit, static_argnums=0)
def _statistics(config, variables, labels, instances, style):
    """Means and variances [C] of the activations of a batch, in the tree of the running ones."""
    layout = layout_of(Batch(None, labels, instances), config)
    forgotten = jax.tree.map(jnp.zeros_like, variables['batch_stats'])
    _, moved = _network(config, variables).apply(
        variables | {'batch_stats': forgotten}, layout, style, train=True, mutable=['batch_stats']
    )
    return jax.tree.map(lambda x: x / (1 - MOMENTUM), moved['batch_stats'])


def _network(config, variables):
    network = build_networks(config).generator
    return network if SPECTRAL in variables else network.clone(spectral_norm=False)


@functools.partial(jax.jit, static_argnums=0)
def _encode(config, variables, images):
    mean, _ = build_networks(config).encoder.apply(variables, to_signed(images), train=False)
    return mean


def check_batch_statistics(config: Config) -> None:
    """Raises UserError for a model that normalises every picture by itself."""
    if config.model.generator_norm == 'instance':
        raise UserError(
            'this model normalises every picture by its own statistics (generator_norm=instance)',
            'it has no batch statistics to choose',
        )


def check_size(config: Config, height: int, width: int) -> None:
    """Raises UserError, with the nearest legal sizes, when the generator cannot draw this size."""
    scale = 2 ** UPSAMPLINGS[config.model.upsampling]
    if config.model.style_encoder and (height, width) != (
        config.data.image_height,
        config.data.image_width,
    ):
        raise UserError(
            f'a label map of {width}x{height}, but a model with style encoder draws {config.data.image_width}x{config.data.image_height} alone, '
            'the size it was trained at',
            'scale it to that size',
        )
    for name, size in (('width', width), ('height', height)):
        if size % scale or not size:
            raise UserError(
                f'a label map of {width}x{height}: its {name} is not divisible by {scale} ({UPSAMPLINGS[config.model.upsampling]} upsamplings)',
                f'use {nearest_multiples(size, scale)}, or the training size, {config.data.image_width}x{config.data.image_height}',
            )
