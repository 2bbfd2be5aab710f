"""The work that `benchmark.py` measures, with JAX and NumPy.

`torch_workloads.py` has the same with PyTorch. Modules are imported where they are needed, so that
a process loads one framework.
"""

import dataclasses
import functools
import importlib
import itertools
import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmarks.variant_worker import Variant
from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.config.data_config import DONTCARE_ID

PREFETCHED = 8  # Batches; more than the input pipeline keeps ready.
MATRIX_SIZE = 2048
_WORKLOADS = {
    ('train', 'jax'): 'workloads.JaxTraining',
    ('train', 'torch'): 'torch_workloads.TorchTraining',
    ('sampling', 'jax'): 'workloads.JaxSampling',
    ('sampling', 'torch'): 'torch_workloads.TorchSampling',
    ('input', 'jax'): 'workloads.InputPipeline',
    ('matmul', 'jax'): 'workloads.MatrixProduct',
    ('matmul', 'torch'): 'torch_workloads.TorchMatrixProduct',
}


def make_workload(variant: Variant) -> Any:
    """The workload of a variant, ready to start."""
    module, _, name = _WORKLOADS[variant.part, variant.framework].partition('.')
    return getattr(importlib.import_module(f'experiments.benchmarks.{module}'), name)(variant)


class Workload:
    """A step that can be repeated. Subclasses prepare it in `__init__`."""

    def __init__(self, variant: Variant):
        self.variant, self.config, self.steps = variant, variant.config, 1

    def step(self) -> Any:
        """Start a step."""
        raise NotImplementedError

    def wait(self, result: Any) -> None:
        """Block until the result of `step` is ready."""

    def start(self) -> dict[str, Any]:
        """Take the first step, which compiles, and choose the number of steps of a turn."""
        start = time.perf_counter()
        self.wait(self.step())
        first = time.perf_counter() - start
        self.turn()
        self.steps = max(1, math.ceil(self.variant.turn_seconds / self.turn()))
        return {'first_step_seconds': first, 'steps_per_turn': self.steps} | self.facts()

    def turn(self) -> float:
        """Seconds per step."""
        start = time.perf_counter()
        result = None
        for _ in range(self.steps):
            result = self.step()
        self.wait(result)
        return (time.perf_counter() - start) / self.steps

    def finish(self) -> dict[str, Any]:
        """Figures that are known at the end."""
        return {'peak_memory_bytes': self.peak_memory(), 'xla_flops': self.xla_flops()}

    def facts(self) -> dict[str, Any]:
        """Device and version."""
        import jax

        on_cpu = jax.default_backend() == 'cpu'
        device = 'cpu' if on_cpu else jax.local_devices()[0].device_kind
        return {'device': device, 'version': f'jax {jax.__version__}'}

    def peak_memory(self) -> int | None:
        """Bytes on the device; on a CPU those of the whole process, compiler included."""
        import jax

        statistics = jax.local_devices()[0].memory_stats() or {}
        return statistics.get('peak_bytes_in_use') or peak_of_process()

    def xla_flops(self) -> float | None:
        """FLOPs of the program before XLA optimizes it; None without XLA."""
        return None


class JaxTraining(Workload):
    """The train step as `training/train_loop.py` maps it, on one device."""

    def __init__(self, variant: Variant):
        super().__init__(variant)
        import jax

        from spade_jax.distributed import replicas
        from spade_jax.models.model import build_model
        from spade_jax.models.train_state import init_train_state
        from spade_jax.training.train_step import seeded_noise, train_step

        devices = jax.local_devices()[:1]
        model = build_model(self.config, replicas.REPLICA_AXIS)
        step = functools.partial(
            train_step,
            model=model,
            config=self.config.optimizer,
            num_examples=10**6,
            noise=seeded_noise(self.config.run.seed),
        )
        constants = random_arrays(model.abstract_constants())
        self._mapped = replicas.pmap_step(step, constants=constants, devices=devices)
        self._state = replicas.replicate(init_train_state(self.config), devices)
        self._batch = synthetic_batch(self.config, variant.maps)
        self._shard_batch = replicas.shard_batch

    def step(self) -> Any:
        self._state, metrics = self._mapped(self._state, self._shard_batch(self._batch, 1))
        return metrics

    def wait(self, result: Any) -> None:
        import jax

        jax.block_until_ready((self._state, result))

    def xla_flops(self) -> float | None:
        import jax

        from spade_jax.memory.step_memory import abstract_step

        step, arguments = abstract_step(self.config)
        return flops_of(jax.jit(step).lower(*arguments))


class JaxSampling(Workload):
    """`TrainedGenerator` as `spade_jax.load` gives it: NumPy label maps to NumPy images."""

    def __init__(self, variant: Variant):
        super().__init__(variant)
        from spade_jax.layers.spectral_norm import fold_spectral_norm
        from spade_jax.sampling import TrainedGenerator

        self._variables = fold_spectral_norm(random_generator(self.config))
        self._generator = TrainedGenerator(self.config, {'generator': self._variables})
        self._batch = synthetic_batch(self.config, variant.maps)

    def step(self) -> Any:
        label, instance = self._batch.label, self._batch.instance
        return self._generator(label, instance, batch_size=len(label))

    def xla_flops(self) -> float | None:
        import jax

        arguments = self._variables, self._batch.label, self._batch.instance
        return flops_of(jax.jit(sampling_program(self.config)).lower(*arguments))


class InputPipeline(Workload):
    """The input pipeline of training on procedural landscapes, which are rendered first."""

    def __init__(self, variant: Variant):
        super().__init__(variant)
        from spade_jax.data.pipeline.example_order import BatchSchedule
        from spade_jax.data.pipeline.input_pipeline import training_batches
        from spade_jax.data.sources.open_source import open_source

        self._directory = tempfile.TemporaryDirectory()
        data = dataclasses.replace(self.config.data, data_dir=self._directory.name)
        source = open_source(data, 'train')
        assert source is not None
        schedule = BatchSchedule(self.config.optimizer.batch_size, seed=0)
        self._batches = training_batches(source, data, schedule)

    def step(self) -> Any:
        return next(self._batches)

    def turn(self) -> float:
        for _ in range(PREFETCHED):  # They became ready while other variants had their turns.
            next(self._batches)
        return super().turn()

    def finish(self) -> dict[str, Any]:
        self._batches.close()
        self._directory.cleanup()
        return {'peak_memory_bytes': peak_of_process(), 'xla_flops': None}

    def facts(self) -> dict[str, Any]:
        return {'device': 'cpu', 'version': f'numpy {np.__version__}'}


class MatrixProduct(Workload):
    """The rate of large matrix products, in place of a data sheet of this CPU."""

    def start(self) -> dict[str, Any]:
        """FLOP/s by precision, the best of several attempts."""
        return {precision: best_rate(self.product(precision)) for precision in self.precisions}

    precisions = ('float32', 'bfloat16')

    def product(self, precision: str) -> Callable[[], Any]:
        """A function that multiplies two matrices and waits for the result."""
        import jax
        import jax.numpy as jnp

        shape = (MATRIX_SIZE, MATRIX_SIZE)
        if precision == 'float32':
            matrix = np.ones(shape, np.float32)
            return lambda: matrix @ matrix
        array = jax.device_put(jnp.ones(shape, precision), jax.devices('cpu')[0])
        multiply = jax.jit(lambda x: jnp.matmul(x, x, preferred_element_type='float32'))
        return lambda: jax.block_until_ready(multiply(array))


def synthetic_batch(config: Config, maps: str) -> Batch:
    """Procedural landscapes with their ids spread over all classes, or noise; see `Variant`."""
    from spade_jax.data.files.label_reader import label_dtype
    from spade_jax.landscapes import render_scene

    random, data = np.random.default_rng(0), config.data
    size = config.optimizer.batch_size, data.image_height, data.image_width
    classes = np.arange(data.num_classes + data.dontcare)
    ids = random.permutation(np.where(classes < data.num_classes, classes, DONTCARE_ID))
    if maps == 'noise':
        image = random.integers(0, 256, (*size, 3), np.uint8)
        label = random.choice(ids, size)
        instance = random.integers(0, 100, size, np.int32)
    else:
        scenes = [render_scene(seed, *size[1:]) for seed in range(size[0])]
        image = np.stack([scene.image for scene in scenes])
        label = ids[np.stack([scene.label for scene in scenes]) % len(ids)]
        instance = np.stack([scene.instance for scene in scenes]).astype(np.int32)
    label = label.astype(label_dtype(data))
    return Batch(image, label, instance if data.instance_edges else None)


def random_generator(config: Config) -> dict[str, Any]:
    """Initialized variables of the generator, with spectral vectors that fit their kernels."""
    from spade_jax.layers.spectral_norm import power_iterate
    from spade_jax.models.initialization import init_variables
    from spade_jax.models.model import build_model
    from spade_jax.models.train_state import abstract_networks
    from spade_jax.random_streams import Stream

    abstract = abstract_networks(build_model(config))['generator']
    return power_iterate(init_variables(abstract, 0, Stream.GENERATOR_WEIGHTS))


def random_arrays(abstract: Any) -> Any:
    """Random arrays for a tree of shapes, such that activations keep their scale."""
    import jax

    random = np.random.default_rng(0)

    def init(leaf):
        scale = math.sqrt(2 / max(1, math.prod(leaf.shape[:-1])))
        return (scale * random.standard_normal(leaf.shape, np.float32)).astype(leaf.dtype)

    return jax.tree.map(init, abstract)


def sampling_program(config: Config) -> Callable[..., Any]:
    """(variables of the generator, labels, instances) -> images, to trace."""
    from spade_jax.sampling import TrainedGenerator

    def sample(variables, labels, instances):
        return TrainedGenerator(config, {'generator': variables}).trace(labels, instances)

    return sample


def flops_of(lowered: Any) -> float | None:
    """FLOPs of a lowered program by XLA's analysis; None if this backend has none."""
    analysis = lowered.cost_analysis()
    return float(analysis['flops']) if analysis and 'flops' in analysis else None


def peak_of_process() -> int:
    """The most memory that this process had, in bytes."""
    try:
        # `getrusage` would start with the memory of the parent.
        with open('/proc/self/status', encoding='utf-8') as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith('VmHWM'))
    except (OSError, StopIteration):
        unit = 1 if sys.platform == 'darwin' else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def best_rate(product: Callable[[], Any]) -> float:
    """FLOP/s of the fastest of ten products after the first."""
    product()
    times = []
    for _ in itertools.repeat(None, 10):
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return 2 * MATRIX_SIZE**3 / min(times)
