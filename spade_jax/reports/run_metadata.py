"""run.json: configuration, duration, machine and package versions of a run."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import spade_jax
from spade_jax.config.config import Config
from spade_jax.files.atomic_write import atomic_write

FILE = 'run.json'
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


class RunMetadata:
    """Writes run.json and keeps it current; each start or resumption of the run is a session.

    {"config": {"data": {...}, "model": {"name": ..., ...}, ...}, "num_examples": N,
    "parameters": {"generator": N, ...}, "sessions": [{"started", "seconds", "first_step",
    "last_step", "versions", "code", "devices", "compilation"}, ...]}; "code" is that of
    `code_version`, "compilation" the seconds until the first step of the session was done.

    Args:
      workdir: The work directory.
      config: The configuration of the run.
      num_examples: Size of the training set.
      first_step: The step that this session starts from. 0 discards the earlier sessions.
      devices: Description of the devices.
      parameters: Number of parameters of each network.

    Attributes:
      last_compilation: That of the newest session that had one; None without one.
    """

    def __init__(
        self,
        workdir: str,
        config: Config,
        num_examples: int,
        first_step: int,
        devices: str,
        parameters: Mapping[str, int] = MappingProxyType({}),
    ):
        self._path, self._start = os.path.join(workdir, FILE), time.monotonic()
        versions = {name: importlib.metadata.version(name) for name in PACKAGES}
        self._session = {
            'started': datetime.datetime.now().astimezone().isoformat(timespec='seconds'),
            'first_step': first_step,
            'versions': {'python': platform.python_version()} | versions,
            'code': code_version(),
            'devices': devices,
        }
        earlier = (read_metadata(workdir) or {}).get('sessions', [])
        known = (session.get('compilation') for session in earlier)
        compilations = [seconds for seconds in known if is_number(seconds)]
        self.last_compilation: float | None = compilations[-1] if compilations else None
        sessions = [*(earlier if first_step else []), self._session]
        numbers = dict(num_examples=num_examples, parameters=dict(parameters))
        self._content = dict(config=config.to_json(), **numbers, sessions=sessions)
        self.reached(first_step)

    def compiled(self, seconds: float) -> None:
        """Record how long the first step of this session took; `reached` writes it."""
        self._session['compilation'] = round(seconds, 1)

    def reached(self, step: int) -> None:
        """Record that a step is done."""
        self._session |= {'last_step': step, 'seconds': round(time.monotonic() - self._start, 1)}
        with atomic_write(self._path) as partial, open(partial, 'w') as file:
            json.dump(self._content, file, indent=1)


def code_version() -> str:
    """The git commit of the checkout, followed by '-dirty' if files differ; else the version."""
    root = pathlib.Path(spade_jax.__file__).parents[1]
    if (root / '.git').exists():  # Not that of a project in whose directory this is installed.
        command = ['git', '-C', str(root), 'describe', '--always', '--dirty', '--abbrev=40']
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [*command, '--exclude=*'], capture_output=True, text=True, check=True, timeout=10
            )
            return done.stdout.strip()
    return spade_jax.__version__


def read_metadata(workdir: str) -> dict[str, Any] | None:
    """The content of run.json; None if there is none.

    What is damaged, or of another type than `RunMetadata` writes, is left out, with a warning.
    """
    path = os.path.join(workdir, FILE)
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        print(f'warning: {path} is left out, it cannot be read ({error})', file=sys.stderr)
        return None
    known = _known_entries(content)
    if known != content:
        print(f'warning: {path} has damaged entries, which are left out', file=sys.stderr)
    return known or None


def is_count(value: Any) -> bool:
    """True for an integer of a sensible size, not negative."""
    return type(value) is int and 0 <= value < 2**53


def is_number(value: Any) -> bool:
    """True for a number, which may be infinite or NaN."""
    return type(value) is float or (type(value) is int and abs(value) < 2**53)


def _known_entries(content: Any) -> dict[str, Any]:
    """The entries of run.json without those of a wrong type."""
    if not isinstance(content, dict):
        return {}
    known, config, sessions = dict(content), content.get('config'), content.get('sessions')
    if not isinstance(config, dict) or not all(isinstance(x, dict) for x in config.values()):
        known.pop('config', None)
    if not is_count(content.get('num_examples')):
        known.pop('num_examples', None)
    parameters = content.get('parameters', {})
    if not isinstance(parameters, dict) or not all(map(is_count, parameters.values())):
        known.pop('parameters')
    sessions = sessions if isinstance(sessions, list) else []
    return known | {'sessions': [session for session in sessions if _is_session(session)]}


def _is_session(session: Any) -> bool:
    if not isinstance(session, dict) or not isinstance(session.get('versions'), dict):
        return False
    steps = session.get('first_step'), session.get('last_step')
    texts = session.get('started'), session.get('devices')
    seconds = session.get('seconds', -1)
    is_duration = is_number(seconds) and 0 <= seconds < 1e10
    return is_duration and all(map(is_count, steps)) and all(isinstance(t, str) for t in texts)
