"""A trained generator: NumPy label maps in, images out. Its Config is in the checkpoint.

generator = spade_jax.load('runs/quickstart')
images = generator(labels, seed=1)       # [N, H, W] class ids -> [N, H, W, 3] uint8
images = generator(num=16, seed=1)       # of a model without condition
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spade_jax.config.config import Config
from spade_jax.data.files.palette import NO_CLASSES, classes_of, colorize_input
from spade_jax.data.pipeline.paired_transforms import resize_image
from spade_jax.errors import UserError
from spade_jax.forking import check_not_forked
from spade_jax.models.model import Variables, build_model
from spade_jax.sampling import arguments, jitted, label_files
from spade_jax.sampling.arguments import NO_STYLE, NO_STYLE_REMEDY, whole_number
from spade_jax.sampling.feature_clusters import FeatureClusters, Rows, cluster, rows_of_image
from spade_jax.sampling.image_row import Color, colors_of
from spade_jax.sampling.jitted import BATCH_SIZE
from spade_jax.sampling.prepared_map import PreparedMap
from spade_jax.sampling.sizes import NATIVE, TRAINING
from spade_jax.sampling.styles import check_random, interpolate, random_styles

LabelBatch = tuple[np.ndarray, np.ndarray | None, np.ndarray | None]  # labels, instances, style
Array = np.ndarray | Sequence[Any]  # An array, or a list that NumPy can stack.


class TrainedGenerator:
    """A generator that samples images from NumPy label maps.

    Attributes:
      config: Of the run that trained it.
      step: Of the checkpoint; None if it is not from one.
      latent_dim: Dimensions of the style latent; None if the model has none.
      classes: Names and colors [num_classes, 3] uint8 of the class ids; empty for condition "rgb".
      use_batch_statistics: Normalize by the statistics of the maps that are sampled together.
      clusters: Of the features of the training images, if the latent is a table of features by
        class; None before the end of the training, when random styles are tables of zeros.

    Args:
      config: See the attribute.
      variables: Of the sampling networks of the model, with the vectors of spectral norms or with
        kernels divided by them (`fold_spectral_norm`). They are put on the devices.
      use_batch_statistics: See the attribute.
      step: See the attribute.
      devices: They share the maps of a batch; default: the default device.
      clusters: See the attribute.

    Raises:
      UserError: On construction, when the model has no batch statistics to use.
    """

    def __init__(
        self,
        config: Config,
        variables: Mapping[str, Variables],
        use_batch_statistics: bool = False,
        step: int | None = None,
        devices: Sequence[Any] = (),
        clusters: FeatureClusters | None = None,
    ):
        self.config, self.step, self.use_batch_statistics = config, step, use_batch_statistics
        self._model = build_model(config)
        self.latent_dim = self._model.latent_dim
        if config.model.feature_table and clusters is None:
            clusters = cluster([], config)
        self.clusters = clusters
        self.classes = classes_of(config.data) if config.data.uses_labels else NO_CLASSES
        self._devices, options = devices, (config, use_batch_statistics)
        self._sampler, placement = functools.partial(jitted.sample, *options, False), None
        if len(devices) > 1:
            mesh = Mesh(np.asarray(devices), ('maps',))
            self._sampler = functools.partial(jitted.sample_on_devices, *options, mesh)
            placement = NamedSharding(mesh, PartitionSpec())
        self._variables: dict[str, Variables] = jax.device_put(dict(variables), placement)
        if use_batch_statistics:
            self._check_has_batch_statistics()

    def __repr__(self) -> str:
        data = self.config.data
        fields = {
            'model': self.config.model.name,
            'size': f'{data.image_width}x{data.image_height}',
            'classes': len(self.classes.names) or data.condition,
            'latent_dim': self.latent_dim,
            'step': self.step,
        }
        return f'TrainedGenerator({", ".join(f"{name}={fields[name]}" for name in fields)})'

    def __call__(
        self,
        labels: Array | None = None,
        instances: Array | None = None,
        *,
        num: int | None = None,
        style: Array | None = None,
        seed: int = 0,
        sample: int = 0,
        truncation: float = 1.0,
        size: str | tuple[int, int] = NATIVE,
        batch_size: int = BATCH_SIZE,
    ) -> np.ndarray:
        """Sample an image for each label map, or `num` images if the model has no condition.

        Args:
          labels: [N, H, W] class ids, or for condition "rgb" [N, H, W, 3] uint8; without N: one
            map. A list of maps and ids [..., H, W, 1] are the same. H and W: multiples of the
            model's total upsampling; the training size if the generator starts from a latent.
          instances: Instance ids [N, H, W], exactly if the model was trained with instance edges.
          num: Number of images of a model without condition, instead of label maps; None: one.
          style: Latents [N, latent_dim], see `encode`; [latent_dim] or [1, latent_dim] for all
            maps; None: random, from (seed, sample, index of the map). Seed, sample and truncation
            are for random styles only.
          seed: Names a random style, with `sample`; 0 to 2**32 - 1.
          sample: With `seed`; 0 to 2**31 - 1.
          truncation: Scale of random styles in [0, 1]; smaller: closer to the mean style.
          size: "native": the maps keep their sizes. Other values resize them, see `resize`.
          batch_size: Maps sampled at a time, over all devices; smaller groups, but not single maps,
            are padded to it or to a power of two.

        Returns:
          [N, H, W, 3] uint8; [H, W, 3] for one map, or without maps and `num`.

        Raises:
          UserError: Ids are out of range, the size is illegal, the model does not take these
            instances or styles, or a number is out of range.
        """
        check_not_forked()
        batch_size = whole_number('batch_size', batch_size, 1)
        labels, instances = (self.resize(maps, size) for maps in (labels, instances))
        labels, instances, is_single = arguments.check_maps(self.config, labels, instances, num)
        latents = self._latents(style, len(labels), seed, sample, truncation)
        if not len(labels):
            return np.zeros((*labels.shape[:3], 3), np.uint8)
        sampler, maps = functools.partial(self._sampler, self._variables), (labels, instances)
        images = jitted.in_batches(sampler, (*maps, latents), batch_size, self.num_devices)
        return images[0] if is_single else images

    def prepare(self, labels: Array, instances: Array | None = None) -> PreparedMap:
        """Compute once what of a label map [H, W] does not depend on the style; see `__call__`."""
        check_not_forked()
        labels, instances, is_single = arguments.check_maps(self.config, labels, instances)
        if not is_single:
            problem = f'label maps of shape {labels.shape}, but one map is prepared at a time'
            raise UserError(problem, 'give one of them, for example labels[0]')
        if self.latent_dim is None:
            raise UserError(NO_STYLE, 'call the generator itself')
        if self.use_batch_statistics:
            problem = 'a map cannot be prepared for normalization by the statistics of a batch'
            raise UserError(problem, 'prepare it with the generator that uses running statistics')
        cache = jitted.prepare(self.config, self._variables, labels, instances)
        name = self._model.sampling_networks[0]
        variables = self._variables | {name: self._variables[name] | cache}
        return PreparedMap(self.config, variables, labels, instances, self.clusters, cache)

    def encode(
        self,
        images: Array,
        labels: Array | None = None,
        instances: Array | None = None,
        *,
        batch_size: int = BATCH_SIZE,
    ) -> np.ndarray:
        """The mean styles of images.

        Args:
          images: [N, H, W, 3] uint8 of any size (they are resized smoothly to the training size, as
            in training, because the encoder itself would subsample them), or a list of images, also
            of several sizes; [H, W, 3]: one image.
          labels: Their label maps, as `images`; needed if the latent is a table of features by
            class, else ignored.
          instances: Their instance maps, as `labels`.
          batch_size: Images encoded at a time.

        Returns:
          [N, latent_dim]; [latent_dim] of one image.

        Raises:
          UserError: The model has no encoder, or these are no images.
        """
        check_not_forked()
        if not self.config.model.can_encode:
            problem = NO_STYLE if self.latent_dim is None else 'this model has no style encoder'
            raise UserError(f'{problem}, so it cannot encode an image', NO_STYLE_REMEDY)
        batch_size = whole_number('batch_size', batch_size, 1)
        photos, is_single = arguments.check_images(images)
        size = self.config.data.image_width, self.config.data.image_height
        resized = np.stack([resize_image(photo, size) for photo in photos])
        maps = None, None
        if self.config.model.feature_table:
            maps = arguments.maps_of_images(self.config, labels, instances, len(photos))[:2]
        encoder = functools.partial(jitted.encode, self.config, self._variables)
        latents = jitted.in_batches(encoder, (resized, *maps), batch_size)
        return latents[0] if is_single else latents

    def features(
        self, image: np.ndarray, labels: np.ndarray, instances: np.ndarray | None = None
    ) -> Rows:
        """The features of the regions of one image, by class; see `encode` and `rows_of_image`."""
        check_not_forked()
        table, data = self.config.model.feature_table, self.config.data
        assert table is not None
        photos = resize_image(image, (data.image_width, data.image_height))[None]
        maps = arguments.maps_of_images(self.config, labels, instances, 1)[:2]
        features = jitted.region_features(self.config, self._variables, photos, *maps)
        regions = maps[1] if table.by_instance else maps[0]
        assert regions is not None
        return rows_of_image(np.asarray(features)[0], maps[0][0], regions[0])

    def interpolate(
        self, start: int | Array, end: int | Array, fractions: float | Array
    ) -> np.ndarray:
        """Styles between two styles.

        Args:
          start: A seed or a latent [latent_dim]. Between two seeds the way is a great circle, since
            nearly all random latents have the same norm; else a straight line.
          end: As `start`.
          fractions: Shares in [0, 1] of the way, [N] or one.

        Returns:
          [N, latent_dim], or [latent_dim] for one fraction.
        """
        check_not_forked()
        if self.latent_dim is None:
            raise UserError(NO_STYLE, NO_STYLE_REMEDY)
        dim, ends = self.latent_dim, (start, end)
        are_seeds = [not hasattr(end, '__len__') for end in ends]
        first, last = (
            random_styles(dim, end, 0, np.arange(1), clusters=self.clusters)[0]
            if is_seed
            else arguments.check_styles(end, 1, dim)[0]
            for end, is_seed in zip(ends, are_seeds, strict=True)
        )
        on_circle = all(are_seeds) and not self.clusters
        return interpolate(first, last, fractions, on_circle=on_circle)

    def resize(self, maps: Any, size: str | tuple[int, int] = TRAINING) -> Any:
        """Label maps, instance maps or images as `--mode=sample` resizes them.

        Args:
          maps: Ids [H, W], of which the nearest are taken, or images [H, W, 3] uint8, resized
            bicubically; or several of them, as an array or a list, also of several sizes. A
            warning names label maps of another shape than `size`.
          size: "training", "WIDTHxHEIGHT" or (width, height). "native" returns `maps` unchanged.

        Raises:
          UserError: The model cannot sample this size (the nearest legal ones are named), or these
            are no maps.
        """
        target = arguments.target_size(size, self.config)
        if target is None or maps is None:
            return maps
        return arguments.resize_maps(maps, target, self.config)

    def colorize(self, labels: np.ndarray) -> np.ndarray:
        """Label maps [..., H, W] in the colors of their classes, [..., H, W, 3] uint8."""
        return colorize_input(labels, self.config.data)

    def classes_in(self, labels: np.ndarray) -> dict[str, Color]:
        """Names and colors (red, green, blue) of the classes that occur in some label maps."""
        return colors_of(self.config.data, np.unique(labels))

    def read_labels(self, path: str, *, palette: str = '', label_remap: str = '') -> np.ndarray:
        """Read a file as training did: ids [H, W], or [H, W, 3] uint8 for condition "rgb".

        Args:
          path: A PNG file or another lossless format.
          palette: JSON file with the colors of the classes, for a color mask, see docs/data.md; or
            a table of the package such as 'gaugan', whose classes are those of the model by name.
          label_remap: Renumbers the ids, e.g. "7:0,8:1".

        Raises:
          UserError: The file cannot be read, or has ids or colors without a class.
        """
        return label_files.read_labels(self.config.data, path, palette, label_remap)

    def read_folder(
        self,
        label_dir: str,
        instance_dir: str = '',
        photo_dir: str = '',
        *,
        size: str | tuple[int, int] = TRAINING,
        most: int | None = None,
    ) -> Iterator[label_files.Scene]:
        """Read the label maps below a directory, with instance maps and photos of the same names.

        Args:
          label_dir: The label maps.
          instance_dir: The instance maps, if the model was trained with instance edges.
          photo_dir: The photos, if there are any; they keep their sizes.
          size: As that of `resize`.
          most: Read at most so many maps, evenly spaced.

        Raises:
          UserError: A file is missing or damaged, or has ids without a class.
        """
        target = arguments.target_size(size, self.config)
        folders = label_dir, instance_dir, photo_dir
        return label_files.read_folder(self.config, *folders, target, most)

    def trace(
        self,
        labels: jax.Array | None = None,
        instances: jax.Array | None = None,
        style: jax.Array | None = None,
    ) -> jax.Array:
        """Sample inside a traced program that contains the parameters, such as an exported one.

        See `__call__` for the shapes; nothing is checked. The program may run on any platform.
        """
        # Behind the barrier the parameters are not constants: XLA would fold some of them at
        # compile time, which rounds differently.
        variables = {
            name: jax.lax.optimization_barrier(network) for name, network in self._variables.items()
        }
        if labels is None and style is not None:  # A model without condition.
            size = self.config.data.image_height, self.config.data.image_width
            labels = jnp.zeros((style.shape[0], *size, 0), jnp.uint8)
        options = self.config, self.use_batch_statistics, True  # portable
        return jitted.sample(*options, variables, labels, instances, style)

    def fingerprint(self) -> str:
        """A digest of the model, its options and weights: what decides its images."""
        digest = hashlib.sha256(repr((self.config.model, self.use_batch_statistics)).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self._variables):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.asarray(leaf).tobytes())
        if self.clusters:
            digest.update(self.clusters.centers.tobytes())
        return digest.hexdigest()[:16]

    @property
    def num_devices(self) -> int:
        """The number of devices that share the maps of a batch."""
        return max(1, len(self._devices))

    def on_all_devices(self) -> TrainedGenerator:
        """The same generator, which shares the maps of a batch among the devices of the process."""
        return self._with(devices=jax.local_devices())

    def with_batch_statistics(self) -> TrainedGenerator:
        """The same generator, normalizing by the statistics of the maps sampled together."""
        return self._with(use_batch_statistics=True)

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
        variables = self._variables | {name: self._variables[name] | {'batch_stats': mean}}
        return self._with(variables=variables, use_batch_statistics=False)

    def _with(self, **changes: Any) -> TrainedGenerator:
        """The same generator with other arguments of the constructor."""
        kept = {name: getattr(self, name) for name in ('use_batch_statistics', 'step', 'clusters')}
        kept |= dict(config=self.config, variables=self._variables, devices=self._devices)
        return TrainedGenerator(**(kept | changes))

    def _latents(self, style, count, seed, sample=0, truncation=1.0) -> np.ndarray | None:
        """The styles of `count` maps, [count, latent_dim]; None if the model has none."""
        if style is not None:
            latents = arguments.check_styles(style, count, self.latent_dim)
            arguments.check_has_no_random(seed=seed, sample=sample, truncation=truncation)
            return latents
        if self.latent_dim is None:
            check_random(seed, sample, truncation)  # As with the models that use them.
            return None
        indices = np.arange(count)
        return random_styles(self.latent_dim, seed, sample, indices, truncation, self.clusters)

    def _check_has_batch_statistics(self) -> None:
        if 'batch_stats' not in self._variables[self._model.sampling_networks[0]]:
            problem = 'this model has no batch normalization'
            raise UserError(problem, 'it has no batch statistics to choose')
