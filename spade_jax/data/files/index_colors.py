"""Check that an index of indexed label maps has one color: else it is no class id."""

import threading

from spade_jax.config.catalog import CATALOG, known_classes
from spade_jax.config.data_config import DataConfig
from spade_jax.config.label_format import TRANSPARENT
from spade_jax.data.files.image_files import Colors
from spade_jax.errors import DatasetError


class IndexColors:
    """The colors of the indices that the label maps of a data set use; thread-safe.

    Paint programs write the palette of each file anew, so that one index means grass in a file and
    water in another. They also number the colors of a drawing that shows classes in their colors.

    Args:
      config: Its classes have colors, or it has a palette; without, only files are compared.
    """

    def __init__(self, config: DataConfig | None = None):
        is_plain = config and config.uses_labels and not config.palette and not config.label_remap
        classes = known_classes(config) if config and is_plain else []
        self._ids: dict[int, set[int]] = {}  # Of the classes of a color.
        for entry in classes:
            if entry.color and entry.color != TRANSPARENT:
                self._ids.setdefault(int(entry.color[1:], 16), set()).add(entry.id)
        self._palette = CATALOG[config.dataset].classes if config and classes else ''
        self._found: dict[int, tuple[int, str]] = {}  # Color and first file, by index.
        self._lock = threading.Lock()

    def add(self, name: str, colors: Colors) -> None:
        """Add the used colors of a file.

        Raises:
          DatasetError: An index has another color in another file, or the indices number the colors
            of the classes in another order.
        """
        self._check_order(name, colors)
        with self._lock:
            for index, color in colors.items():
                known, other = self._found.get(index, (color, name))
                if known != color:
                    here, there = f'is #{color:06x}', f'#{known:06x} in {other}'
                    remedy = 'list the colors with --palette=FILE, or, if indices are ids, save '
                    problem = f'{name}: index {index} {here}, but {there}'
                    raise DatasetError(problem, remedy + 'the maps as gray PNG')
            self._found = {index: (color, name) for index, color in colors.items()} | self._found

    def _check_order(self, name: str, colors: Colors) -> None:
        classes = {index: self._ids.get(color, set()) for index, color in colors.items()}
        if len(classes) == 1 or not all(classes.values()):
            return  # These are other colors than those of the classes.
        for index, ids in classes.items():
            if index not in ids:
                problem = f'{name}: index {index} has #{colors[index]:06x}, the color of class '
                remedy = f'read the colors with --palette={self._palette}, or, if indices are ids, '
                raise DatasetError(f'{problem}{min(ids)}', f'{remedy}save the map as gray PNG')
