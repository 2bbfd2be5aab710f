"""What a run takes over from a saved configuration, and what it may change of it.

An option that is not given has the value of the run that is resumed, or of the run whose networks
start a new one. `option` declares with each option whether a resumed run may change it.
"""

import dataclasses
import itertools
import os
from collections.abc import Collection, Mapping
from typing import Any

from spade_jax.config import catalog
from spade_jax.config.config import Config, option_fields, shared_option_fields
from spade_jax.config.data_config import DataConfig
from spade_jax.config.model_options import MODELS, options_class
from spade_jax.config.option import command_line


def inherited_options(saved: Config, given: Mapping[str, Any]) -> dict[str, Any]:
    """The saved options that hold for a run with the options `given`, unless they replace them.

    Another model brings its own options, another data set all options of the data.
    """
    others: set[str] = set()
    if given.get('dataset', saved.data.dataset) != saved.data.dataset:
        others |= option_fields(DataConfig).keys()
    model = given.get('model', saved.model.name)
    if model != saved.model.name and model in MODELS:
        others |= {*option_fields(type(saved.model)), *options_class(model).unused}
    return {name: value for name, value in saved.options().items() if name not in others}


def conflicts(saved: Config, given: Config, *, same_rates: bool = False) -> list[str]:
    """The options that a resumed run must not change but does, as 'name: saved -> given'.

    Args:
      saved: Of the checkpoint.
      given: Of the session.
      same_rates: The learning rates of the steps that are done are the same in both.
    """
    old, new, fields = saved.options(), given.options(), _fields(given)
    free = {
        name
        for name, field in fields.items()
        if field.metadata['mutable'] or (field.metadata['schedule'] and same_rates)
    }
    changed = [name for name in new if name not in free and old.get(name) != new[name]]
    # A palette may have thousands of characters.
    return [f'{name}: {old.get(name)!s:.60} -> {new[name]!s:.60}' for name in changed]


def command_of_new_run(saved: Config, given: Config, workdir: str) -> str:
    """The command of a run as `given` that starts from the networks of the run in `workdir`."""
    options, data = given.options(), given.data
    inherited = inherited_options(saved, options)
    # What a palette or the catalog would set to other values.
    required = set() if data.palette == saved.data.palette else {'num_classes', 'dontcare'}
    if 'dataset' not in inherited:
        required |= {'dataset', *catalog.defaults_of(data.dataset, data.data_dir)}
    changed = _changed_options(given, inherited, required)
    return command_line({'workdir': _free(workdir), **changed, 'init_from': workdir})


def command_to_convert(config: Config, workdir: str, directory: str, epoch: str) -> str:
    """The command that makes a new run of the PyTorch files that the run in `workdir` became."""
    data, fields = config.data, _fields(config)
    required = {'dataset', *catalog.defaults_of(data.dataset, data.data_dir)}
    required |= {'num_classes', 'dontcare'} if data.palette else set()
    required |= {*config.model.not_in_files}
    changed = _changed_options(config, options_class(config.model.name).defaults, required)
    needed = {
        name: value
        for name, value in changed.items()
        if name not in fields or not fields[name].metadata['mutable']
    }
    files = {'torch_checkpoint_dir': directory} | (
        {} if epoch == 'latest' else {'torch_epoch': epoch}
    )
    return command_line({'mode': 'convert', 'workdir': _free(workdir), **files, **needed})


def _changed_options(
    config: Config, inherited: Mapping[str, Any], required: Collection[str]
) -> dict[str, Any]:
    """The options that a command must give: `required`, and those with unexpected values."""
    expected = {name: field.default for name, field in _fields(config).items()} | dict(inherited)
    expected = {'model': 'spade'} | expected
    return {
        name: value
        for name, value in config.options().items()
        if value is not None and (name in required or value != expected[name])
    }


def _free(workdir: str) -> str:
    """The path of a new work directory next to one."""
    base = workdir.rstrip(os.sep)
    return next(f'{base}_{i}' for i in itertools.count(2) if not os.path.exists(f'{base}_{i}'))


def _fields(config: Config) -> dict[str, dataclasses.Field]:
    return shared_option_fields() | option_fields(type(config.model))
