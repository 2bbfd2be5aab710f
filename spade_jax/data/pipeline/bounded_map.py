"""An ordered parallel map with a bounded number of pending results."""

import collections
import concurrent.futures
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

T = TypeVar('T')
R = TypeVar('R')


def bounded_map(
    pool: concurrent.futures.Executor, function: Callable[[T], R], items: Iterable[T], ahead: int
) -> Generator[R]:
    """Map as `pool.map` does, with at most `ahead` results in memory that are not consumed yet."""
    pending = collections.deque()
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
