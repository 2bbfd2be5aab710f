"""What a train step and sampling become on a GPU that is not here: compiled for it, and counted.

    pip install -e '.[cuda]'
    python experiments/compile_for_gpu.py
    python experiments/compile_for_gpu.py --parts=train --batch_sizes=1,16,32 --rematerializations=none,modulation,blocks --preset=ade20k
    python experiments/compile_for_gpu.py --parts=train --top=30 --output_dir=compiled

Needs a CPU alone, a minute or two for each train step. The columns: kernels; operations of convolutions and matrix products, and bytes that they move; bytes that
all other kernels move; the memory that the compiler plans, arguments included, and what --mode=memory estimates it to be; and the floor: what each kernel takes at
least by the data sheet of the chip, for its operations or for its bytes, in a sum. A measured step takes longer: no kernel reaches these rates, and small ones take
microseconds whatever they do.

Kernels of convolutions are not tuned without the GPU, so which ones run, and what working memory they take, is not in the figures. With
--label_conv=dedup the branch that moves most bytes is counted, whichever may run.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import re
from typing import Any

os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + ' --xla_gpu_autotune_level=0'
)  # it would measure on the GPU
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import jax
from absl import app, flags
from jax.experimental import topologies

from experiments.benchmarks.device_peaks import peak_operations
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
from spade_jax.layers.spectral_norm import COLLECTION as SPECTRAL
from spade_jax.memory.step_memory import (
    abstract_batch,
    abstract_step,
    as_on_accelerators,
    planned_bytes,
    step_memory,
)
from spade_jax.models.train_state import abstract_train_state
from spade_jax.sampling import TrainedGenerator


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What a compiler has to know of a chip of the Hopper family.

    name: as JAX calls the device.
    memory: bytes.
    bandwidth: bytes a second.
    """

    name: str
    memory: int
    bandwidth: int

    def target(self) -> str:
        """XLA's description of it."""
        return f'''
            gpu_device_info {{
              threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
              shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
              registers_per_core_limit: 65536 registers_per_block_limit: 65536 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
              memory_bandwidth: {self.bandwidth} l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: {self.memory}
              cuda_compute_capability {{ major: 9 }}
            }}
            platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 8 }} runtime_version {{ major: 12 minor: 9 }} device_description_str: "{self.name}"'''


GPUS = {
    'h100': Gpu('NVIDIA H100 80GB HBM3', 80 * 10**9, 3350 * 10**9),
    'h200': Gpu('NVIDIA H200', 141 * 10**9, 4800 * 10**9),
}
PARTS = ('train', 'sampling')

GPU = flags.DEFINE_enum('gpu', 'h100', GPUS, 'The chip.')
PART_LIST = flags.DEFINE_list('parts', list(PARTS), f'Some of {", ".join(PARTS)}.')
PRESET = flags.DEFINE_enum(
    'preset',
    'coco_stuff',
    FLAGFILES,
    'The networks are those of this flagfile in experiments/, without style encoder; flags override it.',
)
BATCH_SIZES = flags.DEFINE_list('batch_sizes', ['16'], 'Pictures at a time.')
PRECISION_LIST = flags.DEFINE_list('precisions', ['bfloat16'], f'Some of {", ".join(PRECISIONS)}.')
REMATERIALIZATION_LIST = flags.DEFINE_list(
    'rematerializations',
    ['none'],
    f'train: what is computed again in the backward pass: {", ".join(REMATERIALIZATIONS)}.',
)
PERCEPTUAL = flags.DEFINE_bool('perceptual', False, 'train: with the perceptual loss.')
TOP = flags.DEFINE_integer(
    'top', 0, 'List so many groups of kernels that take most of the floor.', lower_bound=0
)
OUTPUT_DIR = flags.DEFINE_string('output_dir', '', 'Directory for the compiled programs, as text.')
OUTPUT_JSON = flags.DEFINE_string('output_json', '', 'File for the figures.')
config_flags.define_flags()
flags.adopt_module_key_flags(config_flags)


def main(argv: list[str]) -> None:
    """Prints a line for each program."""
    with one_line_errors(argv):
        for flag, known in (
            (PART_LIST, PARTS),
            (PRECISION_LIST, PRECISIONS),
            (REMATERIALIZATION_LIST, REMATERIALIZATIONS),
        ):
            check_list(flag, known)
        config = dataclasses.replace(
            as_on_accelerators(described_config(PRESET.value)),
            perceptual_weight=10.0 if PERCEPTUAL.value else 0.0,
        )
        gpu, batch_sizes, rows = GPUS[GPU.value], integers(BATCH_SIZES), []
        sharding = sharding_of(gpu)
        print(
            f'{gpu.name}, {PRESET.value}, {config.data.image_width}x{config.data.image_height}, jax {jax.__version__}'
        )
        print(
            f'{"":<38} {"kernels":>7} {"TFLOP":>7} {"GB":>6} {"other GB":>8} {"memory MiB":>10} {"estimate":>8} {"floor ms":>8} {"a picture":>9} {"(products":>9} {"other)":>7}'
        )
        for part in PART_LIST.value:
            for batch_size in batch_sizes:
                for precision in PRECISION_LIST.value:
                    for kind in REMATERIALIZATION_LIST.value if part == 'train' else ['none']:
                        form = dataclasses.replace(
                            config,
                            batch_size=batch_size,
                            compute_dtype=precision,
                            rematerialize=kind,
                        )
                        name = f'{part}, batch {batch_size}, {precision}' + (
                            '' if kind == 'none' else f', {kind} again'
                        )
                        rows.append(
                            {
                                'part': part,
                                'batch_size': batch_size,
                                'precision': precision,
                                'rematerialize': kind,
                            }
                            | counted(name, part, form, gpu, sharding)
                        )
        if OUTPUT_JSON.value:
            with open(OUTPUT_JSON.value, 'w') as file:
                json.dump(
                    {
                        'gpu': gpu.name,
                        'jax': jax.__version__,
                        'config': config.to_json(),
                        'rows': rows,
                    },
                    file,
                    indent=1,
                )


def sharding_of(gpu: Gpu) -> jax.sharding.Sharding:
    """Where arrays lie that are on such a chip. Raises UserError where this JAX can compile for none."""
    try:
        topology = topologies.get_topology_desc(
            platform='cuda', target_config=gpu.target(), topology='1x1x1'
        )
    except Exception as error:  # of several kinds, by what is missing
        raise UserError(
            f'JAX cannot compile for {gpu.name}: {" ".join(str(error).split())[:200]}',
            "pip install -e '.[cuda]'",
        ) from None
    return jax.sharding.NamedSharding(
        topologies.make_mesh(topology, (1,), ('gpu',)), jax.sharding.PartitionSpec()
    )


def counted(
    name: str, part: str, config: Config, gpu: Gpu, sharding: jax.sharding.Sharding
) -> dict[str, Any]:
    """Compiles a program, and prints and returns its figures."""
    from experiments.benchmarks.compiled_operations import kernels_of

    compiled = {'train': lowered_train_step, 'sampling': lowered_sampling}[part](
        config, sharding
    ).compile()
    if OUTPUT_DIR.value:
        os.makedirs(OUTPUT_DIR.value, exist_ok=True)
        with open(os.path.join(OUTPUT_DIR.value, re.sub(r'\W+', '_', name) + '.txt'), 'w') as file:
            file.write(compiled.as_text())
    kernels = kernels_of(
        compiled.runtime_executable().hlo_modules()[0].as_serialized_hlo_module_proto()
    )
    rates = peak_operations(gpu.name, config.optimizer.compute_dtype), gpu.bandwidth
    products, others = (
        [kernel for kernel in kernels if kernel.operations],
        [kernel for kernel in kernels if not kernel.operations],
    )
    of_products, of_others = (
        1e3 * sum(kernel.seconds(*rates) for kernel in some) for some in (products, others)
    )
    figures = {
        'kernels': len(kernels),
        'operations': sum(kernel.operations for kernel in products),
        'bytes_of_products': sum(kernel.bytes for kernel in products),
        'bytes_of_others': sum(kernel.bytes for kernel in others),
        'milliseconds_of_products': of_products,
        'milliseconds_of_others': of_others,
        'memory_bytes': planned_bytes(compiled),
    }
    if part == 'train':
        figures['estimated_memory_bytes'] = step_memory(config, config.optimizer.batch_size).peak
    estimate = f'{figures["estimated_memory_bytes"] / 2**20:.0f}' if part == 'train' else '-'
    of_a_picture = [
        milliseconds / config.optimizer.batch_size
        for milliseconds in (of_products + of_others, of_products, of_others)
    ]
    print(
        f'{name:<38} {len(kernels):>7} {figures["operations"] / 1e12:>7.2f} {figures["bytes_of_products"] / 1e9:>6.1f} {figures["bytes_of_others"] / 1e9:>8.1f} '
        f'{figures["memory_bytes"] / 2**20:>10.0f} {estimate:>8} {of_products + of_others:>8.2f} {of_a_picture[0]:>9.3f} {of_a_picture[1]:>9.3f} {of_a_picture[2]:>7.3f}'
        + ('' if figures['memory_bytes'] < 0.9 * gpu.memory else '  does not fit'),
        flush=True,
    )
    print_groups(kernels, rates)
    return figures


def print_groups(kernels: list[Any], rates: tuple[float, float]) -> None:
    """The groups of kernels of one kind and, but for the number of the block, one source."""
    groups = collections.defaultdict(list)
    for kernel in kernels:
        groups[kernel.kind, re.sub(r'(head|middle_\d|up_\d|scale_\d)', '*', kernel.source)].append(
            kernel
        )
    for (kind, source), group in sorted(
        groups.items(), key=lambda item: -sum(kernel.seconds(*rates) for kernel in item[1])
    )[: TOP.value]:
        milliseconds, gigabytes = (
            1e3 * sum(kernel.seconds(*rates) for kernel in group),
            sum(kernel.bytes for kernel in group) / 1e9,
        )
        print(
            f'  {milliseconds:>7.3f} ms {gigabytes:>7.3f} GB {len(group):>4} x {kind:<30} {source[-90:]}'
        )


def lowered_train_step(config: Config, sharding: jax.sharding.Sharding) -> jax.stages.Lowered:
    """The train step, both updates, on one device."""
    step, arguments = abstract_step(config)
    return jax.jit(step, donate_argnums=0).lower(*placed(arguments, sharding))


def lowered_sampling(config: Config, sharding: jax.sharding.Sharding) -> jax.stages.Lowered:
    """Label maps to pictures, spectral norms folded."""
    variables = {
        name: value
        for name, value in abstract_train_state(config).generator.items()
        if name != SPECTRAL
    }
    batch = abstract_batch(config)
    draw = jax.jit(lambda variables, *maps: TrainedGenerator(config, variables).draw(*maps))
    return draw.lower(*placed((variables, batch.label, batch.instance), sharding))


def placed(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """A tree of shapes, on a device."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


if __name__ == '__main__':
    app.run(main)
