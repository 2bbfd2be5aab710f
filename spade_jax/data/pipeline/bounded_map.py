"""An ordered parallel map with a bounded number of pending results."""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

_T = TypeVar('_T')
_R = TypeVar('_R')


def bounded_map(
    pool: concurrent.futures.Executor, function: Callable[[_T], _R], items: Iterable[_T], ahead: int
) -> Generator[_R]:
    """Map as `pool.map` does, with at most `ahead` results in memory that are not consumed yet."""
    pending: collections.deque[concurrent.futures.Future[_R]] = collections.deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()
