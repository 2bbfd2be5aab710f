"""Read prepared records: examples that are decoded, checked and scaled, by random access.

A record is a tf.train.Example. The image is stored as plain bytes, which need no decoding; label
and instance maps are compressed with zlib, which makes them 50 times smaller.
"""

import bisect
import itertools
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import empty_condition, label_dtype
from spade_jax.data.pipeline.paired_transforms import Example, Geometry, max_crop_offset
from spade_jax.data.records.fingerprint import differences, settings_of
from spade_jax.data.records.manifest import INCOMPLETE, Manifest, read_manifest, require_complete
from spade_jax.errors import UserError, require_extra, user_errors

INSTANCE_DTYPE = np.dtype(np.uint16)


class RecordSource:
    """The prepared records of a split, read by index. Reading is safe from several threads."""

    already_scaled = True
    names: Sequence[str]
    locations: Sequence[str]

    def __init__(self, directory: str, manifest: Manifest, split: str, config: DataConfig):
        from array_record.python.array_record_data_source import ArrayRecordDataSource
        from tensorflow_datasets.proto import tf_example_pb2 as messages  # Without TensorFlow.

        found = manifest.splits[split]
        self.names, self.locations = found.names, found.locations
        self._paths = [os.path.join(directory, shard.file) for shard in found.shards]
        self._ends = list(itertools.accumulate(shard.examples for shard in found.shards))
        # Without the number of examples, it would open every file to count them.
        files = [f'{directory}/{shard.file}[0:{shard.examples}]' for shard in found.shards]
        self._records = ArrayRecordDataSource(files)
        self._parse = messages.Example.FromString  # pyright: ignore[reportAttributeAccessIssue]
        self._label_dtype = label_dtype(config)
        self._uses_labels, self._instance_edges = config.uses_labels, config.instance_edges
        self._unconditional = config.unconditional

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Example:
        """Read an example. Raises UserError if the record is damaged."""
        path = self._paths[bisect.bisect_right(self._ends, index)]
        problem = f'{path}: the record of {self.locations[index]} is damaged'
        # Of many types: ArrayRecord, which has checksums, the protocol buffer, zlib and NumPy.
        with user_errors(problem, 'remove the directory and prepare it again'):
            features = self._parse(self._records[index]).features.feature
            image = _pixels(features, 'image', np.dtype(np.uint8))
            if self._unconditional:
                return Example(image, empty_condition(*image.shape[1::-1]))
            label = _pixels(features, 'label', self._label_dtype, compressed=self._uses_labels)
            instance = None
            if self._instance_edges:
                instance = _pixels(features, 'instance', INSTANCE_DTYPE, compressed=True)
            return Example(image, label, instance)

    def read_maps(self, index: int) -> Example:
        """Read an example without its image."""
        return self.read(index)._replace(image=None)


def open_records(config: DataConfig, split: str) -> RecordSource | None:
    """Open a split of `config.records_dir`; None if it was prepared without validation examples.

    Raises:
      UserError: There are no complete records, or they were prepared with other settings.
    """
    directory, flag = os.path.expanduser(config.records_dir), f'records_dir={config.records_dir}'
    require_extra('train', flag)
    manifest = read_manifest(directory)
    if manifest is None and os.path.exists(os.path.join(directory, INCOMPLETE)):
        problem = f'{flag} is not complete: its preparation was interrupted or is still running'
        raise UserError(problem, 'run --mode=prepare_data again, which continues where it stopped')
    if manifest is None:
        remedy = 'write them with --mode=prepare_data and the flags of this run'
        raise UserError(f'{flag} has no prepared records', f'{remedy}, or leave --records_dir out')
    if changes := '; '.join(differences(manifest.settings, settings_of(config))):
        remedy = 'use the same flags, or prepare another --records_dir with --mode=prepare_data'
        raise UserError(f'{flag} was prepared with other settings ({changes})', remedy)
    if split not in manifest.splits:
        images = config.validation_image_dir
        if config.dataset == 'folders' and images not in ('', DataConfig.validation_image_dir):
            lack = f'{flag} was prepared without validation images'
            remedy = 'prepare another --records_dir, or leave --validation_image_dir out'
            raise UserError(f'validation_image_dir={images}, but {lack}', remedy)
        return None
    require_complete(directory, manifest)
    geometry = Geometry.from_config(config, prescaled=True)
    for size in (manifest.splits[split].smallest, manifest.splits[split].largest):
        max_crop_offset(geometry, *size)
    return RecordSource(directory, manifest, split, config)


def _pixels(
    features: Mapping[str, Any], name: str, dtype: np.dtype, *, compressed: bool = False
) -> np.ndarray:
    """A feature that `tfds.features.Tensor` wrote with encoding zlib or bytes; read-only."""
    shape = tuple(features[f'{name}/shape'].int64_list.value)
    content = features[f'{name}/value'].bytes_list.value[0]
    if compressed:
        # The shape bounds the memory; one byte more shows that the record holds too much.
        size = math.prod(shape) * dtype.itemsize
        content = zlib.decompressobj().decompress(content, size + 1)
    return np.frombuffer(content, dtype).reshape(shape)
