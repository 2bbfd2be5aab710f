"""The manifest of a directory of prepared records.

Such a directory is a TFDS data set (shards in ArrayRecord, dataset_info.json, features.json) with
a `Manifest`: examples.json, or incomplete.json as long as some shards are missing.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from spade_jax.errors import UserError, user_errors
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.names import is_inside

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
      names, locations: Those of the examples in the source.
      skipped: Location and defect of the examples that were left out.
      smallest, largest: The least and the greatest [width, height]; [] without examples.
    """

    states: dict[str, str]
    shards: list[Shard] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)
    locations: list[str] = dataclasses.field(default_factory=list)
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    smallest: list[int] = dataclasses.field(default_factory=list)
    largest: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self):
        """Convert what a file holds; any exception if its values do not belong together."""
        self.states = {str(name): str(state) for name, state in dict(self.states).items()}
        self.shards = [Shard(file, int(count), int(size)) for file, count, size in self.shards]
        self.locations = list(map(str, self.locations))
        self.skipped = [(str(location), str(defect)) for location, defect in self.skipped]
        self.smallest, self.largest = list(map(int, self.smallest)), list(map(int, self.largest))
        for name in (*self.names, *(shard.file for shard in self.shards)):
            if not is_inside(name):
                raise ValueError(f'{name!r} is not a name inside the directory')
        counts = [shard.examples for shard in self.shards]
        sizes = {len(self.smallest), len(self.largest)}
        if min(counts, default=0) < 0 or sizes != {2 if self.names else 0}:
            raise ValueError('a shard or a size is impossible')
        if not sum(counts) == len(self.names) == len(self.locations):
            raise ValueError('it does not list the examples of its shards')

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
        with atomic_write(f'{directory}/{name}') as path:
            pathlib.Path(path).write_text(json.dumps(dataclasses.asdict(self)), encoding='utf-8')

    def __str__(self):
        counts = []
        for name, split in self.splits.items():
            left_out = f' ({len(split.skipped)} left out)' if split.skipped else ''
            counts.append(f'{len(split.names)} {name} examples{left_out}')
        return ', '.join(counts)


def read_manifest(directory: str, name: str = MANIFEST) -> Manifest | None:
    """Return the manifest, None if there is none. Raises UserError if it cannot be read."""
    path = pathlib.Path(directory, name)
    with user_errors(f'{path} cannot be read', 'remove the directory and prepare it again'):
        if not path.exists():
            return None
        content = json.loads(path.read_text(encoding='utf-8'))
        splits = {name: Split(**split) for name, split in content['splits'].items()}
        sources = {name: dict(summary) for name, summary in content['sources'].items()}
        return Manifest(dict(content['settings']), sources, splits)


def require_complete(directory: str, manifest: Manifest) -> None:
    """Raise UserError if a shard is missing or does not have the size it was written with."""
    remedy = 'copy the records again, or remove the directory and prepare it again'
    for shard in (shard for split in manifest.splits.values() for shard in split.shards):
        path = pathlib.Path(directory, shard.file)
        with user_errors(f'{path} cannot be read', remedy):
            size = path.stat().st_size
        if size != shard.size:
            raise UserError(f'{path} has {size} bytes instead of {shard.size}', remedy)
