"""Write prepared records (--mode=prepare_data): any source, decoded, renumbered and scaled.

Shards are written atomically, so an interrupted preparation continues with the missing ones. See
`manifest` for the files.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
import os
import shutil
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import label_dtype
from spade_jax.data.pipeline.bounded_map import bounded_map
from spade_jax.data.pipeline.input_pipeline import MAX_SKIPPED_IN_A_ROW
from spade_jax.data.pipeline.paired_transforms import Geometry, scale
from spade_jax.data.records import manifest as manifests
from spade_jax.data.records.fingerprint import differences, fingerprint, settings_of
from spade_jax.data.records.manifest import MANIFEST, PROGRESS, Manifest, Shard, Split
from spade_jax.data.records.reader import INSTANCE_DTYPE
from spade_jax.data.sources.open_source import check_example, open_files, pointing_to_the_report
from spade_jax.data.sources.source import SPLITS, Source
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.run_lock import exclusive_lock

# Groups of one: reading an example does not decode others. The maps are compressed already, and
# images shrink too little (by a fifth) to be worth what zstd costs at every reading: at 286x286
# pixels, one core reads 11,000 records a second uncompressed, and 2,400 with zstd.
WRITER_OPTIONS = 'group_size:1,uncompressed'
LOCK = 'prepare.lock'
EXAMPLES_PER_SHARD = 1000  # An interrupted preparation loses at most one shard.
_DATASET = 'spade_records'
_FINGERPRINT = 'fingerprint.json'
_MAX_PRINTED = 20  # Defects.


class _Record(NamedTuple):
    """An encoded example; size is its width and height."""

    content: bytes
    size: tuple[int, int]
    name: str
    location: str


def prepare(config: DataConfig) -> None:
    """Write all splits of `config` to `config.records_dir`, and print what is done.

    Continues an interrupted preparation. Does nothing if the same examples are prepared already.

    Raises:
      UserError: An example cannot be used and `config.on_bad_example` is 'error'; or the directory
        cannot be written, is being prepared by another process, or holds other files or records
        of other settings or examples.
    """
    given, settings = config.records_dir, settings_of(config)
    if not given:
        raise UserError('--records_dir is missing', 'choose a directory for the records')
    directory = os.path.expanduser(given)
    _make_directory(directory, given)
    with exclusive_lock(directory, 'records_dir', LOCK):
        found = manifests.read_manifest(directory)
        if found is not None:
            _require_same(given, found.settings, settings)
        with pointing_to_the_report(config, preparing=True):
            opened = {split: open_files(config, split) for split in SPLITS}
        sources = {split: source for split, source in opened.items() if source is not None}
        fingerprints = {name: fingerprint(source, config, name) for name, source in sources.items()}
        summaries = {name: found.summary for name, found in fingerprints.items()}
        if found is not None:
            _require_same(given, _flat(found.sources), _flat(summaries))
            manifests.require_complete(directory, found)
            print(f'{given} is already prepared: {found}')
            return
        try:
            _continue_or_start(directory, {'settings': settings, 'sources': summaries})
            splits = {}
            for name, source in sources.items():
                split = _SplitWriter(config, directory, name, source).write()
                splits[name] = dataclasses.replace(split, states=fingerprints[name].states)
            manifest = Manifest(settings, summaries, splits)
            _write_tfds_metadata(config, directory, manifest)
            manifests.write_json(os.path.join(directory, MANIFEST), dataclasses.asdict(manifest))
            shutil.rmtree(os.path.join(directory, PROGRESS))
        except OSError as error:
            raise _cannot_write(config, error.strerror or str(error)) from error
        print(f'prepared {manifest} in {given}')


class _SplitWriter:
    """Writes the shards of a split."""

    def __init__(self, config: DataConfig, directory: str, name: str, source: Source):
        self._config, self._directory, self._name = config, directory, name
        self._source, self._features = source, _features(config)
        self._num_shards = -(-len(source) // EXAMPLES_PER_SHARD)
        self._num_defects = self._defects_in_a_row = 0

    def write(self) -> Split:
        """Write the missing shards. Raises UserError if no example can be used."""
        numbers = range(self._num_shards)
        missing = [number for number in numbers if self._complete_shard(number) is None]
        indices = [index for number in missing for index in self._indices(number)]
        if len(missing) < len(numbers):
            complete = len(numbers) - len(missing)
            print(f'continuing: {complete} of {len(numbers)} {self._name} shards are complete')
        num_workers = max(self._config.data_workers, os.cpu_count() or 1)
        bar = tqdm(desc=f'preparing {self._name}', total=len(indices), unit='example')
        with concurrent.futures.ThreadPoolExecutor(num_workers) as pool, bar:
            # Far enough ahead of the writer that no worker waits for it.
            records = bounded_map(pool, self._record_or_defect, indices, ahead=2 * num_workers)
            with contextlib.closing(records):
                for number in missing:
                    count = len(self._indices(number))
                    self._write_shard(number, itertools.islice(records, count), bar)
        return _merge(self._name, [self._complete_shard(number) for number in numbers])

    def _write_shard(self, number: int, records: Iterator[_Record | UserError], bar: tqdm) -> None:
        path = self._path(number)
        kept: list[_Record] = []
        skipped = []
        with atomic_write(path) as partial, _record_writer(partial, self._config) as write:
            for index, record in zip(self._indices(number), records, strict=True):
                if isinstance(record, UserError):
                    skipped.append((self._source.locations[index], str(record)))
                    self._leave_out(record)
                else:
                    self._defects_in_a_row = 0
                    write(record.content)
                    kept.append(record._replace(content=b''))
                bar.update()
        sizes = [record.size for record in kept]
        description = Split(
            shards=[Shard(os.path.basename(path), len(kept), os.path.getsize(path))],
            smallest=np.min(sizes, axis=0).tolist() if sizes else None,
            largest=np.max(sizes, axis=0).tolist() if sizes else None,
            names=[record.name for record in kept],
            locations=[record.location for record in kept],
            skipped=skipped,
        )
        # Written last: a shard without a description does not count.
        manifests.write_json(self._description_path(number), dataclasses.asdict(description))

    def _complete_shard(self, number: int) -> Split | None:
        """The description of a complete shard; None if the shard has to be written."""
        content = manifests.read_json(self._description_path(number))
        if content is None or not os.path.exists(self._path(number)):
            return None
        found = Split.from_json(content)
        return None if found.skipped and self._config.on_bad_example == 'error' else found

    def _record_or_defect(self, index: int) -> _Record | UserError:
        try:
            return self._record(index)
        except UserError as error:
            if self._config.on_bad_example == 'error':
                with pointing_to_the_report(self._config, preparing=True):
                    raise
            return error

    def _record(self, index: int) -> _Record:
        """Check, scale and encode an example."""
        source, config = self._source, self._config
        name, location = source.names[index], source.locations[index]
        try:
            check_example(source, config, index)
            example = scale(source.read(index), Geometry.from_config(config))
        except OSError as error:
            problem = f'{location}: the example cannot be read ({error.strerror or error})'
            raise UserError(problem, 'fix the data set') from error
        content = {
            'image': example.image,
            'label': example.label.astype(label_dtype(config), copy=False),
            'name': name.encode('utf-8', 'surrogateescape'),
        }
        if config.instance_edges and example.instance is not None:
            content['instance'] = _in_16_bits(example.instance, location)
        height, width = example.label.shape[:2]
        return _Record(self._features.serialize_example(content), (width, height), name, location)

    def _leave_out(self, error: UserError) -> None:
        """Report a defect. Raises UserError after too many in a row."""
        self._num_defects += 1
        self._defects_in_a_row += 1
        if self._defects_in_a_row > MAX_SKIPPED_IN_A_ROW:
            problem = f'{MAX_SKIPPED_IN_A_ROW} examples in a row cannot be used; the last one: '
            raise UserError(problem + error.problem, error.remedy)
        if self._num_defects <= _MAX_PRINTED:
            tqdm.write(f'left out: {error.problem}')
        elif self._num_defects == _MAX_PRINTED + 1:
            tqdm.write(f'left out: more, which {MANIFEST} will list')

    def _indices(self, number: int) -> range:
        return range(len(self._source))[number * EXAMPLES_PER_SHARD :][:EXAMPLES_PER_SHARD]

    def _path(self, number: int) -> str:
        shard = f'{number:05d}-of-{self._num_shards:05d}'
        return os.path.join(self._directory, f'{_DATASET}-{self._name}.array_record-{shard}')

    def _description_path(self, number: int) -> str:
        name = f'{os.path.basename(self._path(number))}.json'
        return os.path.join(self._directory, PROGRESS, name)


def _merge(name: str, shards: list[Split | None]) -> Split:
    """The split of all its shards. Raises UserError if it has no usable example."""
    found = [shard for shard in shards if shard is not None]

    def joined(field):
        return list(itertools.chain.from_iterable(getattr(shard, field) for shard in found))

    if not joined('names'):
        problem = f'the {name} split has no usable example: {joined("skipped")[0][1]}'
        raise UserError(problem, 'fix the data set')
    smallest = np.min([shard.smallest for shard in found if shard.smallest], axis=0).tolist()
    largest = np.max([shard.largest for shard in found if shard.largest], axis=0).tolist()
    names, locations, skipped = joined('names'), joined('locations'), joined('skipped')
    return Split(joined('shards'), smallest, largest, names, locations, skipped)


def _continue_or_start(directory: str, wanted: dict[str, Any]) -> None:
    """Remove the shards of an interrupted preparation of other settings or examples."""
    progress = os.path.join(directory, PROGRESS)
    path = os.path.join(progress, _FINGERPRINT)
    if manifests.read_json(path) == wanted:
        return
    if os.path.isdir(progress):
        print('starting again: the interrupted preparation was of other settings or examples')
        shutil.rmtree(progress)
    for name in os.listdir(directory):
        if name.startswith(f'{_DATASET}-'):
            os.unlink(os.path.join(directory, name))
    manifests.write_json(path, wanted)


@contextlib.contextmanager
def _record_writer(path: str, config: DataConfig) -> Generator[Any]:
    """Yield a function that writes one record. Raises UserError if the disk is full."""
    from array_record.python.array_record_module import ArrayRecordWriter

    def checked(call, *arguments):
        try:
            return call(*arguments)
        except RuntimeError as error:  # The only exception of ArrayRecord.
            raise _cannot_write(config, str(error).split(';')[0]) from error

    writer = checked(ArrayRecordWriter, path, WRITER_OPTIONS)
    try:
        yield functools.partial(checked, writer.write)
    except BaseException:
        with contextlib.suppress(RuntimeError, OSError):
            writer.close()
            os.unlink(path)
        raise
    checked(writer.close)


def _in_16_bits(ids: np.ndarray, location: str) -> np.ndarray:
    """Instance ids as uint16. Wide ids are renumbered: only the borders between them matter."""
    limits = np.iinfo(INSTANCE_DTYPE)
    if ids.min() >= limits.min and ids.max() <= limits.max:
        return ids.astype(INSTANCE_DTYPE)
    values, renumbered = np.unique(ids, return_inverse=True)
    if len(values) > limits.max + 1:
        problem = f'{location}: {len(values)} instances, more than the {limits.max + 1} that fit'
        raise UserError(problem, 'train without --records_dir')
    return renumbered.reshape(ids.shape).astype(INSTANCE_DTYPE)


def _features(config: DataConfig) -> Any:
    """The TFDS features of a record, so that TFDS can read it without this package."""
    import tensorflow_datasets as tfds

    tensor = tfds.features.Tensor
    image = functools.partial(tensor, shape=(None, None, 3), dtype=np.uint8, encoding='bytes')
    ids = functools.partial(tensor, shape=(None, None), encoding='zlib')
    label = ids(dtype=label_dtype(config), doc='Class ids.')
    features = {
        'image': image(doc='The image.'),
        'name': tfds.features.Text(doc='The name of the example in its data set.'),
        'label': label if config.uses_labels else image(doc='The RGB condition.'),
    }
    if config.instance_edges:
        features['instance'] = ids(dtype=INSTANCE_DTYPE, doc='Instance ids.')
    return tfds.features.FeaturesDict(features)


def _write_tfds_metadata(config: DataConfig, directory: str, manifest: Manifest) -> None:
    """Make the directory a TFDS data set."""
    import tensorflow_datasets as tfds

    files = dict(dataset_name=_DATASET, filetype_suffix='array_record')

    def info(name: str, split: Split) -> tfds.core.SplitInfo:
        path = tfds.core.Path(directory)
        template = tfds.core.ShardedFileTemplate(data_dir=path, split=name, **files)
        lengths = [shard.examples for shard in split.shards]
        num_bytes = sum(shard.size for shard in split.shards)
        return tfds.core.SplitInfo(
            name=name, shard_lengths=lengths, num_bytes=num_bytes, filename_template=template
        )

    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=_features(config),
        check_data=False,
        description=f'Prepared by spade_jax from {config.dataset}.',
        split_infos=[info(name, split) for name, split in manifest.splits.items()],
    )


def _make_directory(directory: str, given: str) -> None:
    """Make the directory. Raises UserError if that fails or if it holds foreign files."""
    try:
        os.makedirs(directory, exist_ok=True)
        names = sorted(set(os.listdir(directory)) - {LOCK})
    except OSError as error:
        problem = f'records_dir={given} cannot be written ({error.strerror})'
        raise UserError(problem, 'choose another --records_dir') from error
    if names and not {MANIFEST, PROGRESS} & set(names):
        problem = f'records_dir={given} is not empty ({names[0]}) and has no prepared records'
        raise UserError(problem, 'choose an empty directory')


def _require_same(given: str, saved: Any, wanted: dict[str, Any]) -> None:
    """Raise UserError, with every entry that differs, if the records have another fingerprint."""
    if changes := '; '.join(differences(saved, wanted)):
        problem = f'records_dir={given} has records of other settings or examples ({changes})'
        raise UserError(problem, 'choose another --records_dir, or remove it')


def _flat(sources: Any) -> dict[str, Any]:
    """{'train': {'examples': 3}} -> {'train examples': 3}."""
    return {f'{split} {name}': value for split in sources for name, value in sources[split].items()}


def _cannot_write(config: DataConfig, reason: str) -> UserError:
    return UserError(
        f'records_dir={config.records_dir} cannot be written ({reason})',
        'free space or choose another directory; --mode=prepare_data continues where it stopped',
    )
