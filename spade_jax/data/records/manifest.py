"""The manifest of a directory of prepared records.

Such a directory is a TFDS data set (shards in ArrayRecord, dataset_info.json, features.json) with
a `Manifest`: examples.json, or incomplete.json as long as some shards are missing.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write

MANIFEST, INCOMPLETE = 'examples.json', 'incomplete.json'


class Shard(NamedTuple):
    """A file of `examples` records and `size` bytes."""

    file: str
    examples: int
    size: int


@dataclasses.dataclass
class Split:
    """The records of a split, in the order of the source.

    Attributes:
      states: The `Fingerprint.states` of the source.
      shards: The files.
      names: The name of each example in the source.
      locations: The location of each example in the source.
      skipped: Location and defect of the examples that were left out.
      smallest: The least width and height of the examples; empty without examples.
      largest: The greatest width and height.
    """

    states: dict[str, str]
    shards: list[Shard] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    locations: list[str] = dataclasses.field(default_factory=list)
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    smallest: list[int] = dataclasses.field(default_factory=list)
    largest: list[int] = dataclasses.field(default_factory=list)

    def include(self, width: int, height: int) -> None:
        """Extend `smallest` and `largest` to a size."""
        size = [width, height]
        self.smallest = list(map(min, self.smallest or size, size))
        self.largest = list(map(max, self.largest or size, size))


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
    splits: dict[str, Split]

    def write(self, directory: str, name: str) -> None:
        """Write the manifest atomically."""
        with atomic_write(os.path.join(directory, name)) as path:
            with open(path, 'w', encoding='utf-8') as file:
                json.dump(dataclasses.asdict(self), file)

    def __str__(self):
        return ', '.join(
            f'{len(split.names)} {name} examples'
            + (f' ({len(split.skipped)} left out)' if split.skipped else '')
            for name, split in self.splits.items()
        )


def read_manifest(directory: str, name: str = MANIFEST) -> Manifest | None:
    """Return the manifest of a directory; None if it has none of this name.

    Raises:
      UserError: The manifest cannot be read.
    """
    path = os.path.join(directory, name)
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
        manifest = Manifest(**content)
        for key, value in content['splits'].items():
            split = Split(**value)
            split.shards = [Shard(*shard) for shard in split.shards]
            manifest.splits[key] = split
        return manifest
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f'{path} cannot be read ({getattr(error, "strerror", None) or error})'
        raise UserError(problem, 'remove the directory and prepare it again') from error


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
