"""The files in a directory that belong to label maps by their names: photographs, pictures of styles."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from spade_jax.config.data_config import DataConfig
from spade_jax.data.sources.pairing import files_below
from spade_jax.errors import UserError

_MOST_NAMED = 3


def files_for(
    names: Sequence[str],
    directory: str,
    config: DataConfig,
    extensions: Collection[str],
    *,
    flag: str,
    what: str,
) -> list[str]:
    """One file for each label map.

    A file belongs to a map if its path below the directory, without extension, is that of the map, but for the suffixes of the configuration.

    Args:
      names: relative paths of the label maps, without extensions.
      flag, what: that named the directory, and what messages call one of its files.

    Raises:
      UserError: there is no such directory, some maps have no file in it, or one has two.
    """
    if not os.path.isdir(directory):
        raise UserError(f'{flag}={directory}: no such directory', f'set --{flag}')
    found: dict[str, list[str]] = {}
    for path in files_below(directory):
        base, extension = os.path.splitext(os.path.relpath(path, directory))
        if extension.lower() in extensions:
            found.setdefault(base, []).append(path)
    chosen = [
        next((found[stem] for stem in _stems(name, config) if stem in found), []) for name in names
    ]
    if missing := [name for name, files in zip(names, chosen) if not files]:
        named = ', '.join(missing[:_MOST_NAMED]) + (
            f' and {len(missing) - _MOST_NAMED} more' if len(missing) > _MOST_NAMED else ''
        )
        raise UserError(
            f'{flag}={directory} has no {what} for {len(missing)} of {len(names)} label maps: {named}',
            f'name each as its label map ({missing[0]}.png or .jpg)',
        )
    for name, files in zip(names, chosen):
        if len(files) > 1:
            raise UserError(
                f'{flag}={directory} has {len(files)} files for the label map {name}: {", ".join(files)}',
                'remove all but one',
            )
    return [files[0] for files in chosen]


def _stems(name: str, config: DataConfig) -> list[str]:
    """What a file that belongs to a label map may be called, without extension."""
    bare = name.removesuffix(config.label_suffix)
    return [name, bare + config.image_suffix, bare]
