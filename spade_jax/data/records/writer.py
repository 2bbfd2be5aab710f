"""Write prepared records (--mode=prepare_data): any source, decoded, renumbered and scaled.

Shards are written atomically and in order, so an interrupted preparation continues with the next.
"""

import concurrent.futures
import contextlib
import functools
import itertools
import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_reader import label_dtype
from spade_jax.data.pipeline.bounded_map import bounded_map
from spade_jax.data.pipeline.input_pipeline import MAX_SKIPPED_IN_A_ROW
from spade_jax.data.pipeline.paired_transforms import Example, Geometry, scale
from spade_jax.data.records import manifest as manifests
from spade_jax.data.records.fingerprint import differences, fingerprint, settings_of
from spade_jax.data.records.manifest import INCOMPLETE, MANIFEST, Manifest, Shard, Split
from spade_jax.data.records.reader import INSTANCE_DTYPE
from spade_jax.data.sources.open_source import check_example, open_files, pointing_to_the_report
from spade_jax.data.sources.source import SPLITS, Source
from spade_jax.errors import DatasetError, UserError, user_errors
from spade_jax.files.atomic_write import PART, atomic_write
from spade_jax.files.run_lock import exclusive_lock

# Groups of one: reading an example does not decode others. The maps are compressed already, and
# images shrink by a fifth only: one core reads 4.5 times as many records as with zstd.
WRITER_OPTIONS = 'group_size:1,uncompressed'
LOCK = 'prepare.lock'
EXAMPLES_PER_SHARD = 1000  # An interrupted preparation loses at most one shard.
_DATASET = 'spade_records'
_MAX_PRINTED = 20  # Defects.


class _Record(NamedTuple):
    """An encoded example with its width and height, or its defect."""

    name: str
    location: str
    content: bytes = b''
    size: tuple[int, int] = (0, 0)
    defect: UserError | None = None


def prepare(config: DataConfig) -> None:
    """Write all splits of `config` to `config.records_dir`, and print what is done.

    Continues an interrupted preparation. Does nothing if the same examples are prepared already.

    Raises:
      UserError: An example cannot be used (with on_bad_example=error); or the directory cannot be
        written, is in use, or holds other files or other records.
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
        fingerprints = {name: fingerprint(source) for name, source in sources.items()}
        summaries = {name: entry.summary for name, entry in fingerprints.items()}
        if found is not None:
            _require_same(given, _flat(found.sources), _flat(summaries))
            manifests.require_complete(directory, found)
            print(f'{given} is already prepared: {found}')
            return
        splits = {name: Split(entry.states) for name, entry in fingerprints.items()}
        manifest = Manifest(settings, summaries, splits)
        try:
            manifest = _continued(config, directory, manifest)
            for name, source in sources.items():
                _write_split(config, directory, manifest, name, source)
            _write_tfds_metadata(config, directory, manifest)
            manifest.write(directory, MANIFEST)
            os.unlink(os.path.join(directory, INCOMPLETE))
        except OSError as error:
            problem = f'records_dir={given} cannot be written ({error.strerror or error})'
            remedy = 'free space or choose another directory; --mode=prepare_data continues'
            raise UserError(problem, f'{remedy} where it stopped') from error
        print(f'prepared {manifest} in {given}')


def _continued(config: DataConfig, directory: str, manifest: Manifest) -> Manifest:
    """The manifest of an interrupted preparation of the same examples, or the given empty one."""
    _remove(directory, PART)  # Of a killed process.
    found = manifests.read_manifest(directory, INCOMPLETE)
    if found is not None:
        same = (found.settings, found.sources) == (manifest.settings, manifest.sources)
        skipped = any(split.skipped for split in found.splits.values())
        if same and not (skipped and config.on_bad_example == 'error'):
            print(f'continuing an interrupted preparation: {found} are written')
            return found
        print('starting again: the interrupted preparation was of other settings or examples')
    _remove(directory, f'{_DATASET}-')
    manifest.write(directory, INCOMPLETE)
    return manifest


def _remove(directory: str, start: str) -> None:
    for name in os.listdir(directory):
        if name.startswith(start):
            os.unlink(os.path.join(directory, name))


def _write_split(
    config: DataConfig, directory: str, manifest: Manifest, name: str, source: Source
) -> None:
    """Write the missing shards. Raises UserError if no example can be used."""
    split = manifest.splits[name]
    num_shards = -(-len(source) // EXAMPLES_PER_SHARD)
    first = len(split.shards) * EXAMPLES_PER_SHARD
    encode = functools.partial(_record, config, source, _features(config))
    num_workers = max(config.data_workers, os.cpu_count() or 1)
    bar = tqdm(desc=f'preparing {name}', total=len(source), initial=first, unit='example')
    with concurrent.futures.ThreadPoolExecutor(num_workers) as pool, bar:
        # Far enough ahead of the writer that no worker waits for it.
        records = bounded_map(pool, encode, range(first, len(source)), ahead=2 * num_workers)
        with contextlib.closing(records):
            for number in range(len(split.shards), num_shards):
                file = f'{_DATASET}-{name}.array_record-{number:05d}-of-{num_shards:05d}'
                of_shard = itertools.islice(records, EXAMPLES_PER_SHARD)
                _write_shard(os.path.join(directory, file), of_shard, split, bar)
                manifest.write(directory, INCOMPLETE)
    if not split.names:
        problem = f'the {name} split has no usable example: {split.skipped[0][1]}'
        raise UserError(problem, 'fix the data set')


def _write_shard(path: str, records: Iterable[_Record], split: Split, bar: tqdm) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    def checked(call, *arguments):
        try:
            return call(*arguments)
        except RuntimeError as error:  # The only exception of ArrayRecord.
            raise OSError(str(error).split(';')[0]) from error

    num_before, in_a_row = len(split.names), 0
    with atomic_write(path) as partial:
        writer = checked(ArrayRecordWriter, partial, WRITER_OPTIONS)
        for record in records:
            bar.update()
            in_a_row = in_a_row + 1 if record.defect else 0
            if record.defect:
                split.skipped.append((record.location, record.defect.problem))
                _report_defect(record.defect, len(split.skipped), in_a_row)
                continue
            checked(writer.write, record.content)
            split.names.append(record.name)
            split.locations.append(record.location)
            split.include(*record.size)
        checked(writer.close)
    num_examples = len(split.names) - num_before
    split.shards.append(Shard(os.path.basename(path), num_examples, os.path.getsize(path)))


def _report_defect(defect: UserError, count: int, count_in_a_row: int) -> None:
    """Print the defect of an example. Raises UserError after too many in a row."""
    if count_in_a_row > MAX_SKIPPED_IN_A_ROW:
        problem = f'{MAX_SKIPPED_IN_A_ROW} examples in a row cannot be used; the last one: '
        raise UserError(problem + defect.problem, defect.remedy)
    if count <= _MAX_PRINTED:
        tqdm.write(f'left out: {defect.problem}')
    elif count == _MAX_PRINTED + 1:
        tqdm.write(f'left out: more, which {MANIFEST} will list')


def _record(config: DataConfig, source: Source, features: Any, index: int) -> _Record:
    """Encode an example, or return its defect if bad examples may be skipped."""
    name, location = source.names[index], source.locations[index]
    try:
        with pointing_to_the_report(config, preparing=True):
            image, label, instance = _checked_example(config, source, index)
    except UserError as error:
        if config.on_bad_example == 'error' or isinstance(error, DatasetError):
            raise
        return _Record(name, location, defect=error)
    content = {'image': image, 'name': name.encode('utf-8', 'surrogateescape')}
    content |= {} if config.unconditional else {'label': label}
    content |= {} if instance is None else {'instance': instance}
    return _Record(name, location, features.serialize_example(content), label.shape[1::-1])


def _checked_example(config: DataConfig, source: Source, index: int) -> Example:
    location = source.locations[index]
    try:
        check_example(source, config, index)
        image, label, instance = scale(source.read(index), Geometry.from_config(config))
    except OSError as error:
        problem = f'{location}: the example cannot be read ({error.strerror or error})'
        raise UserError(problem, 'fix the data set') from error
    if instance is not None:
        instance = _in_16_bits(instance, location) if config.instance_edges else None
    return Example(image, label.astype(label_dtype(config), copy=False), instance)


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
    }
    if not config.unconditional:
        features['label'] = label if config.uses_labels else image(doc='The RGB condition.')
    if config.instance_edges:
        features['instance'] = ids(dtype=INSTANCE_DTYPE, doc='Instance ids.')
    return tfds.features.FeaturesDict(features)


def _write_tfds_metadata(config: DataConfig, directory: str, manifest: Manifest) -> None:
    import tensorflow_datasets as tfds

    infos = []
    for name, split in manifest.splits.items():
        files = dict(dataset_name=_DATASET, split=name, filetype_suffix='array_record')
        template = tfds.core.ShardedFileTemplate(tfds.core.Path(directory), **files)
        _, lengths, sizes = zip(*split.shards, strict=True)
        infos.append(tfds.core.SplitInfo(name, list(lengths), sum(sizes), template))
    options: dict[str, Any] = dict(data_dir=directory, split_infos=infos, check_data=False)
    options['description'] = f'Prepared by spade_jax from {config.dataset}.'
    tfds.folder_dataset.write_metadata(features=_features(config), **options)


def _make_directory(directory: str, given: str) -> None:
    """Make the directory. Raises UserError if that fails or if it holds foreign files."""
    with user_errors(f'records_dir={given} cannot be written', 'choose another --records_dir'):
        os.makedirs(directory, exist_ok=True)
        found = set(os.listdir(directory)) - {LOCK}
    names = sorted(name for name in found if not name.startswith(PART))
    if names and not {MANIFEST, INCOMPLETE} & set(names):
        problem = f'records_dir={given} is not empty ({names[0]}) and has no prepared records'
        raise UserError(problem, 'choose an empty directory')


def _require_same(given: str, saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise UserError, with every entry that differs, if the records have another fingerprint."""
    if changes := '; '.join(differences(saved, wanted)):
        problem = f'records_dir={given} has records of other settings or examples ({changes})'
        raise UserError(problem, 'choose another --records_dir, or remove it')


def _flat(sources: Mapping[str, Any]) -> dict[str, Any]:
    """{'train': {'examples': 3}} -> {'train examples': 3}."""
    return {f'{split} {name}': value for split in sources for name, value in sources[split].items()}
