"""Semantic image synthesis in JAX: SPADE / GauGAN (Park et al. 2019) and related models.

The names of `__all__` are the public interface; docs/python.md describes it. JAX is imported when
the first of them needs it.
"""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spade_jax.errors import UserError, user_errors
from spade_jax.files.names import DEMO
from spade_jax.forking import check_not_forked

if TYPE_CHECKING:
    from spade_jax import export
    from spade_jax.config.config import Config
    from spade_jax.data.files.image_files import read_photo
    from spade_jax.files.image_grid import image_grid
    from spade_jax.sampling import ImageRow, TrainedGenerator

__version__ = '0.1.0'
__all__ = [
    'DEMO',
    'Config',
    'ImageRow',
    'TrainedGenerator',
    'UserError',
    'configure',
    'export',
    'image_grid',
    'load',
    'read_photo',
    'train',
]

_IMPORTED_ON_USE = {
    'Config': 'spade_jax.config.config:Config',
    'ImageRow': 'spade_jax.sampling:ImageRow',
    'TrainedGenerator': 'spade_jax.sampling:TrainedGenerator',
    'export': 'spade_jax.export',
    'image_grid': 'spade_jax.files.image_grid:image_grid',
    'read_photo': 'spade_jax.data.files.image_files:read_photo',
}


def __getattr__(name: str) -> Any:
    if name not in _IMPORTED_ON_USE:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return pkgutil.resolve_name(_IMPORTED_ON_USE[name])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def load(workdir: str, step: int | None = None, *, use_ema: bool | None = None) -> TrainedGenerator:
    """The trained generator of a work directory, see `spade_jax.sampling.load`."""
    from spade_jax import sampling

    return sampling.load(workdir, step, use_ema=use_ema)


def configure(flagfile: str = '', **options: Any) -> Config:
    """A configuration as the command line makes it: flagfile, then options, then defaults.

    With `init_from`, options that are not given have the values of that run.

    Args:
      flagfile: A file of flags, or the name of one of the package, such as 'quickstart'. --workdir
        in it is ignored.
      options: Values of flags by name, e.g. `dataset='folders', data_dir='data', max_steps=100`.

    Raises:
      UserError: A flag is unknown, a value is illegal, or the number of classes is missing.
    """
    from spade_jax.config.flags import config_of

    def config_in(run: str) -> Config:
        from spade_jax.checkpoints.checkpointer import newest_config

        return newest_config(run, flag='init_from')

    return config_of(flagfile, options, config_in)


def train(
    config: Config,
    workdir: str,
    *,
    on_metrics: Callable[[int, dict[str, float]], object] | None = None,
) -> None:
    """Train until the configured end, as `--mode=train` does; resume what the directory holds.

    Args:
      config: See `configure`.
      workdir: Directory of checkpoints, logs, sample grids and report.
      on_metrics: Called with step and metrics after each log entry, e.g. to log them elsewhere.

    Raises:
      UserError: Data, weights, batch size or an earlier run in the directory do not fit the
        configuration, or a file cannot be written.
      FloatingPointError: A loss is not finite.
      KeyboardInterrupt: After Ctrl-C; a step that is done is saved.
      SystemExit: After SIGTERM, likewise.
    """
    check_not_forked()
    workdir = os.path.expanduser(workdir)
    with user_errors(f'workdir={workdir} cannot be created', 'choose another directory'):
        os.makedirs(workdir, exist_ok=True)
    from spade_jax.training import train_loop

    train_loop.train(config, workdir, on_metrics, as_guest=True)
