"""Compile the train step and sampling for a GPU that this machine lacks, and count their kernels.

    pip install -e '.[cuda]'
    python -m experiments.benchmarks.compile_for_gpu
    python -m experiments.benchmarks.compile_for_gpu --parts=train --batch_sizes=1,16,32
    python -m experiments.benchmarks.compile_for_gpu --parts=train --top=30 --output_dir=compiled

It needs only a CPU, and a minute or two for each train step. README.md in this folder explains the
columns. Convolutions are not autotuned without the GPU, so the kernels that run and their
workspace are not in the figures.
"""

import collections
import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
# Autotuning would measure on the GPU.
os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_gpu_autotune_level=0'
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import jax
from absl import app, flags
from jax.experimental import topologies

from experiments.benchmarks.device_peaks import peak_flops
from experiments.benchmarks.model_flops import spade_options
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
from experiments.benchmarks.workloads import sampling_program
from spade_jax.config import flags as config_flags
from spade_jax.config.config import Config
from spade_jax.data.pipeline.input_pipeline import abstract_batch
from spade_jax.errors import UserError, one_line_errors
from spade_jax.layers.spectral_norm import COLLECTION as SPECTRAL
from spade_jax.memory.step_memory import (
    abstract_step,
    as_on_accelerators,
    planned_bytes,
    step_memory,
)
from spade_jax.models.train_state import abstract_train_state


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What the compiler needs to know of a chip of the Hopper family.

    Attributes:
      name: The name that JAX gives the device.
      memory: Bytes.
      bandwidth: Bytes per second.
    """

    name: str
    memory: int
    bandwidth: int

    def rates(self, precision: str) -> tuple[float, float]:
        """FLOP/s by the data sheet and bytes per second."""
        flops = peak_flops(self.name, precision)
        assert flops is not None
        return flops, self.bandwidth

    def target(self) -> str:
        """XLA's description of the chip."""
        return f"""
            gpu_device_info {{
              threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048
              core_count: 132 fpus_per_core: 128
              shared_memory_per_block: 49152 shared_memory_per_core: 233472
              shared_memory_per_block_optin: 232448
              registers_per_core_limit: 65536 registers_per_block_limit: 65536
              block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
              memory_bandwidth: {self.bandwidth} l2_cache_size: 52428800 clock_rate_ghz: 1.98
              device_memory_size: {self.memory} cuda_compute_capability {{ major: 9 }}
            }}
            platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 8 }}
            runtime_version {{ major: 12 minor: 9 }} device_description_str: "{self.name}"
            """


GPUS = {
    'h100': Gpu('NVIDIA H100 80GB HBM3', 80 * 10**9, 3350 * 10**9),
    'h200': Gpu('NVIDIA H200', 141 * 10**9, 4800 * 10**9),
}
PARTS = ('train', 'sampling')
_COLUMNS = (
    *(('kernels', 7), ('TFLOP', 7), ('GB', 6), ('other GB', 8), ('memory MiB', 10)),
    *(('estimate', 8), ('floor ms', 8), ('per image', 9), ('(products', 9), ('other)', 7)),
)

_GPU = flags.DEFINE_enum('gpu', 'h100', GPUS, 'The chip.')
_PARTS = flags.DEFINE_list('parts', list(PARTS), f'Some of {", ".join(PARTS)}.')
_PRESET = flags.DEFINE_enum('preset', PRESETS[0], PRESETS, PRESET_HELP)
_BATCH_SIZES = flags.DEFINE_list('batch_sizes', ['16'], 'Batch sizes.')
_PRECISIONS = flags.DEFINE_list('precisions', ['bfloat16'], f'Some of {", ".join(PRECISIONS)}.')
_REMATERIALIZATIONS = flags.DEFINE_list(
    'rematerializations', ['none'], f'train: values of --rematerialize: {REMATERIALIZATIONS}.'
)
_PERCEPTUAL = flags.DEFINE_bool('perceptual', False, 'train: with the perceptual loss.')
_TOP = flags.DEFINE_integer(
    'top', 0, 'List this many groups of kernels, those with the largest floors.', lower_bound=0
)
_OUTPUT_DIR = flags.DEFINE_string('output_dir', '', 'Directory for the compiled programs, as text.')
_OUTPUT_JSON = flags.DEFINE_string('output_json', '', 'File for all figures.')
config_flags.define_flags()
flags.adopt_module_key_flags(config_flags)


def main(argv: list[str]) -> None:
    """Print a line for each program."""
    with one_line_errors(argv):
        check_list(_PARTS, PARTS)
        check_list(_PRECISIONS, PRECISIONS)
        check_list(_REMATERIALIZATIONS, REMATERIALIZATIONS)
        config = as_on_accelerators(preset_config(_PRESET.value))
        config = config.replace(perceptual_weight=10.0 if _PERCEPTUAL.value else 0.0)
        gpu, programs = GPUS[_GPU.value], list(programs_of(config))
        sharding = sharding_of(gpu)
        size = f'{config.data.image_width}x{config.data.image_height}'
        print(f'{gpu.name}, {_PRESET.value}, {size}, jax {jax.__version__}')
        print(' ' * 38 + ''.join(f' {name:>{width}}' for name, width in _COLUMNS))
        rows = []
        for part, changed in programs:
            row = {
                'part': part,
                'batch_size': changed.optimizer.batch_size,
                'precision': changed.optimizer.compute_dtype,
                'rematerialize': spade_options(changed).rematerialize,
            }
            rows.append(row | measure_program(part, changed, gpu, sharding))
        if _OUTPUT_JSON.value:
            record = {'gpu': gpu.name, 'jax': jax.__version__, 'config': config.to_json()}
            write_json(_OUTPUT_JSON.value, record | {'rows': rows})


def programs_of(config: Config) -> Iterator[tuple[str, Config]]:
    """The parts, with every batch size, precision and rematerialization."""
    for part in _PARTS.value:
        for batch_size in integers(_BATCH_SIZES):
            for precision in _PRECISIONS.value:
                changed = config.replace(batch_size=batch_size, compute_dtype=precision)
                for kind in _REMATERIALIZATIONS.value if part == 'train' else ['none']:
                    yield part, changed.replace(rematerialize=kind)


def sharding_of(gpu: Gpu) -> jax.sharding.Sharding:
    """The sharding of arrays on one such chip; raises UserError if JAX cannot compile for it."""
    try:
        topology = topologies.get_topology_desc(
            platform='cuda', target_config=gpu.target(), topology='1x1x1'
        )
    except Exception as error:  # Its type depends on what is missing.
        raise UserError(
            f'JAX cannot compile for {gpu.name}: {" ".join(str(error).split())[:200]}',
            "pip install -e '.[cuda]'",
        ) from None
    mesh = topologies.make_mesh(topology, (1,), ('gpu',))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def measure_program(
    part: str, config: Config, gpu: Gpu, sharding: jax.sharding.Sharding
) -> dict[str, Any]:
    """Compile a program, and print and return its figures."""
    from experiments.benchmarks.gpu_kernels import kernels_of

    lower = {'train': lower_train_step, 'sampling': lower_sampling}[part]
    compiled = lower(config, sharding).compile()
    name = program_name(part, config)
    write_text(name, compiled)
    executable: Any = compiled.runtime_executable()
    kernels = kernels_of(executable.hlo_modules()[0].as_serialized_hlo_module_proto())
    rates = gpu.rates(config.optimizer.compute_dtype)
    products = [kernel for kernel in kernels if kernel.flops]
    others = [kernel for kernel in kernels if not kernel.flops]
    estimate = None
    if part == 'train':
        estimate = step_memory(config, config.optimizer.batch_size).peak
    figures = {
        'kernels': len(kernels),
        'flops': sum(kernel.flops for kernel in products),
        'product_bytes': sum(kernel.bytes for kernel in products),
        'other_bytes': sum(kernel.bytes for kernel in others),
        'product_milliseconds': floor_milliseconds(products, rates),
        'other_milliseconds': floor_milliseconds(others, rates),
        'memory_bytes': planned_bytes(compiled),
        'estimated_memory_bytes': estimate,
    }
    cells = zip(cells_of(figures, config.optimizer.batch_size), _COLUMNS, strict=True)
    verdict = '' if figures['memory_bytes'] < 0.9 * gpu.memory else '  does not fit'
    line = ''.join(f' {cell:>{width}}' for cell, (_, width) in cells)
    print(f'{name:<38}{line}{verdict}', flush=True)
    print_groups(kernels, rates)
    return figures


def cells_of(figures: dict[str, Any], batch_size: int) -> list[str]:
    """The cells of a line of the table."""
    products, others = figures['product_milliseconds'], figures['other_milliseconds']
    floor, estimate = products + others, figures['estimated_memory_bytes']
    return [
        *(str(figures['kernels']), f'{figures["flops"] / 1e12:.2f}'),
        *(f'{figures["product_bytes"] / 1e9:.1f}', f'{figures["other_bytes"] / 1e9:.1f}'),
        f'{figures["memory_bytes"] / 2**20:.0f}',
        '-' if estimate is None else f'{estimate / 2**20:.0f}',
        f'{floor:.2f}',
        *(f'{milliseconds / batch_size:.3f}' for milliseconds in (floor, products, others)),
    ]


def program_name(part: str, config: Config) -> str:
    """'train, batch 16, bfloat16, remat blocks'."""
    kind = spade_options(config).rematerialize
    remat = '' if kind == 'none' else f', remat {kind}'
    return f'{part}, batch {config.optimizer.batch_size}, {config.optimizer.compute_dtype}{remat}'


def write_text(name: str, compiled: jax.stages.Compiled) -> None:
    """Write a compiled program to --output_dir, if that is set."""
    if _OUTPUT_DIR.value:
        os.makedirs(_OUTPUT_DIR.value, exist_ok=True)
        path = os.path.join(_OUTPUT_DIR.value, re.sub(r'\W+', '_', name) + '.txt')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(compiled.as_text() or '')


def floor_milliseconds(kernels: list[Any], rates: tuple[float, float]) -> float:
    """The least time of some kernels, one after the other."""
    return 1e3 * sum(kernel.seconds(*rates) for kernel in kernels)


def print_groups(kernels: list[Any], rates: tuple[float, float]) -> None:
    """Print the groups of kernels of one kind and one source, the number of the block aside."""
    groups = collections.defaultdict(list)
    for kernel in kernels:
        source = re.sub(r'(head|middle_\d|up_\d|scale_\d)', '*', kernel.source)
        groups[kernel.kind, source].append(kernel)
    ranked = sorted(groups.items(), key=lambda item: -floor_milliseconds(item[1], rates))
    for (kind, source), group in ranked[: _TOP.value]:
        milliseconds = floor_milliseconds(group, rates)
        gigabytes = sum(kernel.bytes for kernel in group) / 1e9
        figures = f'{milliseconds:>7.3f} ms {gigabytes:>7.3f} GB {len(group):>4}'
        print(f'  {figures} x {kind:<30} {source[-90:]}')


def lower_train_step(config: Config, sharding: jax.sharding.Sharding) -> jax.stages.Lowered:
    """The train step on one device."""
    step, arguments = abstract_step(config)
    return jax.jit(step, donate_argnums=0).lower(*placed(arguments, sharding))


def lower_sampling(config: Config, sharding: jax.sharding.Sharding) -> jax.stages.Lowered:
    """Label maps to images, with folded spectral norms."""
    variables = dict(abstract_train_state(config).networks['generator'])
    variables.pop(SPECTRAL, None)
    batch = abstract_batch(config.data, config.optimizer.batch_size)
    arguments = placed((variables, batch.label, batch.instance), sharding)
    return jax.jit(sampling_program(config)).lower(*arguments)


def placed(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """A tree of shapes on a device."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


if __name__ == '__main__':
    app.run(main)
