"""Check that an index of indexed label maps has one color: else it is no class id."""

import threading

from spade_jax.data.files.image_files import Colors
from spade_jax.errors import DatasetError


class IndexColors:
    """The colors of the indices that the label maps of a data set use; thread-safe.

    Paint programs write the palette of each file anew, so that one index means grass in a file and
    water in another.
    """

    def __init__(self):
        self._found: dict[int, tuple[int, str]] = {}  # Color and first file, by index.
        self._lock = threading.Lock()

    def add(self, name: str, colors: Colors) -> None:
        """Add the used colors of a file. Raises DatasetError if an index has another one."""
        with self._lock:
            for index, color in colors.items():
                known, other = self._found.get(index, (color, name))
                if known != color:
                    here, there = f'is #{color:06x}', f'#{known:06x} in {other}'
                    remedy = 'list the colors with --palette=FILE, or, if indices are ids, save '
                    problem = f'{name}: index {index} {here}, but {there}'
                    raise DatasetError(problem, remedy + 'the maps as gray PNG')
            self._found = {index: (color, name) for index, color in colors.items()} | self._found
