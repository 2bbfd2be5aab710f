"""absl flags generated from the fields of Config, and Configs from flags."""

from __future__ import annotations

import dataclasses
import shlex
import typing
from typing import Any, Mapping

from absl import flags

from spade_jax.config import DONTCARE_ID, Config, conflicts
from spade_jax.data import catalog
from spade_jax.errors import UserError
from spade_jax.label_table import parse_palette, read_palette


# Of which nobody but the user knows the classes.
_WITHOUT_CLASSES = ('folders', 'tfds')
# Flags whose default is not that of Config, but of the data set: --help is not to name one.
_OF_THE_DATA_SET = ('num_classes',)


def define_flags() -> None:
    """One flag for each field of Config: same name, default and help."""
    types = typing.get_type_hints(Config)
    for field in dataclasses.fields(Config):
        define = {bool: flags.DEFINE_bool, int: flags.DEFINE_integer, float: flags.DEFINE_float, float | None: flags.DEFINE_float, str: flags.DEFINE_string}
        if field.metadata['choices']:
            flags.DEFINE_enum(field.name, field.default, field.metadata['choices'], field.metadata['help'])
        else:
            define[types[field.name]](field.name, None if field.name in _OF_THE_DATA_SET else field.default, field.metadata['help'])


def config_from_flags(values: flags.FlagValues, *, classes_may_be_unknown: bool = False) -> Config:
    """The Config that the parsed flags describe. What no flag gives is as the data set has it, else the default.

    Args:
      classes_may_be_unknown: True where a `num_classes` that nobody has given (see `lacks_classes`) is no error.

    Raises:
      UserError: from the validation of Config; when the palette cannot be read; when flags are given that have no effect, or the number of classes is not.
    """
    if lacks_classes(values) and not classes_may_be_unknown:
        raise UserError(f'num_classes is not given, and dataset={values["dataset"].value} does not tell it',
                        'add --num_classes=N or --palette=FILE; --mode=validate_data with the same flags counts the classes')
    return Config(**described_fields(values))


def described_fields(values: flags.FlagValues, *, dataset_may_be_unknown: bool = False) -> dict:
    """The fields that flags, the data set or the palette set; all others have their defaults.

    Args:
      dataset_may_be_unknown: True where a data set that no flag names sets nothing, instead of being the default one.
    """
    given = given_fields(values)
    folder_flags = [name for name in given if name.endswith(('_dir', '_list', '_suffix')) and name not in ('data_dir', 'records_dir')]
    if folder_flags and 'dataset' not in given:
        raise UserError(f'{folder_flags[0]} is set, but dataset=scenes has no files', 'add --dataset=folders')
    unknown = dataset_may_be_unknown and 'dataset' not in given
    defaults = {} if unknown else catalog.defaults_of(values['dataset'].value, values['data_dir'].value)
    instance_flags = [name for name in given if name.endswith('_instance_dir')]
    if instance_flags and (condition := given.get('condition', defaults.get('condition', 'labels'))) != 'labels+edges':
        raise UserError(f'{instance_flags[0]} is set, but condition={condition} reads no instance maps', 'add --condition=labels+edges, or leave the flag out')
    if given.get('condition') == 'rgb':
        defaults = {name: value for name, value in defaults.items() if name not in ('palette', 'label_remap', 'dontcare')}
    defaults |= _palette_text(defaults)
    if 'palette' in given and values['dataset'].value not in catalog.CATALOG:
        ids = [entry.id for entry in parse_palette(given['palette'])]
        defaults |= {'num_classes': max(number for number in [*ids, 0] if number != DONTCARE_ID) + 1, 'dontcare': DONTCARE_ID in ids}
    return defaults | given


def lacks_classes(values: flags.FlagValues) -> bool:
    """True where the data set has classes, but neither it nor a flag says how many."""
    return (values['dataset'].value in _WITHOUT_CLASSES and values['condition'].value != 'rgb'
            and not values['num_classes'].present and not values['palette'].value)


def given_flags(values: flags.FlagValues, others: tuple[str, ...] = ()) -> dict[str, Any]:
    """The flags of Config and those in `others` that were set, with their values as they were written: a palette is the name of its file."""
    names = [field.name for field in dataclasses.fields(Config)] + list(others)
    return {name: values[name].value for name in names if values[name].present}


def given_fields(values: flags.FlagValues) -> dict:
    """The fields that were set by a flag or flagfile, with their values; a palette as the text of its file."""
    given = {field.name: values[field.name].value for field in dataclasses.fields(Config) if values[field.name].present}
    return given | _palette_text(given)


def check_given(values: flags.FlagValues, saved: Config, free: tuple[str, ...]) -> None:
    """Raises UserError, with every field, when given flags contradict the Config of a checkpoint; those in `free` may."""
    given = dataclasses.replace(saved, **given_fields(values))  # validates the free fields too
    if differing := conflicts(saved, dataclasses.replace(given, **{name: getattr(saved, name) for name in free})):
        raise UserError(f'flags contradict the checkpoint ({"; ".join(differing)}); leave them out: the checkpoint knows its configuration')


def flags_to_go_on(config: Config) -> list[str]:
    """The flags without which training would not go on from a Config: those that differ from the defaults and may not change. A palette, whose file is not
    known, is left out."""
    return flags_of({field.name: getattr(config, field.name) for field in dataclasses.fields(config)
                     if getattr(config, field.name) != field.default and field.name != 'palette' and not field.metadata['may_change']})


def flags_of(fields: Mapping[str, Any]) -> list[str]:
    """['--num_classes=151', '--nodontcare', ...], as a shell would have them."""
    return [f'--{"" if value else "no"}{name}' if isinstance(value, bool) else shlex.quote(f'--{name}={value}') for name, value in fields.items()]


def _palette_text(fields: dict) -> dict:
    """{'palette': text} where the fields name a palette: a file, or a table of the package."""
    palette = fields.get('palette')
    return {'palette': read_palette(catalog.builtin_palette(palette) or palette)} if palette else {}


def positive_integers(flag: str, texts: list[str]) -> list[int]:
    """['1', '8'] -> [1, 8]; raises UserError with the flag's name for anything else."""
    for text in texts:
        if not text.strip().isdigit() or int(text) < 1:
            raise UserError(f'{flag}={",".join(texts)}: {text!r} is not a positive whole number', f'write --{flag}=1,2,4')
    return [int(text) for text in texts]
