"""run.json: configuration, duration, machine and package versions of a run."""

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
    """Writes run.json and keeps it current; each start or resumption of the run is a session.

    {"config": {"data": {...}, "model": {"name": ..., ...}, ...}, "num_examples": N,
    "sessions": [{"started", "seconds", "first_step", "last_step", "versions", "devices",
    "first_step_seconds"}, ...]}. The last one is the time of the first step with its compilation.

    Args:
      workdir: The work directory.
      config: The configuration of the run.
      num_examples: Size of the training set.
      first_step: The step that this session starts from. 0 discards the earlier sessions.
      devices: Description of the devices.

    Attributes:
      last_compilation: That of the newest session that had one; None without one.
    """

    def __init__(
        self, workdir: str, config: Config, num_examples: int, first_step: int, devices: str
    ):
        self._path, self._start = os.path.join(workdir, FILE), time.monotonic()
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        self._session = {
            'started': datetime.datetime.now().astimezone().isoformat(timespec='seconds'),
            'first_step': first_step,
            'versions': {'python': platform.python_version()} | versions,
            'devices': devices,
        }
        earlier = (read_metadata(workdir) or {}).get('sessions', [])
        compilations = [session['compilation'] for session in earlier if 'compilation' in session]
        self.last_compilation: float | None = compilations[-1] if compilations else None
        sessions = [*(earlier if first_step else []), self._session]
        self._content = dict(config=config.to_json(), num_examples=num_examples, sessions=sessions)
        self.reached(first_step)

    def compiled(self, seconds: float) -> None:
        """Record how long the first step of this session took; `reached` writes it."""
        self._session['compilation'] = round(seconds, 1)

    def reached(self, step: int) -> None:
        """Record that a step is done."""
        self._session |= {'last_step': step, 'seconds': round(time.monotonic() - self._start, 1)}
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
