"""Which files a checkpoint has, with their checksums: also those whose damage changes no array today are not to go unnoticed."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import os

from spade_jax.checkpoints import checksums
from spade_jax.checkpoints.checksums import CorruptCheckpoint
from spade_jax.files.atomic_write import atomic_write

_THREADS = 4
_BLOCK = 2**20


def write(path: str, directory: str) -> None:
    """Writes the manifest of a complete checkpoint: the checksum of every file in `directory`, by its path in there."""
    with atomic_write(path) as partial, open(partial, 'w') as file:
        json.dump(checksums.with_checksum(_digests(directory, _files(directory))), file)


def check(path: str, directory: str, parts: tuple[str, ...]) -> None:
    """Raises CorruptCheckpoint where a file of a checkpoint is missing or not as it was when its manifest was written.

    Args:
      path: of the manifest. A run that was killed right after a save has none for it; then there is nothing to compare.
      directory: of the checkpoint.
      parts: the subdirectories that are compared, besides the files in `directory` itself.
    """
    if not os.path.exists(path):
        return
    try:
        with open(path) as file:
            sealed = json.load(file)
    except (OSError, ValueError) as error:
        raise CorruptCheckpoint(
            f'{path}: the list of the files cannot be read ({error})'
        ) from error
    saved = {
        name: digest
        for name, digest in checksums.opened(sealed, path).items()
        if name.count('/') == 0 or name.split('/')[0] in parts
    }
    missing = [name for name in saved if not os.path.isfile(os.path.join(directory, name))]
    found = {} if missing else _digests(directory, list(saved))
    if wrong := missing or [name for name, digest in saved.items() if found[name] != digest]:
        more = f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise CorruptCheckpoint(
            f'{directory}: {", ".join(wrong[:3])}{more} of {len(saved)} files {"missing" if missing else "not as saved (checksum)"}'
        )


def _files(directory: str) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(place, name), directory).replace(os.sep, '/')
        for place, _, names in os.walk(directory)
        for name in names
    )


def _digests(directory: str, names: list[str]) -> dict[str, str]:
    def digest(name):
        found = hashlib.blake2b(digest_size=16)
        with open(os.path.join(directory, name), 'rb') as file:
            while block := file.read(_BLOCK):
                found.update(block)
        return found.hexdigest()

    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:  # hashing lets other threads run
        return dict(zip(names, pool.map(digest, names)))
