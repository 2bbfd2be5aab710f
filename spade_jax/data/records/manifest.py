"""The manifest of a directory of prepared records.

Such a directory is a TFDS data set (shards in ArrayRecord, dataset_info.json, features.json) with
two more things:

    examples.json   The `Manifest`; written last, so that a directory without it is incomplete.
    incomplete/     The fingerprint and the finished shards of an unfinished preparation.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write

MANIFEST = 'examples.json'
PROGRESS = 'incomplete'


class Shard(NamedTuple):
    """A file of `examples` records and `size` bytes."""

    file: str
    examples: int
    size: int


@dataclasses.dataclass(frozen=True)
class Split:
    """The records of a split, or of one of its shards, in the order of the source.

    Attributes:
      shards: The files.
      smallest: The least width and height of the examples; None without examples.
      largest: The greatest width and height.
      names: The name of each example in the source.
      locations: The location of each example in the source.
      skipped: Location and defect of the examples that were left out.
      states: The `Fingerprint.states` of the source.
    """

    shards: Sequence[Shard]
    smallest: Sequence[int] | None
    largest: Sequence[int] | None
    names: Sequence[str]
    locations: Sequence[str]
    skipped: Sequence[tuple[str, str]]
    states: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Split:
        """Return the split that `dataclasses.asdict` converted."""
        return cls(**{**content, 'shards': [Shard(*shard) for shard in content['shards']]})


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of a directory of prepared records.

    Attributes:
      settings: The `settings_of` the configuration.
      sources: By split, the `Fingerprint.summary` of its source.
      splits: By name, the splits that exist.
    """

    settings: Mapping[str, Any]
    sources: Mapping[str, Any]
    splits: Mapping[str, Split]

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Manifest:
        """Return the manifest that `dataclasses.asdict` converted."""
        splits = {name: Split.from_json(split) for name, split in content['splits'].items()}
        return cls(content['settings'], content['sources'], splits)

    def __str__(self):
        return ', '.join(
            f'{len(split.names)} {name} examples'
            + (f' ({len(split.skipped)} left out)' if split.skipped else '')
            for name, split in self.splits.items()
        )


def read_manifest(directory: str) -> Manifest | None:
    """Return the manifest of a directory; None if it has no complete records.

    Raises:
      UserError: The manifest cannot be read.
    """
    path = os.path.join(directory, MANIFEST)
    content = read_json(path)
    if content is None:
        return None
    try:
        return Manifest.from_json(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        problem = f'{path} was not written by --mode=prepare_data'
        raise UserError(problem, 'choose another --records_dir') from error


def require_complete(directory: str, manifest: Manifest) -> None:
    """Raise UserError if a shard is missing or does not have the size it was written with."""
    remedy = 'copy the records again, or remove the directory and prepare it again'
    for shard in itertools.chain.from_iterable(split.shards for split in manifest.splits.values()):
        path = os.path.join(directory, shard.file)
        try:
            size = os.stat(path).st_size
        except OSError as error:
            raise UserError(f'{path} cannot be read ({error.strerror})', remedy) from error
        if size != shard.size:
            raise UserError(f'{path} has {size} bytes instead of {shard.size}', remedy)


def read_json(path: str) -> Any:
    """Return the content of a JSON file, or None if there is no such file.

    Raises:
      UserError: The file cannot be read.
    """
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        problem = f'{path} cannot be read ({getattr(error, "strerror", None) or error})'
        raise UserError(problem, 'remove the directory and prepare it again') from error


def write_json(path: str, content: Any) -> None:
    """Write a JSON file atomically."""
    with atomic_write(path) as partial, open(partial, 'w', encoding='utf-8') as file:
        json.dump(content, file)
