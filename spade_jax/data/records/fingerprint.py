"""What tells the examples of a source from others: by it, prepared records know what they were made from."""

from __future__ import annotations

import concurrent.futures
import hashlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from spade_jax.config.data_config import DataConfig
from spade_jax.data.sources.pairing import ExampleFiles, files_below
from spade_jax.data.sources.source import Source
from spade_jax.errors import UserError

_DIGEST_LENGTH = 16  # hexadecimal digits
_SHORT_DIGEST_LENGTH = 6
_NUM_EXAMINED = 3  # examples whose pixels stand for all of a source without files
_THREADS = 16  # Network disks take a while to answer.
_CHUNK = 1000  # examples that a thread asks for at a time


class Identity(NamedTuple):
    """A source at a moment.

    Attributes:
      summary: JSON values, for people too: the number of examples, and digests of their names and of their contents.
      states: for each example a text that changes when it does: its name, with sizes and times of its files.
      digests: by name of an example in files, of each of its files a short digest of size and time: 'f0a1b2 c3d4e5'.
    """

    summary: dict[str, Any]
    states: list[str]
    digests: dict[str, str]

    def of_examples(self, indices: range) -> str:
        """A digest of some of the examples."""
        return _digest(self.states[indices.start : indices.stop])


def identify(source: Source, config: DataConfig, split: str) -> Identity:
    """The identity of the source that `config` opens for a split.

    Examples in files are known by sizes and times, which cost nothing to read; those in records, of TFDS or rendered, by the pixels of a few.
    """
    summary = {'examples': len(source), 'names': _digest(source.names)}
    shared = list(_shared_files(config, split))
    files = _files_of_examples(source)
    common = _digest(_in_parallel(shared)) if shared else ''
    own_files = _in_parallel(files)
    own = [' '.join(states) for states in own_files]
    num_files = len(shared) + sum(map(len, files))
    if not num_files:
        common = _some_pixels(source)
    states = [f'{name}\0{state}\0{common}' for name, state in zip(source.names, own, strict=True)]
    kind = f'{num_files} files' if num_files else f'pixels of {min(len(source), _NUM_EXAMINED)}'
    digests = {
        name: _digests(file_states)
        for name, file_states in zip(source.names, own_files)
        if file_states
    }
    return Identity(summary | {'contents': f'{kind} ({_digest(states)})'}, states, digests)


def first_change(files: Sequence[ExampleFiles], digests: Mapping[str, str]) -> str | None:
    """What of some examples has changed since their digests were taken, in a few words, with the path of the first file; None where nothing has.

    Only sizes and times are looked at.
    """
    paths = [[path for path in example[1:] if path] for example in files]
    for example, example_paths, states in zip(files, paths, _in_parallel(paths)):
        saved = digests.get(example.name)
        if saved is None:
            return f'{example.photo} is new'
        if (now := _digests(states)) != saved:
            changed = [
                path
                for path, one, other in itertools.zip_longest(
                    example_paths, now.split(), saved.split()
                )
                if one != other
            ]
            return f'{changed[0] or example.photo} has changed'
    if gone := digests.keys() - {example.name for example in files}:
        return f'{min(gone)} is gone'
    return None


def _files_of_examples(source: Source) -> list[list[str]]:
    return (
        [[path for path in example[1:] if path] for example in source.files]
        if hasattr(source, 'files')
        else [[] for _ in source.names]
    )


def _digests(states: Sequence[str]) -> str:
    return ' '.join(_digest([state])[:_SHORT_DIGEST_LENGTH] for state in states)


def _shared_files(config: DataConfig, split: str) -> Iterator[str]:
    """The files that belong to no example in particular."""
    root = os.path.expanduser(config.data_dir)
    instances = getattr(config, f'{split}_instance_dir')
    if config.instance_edges and instances.endswith('.json'):
        yield os.path.join(root, instances)
    if config.dataset == 'celebamask_hq':  # of which every face has up to 18 masks
        for name in (config.train_image_dir, config.train_label_dir):
            yield from files_below(os.path.join(root, name))


def _in_parallel(files: list) -> list:
    """The states of paths, or lists of those of lists of paths."""
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        chunks = pool.map(
            lambda start: [_state(item) for item in files[start : start + _CHUNK]],
            range(0, len(files), _CHUNK),
        )
        return [state for chunk in chunks for state in chunk]


def _state(path: str | list[str]) -> str | list[str]:
    if isinstance(path, list):
        return [_state(item) for item in path]
    try:
        found = os.stat(path)
    except OSError:
        return f'{os.path.basename(path)} missing'  # Who reads it will say so.
    return f'{os.path.basename(path)} {found.st_size} {found.st_mtime_ns}'


def _some_pixels(source: Source) -> str:
    digest = hashlib.sha256()
    for index in sorted({number * len(source) // _NUM_EXAMINED for number in range(_NUM_EXAMINED)}):
        try:
            for pixels in filter(lambda part: part is not None, source.read(index)):
                digest.update(f'{pixels.shape} {pixels.dtype}'.encode() + pixels.tobytes())
        except UserError as error:
            digest.update(str(error).encode('utf-8', 'surrogateescape'))
    return digest.hexdigest()[:_DIGEST_LENGTH]


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256('\n'.join(texts).encode('utf-8', 'surrogateescape')).hexdigest()[
        :_DIGEST_LENGTH
    ]
