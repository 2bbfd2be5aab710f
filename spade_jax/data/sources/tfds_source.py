"""Any data set of TensorFlow Datasets that has images and segmentations."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import read_ids
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.pipeline.tensorflow_cpu import import_tensorflow
from spade_jax.data.sources.source import DatasetSource, require_same_size, size_of
from spade_jax.errors import UserError, user_errors

_ID_DTYPES = (np.uint8, np.uint16, np.int32)
_CATALOG = 'https://www.tensorflow.org/datasets/catalog'


class TfdsSource(DatasetSource):
    """The examples of a TFDS split, in the order of its records.

    The data set is downloaded and prepared if needed; a prepared one is read with or without the
    code that made it. Images are decoded here, not by TFDS, as strictly as files.
    """

    def __init__(self, config: DataConfig, split: str):
        with _quiet():
            builder = _prepared_builder(config)
            self._features = _Features(builder, config)
            flag = f'tfds_{split}_split'
            tfds_split = getattr(config, flag)
            self._records = _records_of(builder, tfds_split, flag)
        self._labels = LabelReader(config)
        indices = range(len(self._records))
        self.names = [f'{builder.name}_{split}_{index:05d}' for index in indices]
        self.locations = [f'{builder.name} {tfds_split} {index}' for index in indices]

    @classmethod
    def has_split(cls, config: DataConfig, split: str) -> bool:
        return split == 'train' or bool(config.tfds_validation_split)

    def _files(self, index: int) -> _Contents:
        location = self.locations[index]
        with user_errors(f'{location}: the record cannot be read', 'prepare the data set again'):
            return self._features.contents(self._records[index], location)

    def _maps(self, files: _Contents, thorough: bool) -> Example:
        label, instance = files.label, files.instance
        if isinstance(label, _Tensor):
            try:
                label_map = self._labels.renumber(label.ids)
            except UserError as error:
                raise error.at(str(label)) from None
        else:
            label_map = self._labels.read(label, thorough=thorough)
        if instance is None:
            return Example(None, label_map)
        if isinstance(instance, _Tensor):
            instance_map = instance.ids
        else:
            instance_map = read_ids(instance, 'instance map', thorough=thorough)
        require_same_size(str(instance), size_of(instance_map), str(label), size_of(label_map))
        return Example(None, label_map, instance_map)


class _EncodedImage(io.BytesIO):
    """The file of an image; its `str()` is its location."""

    def __init__(self, content: bytes, location: str):
        super().__init__(content)
        self._location = location

    def __str__(self) -> str:
        return self._location


class _Tensor:
    """A map of ids [H, W] (uint8, uint16, int32) stored as numbers; its `str()` is its location."""

    def __init__(self, values: Any, location: str):
        ids = np.asarray(values)
        if ids.ndim == 3 and ids.shape[-1] == 1:
            ids = ids[..., 0]
        if ids.ndim != 2 or ids.size == 0:
            problem = f'{location}: an array of the shape {list(ids.shape)} is no label map'
            raise UserError(problem, 'use a feature of the shape [H, W] or [H, W, 1]')
        if ids.dtype == bool:
            ids = ids.astype(np.uint8)
        if ids.dtype not in _ID_DTYPES:
            limits = np.iinfo(np.int32)
            for extreme in (ids.min(), ids.max()):
                if not limits.min <= extreme <= limits.max:
                    problem = f'{location}: id {extreme} does not fit 32 bits'
                    raise UserError(problem, 'store other ids')
            ids = ids.astype(np.int32)
        self.ids, self._location = ids, location

    def __str__(self) -> str:
        return self._location


class _Contents(NamedTuple):
    photo: _EncodedImage
    label: _EncodedImage | _Tensor
    instance: _EncodedImage | _Tensor | None = None


class _Features:
    """Decides which features are the image, the label map and the instance map, and reads them."""

    def __init__(self, builder: Any, config: DataConfig):
        self._dataset = builder.name
        self._all = dict(sorted(_flat_features(builder.info.features)))
        listed = ', '.join(f'{name} ({_described(item)})' for name, item in self._all.items())
        self._listing = listed or 'none'
        # By role: what errors call it, which features a flag may name, and which are likely.
        roles: dict[str, tuple[str, _Test, _Test | None]] = {
            'image': ('images', _is_image, _is_rgb),
            'label': ('condition images', _is_image, _is_rgb),
        }
        if config.uses_labels:
            roles['label'] = ('label maps', _is_image_or_map, _is_map)
        if config.instance_edges:
            roles['instance'] = ('instance maps', _is_map, None)
        fields = ('image', 'label', 'instance')
        given = {role: getattr(config, f'tfds_{role}_feature') for role in fields}
        self._chosen = {}
        for role, (what, is_possible, is_likely) in roles.items():
            if given[role]:
                self._chosen[role] = self._named(role, given[role], what, is_possible)
            else:
                self._chosen[role] = self._only_one(role, what, is_likely, set(given.values()))
        chosen = {name: self._all[name] for name in self._chosen.values()}
        self._deserialize = _tfds().features.FeaturesDict(chosen).deserialize_example_np
        images = [name for name, item in chosen.items() if isinstance(item, _tfds().features.Image)]
        self._decoders = dict.fromkeys(images, _tfds().decode.SkipDecoding())

    def contents(self, record: bytes, location: str) -> _Contents:
        """Return the chosen features of a serialized record."""
        values = self._deserialize(record, decoders=self._decoders)
        return _Contents(*(self._content(name, values, location) for name in self._chosen.values()))

    def _content(self, name: str, values: Any, location: str) -> Any:
        kind = _EncodedImage if name in self._decoders else _Tensor
        return kind(values[name], f'{location} ({name})')

    def _named(self, role: str, name: str, what: str, is_possible: _Test) -> str:
        flag = f'tfds_{role}_feature={name}'
        if name not in self._all:
            problem = f'{flag} is not a feature of {self._dataset}, which has {self._listing}'
            raise UserError(problem, f'set --tfds_{role}_feature to one of these')
        if not is_possible(self._all[name]):
            problem = f'{flag} has no {what}; the features of {self._dataset} are {self._listing}'
            raise UserError(problem, f'set --tfds_{role}_feature to another one')
        return name

    def _only_one(self, role: str, what: str, is_likely: _Test | None, taken: set[str]) -> str:
        remedy = f'choose one with --tfds_{role}_feature'
        if is_likely is None:
            needed = 'condition=labels+edges needs instance maps'
            problem = f'{needed}; the features of {self._dataset} are {self._listing}'
            raise UserError(problem, remedy)
        free = {name: item for name, item in self._all.items() if name not in taken}
        likely = [name for name, item in free.items() if is_likely(item)]
        if len(likely) > 1:
            names = ', '.join(likely)
            problem = f'{len(likely)} features of {self._dataset} could be the {what}: {names}'
            raise UserError(problem, remedy)
        if not likely:
            problem = f'no feature of {self._dataset} could be the {what}; it has {self._listing}'
            raise UserError(problem, remedy)
        return likely[0]


def _tfds() -> Any:
    """Import TFDS late, with TensorFlow kept off the accelerators."""
    import_tensorflow()
    import tensorflow_datasets

    return tensorflow_datasets


def _prepared_builder(config: DataConfig) -> Any:
    """Return the TFDS builder of the data set, which is prepared first if needed."""
    data_dir, name = os.path.expanduser(config.data_dir), config.tfds_name
    info_path = os.path.join(data_dir, 'dataset_info.json')
    if data_dir and import_tensorflow().io.gfile.exists(info_path):
        return _builder_of_directory(data_dir, name)
    if not name:
        problem = f'tfds_name is not set, and data_dir={data_dir} has no dataset_info.json'
        remedy = 'set --tfds_name, e.g. to oxford_iiit_pet, or --data_dir to the directory of a '
        raise UserError(problem, remedy + 'prepared data set, e.g. DIR/oxford_iiit_pet/4.0.0')
    remedy = f'write name, name/configuration or name:version as in {_CATALOG}'
    with user_errors(f'tfds_name={name} cannot be opened', remedy):
        try:
            builder = _tfds().builder(name, data_dir=data_dir or None)
        except _tfds().core.DatasetNotFoundError as error:  # Its message lists all data sets.
            places = f'TFDS and is not prepared in {data_dir or "~/tensorflow_datasets"}'
            remedy = f'see {_CATALOG}, or set --data_dir to the directory that contains it'
            raise UserError(f'tfds_name={name} is unknown to {places}', remedy) from error
    if not builder.is_prepared():
        problem = f'tfds_name={name} cannot be downloaded and prepared in {builder.data_dir}'
        remedy = 'follow this message, or set --data_dir to where the data set is prepared'
        with user_errors(problem, remedy):
            builder.download_and_prepare(file_format='array_record')
    return builder


def _builder_of_directory(data_dir: str, name: str) -> Any:
    with user_errors(f'data_dir={data_dir} cannot be opened', 'prepare the data set again'):
        builder = _tfds().builder_from_directory(data_dir)
    if name and not re.fullmatch(rf'{re.escape(builder.name)}([/:].*)?', name):
        problem = f'tfds_name={name}, but data_dir={data_dir} is the data set {builder.name}'
        raise UserError(problem, 'leave one of them out')
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
    problem = f'{builder.data_dir} has no random access'
    with user_errors(problem, f'convert it: {convert} --out_file_format=array_record'):
        raw = _tfds().decode.DeserializeMethod.RAW_BYTES
        return builder.as_data_source(split, deserialize_method=raw)


def _flat_features(features: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield (name, feature) of all features, nested ones as "outer/inner"."""
    if isinstance(features, _tfds().features.FeaturesDict):
        for name, feature in features.items():
            if isinstance(feature, _tfds().features.FeaturesDict):
                yield from _flat_features(feature, f'{prefix}{name}/')
            else:
                yield prefix + name, feature


def _described(feature: Any) -> str:
    if isinstance(feature.shape, dict):  # A sequence of several features.
        return type(feature).__name__
    shape = str(list(feature.shape or [])).replace('None', '?')
    return f'{type(feature).__name__} {shape} {np.dtype(feature.np_dtype).name}'


_Test = Callable[[Any], bool]  # Of a feature.


def _is_image(feature: Any) -> bool:
    return isinstance(feature, _tfds().features.Image) and np.dtype(feature.np_dtype).kind == 'u'


def _is_rgb(feature: Any) -> bool:
    return _is_image(feature) and feature.shape[-1] == 3 and feature.np_dtype == np.uint8


def _is_map(feature: Any) -> bool:
    """Return whether a feature is an image of one channel, or integers [H, W] or [H, W, 1]."""
    if isinstance(feature, _tfds().features.Image):
        return _is_image(feature) and feature.shape[-1] == 1
    if not isinstance(feature, _tfds().features.Tensor):
        return False
    is_flat = len(feature.shape) == 2 or len(feature.shape) == 3 and feature.shape[-1] == 1
    return is_flat and np.dtype(feature.np_dtype).kind in 'biu'


def _is_image_or_map(feature: Any) -> bool:
    return _is_image(feature) or _is_map(feature)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings about directories that are about to be filled; downloads stay visible."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
