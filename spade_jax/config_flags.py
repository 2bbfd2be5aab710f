"""absl flags generated from the fields of Config, and Configs from flags."""

from __future__ import annotations

import dataclasses
import typing

from absl import flags

from spade_jax.config import Config, conflicts
from spade_jax.errors import UserError


def define_flags() -> None:
    """One flag for each field of Config: same name, default and help."""
    types = typing.get_type_hints(Config)
    for field in dataclasses.fields(Config):
        define = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, float | None: flags.DEFINE_float, str: flags.DEFINE_string}
        if field.metadata['choices']:
            flags.DEFINE_enum(field.name, field.default, field.metadata['choices'], field.metadata['help'])
        else:
            define[types[field.name]](field.name, field.default, field.metadata['help'])


def config_from_flags(values: flags.FlagValues) -> Config:
    """The Config that the parsed flags describe.

    Raises:
      UserError: from the validation of Config.
    """
    return Config(**{field.name: values[field.name].value for field in dataclasses.fields(Config)})


def given_fields(values: flags.FlagValues) -> dict:
    """The fields that were set by a flag or flagfile, with their values."""
    return {field.name: values[field.name].value for field in dataclasses.fields(Config) if values[field.name].present}


def check_given(values: flags.FlagValues, saved: Config, free: tuple[str, ...]) -> None:
    """Raises UserError, with every field, when given flags contradict the Config of a checkpoint; those in `free` may."""
    given = dataclasses.replace(saved, **given_fields(values))  # validates the free fields too
    if differing := conflicts(saved, dataclasses.replace(given, **{name: getattr(saved, name) for name in free})):
        raise UserError(f'flags contradict the checkpoint ({"; ".join(differing)}); leave them out: the checkpoint knows its configuration')
