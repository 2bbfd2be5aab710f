"""The work that `benchmark.py` measures, with PyTorch."""

# PyTorch may not be installed.
# pyright: reportMissingImports=false

from typing import Any

import torch

from experiments.benchmarks import pytorch_peer
from experiments.benchmarks.model_flops import spade_options
from experiments.benchmarks.pytorch_networks import (
    MultiscaleDiscriminator,
    SpadeGenerator,
    Vgg19,
    power_iterate,
)
from experiments.benchmarks.variant_worker import Variant
from experiments.benchmarks.workloads import (
    MATRIX_SIZE,
    MatrixProduct,
    Workload,
    peak_of_process,
    synthetic_batch,
)
from spade_jax.config.config import Config


def make_generator(config: Config) -> SpadeGenerator:
    """The generator that a configuration describes."""
    model, channels = spade_options(config), config.data.layout_channels
    sizes = model.generator_width, model.num_upsamplings, model.spade_hidden
    return SpadeGenerator(channels, *sizes, model.spade_kernel_size)


def make_discriminator(config: Config) -> MultiscaleDiscriminator:
    """The discriminator that a configuration describes."""
    model, channels = spade_options(config), config.data.layout_channels
    width, depth = model.discriminator_width, model.discriminator_depth
    return MultiscaleDiscriminator(channels, width, depth, model.num_discriminators)


class _TorchWorkload(Workload):
    """What training and sampling share."""

    def __init__(self, variant: Variant):
        super().__init__(variant)
        pytorch_peer.allow_fast_algorithms()
        torch.manual_seed(0)
        data = self.config.data
        self._batch = synthetic_batch(self.config, variant.maps)
        self._on_gpu = torch.cuda.is_available()
        settings = pytorch_peer.Settings(**dict.fromkeys(variant.settings, True))
        device = torch.device('cuda' if self._on_gpu else 'cpu')
        self._run = pytorch_peer.Run(device, data.num_classes, data.dontcare, settings)
        self._generator = make_generator(self.config)

    def wait(self, result: Any) -> None:
        if self._on_gpu:
            torch.cuda.synchronize()

    def facts(self) -> dict[str, Any]:
        device = torch.cuda.get_device_name() if self._on_gpu else 'cpu'
        return {'device': device, 'version': f'torch {torch.__version__}'}

    def peak_memory(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self._on_gpu else peak_of_process()


class TorchTraining(_TorchWorkload):
    """`pytorch_peer.Training`."""

    def __init__(self, variant: Variant):
        super().__init__(variant)
        discriminator = make_discriminator(self.config)
        vgg19 = Vgg19() if self.config.losses.perceptual_weight else None
        self._training = pytorch_peer.Training(self._generator, discriminator, vgg19, self._run)

    def step(self) -> Any:
        return self._training(*self._batch)


class TorchSampling(_TorchWorkload):
    """`pytorch_peer.Sampling`."""

    def __init__(self, variant: Variant):
        super().__init__(variant)
        power_iterate(self._generator)
        self._sampling = pytorch_peer.Sampling(self._generator, self._run)

    def step(self) -> Any:
        return self._sampling(self._batch.label, self._batch.instance)


class TorchMatrixProduct(MatrixProduct):
    """The rate of large matrix products with PyTorch."""

    def product(self, precision: str) -> Any:
        matrix = torch.ones(MATRIX_SIZE, MATRIX_SIZE, dtype=getattr(torch, precision))
        return lambda: matrix @ matrix
