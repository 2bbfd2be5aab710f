"""What races in `benchmark.py`: each contender in a process of its own, which takes a turn when it is told to.

So turns interleave while the thread pools and the memory of the contenders stay apart, and one that runs out of memory fails alone.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from typing import Any

import numpy as np

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.config.data_config import DONTCARE_ID
from spade_jax.models.spade.options import UPSAMPLINGS

MAPS = ('landscapes', 'noise')
QUEUED = 8  # batches; more than the input pipeline keeps ready
PRODUCT_SIZE = 2048


@dataclasses.dataclass(frozen=True)
class Form:
    """One way to do the work.

    part: 'train', 'sampling', 'input' or 'peak'.
    framework: 'jax' or 'torch'.
    name: how the table calls it.
    config: its networks, picture and batch size.
    precision: of the products, 'float32' or 'bfloat16'.
    settings: the fields of `pytorch_peer.Settings` that are true.
    turn_seconds: how long a turn is to take; one step takes as long as it does.
    maps: 'landscapes', whose regions are as large as those of photographs, or 'noise', a class of its own for every pixel. Only spade_jax's time depends on it.
    """

    part: str
    framework: str
    name: str
    config: Config
    precision: str = 'float32'
    settings: tuple[str, ...] = ()
    turn_seconds: float = 0.0
    maps: str = 'landscapes'


class Failed(Exception):
    """A contender has ended; the message says why."""


class Worker:
    """A contender, seen from the race."""

    def __init__(self, form: Form):
        context = multiprocessing.get_context('spawn')
        self.form = form
        self._connection, other = context.Pipe()
        self._process = context.Process(target=serve, args=(other, form))
        self._process.start()
        other.close()

    def ask(self, request: str) -> Any:
        """The answer to 'start' (facts), 'turn' (seconds a step) or 'finish' (facts). Raises Failed."""
        try:
            self._connection.send(request)
            status, answer = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(10)
            killed = self._process.exitcode == -9
            raise Failed(
                f'its process ended with exit status {self._process.exitcode}'
                + (' (killed: most likely it ran out of memory)' if killed else '')
            ) from None
        if status == 'error':
            raise Failed(answer)
        return answer

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.join(2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def serve(connection: Any, form: Form) -> None:
    """The body of a contender's process."""
    os.dup2(2, 1)  # what libraries print does not come between the rows of the table
    contender = None
    while True:
        try:
            request = connection.recv()
        except EOFError:
            return
        try:
            if request == 'start':
                contender = CONTENDERS[form.part, form.framework](form)
                answer = contender.start()
            else:
                answer = getattr(contender, request)()
            connection.send(('answer', answer))
        except Exception as error:
            if os.environ.get('BENCHMARK_TRACEBACKS'):
                traceback.print_exc()
            connection.send(
                ('error', f'{type(error).__name__}: {" ".join(str(error).split())[:300]}')
            )
            return


class Contender:
    """A step that can be repeated. Subclasses prepare in `__init__`."""

    framework = 'jax'

    def __init__(self, form: Form):
        self.form, self.config, self.steps = form, form.config, 1

    def step(self) -> Any:
        """Starts a step."""
        raise NotImplementedError

    def wait(self, result: Any) -> None:
        """Until what `step` returned is there."""

    def start(self) -> dict[str, Any]:
        """Takes the first step, which compiles, and finds out how many make a turn."""
        start = time.perf_counter()
        self.wait(self.step())
        first = time.perf_counter() - start
        self.turn()
        self.steps = max(1, math.ceil(self.form.turn_seconds / self.turn()))
        return {'first_step_seconds': first, 'steps_a_turn': self.steps} | self.facts()

    def turn(self) -> float:
        """Seconds a step."""
        start = time.perf_counter()
        for _ in range(self.steps):
            result = self.step()
        self.wait(result)
        return (time.perf_counter() - start) / self.steps

    def finish(self) -> dict[str, Any]:
        """What is known at the end."""
        return {'peak_memory_bytes': self.peak_memory(), 'xla_operations': self.xla_operations()}

    def facts(self) -> dict[str, Any]:
        """Device and version."""
        import jax

        return {
            'device': jax.local_devices()[0].device_kind
            if jax.default_backend() != 'cpu'
            else 'cpu',
            'version': f'jax {jax.__version__}',
        }

    def peak_memory(self) -> int | None:
        """Bytes on the device; on a CPU those of the whole process, compiler included."""
        import jax

        statistics = jax.local_devices()[0].memory_stats() or {}
        return statistics.get('peak_bytes_in_use') or peak_of_process()

    def xla_operations(self) -> float | None:
        """Operations of the program as XLA gets it, before any may become library calls; None where there is no XLA."""
        return None


class JaxTraining(Contender):
    """The train step as `training/train_loop.py` maps it, on one device."""

    def __init__(self, form: Form):
        super().__init__(form)
        import jax

        from spade_jax.distributed import replicas
        from spade_jax.models.spade.model import build_networks
        from spade_jax.models.train_state import init_train_state
        from spade_jax.training.train_step import train_step

        devices, networks = (
            jax.local_devices()[:1],
            build_networks(self.config, replicas.REPLICA_AXIS),
        )
        step = functools.partial(
            train_step,
            config=self.config,
            networks=networks,
            num_examples=10**6,
            axis_name=replicas.REPLICA_AXIS,
        )
        self._vgg19 = (
            random_vgg19(networks.vgg19, self.config)
            if self.config.losses.perceptual_weight
            else None
        )
        self._mapped = replicas.pmap_step(step, constants=self._vgg19, devices=devices)
        self._state = replicas.replicate(init_train_state(self.config, networks), devices)
        self._batch, self._split = made_up_batch(self.config, self.form.maps), replicas.shard_batch

    def step(self) -> Any:
        self._state, metrics = self._mapped(self._state, self._split(self._batch, 1))
        return metrics

    def wait(self, result: Any) -> None:
        import jax

        jax.block_until_ready((self._state, result))

    def xla_operations(self) -> float | None:
        import jax

        from spade_jax.memory.step_memory import abstract_step

        step, arguments = abstract_step(self.config)
        return operations_of(jax.jit(step).lower(*arguments))


class JaxSampling(Contender):
    """`TrainedGenerator` with folded spectral norms, as `spade_jax.load` gives it: NumPy maps in, NumPy pictures out."""

    def __init__(self, form: Form):
        super().__init__(form)
        from spade_jax.layers.spectral_norm import fold_spectral_norm, power_iterate
        from spade_jax.models.initialization import draw_variables
        from spade_jax.models.spade.model import build_networks
        from spade_jax.models.train_state import abstract_networks
        from spade_jax.random_streams import Stream
        from spade_jax.sampling import TrainedGenerator

        variables = draw_variables(
            abstract_networks(self.config, build_networks(self.config))[0],
            0,
            Stream.GENERATOR_WEIGHTS,
        )
        self._variables, self._batch = (
            fold_spectral_norm(power_iterate(variables)),
            made_up_batch(self.config, self.form.maps),
        )
        self._generator = TrainedGenerator(self.config, self._variables)

    def step(self) -> Any:
        return self._generator(
            self._batch.label, self._batch.instance, batch_size=self.config.optimizer.batch_size
        )

    def xla_operations(self) -> float | None:
        import jax

        from spade_jax.sampling import TrainedGenerator

        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self._variables
        )
        draw = jax.jit(
            lambda variables, *maps: TrainedGenerator(self.config, variables).draw(*maps)
        )
        return operations_of(draw.lower(abstract, self._batch.label, self._batch.instance))


class TorchContender(Contender):
    """What the two of `pytorch_peer.py` have in common."""

    def __init__(self, form: Form):
        super().__init__(form)
        import torch

        from experiments.benchmarks import pytorch_peer

        pytorch_peer.allow_fast_algorithms()
        torch.manual_seed(0)
        self._device, self._batch = (
            pytorch_peer.best_device(),
            made_up_batch(self.config, self.form.maps),
        )
        self._settings = pytorch_peer.Settings(**dict.fromkeys(form.settings, True))
        self._layout = dict(
            num_classes=self.config.data.num_classes, dontcare=self.config.data.dontcare
        )
        self._generator = pytorch_peer.SpadeGenerator(
            self.config.data.layout_channels,
            self.config.model.generator_width,
            UPSAMPLINGS[self.config.model.upsampling],
            self.config.model.spade_hidden,
            self.config.model.spade_kernel_size,
        )

    def wait(self, result: Any) -> None:
        import torch

        if self._device.type == 'cuda':
            torch.cuda.synchronize()

    def facts(self) -> dict[str, Any]:
        import torch

        return {
            'device': torch.cuda.get_device_name() if self._device.type == 'cuda' else 'cpu',
            'version': f'torch {torch.__version__}',
        }

    def peak_memory(self) -> int | None:
        import torch

        return (
            torch.cuda.max_memory_allocated() if self._device.type == 'cuda' else peak_of_process()
        )


class TorchTraining(TorchContender):
    """`pytorch_peer.Training`."""

    def __init__(self, form: Form):
        super().__init__(form)
        from experiments.benchmarks import pytorch_peer

        discriminator = pytorch_peer.MultiscaleDiscriminator(
            self.config.data.layout_channels,
            self.config.model.discriminator_width,
            self.config.model.discriminator_depth,
            self.config.model.num_discriminators,
        )
        vgg19 = pytorch_peer.Vgg19() if self.config.losses.perceptual_weight else None
        self._training = pytorch_peer.Training(
            self._generator,
            discriminator,
            vgg19,
            device=self._device,
            settings=self._settings,
            **self._layout,
        )

    def step(self) -> Any:
        return self._training(*self._batch)


class TorchSampling(TorchContender):
    """`pytorch_peer.Drawing`."""

    def __init__(self, form: Form):
        super().__init__(form)
        from experiments.benchmarks import pytorch_peer

        pytorch_peer.power_iterate(self._generator)
        self._drawing = pytorch_peer.Drawing(
            self._generator, device=self._device, settings=self._settings, **self._layout
        )

    def step(self) -> Any:
        return self._drawing(self._batch.label, self._batch.instance)


class InputPipeline(Contender):
    """The input pipeline of training over procedural landscapes, which are rendered first."""

    def __init__(self, form: Form):
        super().__init__(form)
        from spade_jax.data.pipeline.input_pipeline import training_batches
        from spade_jax.data.sources.open_source import open_source

        self._directory = tempfile.TemporaryDirectory()
        config = self.config.replace(data_dir=self._directory.name)
        self._batches = training_batches(open_source(config.data, 'train'), config, first_step=0)

    def step(self) -> Any:
        return next(self._batches)

    def turn(self) -> float:
        for _ in range(QUEUED):  # they became ready while others had their turns
            next(self._batches)
        return super().turn()

    def finish(self) -> dict[str, Any]:
        self._batches.close()
        self._directory.cleanup()
        return {'peak_memory_bytes': peak_of_process(), 'xla_operations': None}

    def facts(self) -> dict[str, Any]:
        return {'device': 'cpu', 'version': f'numpy {np.__version__}'}


class MatrixProduct(Contender):
    """The rate of large matrix products, for want of a data sheet of this CPU."""

    def start(self) -> dict[str, Any]:
        """Operations a second, the best of some attempts, by precision."""
        return {
            precision: best_rate(self.product(precision)) for precision in ('float32', 'bfloat16')
        }

    def product(self, precision: str) -> Any:
        """A function that multiplies two matrices and waits for the result."""
        import jax
        import jax.numpy as jnp

        if precision == 'float32':
            matrix = np.ones((PRODUCT_SIZE, PRODUCT_SIZE), np.float32)
            return lambda: matrix @ matrix
        matrix = jax.device_put(
            jnp.ones((PRODUCT_SIZE, PRODUCT_SIZE), precision), jax.devices('cpu')[0]
        )
        multiply = jax.jit(
            lambda matrix: jnp.matmul(matrix, matrix, preferred_element_type='float32')
        )
        return lambda: jax.block_until_ready(multiply(matrix))


class TorchMatrixProduct(MatrixProduct):
    """The same with PyTorch."""

    def product(self, precision: str) -> Any:
        import torch

        matrix = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE, dtype=getattr(torch, precision))
        return lambda: matrix @ matrix


CONTENDERS = {
    ('train', 'jax'): JaxTraining,
    ('train', 'torch'): TorchTraining,
    ('sampling', 'jax'): JaxSampling,
    ('sampling', 'torch'): TorchSampling,
    ('input', 'jax'): InputPipeline,
    ('peak', 'jax'): MatrixProduct,
    ('peak', 'torch'): TorchMatrixProduct,
}


def made_up_batch(config: Config, maps: str) -> Batch:
    """Procedural landscapes with their ids spread over all classes, or noise."""
    from spade_jax.landscapes import render_scene

    random, size = (
        np.random.default_rng(0),
        (config.optimizer.batch_size, config.data.image_height, config.data.image_width),
    )
    ids = random.permutation(
        np.append(
            np.arange(config.data.num_classes), [DONTCARE_ID] if config.data.dontcare else []
        ).astype(np.uint8)
    )
    if maps == 'noise':
        return Batch(
            random.integers(0, 256, (*size, 3), np.uint8),
            random.choice(ids, size),
            random.integers(0, 100, size, np.int32) if config.data.instance_edges else None,
        )
    scenes = [render_scene(seed, *size[1:]) for seed in range(config.optimizer.batch_size)]
    image, label, instance = (
        np.stack([getattr(scene, name) for scene in scenes])
        for name in ('image', 'label', 'instance')
    )
    return Batch(
        image,
        ids[label % len(ids)],
        instance.astype(np.int32) if config.data.instance_edges else None,
    )


def random_vgg19(network: Any, config: Config) -> dict[str, Any]:
    """Variables of the perceptual network: the time does not depend on them."""
    import jax

    picture = jax.ShapeDtypeStruct(
        (1, config.data.image_height, config.data.image_width, 3), np.float32
    )
    random = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: (
            random.standard_normal(leaf.shape, np.float32)
            * math.sqrt(2 / max(1, math.prod(leaf.shape[:-1])))
        ).astype(leaf.dtype),
        jax.eval_shape(network.init, jax.random.key(0), picture),
    )


def operations_of(lowered: Any) -> float | None:
    """Of a lowered program, by XLA's analysis; None where this backend has none."""
    analysis = lowered.cost_analysis()
    return float(analysis['flops']) if analysis and 'flops' in analysis else None


def peak_of_process() -> int:
    """The most memory that this process had, in bytes."""
    try:
        with open(
            '/proc/self/status'
        ) as file:  # `getrusage` would begin with the memory of the process that started this one
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith('VmHWM'))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if sys.platform == 'darwin' else 1024
        )


def best_rate(product: Any) -> float:
    """Operations a second of the fastest of ten products after the first."""
    product()
    times = []
    for _ in itertools.repeat(None, 10):
        start = time.perf_counter()
        product()
        times.append(time.perf_counter() - start)
    return 2 * PRODUCT_SIZE**3 / min(times)
