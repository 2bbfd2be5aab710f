"""Measure the train step, sampling and the input pipeline, next to the same networks in PyTorch.

    python -m experiments.benchmarks.benchmark
    python -m experiments.benchmarks.benchmark --pytorch --perceptual --output_json=speed.json
    python -m experiments.benchmarks.benchmark --parts=train --preset=ade20k --batch_sizes=1,4

Every variant (precision, rematerialization, settings of PyTorch) runs in its own process. The
processes take turns, so that other load on the machine affects all of them alike, and the figures
are medians over the rounds. README.md in this folder explains the parts and the columns.
"""

import datetime
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from typing import Any

from absl import app, flags

from experiments.benchmarks.benchmark_tables import print_speedups, speedups_of
from experiments.benchmarks.measurement import Peaks, measure_session, sessions_of
from experiments.benchmarks.presets import (
    PRECISIONS,
    PRESET_HELP,
    PRESETS,
    REMATERIALIZATIONS,
    check_list,
    integers,
    preset_config,
    write_json,
)
from experiments.benchmarks.variant_worker import MAPS, Variant
from spade_jax.config import flags as config_flags
from spade_jax.config.config import Config
from spade_jax.errors import UserError, one_line_errors

PARTS = ('train', 'sampling', 'input')
PYTORCH_WORDS = (*('channels_last', 'bfloat16', 'compile', 'max_autotune'), *('folded', 'frozen'))
SAMPLING_ONLY = ('folded', 'frozen')
PYTORCH_SETTINGS = (
    *('eager', 'channels_last', 'bfloat16', 'compile', 'folded', 'channels_last+bfloat16'),
    *('channels_last+compile+folded', 'channels_last+bfloat16+compile+folded'),
    'channels_last+bfloat16+compile+folded+frozen',
)
# What the networks of `pytorch_networks.py` are.
PYTORCH_OPTIONS = dict(
    generator_multipliers='',
    generator_norm='sync_batch',
    discriminator_norm='instance',
    generator_spectral_norm=True,
    discriminator_spectral_norm=True,
    gan_loss='hinge',
)

_PARTS = flags.DEFINE_list('parts', list(PARTS), f'What is measured; of {", ".join(PARTS)}.')
_PRESET = flags.DEFINE_enum('preset', PRESETS[0], PRESETS, PRESET_HELP)
_WIDTHS = flags.DEFINE_list('widths', [], 'Widths of the images. Default: --crop_size.')
_BATCH_SIZES = flags.DEFINE_list('batch_sizes', ['1'], 'Batch sizes.')
_PRECISIONS = flags.DEFINE_list('precisions', list(PRECISIONS), 'Precisions of spade_jax.')
_REMATERIALIZATIONS = flags.DEFINE_list(
    'rematerializations', ['none'], f'train: values of --rematerialize: {REMATERIALIZATIONS}.'
)
_PERCEPTUAL = flags.DEFINE_bool(
    'perceptual', False, 'train: with the perceptual loss, by a VGG19 of random weights.'
)
_MAPS = flags.DEFINE_enum(
    'maps',
    MAPS[0],
    MAPS,
    'Label maps: landscapes, with regions as in photos, or noise, a random class at every pixel. '
    'On a CPU spade_jax convolves each distinct patch once, so its time depends on that.',
)
_ROUNDS = flags.DEFINE_integer('rounds', 10, 'Turns of each variant.', lower_bound=1)
_TURN_SECONDS = flags.DEFINE_float(
    'turn_seconds', 0.5, 'Repeat the step until a turn takes this long.', lower_bound=0
)
_CONCURRENT = flags.DEFINE_integer(
    'concurrent',
    0,
    'Most variants whose processes exist at a time, if memory is scarce; the first variant runs '
    'again next to each set of others. 0: all. 1: no turns; a TPU serves one process.',
    lower_bound=0,
)
_PYTORCH = flags.DEFINE_bool('pytorch', False, 'Measure PyTorch too.')
_PYTORCH_SETTINGS = flags.DEFINE_list(
    'pytorch_settings',
    list(PYTORCH_SETTINGS),
    f'Settings of PyTorch: each "eager", or some of {", ".join(PYTORCH_WORDS)} joined by +; '
    f'{" and ".join(SAMPLING_ONLY)} do not change training.',
)
_OUTPUT_JSON = flags.DEFINE_string('output_json', '', 'File for all figures.')
config_flags.define_flags()
flags.adopt_module_key_flags(config_flags)


def main(argv: list[str]) -> None:
    """Measure all groups of variants, and print their tables."""
    with one_line_errors(argv):
        check_flags()
        config = benchmark_config()
        # All variants are made first: an illegal size is an error before anything is measured.
        sessions = [
            (number, session)
            for group in variant_groups(config)
            for number, session in enumerate(sessions_of(group, _CONCURRENT.value))
        ]
        load = warn_of_load()
        # Several processes share the device.
        os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
        peaks = Peaks(config, ['jax', 'torch'] if _PYTORCH.value else ['jax'])
        rows = []
        for number, session in sessions:
            measured = measure_session(session, peaks, _ROUNDS.value)
            rows += [{'session': number} | row for row in measured]
        if all('error' in row for row in rows):
            raise UserError(
                f'no variant could be measured ({rows[0]["variant"]}: {rows[0]["error"]})',
                'try a smaller size, or fewer variants',
            )
        speedups = speedups_of(rows)
        print_speedups(speedups)
        if _OUTPUT_JSON.value:
            environment = environment_of(rows) | {
                'load_at_start': load,
                'measured_cpu_peaks': peaks.measured or None,
            }
            figures = {'config': config.to_json(), 'rows': rows, 'speedups': speedups}
            write_json(_OUTPUT_JSON.value, environment | figures)


def check_flags() -> None:
    """Raise UserError for a list with an unknown entry, or if PyTorch is wanted but missing."""
    check_list(_PARTS, PARTS)
    check_list(_PRECISIONS, PRECISIONS)
    check_list(_REMATERIALIZATIONS, REMATERIALIZATIONS)
    for settings in _PYTORCH_SETTINGS.value:
        if unknown := [word for word in words_of(settings) if word not in PYTORCH_WORDS]:
            raise UserError(
                f'pytorch_settings={settings}: {unknown[0]} is not a setting of PyTorch here',
                f'use eager, or some of {", ".join(PYTORCH_WORDS)} joined by +',
            )
    if _PYTORCH.value and importlib.util.find_spec('torch') is None:
        raise UserError(
            'pytorch is set, but PyTorch is not installed',
            "install it (pip install 'spade-jax[torch]'), or leave out --pytorch",
        )


def warn_of_load() -> float | None:
    """The average number of busy cores in the last minute; warns if it spoils the figures."""
    if not hasattr(os, 'getloadavg'):
        return None
    if (load := os.getloadavg()[0]) > 0.5:
        print(
            f'warning: other programs keep {load:.1f} of {os.cpu_count()} cores busy. Figures of '
            "a CPU mean little then: threads that wait for one another, above all PyTorch's, can "
            'take a hundred times as long',
            file=sys.stderr,
            flush=True,
        )
    return load


def benchmark_config() -> Config:
    """The networks to measure; raises UserError if PyTorch is wanted and does not have them."""
    config = preset_config(_PRESET.value)
    values = config.options()
    for name, value in PYTORCH_OPTIONS.items() if _PYTORCH.value else ():
        if values[name] != value:
            raise UserError(
                f'{name}={values[name]}, which the PyTorch networks do not have',
                f'leave out --{name} or --pytorch',
            )
    return config.replace(perceptual_weight=10.0 if _PERCEPTUAL.value else 0.0)


def variant_groups(config: Config) -> Iterator[list[Variant]]:
    """The variants that are compared: those of one part, image size and batch size."""
    makers = {'train': training_variants, 'sampling': sampling_variants, 'input': input_variants}
    widths = integers(_WIDTHS) or [config.data.crop_size]
    for part in _PARTS.value:
        for width in widths:
            for batch_size in integers(_BATCH_SIZES):
                load_size = round(config.data.load_size * width / config.data.crop_size)
                size = dict(crop_size=width, load_size=max(width, load_size))
                variants = makers[part](config.replace(**size, batch_size=batch_size))
                yield list(dict.fromkeys(variants))


def training_variants(config: Config) -> list[Variant]:
    """Every precision with every rematerialization, then PyTorch."""
    variants = []
    for precision in _PRECISIONS.value:
        for kind in _REMATERIALIZATIONS.value:
            name = f'spade_jax {precision}' + ('' if kind == 'none' else f', remat {kind}')
            changed = config.replace(compute_dtype=precision, rematerialize=kind)
            variants.append(_variant('train', 'jax', name, changed, precision))
    return variants + pytorch_variants('train', config)


def sampling_variants(config: Config) -> list[Variant]:
    """Every precision, then PyTorch."""
    variants = []
    for precision in _PRECISIONS.value:
        changed = config.replace(compute_dtype=precision)
        variants.append(_variant('sampling', 'jax', f'spade_jax {precision}', changed, precision))
    return variants + pytorch_variants('sampling', config)


def pytorch_variants(part: str, config: Config) -> list[Variant]:
    """The settings of PyTorch; those for sampling alone are left out of training."""
    variants = []
    for settings in _PYTORCH_SETTINGS.value if _PYTORCH.value else ():
        words = words_of(settings)
        if part != 'sampling':
            words = tuple(word for word in words if word not in SAMPLING_ONLY)
        precision = 'bfloat16' if 'bfloat16' in words else 'float32'
        name = f'PyTorch {"+".join(words) or "eager"}'
        variants.append(_variant(part, 'torch', name, config, precision, words))
    return variants


def _variant(part, framework, name, config, precision, settings=()) -> Variant:
    turn_seconds, maps = _TURN_SECONDS.value, _MAPS.value
    return Variant(part, framework, name, config, precision, settings, turn_seconds, maps)


def input_variants(config: Config) -> list[Variant]:
    """The landscapes at the image size of the networks, with all cores."""
    from spade_jax import landscapes

    size = ('crop_size', 'load_size', 'aspect_ratio', 'upsampling', 'generator_multipliers')
    copied = (*size, 'condition', 'batch_size', 'preprocess_mode', 'flip')
    values = config.options()
    scenes = Config.create(
        dataset='scenes',
        num_classes=len(landscapes.CLASSES),
        scenes_train_examples=max(32, config.optimizer.batch_size),
        data_workers=os.cpu_count() or 1,
        **{name: values[name] for name in copied},
    )
    name = 'input pipeline'
    return [Variant('input', 'jax', name, scenes, turn_seconds=_TURN_SECONDS.value)]


def words_of(settings: str) -> tuple[str, ...]:
    """'compile+folded' -> ('compile', 'folded'); 'eager' -> ()."""
    return tuple(word for word in settings.split('+') if word != 'eager')


def environment_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """When, how and on what the rows were measured."""
    versions = dict(row['version'].split() for row in rows if 'version' in row)
    return {
        'date': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
        'arguments': sys.argv[1:],
        'versions': {'python': platform.python_version()} | versions,
        'devices': sorted({row['device'] for row in rows if 'device' in row}),
        'cores': os.cpu_count(),
    }


if __name__ == '__main__':
    app.run(main)
