"""run.json: configuration, duration, machine and package versions of a run."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import time
from typing import Any

from spade_jax.config.config import Config
from spade_jax.files.atomic_write import atomic_write

FILE = 'run.json'
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


class RunMetadata:
    """Writes run.json and keeps it current.

    {"config": {"data": {...}, "model": {"name": ..., ...}, ...}, "num_examples": N,
    "sessions": [{"started", "seconds", "first_step", "last_step", "versions", "devices"}, ...]}.
    Each start or resumption of the run is a session.

    Args:
      workdir: The work directory.
      config: The configuration of the run.
      num_examples: Size of the training set.
      first_step: The step that this session starts from. 0 discards the earlier sessions.
      devices: Description of the devices.
    """

    def __init__(
        self, workdir: str, config: Config, num_examples: int, first_step: int, devices: str
    ):
        self._path, self._start = os.path.join(workdir, FILE), time.monotonic()
        self._session = {
            'started': datetime.datetime.now().astimezone().isoformat(timespec='seconds'),
            'seconds': 0.0,
            'first_step': first_step,
            'last_step': first_step,
            'versions': versions(),
            'devices': devices,
        }
        earlier = (read_metadata(workdir) or {}).get('sessions', []) if first_step else []
        self._content = {
            'config': config.to_json(),
            'num_examples': num_examples,
            'sessions': [*earlier, self._session],
        }
        self._write()

    def reached(self, step: int) -> None:
        """Record that a step is done."""
        self._session |= {'last_step': step, 'seconds': round(time.monotonic() - self._start, 1)}
        self._write()

    def _write(self):
        with atomic_write(self._path) as partial, open(partial, 'w') as file:
            json.dump(self._content, file, indent=1)


def read_metadata(workdir: str) -> dict[str, Any] | None:
    """The content of run.json; None if the file is missing or damaged."""
    try:
        with open(os.path.join(workdir, FILE)) as file:
            content = json.load(file)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {'python': platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
