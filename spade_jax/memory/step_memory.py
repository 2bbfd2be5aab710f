"""Does a configuration fit? The memory of a train step on one device, without running it."""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from spade_jax.config.config import Config
from spade_jax.data.pipeline.input_pipeline import abstract_batch
from spade_jax.distributed.devices import start_devices
from spade_jax.memory.peak_memory import live_bytes, tree_bytes
from spade_jax.models.model import build_model
from spade_jax.models.train_state import abstract_train_state
from spade_jax.training.train_step import seeded_noise, train_step

GIB, MIB = 2**30, 2**20


class StepMemory(NamedTuple):
    """Bytes on one device."""

    parameters: int  # trained, of all networks
    optimizer: int  # state of the optimizers
    statistics: int  # the rest of the state: running statistics, spectral vectors, EMA, the step
    constants: int  # networks that are not trained: that of the perceptual loss
    batch: int  # images and label maps as they arrive on the device
    activations: int  # the rest at the peak: for the backward pass, gradients, temporaries
    peak: int  # the sum of these, the maximum that is alive at the same time
    compiled: int | None = None  # the peak that the compiler plans; None if it was not asked


def step_memory(
    config: Config, batch_size: int, *, num_devices: int = 1, compiled: bool = False
) -> StepMemory:
    """Estimate the memory of a train step from its trace (`live_bytes`).

    Args:
      config: The configuration of the run.
      batch_size: Images on one device.
      num_devices: Number of devices over which the optimizer state is sharded, if it is.
      compiled: Also compile the step and ask the compiler.
    """
    config = as_on_accelerators(config).replace(batch_size=batch_size)
    step, arguments = abstract_step(config)
    state, batch, constants = arguments
    live = live_bytes(step, *arguments, donated=1)
    parameters = tree_bytes([network.get('params') for network in state.networks.values()])
    optimizer = tree_bytes(state.optimizers)
    elsewhere = optimizer - optimizer // num_devices if config.optimizer.shard_optimizer else 0
    planned = None
    if compiled:
        lowered = jax.jit(step, donate_argnums=0).lower(*arguments)
        planned = planned_bytes(lowered.compile()) - elsewhere
    return StepMemory(
        parameters=parameters,
        optimizer=optimizer - elsewhere,
        statistics=tree_bytes(state) - parameters - optimizer,
        constants=tree_bytes(constants),
        batch=tree_bytes(batch),
        activations=live.peak - live.arguments,
        peak=live.peak - elsewhere,
        compiled=planned,
    )


def as_on_accelerators(config: Config) -> Config:
    """The configuration with automatic choices made as on an accelerator."""
    return dataclasses.replace(config, model=config.model.on_accelerator())


def abstract_step(config: Config) -> tuple[Callable, tuple]:
    """The train step of one device and its abstract arguments (state, batch, constants)."""
    model, batch_size = build_model(config), config.optimizer.batch_size
    noise = seeded_noise(config.run.seed)
    step = functools.partial(
        train_step, model=model, config=config.optimizer, num_examples=batch_size, noise=noise
    )
    batch = abstract_batch(config.data, batch_size)
    return step, (abstract_train_state(config), batch, model.abstract_constants())


def planned_bytes(compiled: jax.stages.Compiled) -> int:
    """The memory that the compiler plans for a program, arguments and results included."""
    plan: Any = compiled.memory_analysis()
    arguments, results = plan.argument_size_in_bytes, plan.output_size_in_bytes
    return arguments + results - plan.alias_size_in_bytes + plan.temp_size_in_bytes


def of_width(config: Config, width: int) -> Config:
    """The configuration for another image width; load_size grows with it."""
    load_size = max(width, round(config.data.load_size * width / config.data.crop_size))
    return config.replace(crop_size=width, load_size=load_size)


def report(
    config: Config,
    widths: list[int],
    batch_sizes: list[int],
    *,
    num_devices: int | None = None,
    compiled: bool = False,
) -> None:
    """Print a line for each width and batch size, and the memory of this machine.

    The default sizes are those of the configuration; the default devices are those of this machine.
    """
    start_devices()
    device, num_devices = jax.local_devices()[0], num_devices or jax.device_count()
    limit = memory_limit()
    batch_sizes = batch_sizes or [-(-config.optimizer.batch_size // num_devices)]
    # All widths are checked before the first trace.
    configs = [of_width(config, width) for width in widths or [config.data.crop_size]]
    print(f'Memory in MiB of a train step on one device of {num_devices}, with its images.')
    columns = StepMemory._fields if compiled else StepMemory._fields[:-1]
    print(_row('size', 'images', columns), flush=True)
    for sized in configs:
        size = f'{sized.data.image_width}x{sized.data.image_height}'
        for batch_size in batch_sizes:
            memory = step_memory(sized, batch_size, num_devices=num_devices, compiled=compiled)
            cells = [f'{number / MIB:.1f}' for number in memory if number is not None]
            print(_row(size, batch_size, cells) + verdict(memory, limit), flush=True)
    print(explanation(device, limit, compiled))


def memory_limit() -> int | None:
    """The bytes of a device that JAX may use; None if the device does not report them."""
    return (jax.local_devices()[0].memory_stats() or {}).get('bytes_limit')


def host_memory() -> int:
    """The bytes of memory of this machine."""
    return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def _row(size: str, images: int | str, cells: Sequence[str]) -> str:
    return f'{size:>11} {images:>6} ' + ' '.join(f'{cell:>11}' for cell in cells)


def verdict(memory: StepMemory, limit: int | None) -> str:
    """Whether it fits into `limit` bytes; '' if the limit is unknown."""
    if limit is None:
        return ''
    share = (memory.peak if memory.compiled is None else memory.compiled) / limit
    answer = 'fits' if share <= 0.9 else 'tight' if share <= 1 else 'does not fit'
    return f'  {answer}: {share:.0%} of the device'


def explanation(device: Any, limit: int | None, compiled: bool) -> str:
    """What the numbers mean on this machine."""
    text = (
        'activations: kept for the backward pass, gradients and temporary arrays, estimated '
        "without compiling; a GPU's convolutions need some working memory besides.\n"
    )
    name = device.device_kind
    if compiled:
        text += f'compiled: the plan of the compiler for {name}; other devices differ.\n'
    if limit is None:
        host = f'{host_memory() / GIB:.1f} GiB'
        return f'{text}{name} does not report its memory; this machine has {host}.'
    fraction = 'three quarters of a GPU; XLA_PYTHON_CLIENT_MEM_FRACTION changes the share'
    return f'{text}{name}: {limit / GIB:.1f} GiB are for JAX ({fraction}).'
