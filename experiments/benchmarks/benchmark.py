"""How fast the train step, sampling and the input pipeline are, beside the same networks in PyTorch.

    python experiments/benchmark.py
    python experiments/benchmark.py --parts=train --preset=ade20k --batch_sizes=1,4 --perceptual --peer --output_json=speed.json
    python experiments/benchmark.py --generator_width=2 --discriminator_width=4 --widths=32 --rounds=3

Every form of the work (precision, rematerialisation, settings of PyTorch) has a process of its own. They take turns, so that whatever else the machine does
meets all of them, and figures are medians over the rounds. Still, nothing else should run: threads that wait for one another suffer more than those that do
not. A turn begins and ends on the host: labels go in as integers, sampling hands back NumPy pictures. One device is used. The forms of a part, size and batch
size keep their memory at the same time; see --together.

  train      the jitted train step, both updates; with --perceptual against a VGG19 of random weights
  sampling   label maps to pictures, spectral norms folded
  input      batches of the procedural landscapes, in images a second

The columns: "first" is the time to the end of the first step, compilation included. "memory" is the peak of the device; on a CPU of the whole process,
compiler included. "XLA" counts the operations of the program as it is given to XLA, before anything may become a library call, and without compiling a second
time; on a CPU a convolution counts the same after compilation. It leaves out products with the padding. "useful" are the operations of the plain networks (`plain_operations.py`) a second, the same for all implementations, and
"of peak" their share of what the chip's data sheet promises for the precision (`device_peaks.py`); of a CPU, what large matrix products reach in the same run.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterator
from typing import Any

from absl import app, flags
from tqdm import tqdm

from experiments.benchmarks.benchmark_contenders import MAPS, Failed, Form, Worker
from experiments.benchmarks.device_peaks import peak_operations
from experiments.benchmarks.plain_operations import sampling_operations, training_operations
from experiments.benchmarks.presets import (
    FLAGFILES,
    PRECISIONS,
    REMATERIALIZATIONS,
    check_list,
    described_config,
    integers,
)
from spade_jax.config import flags as config_flags
from spade_jax.config.config import Config
from spade_jax.errors import UserError, one_line_errors

PARTS = ('train', 'sampling', 'input')
PEER_WORDS = ('channels_last', 'bfloat16', 'compile', 'max_autotune', 'folded', 'frozen')
ONLY_SAMPLING = ('folded', 'frozen')
PEER_FORMS = (
    'eager',
    'channels_last',
    'bfloat16',
    'compile',
    'folded',
    'channels_last+bfloat16',
    'channels_last+compile+folded',
    'channels_last+bfloat16+compile+folded',
    'channels_last+bfloat16+compile+folded+frozen',
)

PART_LIST = flags.DEFINE_list('parts', list(PARTS), f'What is measured: {", ".join(PARTS)}.')
PRESET = flags.DEFINE_enum(
    'preset',
    'coco_stuff',
    FLAGFILES,
    'The networks are those of this flagfile in experiments/, without style encoder; flags override it.',
)
WIDTHS = flags.DEFINE_list('widths', [], 'Widths of the pictures. Default: --crop_size.')
BATCH_SIZES = flags.DEFINE_list('batch_sizes', ['1'], 'Pictures at a time.')
PRECISION_LIST = flags.DEFINE_list('precisions', list(PRECISIONS), 'Precisions of spade_jax.')
REMATERIALIZATION_LIST = flags.DEFINE_list(
    'rematerializations',
    ['none'],
    f'train: what is computed again in the backward pass: {", ".join(REMATERIALIZATIONS)}.',
)
PERCEPTUAL = flags.DEFINE_bool(
    'perceptual', False, 'train: with the perceptual loss, of random weights.'
)
MAP_KIND = flags.DEFINE_enum(
    'maps',
    MAPS[0],
    MAPS,
    'The label maps: landscapes, whose regions are like those of photographs, or noise, a class of its own for every pixel. On a '
    'CPU spade_jax computes once for every neighbourhood that occurs, so its time depends on that.',
)
ROUNDS = flags.DEFINE_integer('rounds', 10, 'Turns of each form.', lower_bound=1)
TURN_SECONDS = flags.DEFINE_float(
    'turn_seconds', 0.5, 'Steps are repeated until a turn takes so long.', lower_bound=0
)
TOGETHER = flags.DEFINE_integer(
    'together',
    0,
    'So many forms at most have their processes at the same time, where memory is scarce; the others race after them, against '
    'the first one again. 0: all. 1, nobody takes turns: for a TPU, which serves one process at a time.',
    lower_bound=0,
)
PEER = flags.DEFINE_bool('peer', False, 'Race against PyTorch.')
PEER_FORM_LIST = flags.DEFINE_list(
    'peer_forms',
    list(PEER_FORMS),
    f'Settings of PyTorch, each "eager" or some of {", ".join(PEER_WORDS)}, joined by +. '
    f'{" and ".join(ONLY_SAMPLING)} say nothing to training.',
)
OUTPUT_JSON = flags.DEFINE_string('output_json', '', 'File for the figures.')
config_flags.define_flags()
flags.adopt_module_key_flags(config_flags)


def main(argv: list[str]) -> None:
    """Runs the races."""
    with one_line_errors(argv):
        check_lists()
        config = raced_config()
        heats = [
            (number, heat)
            for group in groups(config)
            for number, heat in enumerate(divided(group, TOGETHER.value))
        ]
        load = warn_of_load()
        os.environ.setdefault(
            'XLA_PYTHON_CLIENT_PREALLOCATE', 'false'
        )  # several processes share the device
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
        peaks = Peaks(config)
        rows = []
        for number, heat in heats:
            rows += [{'heat': number} | row for row in race(heat, peaks)]
        if all('error' in row for row in rows):
            raise UserError(
                f'no form could be measured ({rows[0]["form"]}: {rows[0]["error"]})',
                'try a smaller size, or fewer forms',
            )
        ratios = ratios_of(rows)
        print_ratios(ratios)
        if OUTPUT_JSON.value:
            write_json(OUTPUT_JSON.value, config, rows, ratios, peaks, load)


def check_lists() -> None:
    """Raises UserError for a list with an unknown entry, and where there is no PyTorch to race against."""
    for flag, known in (
        (PART_LIST, PARTS),
        (PRECISION_LIST, PRECISIONS),
        (REMATERIALIZATION_LIST, REMATERIALIZATIONS),
    ):
        check_list(flag, known)
    for form in PEER_FORM_LIST.value:
        if unknown := [word for word in settings_of(form) if word not in PEER_WORDS]:
            raise UserError(
                f'peer_forms={form}: {unknown[0]} is no setting of PyTorch here',
                f'use eager, or some of {", ".join(PEER_WORDS)} joined by +',
            )
    if PEER.value and importlib.util.find_spec('torch') is None:
        raise UserError(
            'peer is set, but PyTorch is not installed',
            "install it (pip install 'spade-jax[torch]'), or leave --peer out",
        )


def warn_of_load() -> float | None:
    """How many cores other programs keep busy, by the average of the last minute; says so where that spoils the figures."""
    if not hasattr(os, 'getloadavg'):
        return None
    if (load := os.getloadavg()[0]) > 0.5:
        print(
            f'warning: other programs keep {load:.1f} of {os.cpu_count()} cores busy. Figures of a CPU mean little then: threads that wait for one another, above all '
            "PyTorch's, can take a hundred times as long",
            file=sys.stderr,
            flush=True,
        )
    return load


def raced_config() -> Config:
    """The networks, which those of PyTorch must be able to be."""
    config = described_config(PRESET.value)
    if PEER.value:
        fixed = dict(
            generator_norm='sync_batch',
            discriminator_norm='instance',
            generator_spectral_norm=True,
            discriminator_spectral_norm=True,
            gan_loss='hinge',
        )
        if differing := [name for name, value in fixed.items() if getattr(config, name) != value]:
            raise UserError(
                f'{differing[0]}={getattr(config, differing[0])}, which the PyTorch networks do not have',
                f'leave out --{differing[0]} or --peer',
            )
    return config.replace(perceptual_weight=10.0 if PERCEPTUAL.value else 0.0)


def groups(config: Config) -> Iterator[list[Form]]:
    """The forms that race against one another: of one part, size and batch size."""
    widths = integers(WIDTHS) or [config.data.crop_size]
    sized = [
        dataclasses.replace(
            config,
            crop_size=width,
            load_size=max(width, round(config.data.load_size * width / config.data.crop_size)),
            batch_size=batch_size,
        )
        for width in widths
        for batch_size in integers(BATCH_SIZES)
    ]
    for part in PART_LIST.value:
        for each in sized:
            forms = {'train': training_forms, 'sampling': sampling_forms, 'input': input_forms}[
                part
            ](each)
            yield list(dict.fromkeys(forms))


def training_forms(config: Config) -> list[Form]:
    """Every precision with every rematerialisation, then PyTorch."""
    ours = [
        Form(
            'train',
            'jax',
            f'spade_jax {precision}' + ('' if kind == 'none' else f', {kind} again'),
            config.replace(compute_dtype=precision, rematerialize=kind),
            precision,
            turn_seconds=TURN_SECONDS.value,
            maps=MAP_KIND.value,
        )
        for precision in PRECISION_LIST.value
        for kind in REMATERIALIZATION_LIST.value
    ]
    return ours + peer_forms('train', config)


def sampling_forms(config: Config) -> list[Form]:
    """Every precision, then PyTorch."""
    ours = [
        Form(
            'sampling',
            'jax',
            f'spade_jax {precision}',
            config.replace(compute_dtype=precision),
            precision,
            turn_seconds=TURN_SECONDS.value,
            maps=MAP_KIND.value,
        )
        for precision in PRECISION_LIST.value
    ]
    return ours + peer_forms('sampling', config)


def peer_forms(part: str, config: Config) -> list[Form]:
    """The forms of PyTorch."""
    if not PEER.value:
        return []
    settings = [
        tuple(word for word in settings_of(form) if part == 'sampling' or word not in ONLY_SAMPLING)
        for form in PEER_FORM_LIST.value
    ]
    return [
        Form(
            part,
            'torch',
            f'PyTorch {"+".join(words) or "eager"}',
            config,
            'bfloat16' if 'bfloat16' in words else 'float32',
            words,
            TURN_SECONDS.value,
            MAP_KIND.value,
        )
        for words in settings
    ]


def input_forms(config: Config) -> list[Form]:
    """The landscapes at the size of the networks' pictures, with all cores."""
    from spade_jax import landscapes

    scenes = Config.create(
        dataset='scenes',
        num_classes=len(landscapes.CLASSES),
        scenes_train_examples=max(32, config.optimizer.batch_size),
        data_workers=os.cpu_count() or 1,
        **{
            name: getattr(config, name)
            for name in (
                'condition',
                'crop_size',
                'load_size',
                'aspect_ratio',
                'upsampling',
                'batch_size',
                'preprocess_mode',
                'flip',
            )
        },
    )
    return [Form('input', 'jax', 'input pipeline', scenes, turn_seconds=TURN_SECONDS.value)]


def settings_of(form: str) -> list[str]:
    """'compile+folded' -> ['compile', 'folded']; 'eager' -> []."""
    return [word for word in form.split('+') if word != 'eager']


def divided(group: list[Form], size: int) -> list[list[Form]]:
    """The heats of a group; the first form runs in all of them, for comparison, if they have two places."""
    if not 0 < size < len(group):
        return [group]
    if size == 1:
        return [[form] for form in group]
    return [group[:1] + group[first : first + size - 1] for first in range(1, len(group), size - 1)]


def race(heat: list[Form], peaks: Peaks) -> list[dict[str, Any]]:
    """Starts the forms of a heat one after the other, lets them take turns, and prints their rows."""
    config = heat[0].config
    title = f'{heat[0].part}, {config.data.image_width}x{config.data.image_height}, batch {config.optimizer.batch_size}'
    rows = {
        form: {
            'part': form.part,
            'form': form.name,
            'framework': form.framework,
            'precision': form.precision,
            'width': config.data.image_width,
            'height': config.data.image_height,
            'batch_size': config.optimizer.batch_size,
            'rematerialize': form.config.model.rematerialize,
            'seconds': [],
        }
        for form in heat
    }
    workers: list[Worker] = []

    def ask(worker, request):
        try:
            return worker.ask(request)
        except Failed as error:
            rows[worker.form]['error'] = str(error)
            workers.remove(worker)
            worker.close()

    try:
        for form in tqdm(heat, desc=f'{title}: first steps', unit='form', leave=False):
            workers.append(worker := Worker(form))
            rows[form] |= ask(worker, 'start') or {}
        for number in tqdm(range(ROUNDS.value), desc=f'{title}: rounds', unit='round', leave=False):
            first = number % max(1, len(workers))
            for worker in (
                workers[first:] + workers[:first]
            ):  # so that nobody always follows the same
                if (seconds := ask(worker, 'turn')) is not None:
                    rows[worker.form]['seconds'].append(seconds)
        for worker in list(workers):
            rows[worker.form] |= ask(worker, 'finish') or {}
    finally:
        for worker in workers:
            worker.close()
    for form, row in rows.items():
        if 'error' not in row:
            row |= derived(form, row, peaks)
    print_table(title, list(rows.values()))
    return list(rows.values())


class Peaks:
    """Operations a second that the devices could do at best."""

    def __init__(self, config: Config):
        self._config, self.measured = config, {}

    def of(self, device: str, precision: str) -> float | None:
        """From the table; of a CPU from large matrix products, measured when they are asked for first."""
        if device != 'cpu':
            return peak_operations(device, precision)
        if not self.measured:
            frameworks = ['jax'] + ['torch'] * PEER.value
            rates = [
                rate for rate in (self._measure(framework) for framework in frameworks) if rate
            ]
            self.measured = {
                name: max((rate[name] for rate in rates), default=None) for name in PRECISIONS
            }
        return self.measured[precision]

    def _measure(self, framework):
        worker = Worker(Form('peak', framework, 'matrix product', self._config))
        try:
            return worker.ask('start')
        except Failed:
            return None
        finally:
            worker.close()


def derived(form: Form, row: dict[str, Any], peaks: Peaks) -> dict[str, Any]:
    """What follows from the seconds of the turns."""
    median, config = statistics.median(row['seconds']), form.config
    facts = {
        'seconds_per_step': {
            'median': median,
            'min': min(row['seconds']),
            'max': max(row['seconds']),
        },
        'images_per_second': config.optimizer.batch_size / median,
    }
    if form.part == 'input':
        return facts
    useful = config.optimizer.batch_size * {
        'train': training_operations,
        'sampling': sampling_operations,
    }[form.part](config)
    peak = peaks.of(row['device'], form.precision)
    return facts | {
        'plain_operations': useful,
        'plain_operations_per_second': useful / median,
        'xla_operations_per_second': row['xla_operations'] and row['xla_operations'] / median,
        'share_of_peak': peak and useful / median / peak,
    }


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """A line for each form."""
    width = max(len(row['form']) for row in rows)
    devices = {row['device']: None for row in rows if 'device' in row}
    print(f'\n{title}, {" and ".join(devices) or "no device"}; medians of {ROUNDS.value} turns')
    print(
        f'{"":<{width}} {"images/s":>9} {"s a step":>9} {"(min":>9} {"max)":>9} {"first s":>8} {"memory MiB":>11} {"XLA GFLOP":>10} {"useful TFLOP/s":>15} '
        f'{"of peak":>8}'
    )
    for row in rows:
        if 'error' in row:
            print(f'{row["form"]:<{width}} failed: {row["error"]}', flush=True)
            continue
        seconds = row['seconds_per_step']
        print(
            f'{row["form"]:<{width}} {row["images_per_second"]:>9.4g} {seconds["median"]:>9.4g} {seconds["min"]:>9.4g} {seconds["max"]:>9.4g} '
            f'{row["first_step_seconds"]:>8.1f} {row["peak_memory_bytes"] / 2**20:>11.0f} {scaled(row["xla_operations"], 1e9):>10} {scaled(row.get("plain_operations_per_second"), 1e12):>15} '
            f'{"-" if row.get("share_of_peak") is None else format(row["share_of_peak"], ".1%"):>8}',
            flush=True,
        )


def scaled(number: float | None, unit: float) -> str:
    """Four digits in a unit; '-' for what is not known."""
    return '-' if number is None else f'{number / unit:.4g}'


def ratios_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every form how many times as fast it is as the first one of its group, in the same heat where that ran there, and as PyTorch's best."""
    groups_of_rows: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        if 'error' not in row:
            groups_of_rows.setdefault(
                (row['part'], row['width'], row['height'], row['batch_size']), []
            ).append(row)
    ratios = []
    for group in groups_of_rows.values():
        first, one_device = group[0], len({row['device'] for row in group}) == 1
        bases = {row['heat']: row for row in group if row['form'] == first['form']}
        others = [row for row in group if row is first or row['form'] != first['form']]
        to_first = {row['form']: ratio(row, bases.get(row['heat'], first)) for row in others}
        best = max(
            (row['form'] for row in others if row['framework'] == 'torch'),
            key=to_first.get,
            default=None,
        )
        for row in others if len(others) > 1 else []:
            ratios.append(
                {name: row[name] for name in ('part', 'width', 'height', 'batch_size', 'form')}
                | {
                    'first': first['form'],
                    'to_first': to_first[row['form']],
                    'best_peer': best,
                    'to_best_peer': best and to_first[row['form']] / to_first[best],
                    'one_device': one_device,
                }
            )
    return ratios


def ratio(row: dict[str, Any], base: dict[str, Any]) -> float:
    """Speed of a row as a multiple of another's."""
    return statistics.median(theirs / ours for theirs, ours in zip(base['seconds'], row['seconds']))


def print_ratios(ratios: list[dict[str, Any]]) -> None:
    """A line for each form, under a heading for each group."""
    width, heading = max((len(entry['form']) for entry in ratios), default=0), None
    for entry in ratios:
        title = f'{entry["part"]}, {entry["width"]}x{entry["height"]}, batch {entry["batch_size"]}'
        if title != heading:
            print(
                f'\n{title}: times as fast as {entry["first"]}'
                + (f', as {entry["best_peer"]}, the best of PyTorch' if entry['best_peer'] else '')
                + ('' if entry['one_device'] else ' (not on one device)')
            )
            heading = title
        print(
            f'{entry["form"]:<{width}} {entry["to_first"]:>7.2f}'
            + (f' {entry["to_best_peer"]:>7.2f}' if entry['best_peer'] else '')
        )


def write_json(
    path: str,
    config: Config,
    rows: list[dict[str, Any]],
    ratios: list[dict[str, Any]],
    peaks: Peaks,
    load: float | None,
) -> None:
    """All figures, every turn's too, and what they were measured with."""
    record = {
        'date': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
        'arguments': sys.argv[1:],
        'config': config.to_json(),
        'versions': {'python': platform.python_version()}
        | dict(row['version'].split() for row in rows if 'version' in row),
        'devices': sorted({row['device'] for row in rows if 'device' in row}),
        'cores': os.cpu_count(),
        'load_at_start': load,
        'measured_cpu_peaks': peaks.measured or None,
        'rows': rows,
        'ratios': ratios,
    }
    with open(path, 'w') as file:
        json.dump(record, file, indent=1)


if __name__ == '__main__':
    app.run(main)
