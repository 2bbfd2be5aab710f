"""Training and sampling of SPADE in PyTorch, to which `benchmark.py` compares spade_jax.

The settings make PyTorch fast: channels last, autocast to bfloat16, `torch.compile` of whole losses
with their backward passes, fused Adam; for sampling also folded spectral norms, bfloat16 kernels
and frozen constants. On a GPU cuDNN chooses its algorithms by trial, and TF32 is allowed.
"""

# PyTorch may not be installed.
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from experiments.benchmarks.pytorch_networks import (
    MultiscaleDiscriminator,
    SpadeGenerator,
    SpectralConv2d,
    Vgg19,
    semantic_layout,
)

LEARNING_RATES = (1e-4, 4e-4)  # Of generator and discriminator.
BETAS = (0.0, 0.9)
FEATURE_MATCHING_WEIGHT = PERCEPTUAL_WEIGHT = 10.0
PERCEPTUAL_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)

Outputs = list[list[torch.Tensor]]  # Features of each scale of the discriminator, logits last.
Losses = dict[str, torch.Tensor]


class Settings(NamedTuple):
    """How PyTorch runs the networks.

    Attributes:
      channels_last: Memory format of activations and kernels.
      bfloat16: Autocast; in sampling with folded norms bfloat16 kernels.
      compile: `torch.compile`.
      max_autotune: Compile as mode='max-autotune' does: kernels chosen by trial, CUDA graphs.
      folded: Sampling: divide the kernels by their spectral norms once.
      frozen: Sampling: the compiler treats parameters as constants.
    """

    channels_last: bool = False
    bfloat16: bool = False
    compile: bool = False
    max_autotune: bool = False
    folded: bool = False
    frozen: bool = False

    def compiled(self, function: Callable) -> Callable:
        """The function, compiled if the settings say so."""
        if not (self.compile or self.max_autotune):
            return function
        options: dict[str, Any] = {'freezing': True} if self.frozen else {}
        if self.max_autotune:
            options |= {'max_autotune': True, 'triton.cudagraphs': True}
        return torch.compile(function, options=options or None, dynamic=False)

    def formatted(self, x: Any) -> Any:
        """A tensor or a network in the memory format."""
        return x.to(memory_format=torch.channels_last) if self.channels_last else x

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context of a forward pass."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16)


class Run(NamedTuple):
    """What training and sampling share.

    Attributes:
      device: Where the networks are.
      num_classes: Classes of the layout.
      dontcare: True if the layout has a don't-care class.
      settings: How PyTorch runs the networks.
    """

    device: torch.device
    num_classes: int
    dontcare: bool
    settings: Settings = Settings()

    def to_device(self, *arrays: np.ndarray | None) -> list[torch.Tensor | None]:
        """Host arrays as tensors on the device; None stays None."""
        return [
            None if array is None else torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in arrays
        ]

    def layout(
        self, label: torch.Tensor, instance: torch.Tensor | None, dtype: torch.dtype
    ) -> torch.Tensor:
        """The layout [B, S, H, W] in the memory format."""
        layout = semantic_layout(label, instance, self.num_classes, self.dontcare, dtype)
        return self.settings.formatted(layout)


class Training:
    """The two updates of a train step, and the state that they change."""

    def __init__(
        self,
        generator: SpadeGenerator,
        discriminator: MultiscaleDiscriminator,
        vgg19: Vgg19 | None,
        run: Run,
        learning_rates: tuple[float, float] = LEARNING_RATES,
    ):
        """Move the networks to the device; without `vgg19` there is no perceptual loss."""
        self.run = run
        self.generator = run.settings.formatted(generator.to(run.device))
        self.discriminator = run.settings.formatted(discriminator.to(run.device))
        self.vgg19 = vgg19 and run.settings.formatted(vgg19.to(run.device))
        self._optimizers = [
            torch.optim.Adam(network.parameters(), lr=rate, betas=BETAS, fused=True)
            for network, rate in zip((generator, discriminator), learning_rates, strict=True)
        ]
        self._generator_losses = run.settings.compiled(self.generator_losses)
        self._discriminator_losses = run.settings.compiled(self.discriminator_losses)

    def __call__(
        self, image: np.ndarray, label: np.ndarray, instance: np.ndarray | None = None
    ) -> Losses:
        """Take one step.

        Args:
          image: [B, H, W, 3] uint8.
          label: [B, H, W] ids.
          instance: [B, H, W] ids.

        Returns:
          The losses by name.
        """
        torch.compiler.cudagraph_mark_step_begin()
        batch = self.run.to_device(image, label, instance)
        self.discriminator.requires_grad_(False)  # Its gradients are not needed here.
        losses = self._apply_gradients(self._optimizers[0], self._generator_losses, batch)
        self.discriminator.requires_grad_(True)
        return losses | self._apply_gradients(
            self._optimizers[1], self._discriminator_losses, batch
        )

    def _apply_gradients(self, optimizer, losses_of, batch) -> Losses:
        optimizer.zero_grad(set_to_none=True)
        with self.run.settings.autocast(self.run.device):
            losses = losses_of(*batch)
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def generator_losses(
        self, image: torch.Tensor, label: torch.Tensor, instance: torch.Tensor | None
    ) -> Losses:
        """Weighted adversarial, feature matching and, with VGG19, perceptual loss."""
        layout, real = self._inputs(image, label, instance)
        fake = self.generator(layout)
        fake_outputs, real_outputs = self._discriminate(layout, fake, real)
        matching = [
            sum(l1(fake, real.detach()) for fake, real in zip(fakes[:-1], reals[:-1], strict=True))
            for fakes, reals in zip(fake_outputs, real_outputs, strict=True)
        ]
        losses = {
            'g_gan': mean_over_scales([-scale[-1].float().mean() for scale in fake_outputs]),
            'g_feature_matching': FEATURE_MATCHING_WEIGHT * mean_over_scales(matching),
        }
        if self.vgg19 is not None:
            with torch.no_grad():
                targets = self.vgg19(real)
            features = zip(PERCEPTUAL_WEIGHTS, self.vgg19(fake), targets, strict=True)
            perceptual = sum(weight * l1(feature, target) for weight, feature, target in features)
            losses['g_perceptual'] = PERCEPTUAL_WEIGHT * perceptual
        return losses

    def discriminator_losses(
        self, image: torch.Tensor, label: torch.Tensor, instance: torch.Tensor | None
    ) -> Losses:
        """The hinge losses of a newly sampled and of the real image."""
        layout, real = self._inputs(image, label, instance)
        with torch.no_grad():
            fake = self.generator(layout)
        fake_outputs, real_outputs = self._discriminate(layout, fake, real)
        return {
            'd_fake': mean_over_scales([hinge(scale[-1], real=False) for scale in fake_outputs]),
            'd_real': mean_over_scales([hinge(scale[-1], real=True) for scale in real_outputs]),
        }

    def _inputs(self, image, label, instance):
        dtype = torch.bfloat16 if self.run.settings.bfloat16 else torch.float32
        layout = self.run.layout(label, instance, dtype)
        real = (image.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5  # [B, 3, H, W]
        return layout, self.run.settings.formatted(real)

    def _discriminate(self, layout, fake, real) -> tuple[Outputs, Outputs]:
        """The outputs for fake and real images, which go through in one batch."""
        outputs = self.discriminator(torch.cat([layout, layout]), torch.cat([fake, real]))
        return (
            [[feature.chunk(2)[0] for feature in scale] for scale in outputs],
            [[feature.chunk(2)[1] for feature in scale] for scale in outputs],
        )


class Sampling:
    """Label maps on the host to images on the host, in evaluation mode."""

    def __init__(self, generator: SpadeGenerator, run: Run):
        """Move the generator to the device; the settings change it in place."""
        self.run, settings = run, run.settings
        self.generator = generator.to(run.device).eval().requires_grad_(False)
        self.dtype = torch.bfloat16 if settings.bfloat16 else torch.float32
        # Norms that are computed in each pass need float32 kernels.
        self.casts = settings.bfloat16 and not settings.folded
        for module in self.generator.modules():
            if settings.folded and isinstance(module, SpectralConv2d):
                module.fold()
            if not self.casts and isinstance(module, nn.Conv2d):
                module.to(self.dtype)
        settings.formatted(self.generator)
        self._sample = settings.compiled(self.sample)

    @torch.inference_mode()
    def __call__(self, label: np.ndarray, instance: np.ndarray | None = None) -> np.ndarray:
        """[N, H, W] ids -> [N, H, W, 3] uint8."""
        torch.compiler.cudagraph_mark_step_begin()
        maps = self.run.to_device(label, instance)
        with torch.autocast(self.run.device.type, torch.bfloat16, enabled=self.casts):
            return self._sample(*maps).cpu().numpy()

    def sample(self, label: torch.Tensor, instance: torch.Tensor | None) -> torch.Tensor:
        """[N, H, W] ids -> [N, H, W, 3] uint8, on the device."""
        layout = self.run.layout(label, instance, self.dtype)
        image = self.generator(layout).permute(0, 2, 3, 1)  # [N, H, W, 3]
        return ((image + 1) / 2 * 255).clamp(0, 255).to(torch.uint8).contiguous()


def hinge(logits: torch.Tensor, real: bool) -> torch.Tensor:
    """The discriminator's loss of one scale."""
    return F.relu(1 - logits.float() if real else 1 + logits.float()).mean()


def l1(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference, in float32."""
    return F.l1_loss(x.float(), y.float())


def mean_over_scales(losses: list[torch.Tensor]) -> torch.Tensor:
    """The mean of the losses of the scales, a scalar."""
    return torch.stack(losses).mean()


def allow_fast_algorithms() -> None:
    """Let cuDNN choose by trial and float32 products use TF32."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
