"""Prepared records: examples that are decoded, checked and scaled already, read by random access.

`data/builders/records.py` writes them. Their directory is a data set in the form of TFDS (shards, dataset_info.json, features.json), with two more things:

    examples.json   what the records were made from and the name of each, see `Manifest`; written last, so that with it everything is there
    incomplete/     what an unfinished preparation needs to go on

A record is a tf.train.Example. The photograph is stored as plain bytes, which cost nothing to decode; maps of ids as zlib, which makes them 50 times smaller.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import label_dtype
from spade_jax.data.pipeline.paired_transforms import Example, Geometry, max_crop_offset, scaled_size
from spade_jax.errors import UserError

FORMAT = 1  # To be raised with every change of what the records hold: those of another format are refused.
MANIFEST = 'examples.json'
PROGRESS = 'incomplete'

# The fields of DataConfig that decide what is in the records, and no paths: records may be read where the files that they came from are not.
_DECIDING_FIELDS = (
    'dataset',
    'train_list',
    'validation_list',
    'scenes_train_examples',
    'tfds_name',
    'tfds_train_split',
    'tfds_validation_split',
    'tfds_image_feature',
    'tfds_label_feature',
    'tfds_instance_feature',
    'condition',
    'num_classes',
    'dontcare',
    'palette',
    'label_remap',
    'preprocess_mode',
    'load_size',
)
_LONGEST_VALUE = 60  # characters of a value in a message


class Shard(NamedTuple):
    """One file of records. size: in bytes."""

    file: str
    examples: int
    size: int


@dataclasses.dataclass(frozen=True)
class Split:
    """The records of a split, shard after shard in the order of the source.

    Attributes:
      shards: the files.
      smallest, largest: of all examples, the least and the greatest width and height; None where there are no examples.
      names, locations: of each example, as the source had them.
      skipped: location and defect of the examples that were left out.
      states: of each example of the source by name, what its files were like, see `Identity.digests`; empty where it has none, and in older records.
    """

    shards: Sequence[Shard]
    smallest: Sequence[int] | None
    largest: Sequence[int] | None
    names: Sequence[str]
    locations: Sequence[str]
    skipped: Sequence[tuple[str, str]]
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a directory of prepared records holds.

    Attributes:
      settings: `settings_of` the DataConfig.
      sources: by split, the summary of what identifies its source.
      instance_dtype: of the instance maps in the records, 'uint16' or 'int32'.
      splits: by name, those that there are.
    """

    settings: Mapping[str, Any]
    sources: Mapping[str, Any]
    instance_dtype: str
    splits: Mapping[str, Split]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Manifest:
        splits = {
            name: Split(**{**split, 'shards': [Shard(*shard) for shard in split['shards']]})
            for name, split in content['splits'].items()
        }
        return cls(**{**content, 'splits': splits})


class RecordSource:
    """The prepared records of a split. Reading is safe from several threads.

    Args:
      directory: where they lie.
      manifest: what is there.
      split: the name of one that is.
      config: with the settings that they were prepared with.
    """

    already_scaled = True

    def __init__(self, directory: str, manifest: Manifest, split: str, config: DataConfig):
        from array_record.python.array_record_data_source import ArrayRecordDataSource
        from tensorflow_datasets.proto import tf_example_pb2  # which does without TensorFlow

        self.names, self.locations, shards = (
            manifest.splits[split].names,
            manifest.splits[split].locations,
            manifest.splits[split].shards,
        )
        self._paths = [os.path.join(directory, shard.file) for shard in shards]
        self._ends = list(itertools.accumulate(shard.examples for shard in shards))
        self._records = ArrayRecordDataSource(
            [
                _FileInstruction(path, 0, shard.examples, shard.examples)
                for path, shard in zip(self._paths, shards)
            ]
        )
        self._parse = tf_example_pb2.Example.FromString
        self._label_dtype, self._instance_dtype = (
            label_dtype(config),
            np.dtype(manifest.instance_dtype),
        )
        self._takes_pictures, self._instance_edges = (
            config.condition == 'rgb',
            config.instance_edges,
        )

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Example:
        try:
            features = self._parse(self._records[index]).features.feature
            label = _pixels(
                features, 'label', self._label_dtype, compressed=not self._takes_pictures
            )
            instance = (
                _pixels(features, 'instance', self._instance_dtype, compressed=True)
                if self._instance_edges
                else None
            )
            return Example(
                _pixels(features, 'image', np.dtype(np.uint8), compressed=False), label, instance
            )
        except Exception as error:  # of many kinds: from ArrayRecord, which has checksums, the protocol buffer, zlib, NumPy
            path = self._paths[bisect.bisect_right(self._ends, index)]
            raise UserError(
                f'{path}: the record of {self.locations[index]} is damaged ({_one_line(error)})',
                'remove the directory and prepare it anew with --mode=prepare_data',
            ) from error

    def read_maps(self, index: int) -> Example:
        return self.read(index)._replace(image=None)


def open_records(config: DataConfig, split: str) -> RecordSource | None:
    """The prepared records of a split, 'train' or 'validation', in `config.records_dir`; None where they were prepared without validation.

    Raises:
      UserError: when there are none, when their preparation was not finished, when they were prepared with settings that give other pixels, or when a file is
        missing or not whole.
    """
    directory = os.path.expanduser(config.records_dir)
    manifest = read_manifest(directory)
    if manifest is None:
        raise _not_prepared(config.records_dir, directory)
    differing = differences(manifest.settings, settings_of(config))
    if differing:
        raise UserError(
            f'records_dir={config.records_dir} was prepared with other settings ({"; ".join(differing)})',
            'give the same flags, or prepare another --records_dir with --mode=prepare_data',
        )
    if split not in manifest.splits:
        _require_no_validation_flags(config)
        return None
    found = manifest.splits[split]
    require_whole(directory, manifest)
    geometry = Geometry.from_config(config).already_scaled()
    for size in filter(None, (found.smallest, found.largest)):
        max_crop_offset(geometry, *size)
    return RecordSource(directory, manifest, split, config)


def read_manifest(directory: str) -> Manifest | None:
    """What a directory of records holds; None where there are none that are complete.

    Raises:
      UserError: when it cannot be read.
    """
    content = read_json(os.path.join(directory, MANIFEST))
    if content is None:
        return None
    try:
        return Manifest.from_json(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f'{os.path.join(directory, MANIFEST)} is not what --mode=prepare_data writes',
            'choose another --records_dir',
        ) from error


def read_json(path: str) -> Any:
    """The content of a JSON file; None where there is none. Raises UserError when it cannot be read."""
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise UserError(
            f'{path} cannot be read ({getattr(error, "strerror", None) or error})',
            'remove the directory and prepare it anew',
        ) from error


def require_whole(directory: str, manifest: Manifest) -> None:
    """Raises UserError where a file of records is missing or has another size than it was written with."""
    remedy = 'copy the records anew, or remove the directory and prepare it again'
    for shard in itertools.chain.from_iterable(split.shards for split in manifest.splits.values()):
        path = os.path.join(directory, shard.file)
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise UserError(f'{path} cannot be read ({error.strerror})', remedy) from error
        if size != shard.size:
            raise UserError(f'{path} has {size} bytes instead of {shard.size}', remedy)


def settings_of(config: DataConfig) -> dict[str, Any]:
    """All of the DataConfig that decides which pixels are in the records, as JSON values."""
    geometry = Geometry.from_config(config)
    width, height = scaled_size(geometry, geometry.width, geometry.height)
    # Where the crop decides to what size pictures are scaled, it is in scaled_size; where it does not, records serve crops of any size that fits.
    return {
        'format': FORMAT,
        **{name: getattr(config, name) for name in _DECIDING_FIELDS},
        'scaled_size': f'{width}x{height}',
    }


def differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """The entries in which two settings differ, as `name: saved -> given`."""
    pairs = {name: (saved.get(name), given.get(name)) for name in [*saved, *given]}
    return [
        f'{name}: {_shown(one)} -> {"another" if _shown(other) == _shown(one) else _shown(other)}'
        for name, (one, other) in pairs.items()
        if one != other
    ]


class _FileInstruction(NamedTuple):
    """What ArrayRecord asks to know of a file, so that it need not open all of them at once."""

    filename: str
    skip: int
    take: int
    examples_in_shard: int


def _pixels(
    features: Mapping[str, Any], name: str, dtype: np.dtype, *, compressed: bool
) -> np.ndarray:
    """A feature that `tfds.features.Tensor` wrote, as `encoding` zlib or bytes. The array is read-only."""
    shape = tuple(features[f'{name}/shape'].int64_list.value)
    content = features[f'{name}/value'].bytes_list.value[0]
    if compressed:
        # Two to three times as fast as without the size, which TFDS does not give: the buffer need not grow.
        content = zlib.decompress(content, bufsize=max(1, math.prod(shape) * dtype.itemsize))
    return np.frombuffer(content, dtype).reshape(shape)


def _not_prepared(given: str, directory: str) -> UserError:
    if not os.path.isdir(os.path.join(directory, PROGRESS)):
        return UserError(
            f'records_dir={given} has no prepared records',
            'write them with --mode=prepare_data and the flags of this run, or leave --records_dir out',
        )
    return UserError(
        f'records_dir={given} is not complete: its preparation was interrupted or is still going on',
        'run --mode=prepare_data again, which goes on where it stopped',
    )


def _require_no_validation_flags(config: DataConfig) -> None:
    """Raises UserError where flags name validation pictures that the records, prepared without any, do not have."""
    default = DataConfig.__dataclass_fields__['validation_image_dir'].default
    if config.dataset == 'folders' and config.validation_image_dir not in ('', default):
        raise UserError(
            f'validation_image_dir={config.validation_image_dir}, but records_dir={config.records_dir} was prepared without validation pictures',
            'prepare another --records_dir with these flags, or leave --validation_image_dir out',
        )


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST_VALUE else f'{text[:_LONGEST_VALUE]}...'


def _one_line(error: Exception) -> str:
    return (' '.join(str(error).split()) or type(error).__name__)[:200]
