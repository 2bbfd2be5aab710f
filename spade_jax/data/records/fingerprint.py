"""The fingerprint of prepared records: the settings and the examples they were prepared from."""

import concurrent.futures
import hashlib
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from spade_jax import landscapes
from spade_jax.config.data_config import DataConfig
from spade_jax.data.pipeline.paired_transforms import Geometry, scaled_size
from spade_jax.data.records.manifest import MANIFEST
from spade_jax.data.sources.pairing import ExampleFiles
from spade_jax.data.sources.source import DatasetSource, Source

FORMAT = 3  # Raised with every change of what the records hold.

# What decides the contents of the records. No directories: records may be read without the files.
_DECIDING_FIELDS = (
    *('dataset', 'train_list', 'validation_list', 'scenes_train_examples'),
    *('tfds_name', 'tfds_train_split', 'tfds_validation_split'),
    *('tfds_image_feature', 'tfds_label_feature', 'tfds_instance_feature'),
    *('condition', 'num_classes', 'dontcare', 'palette', 'label_remap'),
    *('preprocess_mode', 'load_size'),
)
_LATER_FIELDS = ('palette_tolerance', 'resize_labels')  # Older records lack them: off.
_MAX_LENGTH = 60  # Characters of a value in a message.
_THREADS = 16  # Network disks answer slowly.


class Fingerprint(NamedTuple):
    """The examples of a source.

    Attributes:
      summary: JSON values: the number of examples, and digests of their names and files.
      states: By name of an example, short digests of the size and time of its files, if any.
    """

    summary: dict[str, Any]
    states: dict[str, str]


def settings_of(config: DataConfig) -> dict[str, Any]:
    """Return all settings that decide which pixels are in the records, as JSON values."""
    geometry = Geometry.from_config(config)
    width, height = scaled_size(geometry, geometry.width, geometry.height)
    settings = {name: getattr(config, name) for name in _DECIDING_FIELDS}
    settings |= {name: value for name in _LATER_FIELDS if (value := getattr(config, name))}
    settings |= {'direction': config.direction} if config.dataset == 'pairs' else {}
    settings |= {'scenes_version': landscapes.VERSION} if config.dataset == 'scenes' else {}
    # The crop size matters only where it decides the scaled size.
    return {'format': FORMAT, **settings, 'scaled_size': f'{width}x{height}'}


def fingerprint(source: DatasetSource) -> Fingerprint:
    """Return the fingerprint of a source; sizes and times stand for the contents of its files."""
    files = [*map(_paths, source.files), list(source.shared_files())]
    states = file_states(files)
    of_files = digest(map('\0'.join, states))
    contents = f'{sum(map(len, files))} files ({of_files})'
    summary = dict(examples=len(source), names=digest(source.names), contents=contents)
    names = [example.name for example in source.files]
    return Fingerprint(summary, dict(zip(names, map(_short_digests, states), strict=False)))


def digest_of_source(source: Source, config: DataConfig) -> str:
    """Return 16 characters that change with the examples of any source and how they are read."""
    texts = [str(settings_of(config)), *source.names]
    if isinstance(source, DatasetSource):
        return digest([*texts, str(fingerprint(source).summary)])
    manifest = os.path.join(config.records_dir, MANIFEST)
    return digest([*texts, *file_states([[manifest]])[0]])


def differences(saved: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return the entries in which two dictionaries differ, as `name: saved -> given`."""
    found = []
    for name in dict.fromkeys([*saved, *given]):
        if saved.get(name) != given.get(name):
            old, new = _shortened(saved.get(name)), _shortened(given.get(name))
            found.append(f'{name}: {old} -> {"another" if new == old else new}')
    return found


def first_change(files: Sequence[ExampleFiles], states: Mapping[str, str]) -> str | None:
    """Describe the first difference from the saved `Fingerprint.states`; None without one."""
    paths = list(map(_paths, files))
    for example, example_paths, found in zip(files, paths, file_states(paths), strict=True):
        saved = states.get(example.name)
        if saved is None:
            return f'{example.photo} is new'
        if (now := _short_digests(found)) != saved:
            pairs = itertools.zip_longest(example_paths, now.split(), saved.split())
            changed = next(path for path, new, old in pairs if new != old)
            return f'{changed or example.photo} has changed'
    if gone := states.keys() - {example.name for example in files}:
        return f'{min(gone)} is gone'
    return None


def _paths(example: ExampleFiles) -> list[str]:
    return [path for path in example[1:] if path]


def file_states(examples: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return name, size and time of the files of each example."""

    def state(path: str) -> str:
        name = os.path.basename(path)
        try:
            found = os.stat(path)
        except OSError:
            return f'{name} missing'  # Reading the example reports it.
        return f'{name} {found.st_size} {found.st_mtime_ns}'

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda files: list(map(state, files)), examples))


def _short_digests(states: Sequence[str]) -> str:
    return ' '.join(digest([state])[:6] for state in states)


def digest(texts: Iterable[str]) -> str:
    """Return 16 characters that identify some texts."""
    content = '\n'.join(texts).encode('utf-8', 'surrogateescape')
    return hashlib.sha256(content).hexdigest()[:16]


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _MAX_LENGTH else f'{text[:_MAX_LENGTH]}...'
