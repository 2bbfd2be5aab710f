"""Checksums of arrays and of small records: what a disk gives back may not be what was written to it, and nothing else would notice."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
from typing import Any

import jax
import numpy as np

from spade_jax.errors import UserError

_THREADS = 4  # hashing lets other threads run


class CorruptCheckpoint(UserError):
    """A checkpoint whose files are missing, cannot be read, or hold something else than what was saved."""


def checksums(tree: Any) -> dict[str, str]:
    """The checksum of every array of a tree, of its type, shape and bits, by the path of the array, for example "generator/params/last/kernel"."""
    leaves = named_leaves(tree)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(leaves, pool.map(_checksum, leaves.values())))


def check(tree: Any, saved: dict[str, str], place: str) -> None:
    """Raises CorruptCheckpoint, with the paths of the arrays, where a tree is not the one that had these checksums.

    Args:
      tree: of arrays.
      saved: see `checksums`.
      place: what the message calls the tree.
    """
    found = checksums(tree)
    changed = [path for path in found.keys() & saved.keys() if found[path] != saved[path]]
    if wrong := sorted(changed + list(found.keys() ^ saved.keys())):
        more = f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise CorruptCheckpoint(
            f'{place}: {", ".join(wrong[:3])}{more} of {len(found)} arrays not as saved (checksum)'
        )


def not_finite(tree: Any) -> list[str]:
    """The paths of the arrays of a tree with a NaN or an infinity."""
    leaves = named_leaves(tree)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        finite = pool.map(
            lambda leaf: (
                not np.issubdtype(leaf.dtype, np.floating) or bool(np.isfinite(leaf).all())
            ),
            leaves.values(),
        )
        return [path for path, is_finite in zip(leaves, finite) if not is_finite]


def named_leaves(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree on the host, by their paths."""
    return {path: np.asarray(leaf) for path, leaf in zip(paths(tree), jax.tree.leaves(tree))}


def paths(tree: Any) -> list[str]:
    """The paths of the leaves of a tree; fields, entries of dictionaries and of lists are named alike."""
    return [
        '/'.join(_key(part) for part in path)
        for path, _ in jax.tree_util.tree_leaves_with_path(tree)
    ]


def with_checksum(record: dict[str, Any]) -> dict[str, Any]:
    """A record of JSON values with the checksum of itself."""
    return {'record': record, 'checksum': _seal(record)}


def opened(sealed_record: Any, place: str) -> dict[str, Any]:
    """The inverse of `sealed`. Raises CorruptCheckpoint where a digit of the record changed, or it is none."""
    try:
        record, checksum = sealed_record['record'], sealed_record['checksum']
    except (KeyError, TypeError):
        raise CorruptCheckpoint(f'{place}: no record with a checksum') from None
    if _seal(record) != checksum:
        raise CorruptCheckpoint(f'{place}: the record is not as saved (checksum)')
    return record


def _checksum(leaf: np.ndarray) -> str:
    digest = hashlib.blake2b(f'{leaf.dtype.name} {leaf.shape}'.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(leaf).reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _seal(record: Any) -> str:
    return hashlib.blake2b(json.dumps(record, sort_keys=True).encode(), digest_size=16).hexdigest()


def _key(part: Any) -> str:
    """One step of a path: the key of a dictionary, the number in a list, the name of a field."""
    for attribute in ('key', 'idx', 'name'):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    return str(part)
