"""Any data set of TensorFlow Datasets that has images and segmentations."""

import contextlib
import functools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import NamedContent, read_instances
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.pipeline.tensorflow_cpu import import_tensorflow
from spade_jax.data.sources.source import DatasetSource
from spade_jax.errors import UserError, user_errors
from spade_jax.files.run_lock import exclusive_lock

_ID_DTYPES = (np.uint8, np.uint16, np.int32)
_FEATURES: Any = tfds.features  # Its type stubs narrow too much.
_CATALOG = 'https://www.tensorflow.org/datasets/catalog'
LOCK = '.prepare.lock'
_Test = Callable[[Any], bool]  # Of a feature.


class _Tensor:
    """A map of ids [H, W] (uint8, uint16, int32) stored as numbers; `str()` is its location."""

    def __init__(self, values: Any, location: str):
        ids = np.asarray(values)
        if ids.ndim == 3 and ids.shape[-1] == 1:
            ids = ids[..., 0]
        if ids.ndim != 2 or ids.size == 0:
            problem = f'{location}: an array of the shape {list(ids.shape)} is no label map'
            raise UserError(problem, 'use a feature of the shape [H, W] or [H, W, 1]')
        self.ids, self._location = ids, location
        if ids.dtype not in _ID_DTYPES:
            self.ids = ids.astype(np.uint8 if ids.dtype == bool else np.int32)
            if (big := ids[self.ids != ids]).size:
                raise UserError(f'{location}: id {big[0]} does not fit 32 bits', 'store other ids')

    def __str__(self) -> str:
        return self._location


class _Contents(NamedTuple):
    photo: NamedContent
    label: NamedContent | _Tensor
    instance: NamedContent | _Tensor | None = None


class TfdsSource(DatasetSource):
    """The examples of a TFDS split, in the order of its records.

    The data set is downloaded and prepared if needed; a prepared one is read with or without the
    code that made it. Images are decoded here, not by TFDS, as strictly as files.
    """

    def __init__(self, config: DataConfig, split: str):
        import_tensorflow()
        with quiet_logging():
            builder = _prepared_builder(config)
            features = dict(sorted(_flat_features(builder.info.features)))
            self._chosen = _chosen_features(builder.name, features, config)
            tfds_split = getattr(config, f'tfds_{split}_split')
            self._records = _records_of(builder, tfds_split, f'tfds_{split}_split')
        chosen = {name: features[name] for name in self._chosen}
        self._deserialize = _FEATURES.FeaturesDict(chosen).deserialize_example_np
        images = [name for name in chosen if isinstance(chosen[name], _FEATURES.Image)]
        self._decoders = dict.fromkeys(images, tfds.decode.SkipDecoding())
        self._labels, self.resizes = LabelReader(config), config.resize_labels
        indices = range(len(self._records))
        self.names = [f'{builder.name}_{split}_{index:05d}' for index in indices]
        self.locations = [f'{builder.name} {tfds_split} {index}' for index in indices]

    @classmethod
    def has_split(cls, config: DataConfig, split: str) -> bool:
        return split == 'train' or bool(config.tfds_validation_split)

    def _files(self, index: int) -> _Contents:
        location = self.locations[index]

        def content(name: str) -> Any:
            kind = NamedContent if name in self._decoders else _Tensor
            return kind(values[name], f'{location} ({name})')

        with user_errors(f'{location}: the record cannot be read', 'prepare the data set again'):
            values = self._deserialize(self._records[index], decoders=self._decoders)
            return _Contents(*map(content, self._chosen))

    def _maps(self, files: _Contents, thorough: bool) -> Example:
        label, instance = files.label, files.instance
        if isinstance(label, _Tensor):
            label_map = self._labels.renumber(label.ids, str(label))
        else:
            label_map = self._labels.read(label, thorough=thorough)
        if instance is None:
            return Example(None, label_map)
        if isinstance(instance, _Tensor):
            instance_map = instance.ids
        else:
            instance_map = read_instances(instance, thorough=thorough)
        return Example(None, label_map, instance_map)


def _prepared_builder(config: DataConfig) -> Any:
    """Return the TFDS builder of the data set, which is prepared first if needed."""
    data_dir, name = config.data_dir, config.tfds_name
    info_path = os.path.join(data_dir, 'dataset_info.json')
    if data_dir and import_tensorflow().io.gfile.exists(info_path):
        with user_errors(f'data_dir={data_dir} cannot be opened', 'prepare the data set again'):
            builder = tfds.builder_from_directory(data_dir)
        if name and re.split('[/:]', name)[0] != builder.name:
            problem = f'tfds_name={name}, but data_dir={data_dir} is the data set {builder.name}'
            raise UserError(problem, 'leave one of them out')
        return builder
    if not name:
        problem = f'tfds_name is not set, and data_dir={data_dir} has no dataset_info.json'
        remedy = 'set --tfds_name, e.g. to oxford_iiit_pet, or --data_dir to the directory of a '
        raise UserError(problem, remedy + 'prepared data set, e.g. DIR/oxford_iiit_pet/4.0.0')
    remedy = f'write name, name/configuration or name:version as in {_CATALOG}, or set --data_dir'
    make_builder = functools.partial(tfds.builder, name, data_dir=data_dir or None)
    with user_errors(f'tfds_name={name} cannot be opened', remedy):
        builder = make_builder()
    problem = f'tfds_name={name} cannot be downloaded and prepared in {builder.data_dir}'
    remedy = 'follow this message, or set --data_dir to where the data set is prepared'
    with user_errors(problem, remedy):
        return prepared(make_builder)


def prepared(make_builder: Callable[[], Any]) -> Any:
    """Return a builder whose data set is prepared, by one process for which others wait."""
    builder = make_builder()
    if builder.is_prepared():
        return builder
    directory = os.path.dirname(builder.data_dir)  # Of all versions.
    with contextlib.ExitStack() as stack:
        if '://' not in directory:
            os.makedirs(directory, exist_ok=True)
            stack.enter_context(exclusive_lock(directory, 'data_dir', LOCK, wait=True))
            builder = make_builder()  # It sees what another process has just prepared.
        if not builder.is_prepared():
            builder.download_and_prepare(file_format='array_record')
    return builder


def _records_of(builder: Any, split: str, flag: str) -> Sequence[bytes]:
    """Return the serialized examples of a split, by index."""
    remedy = f'set --{flag}, for example to "train[:90%]"'
    try:
        instructions = builder.info.splits[split].file_instructions
    except Exception as error:  # KeyError, ValueError, AssertionError: depends on the text.
        splits = ', '.join(builder.info.splits) or 'none'
        problem = f'{flag}={split} is not a split of {builder.name}, which has {splits}'
        raise UserError(problem, remedy) from error
    if not sum(instruction.take for instruction in instructions):
        raise UserError(f'{flag}={split} of {builder.name} has no examples', remedy)
    convert = f'tfds convert_format --dataset_version_dir={builder.data_dir}'
    remedy = f'convert it: {convert} --out_file_format=array_record'
    with user_errors(f'{builder.data_dir} has no random access', remedy):
        raw_bytes = tfds.decode.DeserializeMethod.RAW_BYTES
        return builder.as_data_source(split, deserialize_method=raw_bytes)


def _chosen_features(dataset: str, features: Mapping[str, Any], config: DataConfig) -> list[str]:
    """Return the features of images, maps and edges: named by flags, else the only likely ones."""
    roles = ('image', 'label', 'instance')
    given = {role: getattr(config, f'tfds_{role}_feature') for role in roles}
    listing = ', '.join(f'{name} ({_described(item)})' for name, item in features.items())

    def choose(role: str, what: str, is_possible: _Test, is_likely: _Test) -> str:
        flag, name = f'tfds_{role}_feature', given[role]
        if name:
            found = [name] if name in features and is_possible(features[name]) else []
            problem = f'{flag}={name} has no {what}'
        else:
            free = {name: item for name, item in features.items() if name not in given.values()}
            found = [name for name, item in free.items() if is_likely(item)]
            places = ' or '.join(found) or 'no feature'
            problem = f'{flag} is not set, and the {what} could be in {places}'
        if len(found) != 1:
            problem = f'{problem}; the features of {dataset} are {listing or "none"}'
            raise UserError(problem, f'choose one with --{flag}')
        return found[0]

    chosen = [choose('image', 'images', _is_image, _is_rgb)]
    if config.uses_labels:
        chosen.append(choose('label', 'label maps', lambda f: _is_image(f) or _is_map(f), _is_map))
    elif config.unconditional:
        chosen.append(chosen[0])
    else:
        chosen.append(choose('label', 'condition images', _is_image, _is_rgb))
    if config.instance_edges:
        chosen.append(choose('instance', 'instance maps', _is_map, lambda feature: False))
    return chosen


def _flat_features(features: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield (name, feature) of all features, nested ones as "outer/inner"."""
    if isinstance(features, _FEATURES.FeaturesDict):
        for name, feature in features.items():
            yield from _flat_features(feature, f'{prefix}/{name}' if prefix else name)
    elif prefix:
        yield prefix, features


def _described(feature: Any) -> str:
    if isinstance(feature.shape, dict):  # A sequence of several features.
        return type(feature).__name__
    shape = str(list(feature.shape or [])).replace('None', '?')
    return f'{type(feature).__name__} {shape} {np.dtype(feature.np_dtype).name}'


def _is_image(feature: Any) -> bool:
    return isinstance(feature, _FEATURES.Image) and np.dtype(feature.np_dtype).kind == 'u'


def _is_rgb(feature: Any) -> bool:
    return _is_image(feature) and feature.shape[-1] == 3 and feature.np_dtype == np.uint8


def _is_map(feature: Any) -> bool:
    """Return whether a feature is an image of one channel, or integers [H, W] or [H, W, 1]."""
    if isinstance(feature, _FEATURES.Image):
        return _is_image(feature) and feature.shape[-1] == 1
    if not isinstance(feature, _FEATURES.Tensor):
        return False
    is_flat = len(feature.shape) == 2 or len(feature.shape) == 3 and feature.shape[-1] == 1
    return is_flat and np.dtype(feature.np_dtype).kind in 'biu'


@contextlib.contextmanager
def quiet_logging() -> Iterator[None]:
    """Silence warnings about directories that are about to be filled; downloads stay visible."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
