"""Options with which a run fits this machine, and the memory and the time that it then needs."""

import contextlib
import time
from collections.abc import Collection
from typing import Any

import jax
import numpy as np

from spade_jax.config.config import Config
from spade_jax.config.data_config import CROPPING_MODES
from spade_jax.data.pipeline.example_order import steps_in_epochs
from spade_jax.data.pipeline.paired_transforms import resize_ids
from spade_jax.errors import UserError
from spade_jax.memory.step_memory import (
    GIB,
    abstract_step,
    host_memory,
    memory_limit,
    of_width,
    step_memory,
)
from spade_jax.models.train_state import init_train_state

_LEAST_SIDE = 64  # Pixels of an image for a CPU.
_MEASURED_STEPS = 3


def fitting_options(config: Config, given: Collection[str]) -> dict[str, Any]:
    """The options, without any of the given ones, with which the run fits this machine.

    On a CPU small images and networks, elsewhere the largest batch that the memory holds.
    """
    if jax.default_backend() != 'cpu':
        return {} if 'batch_size' in given else _largest_batch(config)
    options: dict[str, Any] = {}
    for change in (_small_size(config), *config.model.for_cpu()):
        if change and not change.keys() & set(given):
            with contextlib.suppress(UserError):
                config = config.replace(**change)
                options |= change
    return options


def _small_size(config: Config) -> dict[str, Any]:
    """load_size and crop_size of the smallest images of 64 pixels or more; {} to keep them."""
    data, multiple = config.data, config.model.size_multiple
    if data.records_dir or data.preprocess_mode not in (*CROPPING_MODES, 'fixed'):
        return {}  # The sizes are those of the files.
    for width in range(multiple, data.crop_size, multiple):
        with contextlib.suppress(UserError):
            small = of_width(config, width).data
            if min(small.image_width, small.image_height) >= _LEAST_SIDE:
                return dict(load_size=small.load_size, crop_size=small.crop_size)
    return {}


def _largest_batch(config: Config) -> dict[str, Any]:
    """The default batch size, halved until a step fits into the memory of the devices."""
    limit, devices = memory_limit(), jax.device_count()
    unit = devices * config.optimizer.accumulation_steps
    size = max(unit, config.optimizer.batch_size // unit * unit)
    while limit and size > unit:
        if step_memory(config, size // devices, num_devices=devices).peak <= 0.9 * limit:
            break
        size = max(unit, size // 2 // unit * unit)
    return {} if size == config.optimizer.batch_size else dict(batch_size=size)


def needs(config: Config, num_examples: int, *, measure: bool) -> str:
    """The memory of a train step on this machine, and the time of the run if it is measured."""
    devices, limit, optimizer = jax.device_count(), memory_limit(), config.optimizer
    parts = optimizer.accumulation_steps
    local = -(-optimizer.batch_size // (devices * parts)) * parts
    peak = step_memory(config, local, num_devices=devices).peak
    has = f'of the {limit / GIB:.1f} GiB of each device' if limit else ''
    has = has or f'besides the program; this machine has {host_memory() / GIB:.1f} GiB'
    epochs = optimizer.constant_epochs + optimizer.decay_epochs
    steps = steps_in_epochs(epochs, optimizer.batch_size, num_examples)
    steps = min(steps, optimizer.max_steps or steps)
    time = 'the progress bar shows the time that is left; --measure_step tells it before'
    if measure:
        seconds = step_seconds(config, local)
        time = f'{seconds:.2g} s each on this machine, about {duration(steps * seconds)}'
    return (
        f'Memory: a train step needs about {peak / GIB:.2g} GiB {has}.\nSteps: {steps:,}; {time}.'
    )


def step_seconds(config: Config, batch_size: int) -> float:
    """Seconds of a train step on one device, once it is compiled; on label maps of blocks."""
    config = config.replace(batch_size=batch_size)
    step, (_, *arguments) = abstract_step(config)
    state = init_train_state(config)
    batch, constants = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), arguments)
    if config.data.uses_labels:
        random, size = np.random.default_rng(0), (config.data.image_width, config.data.image_height)
        blocks = random.integers(0, config.data.num_classes, (batch_size, 8, 8))
        labels = np.stack([resize_ids(ids.astype(batch.label.dtype), size) for ids in blocks])
        batch = batch._replace(label=labels)
    compiled = jax.jit(step, donate_argnums=0)
    state, _ = jax.block_until_ready(compiled(state, batch, constants))
    start = time.monotonic()
    for _ in range(_MEASURED_STEPS):
        state, metrics = compiled(state, batch, constants)
        jax.block_until_ready(metrics)
    return (time.monotonic() - start) / _MEASURED_STEPS


def duration(seconds: float) -> str:
    """'40 seconds', '12 minutes', '3.5 hours', '2 days'."""
    for unit, size in (('day', 86400), ('hour', 3600), ('minute', 60)):
        if seconds >= 1.5 * size:
            return f'{seconds / size:.2g} {unit}s'
    return f'{max(1, round(seconds))} seconds'
