"""What a run was: its configuration, how long it took, on which machine, with which versions. One JSON file in the work directory."""

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
    """Keeps run.json while a run goes on.

    {"config": fields, "num_examples": N, "sessions": [...]}: a session is the time between a start and an end, of which a resumed run has several:
    {"started", "seconds", "first_step", "last_step", "versions", "devices"}.
    """

    def __init__(
        self, workdir: str, config: Config, num_examples: int, first_step: int, devices: str
    ):
        self._path, self._began = os.path.join(workdir, FILE), time.monotonic()
        self._session = {
            'started': datetime.datetime.now().astimezone().isoformat(timespec='seconds'),
            'seconds': 0.0,
            'first_step': first_step,
            'last_step': first_step,
            'versions': versions(),
            'devices': devices,
        }
        earlier = (read_metadata(workdir) or {}).get('sessions', []) if first_step else []
        self._facts = {
            'config': config.to_json(),
            'num_examples': num_examples,
            'sessions': earlier + [self._session],
        }
        self._write()

    def reached(self, step: int) -> None:
        """Notes that a step is done."""
        self._session |= {'last_step': step, 'seconds': round(time.monotonic() - self._began, 1)}
        self._write()

    def _write(self):
        with atomic_write(self._path) as partial, open(partial, 'w') as file:
            json.dump(self._facts, file, indent=1)


def read_metadata(workdir: str) -> dict[str, Any] | None:
    """The content of run.json; None where there is none, or one that is damaged."""
    try:
        with open(os.path.join(workdir, FILE)) as file:
            facts = json.load(file)
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) else None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that a result depends on."""
    found = {'python': platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
