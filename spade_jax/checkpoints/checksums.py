"""Checksums for arrays and JSON records, to detect silent corruption that Orbax does not.

JAX is imported for trees of arrays only: records are read by programs that start without it.
"""

import concurrent.futures
import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from spade_jax.errors import UserError

_THREADS = 4  # Hashing releases the interpreter lock.


class CorruptCheckpoint(UserError):
    """A checkpoint whose files are missing, unreadable, or not what was saved."""


def checksums(tree: Any) -> dict[str, str]:
    """Checksums of the type, shape and bits of each array of a tree.

    Returns:
      Path of the array, such as 'networks/generator/params/to_rgb/kernel', -> checksum.
    """

    def checksum(leaf: np.ndarray) -> str:
        content = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8).data
        return _digest(f'{leaf.dtype.name} {leaf.shape}'.encode(), content)

    return _map_leaves(checksum, tree)


def check(tree: Any, saved: dict[str, str], place: str) -> None:
    """Raises CorruptCheckpoint at `place` when a tree of arrays lacks the saved checksums."""
    found = checksums(tree)
    changed = [path for path in found.keys() & saved.keys() if found[path] != saved[path]]
    if wrong := sorted(changed + list(found.keys() ^ saved.keys())):
        more = f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        names = ', '.join(wrong[:3]) + more
        raise CorruptCheckpoint(
            f'{place}: {names} of {len(found)} arrays are not as saved (checksum)'
        )


def not_finite(tree: Any) -> list[str]:
    """The paths of the arrays of a tree that contain a NaN or an infinity."""

    def is_broken(leaf: np.ndarray) -> bool:
        return np.issubdtype(leaf.dtype, np.floating) and not np.isfinite(leaf).all()

    return [path for path, broken in _map_leaves(is_broken, tree).items() if broken]


def named_leaves(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree on the host, by their paths."""
    import jax

    return dict(zip(paths(tree), map(np.asarray, jax.tree.leaves(tree)), strict=True))


def paths(tree: Any) -> list[str]:
    """The paths of the leaves of a tree: keys, fields and indices joined by '/'."""
    import jax

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in leaves]


def with_checksum(record: dict[str, Any]) -> dict[str, Any]:
    """A record of JSON values together with its own checksum."""
    return {'record': record, 'checksum': _json_checksum(record)}


def verified(values: Any, place: str) -> dict[str, Any]:
    """The inverse of `with_checksum`. Raises CorruptCheckpoint when the record has changed."""
    try:
        record, checksum = values['record'], values['checksum']
    except (KeyError, TypeError):
        raise CorruptCheckpoint(f'{place}: no record with a checksum') from None
    if _json_checksum(record) != checksum:
        raise CorruptCheckpoint(f'{place}: the record is not as saved (checksum)')
    return record


def _map_leaves(function: Callable[[np.ndarray], Any], tree: Any) -> dict[str, Any]:
    leaves = named_leaves(tree)
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(leaves, pool.map(function, leaves.values()), strict=True))


def _json_checksum(record: Any) -> str:
    return _digest(json.dumps(record, sort_keys=True).encode())


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
