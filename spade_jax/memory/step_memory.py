"""Does a configuration fit? The memory of a train step on one device, before any device is used."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.data.files.label_reader import label_dtype
from spade_jax.memory.peak_memory import live_bytes, tree_bytes
from spade_jax.models.model import build_model
from spade_jax.models.train_state import abstract_train_state
from spade_jax.training.train_step import seeded_noise, train_step

GIB, MIB = 2**30, 2**20


class StepMemory(NamedTuple):
    """Bytes on one device.

    parameters, optimizer, statistics: the state; statistics are running means and variances, the vectors of spectral norms, and averaged weights.
    vgg19: the perceptual network, 0 without its loss.
    batch: pictures and label maps as they travel.
    activations: all else that lives when most does: what the forward pass keeps for the backward pass, gradients, temporary arrays.
    peak: the sum, the most that lives at once.
    compiled: the peak that the compiler of this backend plans for the same step; None where it was not asked.
    """

    parameters: int
    optimizer: int
    statistics: int
    vgg19: int
    batch: int
    activations: int
    peak: int
    compiled: int | None = None


def step_memory(
    config: Config, batch_size: int, *, num_devices: int = 1, compiled: bool = False
) -> StepMemory:
    """The memory of a train step with `batch_size` images on one device.

    Nothing is computed: the step is traced with shapes alone, see `live_bytes`.

    Args:
      num_devices: over which the state of the optimisers is dealt out, where it is.
      compiled: compile the step too, for what the compiler says.
    """
    step, (state, batch, vgg19) = abstract_step(
        dataclasses.replace(as_on_accelerators(config), batch_size=batch_size)
    )
    live = live_bytes(step, state, batch, vgg19, donated=1)

    parameters = tree_bytes([network['params'] for network in state.networks.values()])
    optimizer = tree_bytes(state.optimizers)
    elsewhere = optimizer - optimizer // num_devices if config.optimizer.shard_optimizer else 0
    return StepMemory(
        parameters,
        optimizer - elsewhere,
        tree_bytes(state) - parameters - optimizer,
        tree_bytes(vgg19),
        tree_bytes(batch),
        live.peak - live.arguments,
        live.peak - elsewhere,
        planned_bytes(jax.jit(step, donate_argnums=0).lower(state, batch, vgg19).compile())
        - elsewhere
        if compiled
        else None,
    )


def as_on_accelerators(config: Config) -> Config:
    """The configuration with automatic choices made as on an accelerator.

    Questions about memory are mostly about those, wherever they are asked.
    """
    return dataclasses.replace(config, model=config.model.on_accelerator())


def abstract_step(config: Config) -> tuple[Callable, tuple]:
    """The train step of a single device and the shapes of its arguments, to trace or compile it.

    Returns:
      The step, and (state, batch, constants).
    """
    model = build_model(config)
    step = functools.partial(
        train_step,
        model=model,
        config=config.optimizer,
        num_examples=config.optimizer.batch_size,
        noise=seeded_noise(config.run.seed),
    )
    arguments = abstract_train_state(config), abstract_batch(config), model.abstract_constants()
    return step, arguments


def planned_bytes(compiled: jax.stages.Compiled) -> int:
    """The memory that a compiler plans for a program, arguments and results included."""
    plan = compiled.memory_analysis()
    return (
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        - plan.alias_size_in_bytes
        + plan.temp_size_in_bytes
    )


def abstract_batch(config: Config) -> Batch:
    """Shapes of the batch that the input pipeline hands over."""
    pixels = config.optimizer.batch_size, config.data.image_height, config.data.image_width
    label = (*pixels, 3) if config.data.condition == 'rgb' else pixels
    label_type = np.uint8 if config.data.condition == 'rgb' else label_dtype(config.data)
    return Batch(
        jax.ShapeDtypeStruct((*pixels, 3), np.uint8),
        jax.ShapeDtypeStruct(label, label_type),
        jax.ShapeDtypeStruct(pixels, np.int32) if config.data.instance_edges else None,
    )


def of_width(config: Config, width: int) -> Config:
    """The configuration for pictures of another width; the size before the crop grows with it."""
    return config.replace(
        crop_size=width,
        load_size=max(width, round(config.data.load_size * width / config.data.crop_size)),
    )


def report(
    config: Config,
    widths: list[int],
    batch_sizes: list[int],
    *,
    num_devices: int | None = None,
    compiled: bool = False,
) -> None:
    """Prints a line for every width and batch size, and what this machine has.

    Args:
      num_devices: of the run; None: those of this machine.
    """
    device, num_devices = jax.local_devices()[0], num_devices or jax.device_count()
    limit = (device.memory_stats() or {}).get('bytes_limit')
    sizes = batch_sizes or [-(-config.optimizer.batch_size // num_devices)]
    configs = [
        of_width(config, width) for width in widths or [config.data.crop_size]
    ]  # wrong widths are told before any is traced
    print(
        f'Memory of a train step on one device of {num_devices}, in MiB; the batch size is that of one device.'
    )
    print(
        f'{"size":>11} {"batch":>6} {"parameters":>11} {"optimiser":>10} {"statistics":>11} {"VGG19":>7} {"data":>7} {"activations":>12} {"peak":>9}'
        + (f' {"compiled":>9}' if compiled else ''),
        flush=True,
    )
    for sized in configs:
        for batch_size in sizes:
            memory = step_memory(sized, batch_size, num_devices=num_devices, compiled=compiled)
            print(table_row(sized, batch_size, memory) + verdict(memory, limit), flush=True)
    print(explanation(device, limit, compiled))


def table_row(config: Config, batch_size: int, memory: StepMemory) -> str:
    """The numbers in MiB."""
    numbers = [
        memory.parameters,
        memory.optimizer,
        memory.statistics,
        memory.vgg19,
        memory.batch,
        memory.activations,
        memory.peak,
    ]
    row = (
        f'{f"{config.data.image_width}x{config.data.image_height}":>11} {batch_size:>6}'
        + ''.join(
            f' {number / MIB:>{width}.1f}'
            for number, width in zip(numbers, (11, 10, 11, 7, 7, 12, 9), strict=True)
        )
    )
    return row + ('' if memory.compiled is None else f' {memory.compiled / MIB:>9.1f}')


def verdict(memory: StepMemory, limit: int | None) -> str:
    """Whether it fits into `limit` bytes; nothing where the limit is not known."""
    if limit is None:
        return ''
    share = (memory.peak if memory.compiled is None else memory.compiled) / limit
    return f'  {"fits" if share <= 0.9 else "tight" if share <= 1 else "does not fit"}: {share:.0%} of the device'


def explanation(device: Any, limit: int | None, compiled: bool) -> str:
    """What the numbers mean on this machine."""
    lines = [
        "activations: kept for the backward pass, gradients and temporary arrays, told from the trace of the step without compiling it; a GPU's convolutions "
        'want some working memory besides.'
    ]
    if compiled:
        lines.append(
            f'compiled: what the compiler plans for {device.platform}'
            + (
                ': the plan of a GPU or TPU is another one (recomputation, for example, saves memory there only).'
                if device.platform == 'cpu'
                else '.'
            )
        )
    if limit is None:
        pages = (
            os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
            if hasattr(os, 'sysconf')
            else 0
        )
        lines.append(
            f'{device.device_kind} tells no memory of its own'
            + (f'; this machine has {pages / GIB:.1f} GiB.' if pages else '.')
        )
    else:
        lines.append(
            f'{device.device_kind}: {limit / GIB:.1f} GiB are for JAX (three quarters of a GPU unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise).'
        )
    return '\n'.join(lines)
