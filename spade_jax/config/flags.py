"""Flags generated from the options of Config, and Configs from flags."""

import re
import typing
from collections.abc import Callable, Mapping
from typing import Any

from absl import flags

from spade_jax.config import catalog
from spade_jax.config.config import SECTIONS, Config, option_fields, shared_option_fields
from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.config.flagfiles import with_flagfiles
from spade_jax.config.label_format import parse_palette, parse_remap
from spade_jax.config.model_options import MODELS, options_class
from spade_jax.config.option import format_flags
from spade_jax.config.resumption import conflicts, inherited_options
from spade_jax.errors import UserError

# Data sets whose classes only the user knows.
_WITHOUT_CLASSES = ('folders', 'tfds')
# Flags whose default depends on the data set: --help does not name one.
_SET_BY_DATASET = ('num_classes',)
# How to write a value, by the type of the flag.
_VALUES = {
    'int': '{name}=8, in digits alone',
    'float': '{name}=0.5 or --{name}=2e-4',
    'bool': '{name} or --no{name}',
}
_DEFINE = {
    bool: flags.DEFINE_bool,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
    float | None: flags.DEFINE_float,
    str: flags.DEFINE_string,
}


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Define --model and one flag for each option: same name, default and help."""
    where: dict[str, Any] = dict(flag_values=values)
    flags.DEFINE_enum('model', 'spade', list(MODELS), 'The model to train.', **where)
    for section in (*SECTIONS.values(), *map(options_class, MODELS)):
        types = typing.get_type_hints(section)
        for name, field in option_fields(section).items():
            default: Any = None if name in _SET_BY_DATASET else field.default
            help, choices = field.metadata['help'], field.metadata['choices']
            if name in values:
                continue  # Models may share options.
            if choices:
                flags.DEFINE_enum(name, default, choices, help, **where)
            else:
                _DEFINE[types[name]](name, default, help, **where)


def config_of(
    flagfile: str, options: Mapping[str, Any], config_in: Callable[[str], Config]
) -> Config:
    """The Config of a flagfile ('': none; see `with_flagfiles`) and options, which override it.

    Apart from options, the flagfile may have --workdir, which is ignored. `config_in` reads the
    configuration of the run that `init_from` names.

    Raises:
      UserError: As `config_from_flags`, or a flag is unknown or no value of its type.
    """
    values = flags.FlagValues()
    define_flags(values)
    flags.DEFINE_string('workdir', None, 'Ignored.', flag_values=values)
    arguments = [f'--flagfile={flagfile}'] if flagfile else []
    arguments += [f'--{name}={value}' for name, value in options.items() if value is not None]
    remedy = 'spade-jax --mode=train --help lists the options'
    _, *others = parsed(values, ['spade_jax', *with_flagfiles(arguments)], remedy)
    if others:
        raise UserError(f'{others[0]} is not a flag', 'write --name=value')
    init_from = values['init_from'].value
    return config_from_flags(values, config_in(init_from) if init_from else None)


def parsed(values: flags.FlagValues, arguments: list[str], remedy: str) -> list[str]:
    """Parse a command line; returns the arguments that are no flags. UserError with `remedy`."""
    try:
        return values(arguments)
    except flags.Error as error:
        text = str(error).rstrip('.')
        match = re.match(r'flag --(\w+)=(.*?): ', text, re.DOTALL)
        kind = values[match[1]].flag_type() if match else None
        if not match or kind not in _VALUES:
            raise UserError(text, remedy) from None
        name, value = match.groups()
        legal = values[name].parser.syntactic_help or 'true or false'
        write = f'write --{_VALUES[kind].format(name=name)}'
        raise UserError(f'flag --{name}={value} is not {legal}', write) from None


def config_from_flags(
    values: flags.FlagValues, saved: Config | None = None, *, classes_may_be_unknown: bool = False
) -> Config:
    """The Config that the parsed flags describe.

    Unset flags have the value of `saved`, the configuration of a run to go on with; without one,
    the default of the data set.

    Raises:
      UserError: The configuration is invalid, the palette cannot be read, a flag has no effect, or
        the number of classes is unknown.
    """
    options = described_options(values, saved)
    unknown = lacks_classes(values) and 'num_classes' not in options
    unknown = unknown and options['condition'] not in ('rgb', 'none')  # Those of a saved run, too.
    if unknown and not classes_may_be_unknown:
        dataset, remedy = values['dataset'].value, 'add --num_classes=N or --palette=FILE'
        problem = f'num_classes is not set, and dataset={dataset} does not define it'
        remedy += '; --mode=validate_data with the same flags counts the classes'
        raise UserError(problem, remedy)
    return Config.create(**options)


def described_options(
    values: flags.FlagValues, saved: Config | None = None, *, dataset_may_be_unknown: bool = False
) -> dict[str, Any]:
    """The options that flags, `saved`, data set or palette set; all others have their defaults.

    If the data set may be unknown, an unset --dataset does not mean the default one.
    """
    given = given_options(values)
    defaults = inherited_options(saved, given) if saved else {}
    own = ('data_dir', 'records_dir')
    endings = ('_dir', '_list', '_suffix')
    of_data = {*option_fields(DataConfig)} - {*own}
    folder_flags = [name for name in given if name.endswith(endings) and name in of_data]
    dataset = (defaults | given).get('dataset', values['dataset'].value)
    if folder_flags and dataset == 'scenes':
        problem = f'{folder_flags[0]} is set, but dataset=scenes has no files'
        raise UserError(problem, 'add --dataset=folders')
    if 'dataset' in given or not dataset_may_be_unknown:
        defaults = _catalog_defaults(values) | defaults
    model = str((defaults | given).get('model', values['model'].value))
    if defaults.get('condition') not in options_class(model).conditions:
        defaults |= {'condition': _default_condition(model)}
    instance_flags = [name for name in given if name.endswith('_instance_dir')]
    condition = (defaults | given)['condition']
    if instance_flags and condition != 'labels+edges':
        problem = f'{instance_flags[0]} is set, but condition={condition} reads no instance maps'
        raise UserError(problem, 'add --condition=labels+edges, or leave the flag out')
    if condition in ('rgb', 'none'):
        of_classes = ('palette', 'label_remap', 'dontcare', *['num_classes'] * (condition != 'rgb'))
        defaults = {name: value for name, value in defaults.items() if name not in of_classes}
    if 'palette' in given and dataset not in catalog.CATALOG:
        new_id = parse_remap((defaults | given).get('label_remap', '')).new_id
        ids = [new_id(entry.id) for entry in parse_palette(given['palette'])]
        classes = [number for number in ids if number != DONTCARE_ID]
        defaults |= {'num_classes': max([*classes, 0]) + 1, 'dontcare': DONTCARE_ID in ids}
    return defaults | given


def lacks_classes(values: flags.FlagValues) -> bool:
    """True if the data set has classes but neither it nor a flag gives their number."""
    condition, model = values['condition'], str(values['model'].value)
    return (
        values['dataset'].value in _WITHOUT_CLASSES
        and (condition.value if condition.present else _default_condition(model))
        not in ('rgb', 'none')
        and not values['num_classes'].present
        and not values['palette'].value
    )


def given_flags(values: flags.FlagValues, others: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options, and `others`, that a flag or flagfile set, as written (a palette is a file)."""
    present = [name for name in (*_option_names(), *others) if values[name].present]
    return {name: values[name].value for name in present}


def given_options(values: flags.FlagValues, trained: Config | None = None) -> dict[str, Any]:
    """The options that a flag or flagfile set; a palette as the text of its file.

    For a trained model, a palette of the package has the ids of the model's classes, by their
    names, unless --label_remap renumbers its own.
    """
    given = given_flags(values)
    classes = trained.data if trained and 'label_remap' not in given else None
    return given | catalog.palette_options(given.get('palette', ''), classes)


def check_given(values: flags.FlagValues, saved: Config, free: tuple[str, ...]) -> None:
    """Raises UserError when flags other than `free` contradict the Config of a checkpoint."""
    given = given_options(values, saved)
    leave_out = 'leave them out: the configuration is in the checkpoint'
    if (model := given.get('model', saved.model.name)) != saved.model.name:
        problem = f'flags contradict the checkpoint (model: {saved.model.name} -> {model})'
        raise UserError(problem, leave_out)
    try:
        fixed = saved.replace(**{name: given[name] for name in given if name not in free})
    except UserError as error:
        raise UserError(error.problem, leave_out) from error
    if differing := conflicts(saved, fixed, same_rates=True):
        raise UserError(f'flags contradict the checkpoint ({"; ".join(differing)})', leave_out)
    of_palette = ('palette', 'palette_tolerance', 'label_remap')
    saved.replace(**{name: value for name, value in given.items() if name not in of_palette})
    try:
        saved.replace(**given)
    except UserError as error:
        fixed_classes = 'the classes of a trained model are fixed'
        remedy = f'{fixed_classes}: use their ids in the palette, or renumber with --label_remap'
        raise UserError(error.problem, remedy) from error


def flags_to_resume(values: flags.FlagValues, config: Config) -> list[str]:
    """The flags with which a run of `config` is resumed, which the parsed flags do not tell alone.

    They are those that were given, and the options that must not change but would have another
    value with these.
    """
    model = options_class(config.model.name)
    fields = shared_option_fields() | option_fields(model)
    defaults = {name: field.default for name, field in fields.items()} | dict(model.defaults)
    alone = defaults | described_options(values, dataset_may_be_unknown=True)
    needed = {
        name: value
        for name, value in config.options().items()
        if name in fields and not fields[name].metadata['mutable'] and value != alone[name]
    }
    return format_flags(given_flags(values) | needed)


def _default_condition(model: str) -> str:
    options = options_class(model)
    return options.defaults.get('condition', options.conditions[0])


def _option_names() -> list[str]:
    own = [name for model in MODELS for name in option_fields(options_class(model))]
    return [*dict.fromkeys(['model', *shared_option_fields(), *own])]


def _catalog_defaults(values: flags.FlagValues) -> dict[str, Any]:
    """The options that the data set sets; a palette as its text."""
    dataset, data_dir = str(values['dataset'].value), str(values['data_dir'].value)
    defaults = catalog.defaults_of(dataset, data_dir)
    return defaults | catalog.palette_options(defaults.get('palette', ''))
