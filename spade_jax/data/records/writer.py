"""--mode=prepare_data: any source as prepared records, from which training reads pixels without decoding or scaling them.

The records are a TFDS data set in shards, see `data/sources/records.py`. A shard is written under another name and renamed when it is whole, so what a killed
preparation has written is kept; `examples.json`, without which nothing counts as prepared, is written last.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import functools
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import label_dtype
from spade_jax.data.pipeline.bounded_map import bounded_map
from spade_jax.data.pipeline.paired_transforms import Geometry, scale
from spade_jax.data.records.fingerprint import Identity, identify
from spade_jax.data.records.reader import (
    MANIFEST,
    PROGRESS,
    Manifest,
    Shard,
    Split,
    differences,
    read_json,
    read_manifest,
    require_whole,
    settings_of,
)
from spade_jax.data.sources.folders import size_of
from spade_jax.data.sources.open_source import check_example, open_files, pointing_to_the_report
from spade_jax.data.sources.source import SPLITS, Source
from spade_jax.errors import UserError

# One example a group: reading one does not decode others. The maps are compressed already, and photographs do not shrink enough (by a fifth) to be
# worth what zstd costs at every reading: of 286x286 pixels, one core reads 11,000 records a second as they are, 2,400 with the default, zstd.
WRITER_OPTIONS = 'group_size:1,uncompressed'
_DATASET = 'spade_records'
_SHARD_SIZE = 200e6  # bytes: what an interrupted preparation may lose
_NUM_SAMPLED = 8  # examples from which the size of all is estimated
_MOST_PRINTED = 20  # defects
_MOST_DEFECTS = (
    100  # in a row: more are no accident, but a disk that is gone or flags that are wrong
)
_PLAN = 'plan.json'
_LOCK = '.lock'
_TFDS_METADATA = ('dataset_info.json', 'features.json')
_R = TypeVar('_R')


class _WideInstanceIds(Exception):
    """An instance map has ids that 16 bits do not hold. Most do, which read in half the time of 32."""


class _Record(NamedTuple):
    """An example as it is written. size: width and height."""

    content: bytes
    size: tuple[int, int]


@dataclasses.dataclass
class _Written:
    """A shard that is whole, as `incomplete/` keeps it until all are.

    Attributes:
      examples: digest of the identity of its examples.
      size: of the file, in bytes.
      num_bytes: of the records in it.
      smallest, largest: least and greatest width and height of its examples; None where it has none.
      skipped: defects by number in the source.
    """

    examples: str
    size: int
    num_bytes: int
    smallest: list[int] | None
    largest: list[int] | None
    skipped: dict[int, str]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> _Written:
        return cls(
            **{
                **content,
                'skipped': {int(index): problem for index, problem in content['skipped'].items()},
            }
        )


def prepare(config: DataConfig) -> None:
    """Writes the examples of `config` to `config.records_dir`: all splits, decoded, renumbered, checked and scaled.

    Goes on where an interrupted preparation stopped. Does nothing where the same examples are prepared already. Prints what it does.

    Raises:
      UserError: when an example cannot be used and `config.on_bad_example` is 'error'; when the directory cannot be written, has too little room, is being
        prepared by another process, or holds something else: other files, or records of other settings or examples.
    """
    if not config.records_dir:
        raise UserError('--records_dir is missing: where the records go')
    directory = os.path.expanduser(config.records_dir)
    with _locked(directory, config.records_dir):
        manifest = read_manifest(directory)
        settings = settings_of(config)
        if manifest is not None:
            _require_same(config.records_dir, manifest.settings, settings)
        with pointing_to_the_report(config, preparing=True):
            sources = {
                split: source
                for split in SPLITS
                if (source := open_files(config, split)) is not None
            }
        identities = {split: identify(source, config, split) for split, source in sources.items()}
        if manifest is not None:
            _require_same(
                config.records_dir,
                _flat(manifest.sources),
                _flat({split: identity.summary for split, identity in identities.items()}),
            )
            require_whole(directory, manifest)
            shutil.rmtree(
                os.path.join(directory, PROGRESS), ignore_errors=True
            )  # where the preparation was killed on its last metre
            print(f'{config.records_dir} is already prepared: {_counts(manifest)}')
            return
        preparation = _Preparation(config, directory, sources, identities)
        try:
            manifest = preparation.run('uint16')
        except _WideInstanceIds as error:
            print(
                f'starting anew: {error} does not fit 16 bits, so instance maps are written with 32'
            )
            manifest = preparation.run('int32')
        print(f'prepared {_counts(manifest)} in {config.records_dir}')


class _Preparation:
    """The writing of one directory.

    Args:
      config: of the records.
      directory: where they go; it is there, and no other process writes to it.
      sources: the examples by split.
      identities: of the sources.
    """

    def __init__(
        self,
        config: DataConfig,
        directory: str,
        sources: dict[str, Source],
        identities: dict[str, Identity],
    ):
        self._config, self._directory, self._sources, self._identities = (
            config,
            directory,
            sources,
            identities,
        )
        self._settings = settings_of(config)
        self._progress = os.path.join(directory, PROGRESS)
        self._geometry = Geometry.from_config(config)
        self._num_workers = max(
            config.data_workers, _usable_cores()
        )  # a batch job: nothing else is to run beside it
        self._num_defects = self._defects_in_a_row = 0
        # Of the plan.
        self._bounds: dict[str, list[int]] = {}
        self._instance_dtype = np.dtype(np.uint16)
        self._features: Any = None

    def run(self, instance_dtype: str) -> Manifest:
        """Writes everything that is not there yet.

        Args:
          instance_dtype: 'uint16' or 'int32'; an interrupted preparation goes on with its own.

        Raises:
          _WideInstanceIds: when instance ids do not fit uint16.
        """
        try:
            self._plan(instance_dtype)
            self._write_shards()
            manifest = Manifest(
                self._settings,
                {split: identity.summary for split, identity in self._identities.items()},
                self._instance_dtype.name,
                self._splits(),
            )
            self._finish(manifest)
            return manifest
        except OSError as error:
            raise self._cannot_write(error.strerror or str(error)) from error

    def _plan(self, instance_dtype: str) -> None:
        """Decides on the shards: those of an interrupted preparation, where it can go on, else new ones. Raises UserError when there is too little room."""
        path = os.path.join(self._progress, _PLAN)
        plan = _json_or_none(path)
        # Not the contents: when examples were mended on which the preparation stopped, only their shards are written anew.
        scope = {
            'settings': self._settings,
            'num_examples': {split: len(source) for split, source in self._sources.items()},
        }
        if plan is not None and plan['scope'] != scope:
            print('starting anew: the interrupted preparation was of other settings or examples')
            plan = None
        if (
            plan is None
            or np.dtype(instance_dtype).itemsize > np.dtype(plan['instance_dtype']).itemsize
        ):
            self._remove_remains()
            self._set_features(instance_dtype)
            size = {split: self._estimated_size(split) for split in self._sources}
            num_shards = {
                split: min(len(source), int(size[split] / _SHARD_SIZE) + 1)
                for split, source in self._sources.items()
            }
            plan = {
                'scope': scope,
                'instance_dtype': instance_dtype,
                'size': size,
                'num_shards': num_shards,
            }
            os.makedirs(self._progress, exist_ok=True)
            _write_json(path, plan)
        self._set_features(plan['instance_dtype'])
        self._bounds = {
            split: [
                len(source) * number // plan['num_shards'][split]
                for number in range(plan['num_shards'][split] + 1)
            ]
            for split, source in self._sources.items()
        }
        self._announce(plan['size'])

    def _write_shards(self) -> None:
        """Writes the shards that are not there yet."""
        from tqdm import tqdm

        open_shards = [
            (split, number)
            for split in self._sources
            for number in range(self._num_shards(split))
            if self._written(split, number) is None
        ]
        indices = [
            (split, index)
            for split, number in open_shards
            for index in self._indices(split, number)
        ]
        total = sum(map(len, self._sources.values()))
        with (
            concurrent.futures.ThreadPoolExecutor(self._num_workers) as pool,
            tqdm(
                desc='preparing', total=total, initial=total - len(indices), unit='example'
            ) as progress,
        ):
            # Ahead of the writer by more than the workers, so that none of them waits for it, and by less than the memory.
            with contextlib.closing(
                bounded_map(pool, self._record_or_defect, indices, ahead=2 * self._num_workers)
            ) as records:
                for split, number in open_shards:
                    self._write_shard(
                        split,
                        number,
                        itertools.islice(records, len(self._indices(split, number))),
                        progress,
                    )

    def _splits(self) -> dict[str, Split]:
        """What was written, for the manifest. Raises UserError for a split that has no usable example."""
        result = {}
        for split, source in self._sources.items():
            written = [self._written(split, number) for number in range(self._num_shards(split))]
            skipped = {
                index: problem for shard in written for index, problem in shard.skipped.items()
            }
            kept = [index for index in range(len(source)) if index not in skipped]
            if not kept:
                raise UserError(
                    f'the {split} split has no usable example: {next(iter(skipped.values()))}',
                    'mend the data set',
                )
            result[split] = Split(
                shards=[
                    Shard(
                        os.path.basename(self._path(split, number)),
                        len(self._indices(split, number)) - len(shard.skipped),
                        shard.size,
                    )
                    for number, shard in enumerate(written)
                ],
                smallest=np.min(
                    [shard.smallest for shard in written if shard.smallest], axis=0
                ).tolist(),
                largest=np.max(
                    [shard.largest for shard in written if shard.largest], axis=0
                ).tolist(),
                names=[source.names[index] for index in kept],
                locations=[source.locations[index] for index in kept],
                states=self._identities[split].digests,
                skipped=[(source.locations[index], problem) for index, problem in skipped.items()],
            )
        return result

    def _finish(self, manifest: Manifest) -> None:
        """Makes the records a data set: first for TFDS, then for `open_records`."""
        import tensorflow_datasets as tfds

        num_bytes = {
            split: sum(
                self._written(split, number).num_bytes for number in range(self._num_shards(split))
            )
            for split in manifest.splits
        }
        template = self._template('train')
        tfds.folder_dataset.write_metadata(
            data_dir=self._directory,
            features=self._features,
            check_data=False,
            description=f'Prepared by spade_jax from {self._config.dataset}.',
            split_infos=[
                tfds.core.SplitInfo(
                    name=name,
                    shard_lengths=[shard.examples for shard in split.shards],
                    num_bytes=num_bytes[name],
                    filename_template=template.replace(split=name),
                )
                for name, split in manifest.splits.items()
            ],
        )
        _write_json(os.path.join(self._directory, MANIFEST), manifest.to_json())
        shutil.rmtree(self._progress)

    def _write_shard(
        self, split: str, number: int, records: Iterator[_Record | UserError], progress: Any
    ) -> None:
        from array_record.python.array_record_module import ArrayRecordWriter

        temporary = os.path.join(self._progress, os.path.basename(self._path(split, number)))
        sizes, skipped, num_bytes = [], {}, 0
        with contextlib.suppress(FileNotFoundError):
            os.unlink(
                self._path(split, number)
            )  # one that is no longer wanted, lest it be taken for the one that is described below
        writer = self._of_array_record(ArrayRecordWriter, temporary, WRITER_OPTIONS)
        try:
            for index, record in zip(self._indices(split, number), records, strict=True):
                if isinstance(record, UserError):
                    skipped[index] = str(record)
                    self._leave_out(record, progress)
                else:
                    self._defects_in_a_row = 0
                    self._of_array_record(writer.write, record.content)
                    sizes.append(record.size)
                    num_bytes += len(record.content)
                progress.update()
        except BaseException:
            with contextlib.suppress(RuntimeError, OSError):
                writer.close()
                os.unlink(temporary)
            raise
        self._of_array_record(writer.close)
        _flush_to_disk(temporary)
        description = _Written(
            examples=self._identities[split].of_examples(self._indices(split, number)),
            size=os.path.getsize(temporary),
            num_bytes=num_bytes,
            smallest=np.min(sizes, axis=0).tolist() if sizes else None,
            largest=np.max(sizes, axis=0).tolist() if sizes else None,
            skipped=skipped,
        )
        # In this order, either without the other counts as nothing.
        _write_json(self._description_path(split, number), dataclasses.asdict(description))
        os.replace(temporary, self._path(split, number))

    def _record_or_defect(self, item: tuple[str, int]) -> _Record | UserError:
        try:
            return self._record(*item)
        except UserError as error:
            if self._config.on_bad_example == 'error':
                with pointing_to_the_report(self._config, preparing=True):
                    raise
            return error

    def _record(self, split: str, index: int) -> _Record:
        """Example `index` of a split, thoroughly checked and scaled, as it is written."""
        source, config = self._sources[split], self._config
        try:
            check_example(source, config, index)
            example = scale(source.read(index), self._geometry)
        except OSError as error:
            raise UserError(
                f'{source.locations[index]}: the example cannot be read ({error.strerror or error})',
                'mend the data set',
            ) from error
        content = {
            'image': example.image,
            'label': example.label.astype(label_dtype(config), copy=False),
            'name': source.names[index].encode('utf-8', 'surrogateescape'),
        }
        if config.instance_edges:
            limits = np.iinfo(self._instance_dtype)
            if example.instance.min() < limits.min or example.instance.max() > limits.max:
                raise _WideInstanceIds(f'an instance id of {source.locations[index]}')
            content['instance'] = example.instance.astype(self._instance_dtype)
        return _Record(self._features.serialize_example(content), size_of(example.label))

    def _set_features(self, instance_dtype: str) -> None:
        self._instance_dtype = np.dtype(instance_dtype)
        self._features = _features(self._config, self._instance_dtype)

    def _estimated_size(self, split: str) -> float:
        """Bytes that the records of a split will take, from some of them."""
        source = self._sources[split]
        indices = sorted({number * len(source) // _NUM_SAMPLED for number in range(_NUM_SAMPLED)})
        with concurrent.futures.ThreadPoolExecutor(self._num_workers) as pool:
            records = list(pool.map(self._record_or_defect, [(split, index) for index in indices]))
        sizes = [len(record.content) for record in records if isinstance(record, _Record)]
        return len(source) * float(np.mean(sizes)) if sizes else 0.0

    def _announce(self, size: dict[str, float]) -> None:
        """Says what will be written. Raises UserError when the disk has clearly less room."""
        missing = sum(
            size[split] * len(self._indices(split, number)) / len(source)
            for split, source in self._sources.items()
            for number in range(self._num_shards(split))
            if self._written(split, number) is None
        )
        counts = ', '.join(
            f'{len(source)} {split} examples' for split, source in self._sources.items()
        )
        print(
            f'{counts}: about {_in_words(sum(size.values()))} in {self._config.records_dir}'
            + (
                f', of which {_in_words(missing)} are not written yet'
                if missing < sum(size.values())
                else ''
            )
        )
        free = shutil.disk_usage(self._directory).free
        if free < 0.95 * missing:
            raise UserError(
                f'records_dir={self._config.records_dir} has room for {_in_words(free)}, but the records need about {_in_words(missing)}',
                'choose a --records_dir on another disk',
            )

    def _leave_out(self, error: UserError, progress: Any) -> None:
        self._num_defects += 1
        self._defects_in_a_row += 1
        if self._defects_in_a_row > _MOST_DEFECTS:
            raise UserError(
                f'{_MOST_DEFECTS} examples in a row cannot be used, the last because: {error.problem}',
                error.remedy,
            )
        if self._num_defects <= _MOST_PRINTED:
            progress.write(f'left out: {error.problem}')
        elif self._num_defects == _MOST_PRINTED + 1:
            progress.write(f'left out: more, which {MANIFEST} will list')

    def _written(self, split: str, number: int) -> _Written | None:
        """The description of a shard; None where it is to be written: it is not there, not whole, its examples have changed or may no longer be left out."""
        content = _json_or_none(self._description_path(split, number))
        path = self._path(split, number)
        if content is None or not os.path.isfile(path):
            return None
        written = _Written.from_json(content)
        usable = (
            written.size == os.path.getsize(path)
            and written.examples
            == self._identities[split].of_examples(self._indices(split, number))
            and not (written.skipped and self._config.on_bad_example == 'error')
        )
        return written if usable else None

    def _remove_remains(self) -> None:
        """Removes the shards of an interrupted preparation."""
        for name in os.listdir(self._directory):
            if name.startswith(f'{_DATASET}-') or name in _TFDS_METADATA:
                os.unlink(os.path.join(self._directory, name))
        if os.path.isdir(self._progress):
            shutil.rmtree(self._progress)

    def _num_shards(self, split: str) -> int:
        return len(self._bounds[split]) - 1

    def _indices(self, split: str, number: int) -> range:
        """The examples of a shard by number in the source."""
        return range(*self._bounds[split][number : number + 2])

    def _template(self, split: str) -> Any:
        import tensorflow_datasets as tfds

        return tfds.core.ShardedFileTemplate(
            data_dir=self._directory,
            dataset_name=_DATASET,
            split=split,
            filetype_suffix='array_record',
        )

    def _path(self, split: str, number: int) -> str:
        return os.fspath(
            self._template(split).sharded_filepath(
                shard_index=number, num_shards=self._num_shards(split)
            )
        )

    def _description_path(self, split: str, number: int) -> str:
        return os.path.join(self._progress, f'{os.path.basename(self._path(split, number))}.json')

    def _of_array_record(self, call: Callable[..., _R], *arguments: Any) -> _R:
        try:
            return call(*arguments)
        except RuntimeError as error:  # ArrayRecord knows no other.
            raise self._cannot_write(str(error).split(';')[0]) from error

    def _cannot_write(self, reason: str) -> UserError:
        return UserError(
            f'records_dir={self._config.records_dir} cannot be written ({reason})',
            'make room or choose another directory; --mode=prepare_data goes on where it stopped',
        )


def _features(config: DataConfig, instance_dtype: np.dtype) -> Any:
    """The features of a record as TFDS has them, so that it reads them without this code."""
    import tensorflow_datasets as tfds

    image = functools.partial(
        tfds.features.Tensor, shape=(None, None, 3), dtype=np.uint8, encoding='bytes'
    )
    ids = functools.partial(tfds.features.Tensor, shape=(None, None), encoding='zlib')
    features = {
        'image': image(doc='The photograph.'),
        'name': tfds.features.Text(doc='What the data set calls the example.'),
        'label': image(doc='What it is to be drawn from.')
        if config.condition == 'rgb'
        else ids(dtype=label_dtype(config), doc='Class ids.'),
    }
    if config.instance_edges:
        features['instance'] = ids(dtype=instance_dtype, doc='Instance ids.')
    return tfds.features.FeaturesDict(features)


@contextlib.contextmanager
def _locked(directory: str, given: str) -> Iterator[None]:
    """Makes the directory, and keeps other processes from preparing it; the lock goes with the process, however it ends.

    Raises:
      UserError: when another process has it, when it cannot be written or locked, or when it holds what nobody has prepared.
    """
    try:
        os.makedirs(directory, exist_ok=True)
        foreign = sorted(set(os.listdir(directory)) - {_LOCK})
        if foreign and not {MANIFEST, PROGRESS} & set(foreign):
            raise UserError(
                f'records_dir={given} is not empty ({foreign[0]}) and has no prepared records',
                'choose a directory of its own',
            )
        lock = os.open(os.path.join(directory, _LOCK), os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(
            f'records_dir={given} cannot be written ({error.strerror})',
            'choose another --records_dir',
        ) from error
    try:
        _lock(lock, given)
        yield
    finally:
        os.close(lock)


def _lock(file: int, given: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f'records_dir={given} is being prepared by another process',
            'wait for it, or choose another --records_dir',
        ) from None
    except OSError as error:
        raise UserError(
            f'records_dir={given} is on a disk that cannot lock files ({error.strerror})',
            'prepare the records on another disk and copy them',
        ) from error


def _require_same(given: str, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises UserError, with every entry that differs, where records are there that were prepared otherwise."""
    if differing := differences(saved, wanted):
        raise UserError(
            f'records_dir={given} has records that were prepared otherwise ({"; ".join(differing)})',
            'choose another --records_dir, or remove it',
        )


def _flat(sources: dict[str, Any]) -> dict[str, Any]:
    """{'train': {'examples': 3}, 'validation': {'examples': 1}} -> {'train examples': 3, 'validation examples': 1}."""
    return {
        f'{split} {name}': value
        for split, summary in sources.items()
        for name, value in summary.items()
    }


def _json_or_none(path: str) -> Any:
    """The content of a JSON file of an interrupted preparation; None where it is missing or was not written to its end."""
    try:
        return read_json(path)
    except UserError:
        return None


def _write_json(path: str, content: Any) -> None:
    """Writes a JSON file that is either whole or not there."""
    temporary = f'{path}.part'
    with open(temporary, 'w', encoding='utf-8') as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _flush_to_disk(path: str) -> None:
    """A shard that was renamed before its bytes were on the disk would be empty after a power failure, under a name that says that it is whole."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _counts(manifest: Manifest) -> str:
    return ', '.join(
        f'{len(split.names)} {name} examples'
        + (f' ({len(split.skipped)} left out)' if split.skipped else '')
        for name, split in manifest.splits.items()
    )


def _in_words(num_bytes: float) -> str:
    return f'{num_bytes / 1e9:.1f} GB' if num_bytes >= 1e9 else f'{num_bytes / 1e6:.1f} MB'


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
