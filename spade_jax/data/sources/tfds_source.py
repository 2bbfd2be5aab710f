"""Any data set of TensorFlow Datasets that has pictures and segmentations."""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.image_files import photo_size, read_ids, read_photo
from spade_jax.data.files.label_reader import LabelReader
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.pipeline.tensorflow_cpu import import_tensorflow
from spade_jax.data.sources.folders import require_same_size, size_of
from spade_jax.errors import UserError

_ID_DTYPES = (np.uint8, np.uint16, np.int32)
_CATALOG = 'https://www.tensorflow.org/datasets/catalog'
_REASON_LENGTH = 300  # of what TFDS says, which may be pages


class TfdsSource:
    """The examples of a TFDS split, in the order of its records. Reading is safe from several threads.

    The data set is downloaded and prepared first where it is not yet. One that lies prepared is read as it is, with or without the code that made it.
    Pictures are decoded here and not by TFDS, so that what cannot be used is refused as it is in files: label maps with loss, transparent photographs,
    colours instead of ids.

    Raises:
      UserError: on construction, when the data set cannot be had, or has no such split, or its features do not tell photographs and label maps.
    """

    already_scaled = False

    def __init__(self, config: DataConfig, split: str):
        import_tensorflow()
        with _quiet():
            builder = _prepared_builder(config)
            self._features = _Features(builder, config)
            flag = f'tfds_{split}_split'
            tfds_split = getattr(config, flag)
            self._records = _records_of(builder, tfds_split, flag)
        self._labels = LabelReader(config)
        self.names = [f'{builder.name}_{split}_{index:05d}' for index in range(len(self._records))]
        self.locations = [
            f'{builder.name} {tfds_split} {index}' for index in range(len(self._records))
        ]

    def __len__(self) -> int:
        return len(self._records)

    def read(self, index: int) -> Example:
        parts = self._parts(index)
        maps = self._maps(parts)
        image = read_photo(parts['image'], expected_size=size_of(maps.label))
        require_same_size(
            str(parts['image']), size_of(image), str(parts['label']), size_of(maps.label)
        )
        return maps._replace(image=image)

    def read_maps(self, index: int) -> Example:
        parts = self._parts(index)
        maps = self._maps(parts)
        size = photo_size(parts['image'], expected_size=size_of(maps.label))
        require_same_size(str(parts['image']), size, str(parts['label']), size_of(maps.label))
        return maps

    def _maps(self, parts: Mapping[str, _Content]) -> Example:
        label = parts['label']
        try:
            label_map = (
                self._labels.renumber(label.ids)
                if isinstance(label, _Tensor)
                else self._labels.read(label)
            )
        except UserError as error:
            raise error if str(label) in error.problem else error.at(str(label)) from None
        if 'instance' not in parts:
            return Example(None, label_map)
        instance = parts['instance']
        instance_map = (
            instance.ids if isinstance(instance, _Tensor) else read_ids(instance, 'instance map')
        )
        require_same_size(str(instance), size_of(instance_map), str(label), size_of(label_map))
        return Example(None, label_map, instance_map)

    def _parts(self, index: int) -> dict[str, _Content]:
        return self._features.parts(self._records[index], self.locations[index])


class _EncodedPicture(io.BytesIO):
    """The file of a picture, which messages call by the place where it was found."""

    def __init__(self, content: bytes, place: str):
        super().__init__(content)
        self._place = place

    def __str__(self) -> str:
        return self._place


class _Tensor:
    """A map of ids that is stored as numbers.

    Attributes:
      ids: [H, W] uint8, uint16 or int32.

    Raises:
      UserError: on construction, when it is no map or has ids beyond 32 bits.
    """

    def __init__(self, values: Any, place: str):
        ids = np.asarray(values)
        if ids.ndim == 3 and ids.shape[-1] == 1:
            ids = ids[..., 0]
        if ids.ndim != 2 or ids.size == 0:
            raise UserError(
                f'{place}: an array of the shape {list(ids.shape)} is no label map',
                'use a feature of the shape [H, W] or [H, W, 1]',
            )
        if ids.dtype == bool:
            ids = ids.astype(np.uint8)
        if ids.dtype not in _ID_DTYPES:
            limits = np.iinfo(np.int32)
            if ids.min() < limits.min or ids.max() > limits.max:
                raise UserError(
                    f'{place}: id {ids.max() if ids.max() > limits.max else ids.min()} does not fit 32 bits',
                    'store other ids',
                )
            ids = ids.astype(np.int32)
        self.ids, self._place = ids, place

    def __str__(self) -> str:
        return self._place


_Content = _EncodedPicture | _Tensor


class _Features:
    """Which features of a data set are the photograph, the label map and the instance map, and how they are read from a record.

    Raises:
      UserError: on construction, when a flag names none that can be it, or without flag there is not exactly one.
    """

    def __init__(self, builder: Any, config: DataConfig):
        import tensorflow_datasets as tfds

        self._dataset = builder.name
        self._all = dict(sorted(_flat_features(builder.info.features)))
        self._chosen: dict[str, str] = {}
        rgb = config.condition == 'rgb'
        # By role: what it is called, which features a flag may name for it, and which could be it by themselves.
        roles = {
            'image': ('photographs', _is_picture, _is_photograph),
            'label': ('condition pictures', _is_picture, _is_photograph)
            if rgb
            else ('label maps', _is_picture_or_map, _is_map),
        }
        if config.instance_edges:
            roles['instance'] = ('instance maps', _is_map, None)
        given = {
            role: getattr(config, f'tfds_{role}_feature') for role in ('image', 'label', 'instance')
        }
        for role, (what, is_possible, is_likely) in roles.items():
            if given[role]:
                self._chosen[role] = self._named(role, given[role], what, is_possible)
            else:
                self._chosen[role] = self._only_one(
                    role, what, is_likely, taken=set(given.values())
                )
        needed = tfds.features.FeaturesDict(
            {name: self._all[name] for name in self._chosen.values()}
        )
        self._decoders = {
            name: tfds.decode.SkipDecoding()
            for name in self._chosen.values()
            if isinstance(self._all[name], tfds.features.Image)
        }
        self._deserialize = needed.deserialize_example_np

    def parts(self, record: bytes, location: str) -> dict[str, _Content]:
        """The features of a record by role: 'image', 'label' and, where they are used, 'instance'."""
        try:
            values = self._deserialize(record, decoders=self._decoders)
        except Exception as error:  # of many kinds, for a damaged record
            raise UserError(
                f'{location}: the record cannot be read ({_one_line(error)})',
                'prepare the data set anew',
            ) from error
        return {
            role: (_EncodedPicture if name in self._decoders else _Tensor)(
                values[name], f'{location} ({name})'
            )
            for role, name in self._chosen.items()
        }

    def _named(self, role: str, name: str, what: str, is_possible: Any) -> str:
        if name not in self._all:
            raise UserError(
                f'tfds_{role}_feature={name} is not a feature of {self._dataset}, which has {self._listing()}',
                f'set --tfds_{role}_feature to one of these',
            )
        if not is_possible(self._all[name]):
            raise UserError(
                f'tfds_{role}_feature={name} has no {what}; the features of {self._dataset} are {self._listing()}',
                f'set --tfds_{role}_feature to another one',
            )
        return name

    def _only_one(self, role: str, what: str, is_likely: Any, taken: set[str]) -> str:
        remedy = f'choose one with --tfds_{role}_feature'
        if is_likely is None:
            raise UserError(
                f'condition=labels+edges needs instance maps; the features of {self._dataset} are {self._listing()}',
                remedy,
            )
        likely = [
            name for name, feature in self._all.items() if is_likely(feature) and name not in taken
        ]
        if not likely:
            raise UserError(
                f'no feature of {self._dataset} looks like {what}; it has {self._listing()}', remedy
            )
        if len(likely) > 1:
            raise UserError(
                f'{len(likely)} features of {self._dataset} could be the {what}: {", ".join(likely)}',
                remedy,
            )
        return likely[0]

    def _listing(self) -> str:
        return (
            ', '.join(
                f'{name} ({type(feature).__name__} {list(feature.shape or [])} {np.dtype(feature.np_dtype).name})'.replace(
                    'None', '?'
                )
                for name, feature in self._all.items()
            )
            or 'none'
        )


class _TfRecords:
    """The records of TFRecord files by number. TFDS reads this format, its usual one, from beginning to end only; here the places are looked up first.

    A record is its length (8 bytes), a checksum of the length (4), the content, a checksum of the content (4). Opening reads nothing but the lengths.

    Args:
      instructions: the files, and for each how many records to leave out and how many to take, as TFDS has them.
    """

    def __init__(self, instructions: Sequence[Any]):
        self._paths = [os.fspath(instruction.filename) for instruction in instructions]
        # [number of examples, 3]: number of the file, start and length in it.
        self._places = np.concatenate(
            [
                np.insert(
                    _places_of_records(path, instruction.skip + instruction.take)[
                        instruction.skip :
                    ],
                    0,
                    number,
                    axis=1,
                )
                for number, (path, instruction) in enumerate(zip(self._paths, instructions))
            ]
        )

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> bytes:
        file_number, start, length = self._places[index]
        with open(self._paths[file_number], 'rb') as file:
            file.seek(start)
            return file.read(length)


def _places_of_records(path: str, count: int) -> np.ndarray:
    """[count, 2] int64: start and length of the first `count` records of a TFRecord file."""
    places = np.zeros((count, 2), np.int64)
    position = 0
    try:
        with open(path, 'rb', buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            for number in range(count):
                file.seek(position)
                header = file.read(8)
                length = struct.unpack('<Q', header)[0] if len(header) == 8 else size
                if position + length + 16 > size:
                    raise UserError(
                        f'{path}: record {number} of {count} goes beyond the end of the file',
                        'prepare the data set anew',
                    )
                places[number] = position + 12, length
                position += length + 16
    except OSError as error:
        raise UserError(
            f'{path} cannot be read ({error.strerror})', 'prepare the data set anew'
        ) from error
    return places


def _prepared_builder(config: DataConfig) -> Any:
    """The TFDS builder of the data set, whose records are there."""
    import tensorflow_datasets as tfds

    data_dir, name = os.path.expanduser(config.data_dir), config.tfds_name
    if data_dir and import_tensorflow().io.gfile.exists(
        os.path.join(data_dir, 'dataset_info.json')
    ):
        with _as_user_error(f'data_dir={data_dir} cannot be opened', 'prepare the data set anew'):
            builder = tfds.builder_from_directory(data_dir)
        if name and not re.fullmatch(rf'{re.escape(builder.name)}([/:].*)?', name):
            raise UserError(
                f'tfds_name={name}, but data_dir={data_dir} is the data set {builder.name}',
                'leave one of them out',
            )
        return builder
    if not name:
        raise UserError(
            f'tfds_name is not set, and data_dir={data_dir} is not the directory of a prepared data set, with a dataset_info.json',
            'set --tfds_name, for example to oxford_iiit_pet, or --data_dir to such a directory, for example DIR/oxford_iiit_pet/4.0.0',
        )
    with _as_user_error(
        f'tfds_name={name} cannot be opened',
        f'write name, name/configuration or name:version as in {_CATALOG}',
    ):
        try:
            builder = tfds.builder(name, data_dir=data_dir or None)
        except tfds.core.DatasetNotFoundError as error:  # whose message lists all that there are
            raise UserError(
                f'tfds_name={name} is not a data set that TFDS knows, and is not prepared in {data_dir or "~/tensorflow_datasets"}',
                f'see {_CATALOG}, or set --data_dir to the directory that holds it',
            ) from error
    if not builder.is_prepared():
        with _as_user_error(
            f'tfds_name={name} cannot be downloaded and prepared in {builder.data_dir}',
            'do what it says, or set --data_dir to where the data set is prepared',
        ):
            builder.download_and_prepare(file_format='array_record')
    return builder


def _records_of(builder: Any, split: str, flag: str) -> Sequence[bytes]:
    """The serialized examples of a split, by number."""
    import tensorflow_datasets as tfds

    remedy = f'set --{flag}, for example to "train[:90%]"'
    try:
        instructions = builder.info.splits[split].file_instructions
    except Exception as error:  # KeyError, ValueError, AssertionError: as the text is wrong
        raise UserError(
            f'{flag}={split} is not a split of {builder.name}, which has {", ".join(builder.info.splits) or "none"}',
            remedy,
        ) from error
    if not sum(instruction.take for instruction in instructions):
        raise UserError(f'{flag}={split} of {builder.name} has no examples', remedy)
    formats = builder.info.available_file_formats()
    file_format = tfds.core.FileFormat
    if (
        not formats & file_format.with_random_access()
        and builder.info.file_format == file_format.TFRECORD
    ):
        return _TfRecords(instructions)
    with _as_user_error(
        f'{builder.data_dir} cannot be read by example',
        f'convert it: tfds convert_format --dataset_version_dir={builder.data_dir} '
        '--out_file_format=array_record',
    ):
        return builder.as_data_source(
            split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
        )


def _flat_features(features: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """(name, feature) of all features, with those of nested dictionaries as "outer/inner"."""
    import tensorflow_datasets as tfds

    if isinstance(features, tfds.features.FeaturesDict):
        for name, feature in features.items():
            if isinstance(feature, tfds.features.FeaturesDict):
                yield from _flat_features(feature, f'{prefix}{name}/')
            else:
                yield prefix + name, feature


def _is_picture(feature: Any) -> bool:
    """Whether a feature can be read as a picture at all."""
    import tensorflow_datasets as tfds

    return isinstance(feature, tfds.features.Image) and np.dtype(feature.np_dtype).kind == 'u'


def _is_picture_or_map(feature: Any) -> bool:
    return _is_picture(feature) or _is_map(feature)


def _is_photograph(feature: Any) -> bool:
    return _is_picture(feature) and feature.shape[-1] == 3 and feature.np_dtype == np.uint8


def _is_map(feature: Any) -> bool:
    """Whether a feature is a map of ids: a picture of one channel, or integers [H, W] or [H, W, 1]."""
    import tensorflow_datasets as tfds

    if isinstance(feature, tfds.features.Image):
        return _is_picture(feature) and feature.shape[-1] == 1
    return (
        isinstance(feature, tfds.features.Tensor)
        and np.dtype(feature.np_dtype).kind in 'biu'
        and (len(feature.shape) == 2 or len(feature.shape) == 3 and feature.shape[-1] == 1)
    )


@contextlib.contextmanager
def _as_user_error(problem: str, remedy: str) -> Iterator[None]:
    """What TFDS raises, of any kind and often over many lines, as a UserError of one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f'{problem} ({_one_line(error)})', remedy) from error


def _one_line(error: Exception) -> str:
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) <= _REASON_LENGTH else f'{text[:_REASON_LENGTH]} ...'


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings of TFDS over directories that are about to be filled; what it says of a download stays."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
