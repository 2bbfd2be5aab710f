"""SPADE in plain PyTorch: the opponent of `benchmark.py`.

Generator, discriminator, losses and the two updates of a train step, written from the paper as one writes PyTorch, with the settings that make PyTorch fast:
channels last, autocast to bfloat16, `torch.compile` of whole losses with their backward passes, fused Adam; for sampling also spectral norms folded into the
kernels, kernels in bfloat16 and frozen constants. On a GPU cuDNN chooses its algorithms by trial, and TF32 is allowed.

Modules are named like the published state dictionaries, see `spade_jax/convert/reference_names.py`. Without style encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

LEARNING_RATES = (1e-4, 4e-4)  # of generator and discriminator
BETAS = (0.0, 0.9)
FEATURE_MATCHING_WEIGHT = PERCEPTUAL_WEIGHT = 10.0
PERCEPTUAL_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)
MAX_FEATURES = 512
VGG19_STAGES = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))
DONTCARE_ID = 255


class Settings(NamedTuple):
    """How the same networks are run.

    channels_last: memory format of activations and kernels.
    bfloat16: autocast; in sampling with folded norms the kernels themselves.
    compile: `torch.compile`.
    max_autotune: compile with what mode='max-autotune' sets: kernels chosen by trial, CUDA graphs.
    folded: sampling: spectral norms divided into the kernels once and for all.
    frozen: sampling: the compiler takes parameters for constants.
    """

    channels_last: bool = False
    bfloat16: bool = False
    compile: bool = False
    max_autotune: bool = False
    folded: bool = False
    frozen: bool = False

    def compiled(self, function: Callable) -> Callable:
        """The function, compiled where it is to be."""
        options = (
            {'max_autotune': True, 'triton.cudagraphs': True} if self.max_autotune else {}
        ) | ({'freezing': True} if self.frozen else {})
        return (
            torch.compile(function, options=options or None, dynamic=False)
            if self.compile or self.max_autotune
            else function
        )

    def formatted(self, x: torch.Tensor | nn.Module) -> torch.Tensor | nn.Module:
        """The tensor or network in the memory format."""
        return x.to(memory_format=torch.channels_last) if self.channels_last else x

    def autocast(self, device: torch.device) -> torch.autocast:
        """Around a forward pass."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.bfloat16)


class SpectralConv2d(nn.Conv2d):
    """A convolution whose kernel is divided by its spectral norm: one power iteration in every training pass, the stored vectors in evaluation."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer('weight_u', F.normalize(torch.randn(self.weight.shape[0]), dim=0))
        self.register_buffer('weight_v', F.normalize(torch.randn(self.weight[0].numel()), dim=0))
        self.folded = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(
            x, self.weight if self.folded else self.normalized_weight(), self.bias
        )

    def normalized_weight(self) -> torch.Tensor:
        with torch.autocast(
            self.weight.device.type, enabled=False
        ):  # in float32 whatever the convolution is in
            matrix = self.weight.flatten(1)  # [O, I * K * K]
            u, v = self.weight_u, self.weight_v
            if self.training:
                with torch.no_grad():
                    v = F.normalize(torch.mv(matrix.t(), u), dim=0)
                    u = F.normalize(torch.mv(matrix, v), dim=0)
                    self.weight_u.copy_(u)
                    self.weight_v.copy_(v)
            return self.weight / torch.dot(u, torch.mv(matrix, v))

    def fold(self) -> None:
        with torch.no_grad():
            self.weight.copy_(self.normalized_weight())
        self.folded = True


class SpatiallyAdaptiveNorm(nn.Module):
    """Normalises x, then scales and shifts every pixel by what the layout says there (equation 1)."""

    def __init__(self, channels: int, layout_channels: int, hidden: int, kernel_size: int):
        super().__init__()
        padding = kernel_size // 2
        self.param_free_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(
            nn.Conv2d(layout_channels, hidden, kernel_size, padding=padding), nn.ReLU()
        )
        self.mlp_gamma = nn.Conv2d(hidden, channels, kernel_size, padding=padding)
        self.mlp_beta = nn.Conv2d(hidden, channels, kernel_size, padding=padding)

    def forward(self, x: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
        hidden = self.mlp_shared(F.interpolate(layout, size=x.shape[2:], mode='nearest'))
        return self.param_free_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class SpadeResidualBlock(nn.Module):
    """SPADE, leaky ReLU, 3x3 convolution, twice; plus the input, through SPADE and a 1x1 convolution where the channels differ."""

    def __init__(self, inputs: int, outputs: int, **norm):
        super().__init__()
        middle = min(inputs, outputs)
        self.norm_0, self.conv_0 = (
            SpatiallyAdaptiveNorm(inputs, **norm),
            SpectralConv2d(inputs, middle, 3, padding=1),
        )
        self.norm_1, self.conv_1 = (
            SpatiallyAdaptiveNorm(middle, **norm),
            SpectralConv2d(middle, outputs, 3, padding=1),
        )
        self.learned_shortcut = inputs != outputs
        if self.learned_shortcut:
            self.norm_s, self.conv_s = (
                SpatiallyAdaptiveNorm(inputs, **norm),
                SpectralConv2d(inputs, outputs, 1, bias=False),
            )

    def forward(self, x: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
        shortcut = self.conv_s(self.norm_s(x, layout)) if self.learned_shortcut else x
        y = self.conv_0(F.leaky_relu(self.norm_0(x, layout), 0.2))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, layout), 0.2))
        return shortcut + y


class SpadeGenerator(nn.Module):
    """From a layout [B, S, H, W] to a picture [B, 3, H, W] in [-1, 1]."""

    def __init__(
        self,
        layout_channels: int,
        width: int = 64,
        num_upsamplings: int = 5,
        hidden: int = 128,
        kernel_size: int = 3,
    ):
        super().__init__()
        n, norm = (
            width,
            dict(layout_channels=layout_channels, hidden=hidden, kernel_size=kernel_size),
        )
        self.num_upsamplings = num_upsamplings
        self.fc = nn.Conv2d(layout_channels, 16 * n, 3, padding=1)
        self.head_0 = SpadeResidualBlock(16 * n, 16 * n, **norm)
        self.G_middle_0 = SpadeResidualBlock(16 * n, 16 * n, **norm)
        self.G_middle_1 = SpadeResidualBlock(16 * n, 16 * n, **norm)
        widths = [16 * n, 8 * n, 4 * n, 2 * n, n] + ([n // 2] if num_upsamplings == 7 else [])
        self.num_up_blocks = len(widths) - 1
        for i in range(self.num_up_blocks):
            self.add_module(f'up_{i}', SpadeResidualBlock(widths[i], widths[i + 1], **norm))
        self.conv_img = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, layout: torch.Tensor) -> torch.Tensor:
        height, width = (size // 2**self.num_upsamplings for size in layout.shape[2:])
        x = self.fc(F.interpolate(layout, size=(height, width), mode='nearest'))
        x = self.head_0(x, layout)
        x = self.G_middle_0(upsample(x), layout)
        x = self.G_middle_1(upsample(x) if self.num_upsamplings >= 6 else x, layout)
        for i in range(self.num_up_blocks):
            x = self.get_submodule(f'up_{i}')(upsample(x), layout)
        return torch.tanh(self.conv_img(F.leaky_relu(x, 0.2)).float())


def upsample(x: torch.Tensor) -> torch.Tensor:
    """Doubles height and width by repeating pixels."""
    return F.interpolate(x, scale_factor=2, mode='nearest')


class PatchDiscriminator(nn.Module):
    """4x4 convolutions with padding 2 and a leaky ReLU after each; instance and spectral norm on all but the first and the prediction."""

    def __init__(self, inputs: int, width: int, depth: int):
        super().__init__()
        widths = [min(width * 2**i, MAX_FEATURES) for i in range(depth)]
        self.model0 = nn.Sequential(
            nn.Conv2d(inputs, width, 4, stride=2, padding=2), nn.LeakyReLU(0.2)
        )
        for i in range(1, depth):
            conv = SpectralConv2d(
                widths[i - 1],
                widths[i],
                4,
                stride=1 if i == depth - 1 else 2,
                padding=2,
                bias=False,
            )
            self.add_module(
                f'model{i}',
                nn.Sequential(nn.Sequential(conv, nn.InstanceNorm2d(widths[i])), nn.LeakyReLU(0.2)),
            )
        self.add_module(f'model{depth}', nn.Sequential(nn.Conv2d(widths[-1], 1, 4, padding=2)))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for layer in self.children():
            x = layer(x)
            features.append(x)
        return features


class MultiscaleDiscriminator(nn.Module):
    """Patch discriminators, each over a picture of half the size of the one before. Returns, for each, all features, the logits last."""

    def __init__(self, layout_channels: int, width: int = 64, depth: int = 4, num_scales: int = 2):
        super().__init__()
        for scale in range(num_scales):
            self.add_module(
                f'discriminator_{scale}', PatchDiscriminator(layout_channels + 3, width, depth)
            )

    def forward(self, layout: torch.Tensor, image: torch.Tensor) -> list[list[torch.Tensor]]:
        x, outputs = torch.cat([layout, image.to(layout.dtype)], 1), []
        for scale, discriminator in enumerate(self.children()):
            if scale:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            outputs.append(discriminator(x))
        return outputs


class Vgg19(nn.Module):
    """The activations relu1_1, relu2_1, relu3_1, relu4_1 and relu5_1, of random weights: the time does not depend on them."""

    def __init__(self):
        super().__init__()
        inputs, stages = 3, []
        for widths in VGG19_STAGES:
            layers = []
            for width in widths:
                layers.append(nn.Conv2d(inputs, width, 3, padding=1))
                inputs = width
            stages.append(nn.ModuleList(layers))
        self.stages = nn.ModuleList(stages)
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for i, stage in enumerate(self.stages):
            x = F.max_pool2d(x, 2) if i else x
            for j, conv in enumerate(stage):
                x = F.relu(conv(x))
                if j == 0:
                    features.append(x)
        return features


def semantic_layout(
    label: torch.Tensor,
    instance: torch.Tensor | None,
    num_classes: int,
    dontcare: bool,
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """One-hot classes, don't-care and the edges between instances, on the device of the maps. [B, H, W] -> [B, S, H, W]."""
    label = label.long()
    if dontcare:
        label = torch.where(label == DONTCARE_ID, num_classes, label)
    batch, height, width = label.shape
    layout = torch.zeros(
        batch, num_classes + dontcare, height, width, dtype=dtype, device=label.device
    ).scatter_(1, label[:, None], 1.0)
    if instance is None:
        return layout
    # In numbers, since torch.compile's C++ of padded truth values does not compile (2.13).
    rows, columns = (
        (instance[:, 1:] != instance[:, :-1]).to(dtype),
        (instance[:, :, 1:] != instance[:, :, :-1]).to(dtype),
    )
    edges = (
        F.pad(rows, (0, 0, 1, 0))
        + F.pad(rows, (0, 0, 0, 1))
        + F.pad(columns, (1, 0))
        + F.pad(columns, (0, 1))
    )
    return torch.cat([layout, edges.clamp(max=1)[:, None]], 1)


def hinge(logits: torch.Tensor, real: bool) -> torch.Tensor:
    """The discriminator's loss of one scale."""
    return F.relu(1 - logits.float() if real else 1 + logits.float()).mean()


def mean_over_scales(losses: list[torch.Tensor]) -> torch.Tensor:
    """Scalar."""
    return sum(losses) / len(losses)


def halves(
    outputs: list[list[torch.Tensor]],
) -> tuple[list[list[torch.Tensor]], list[list[torch.Tensor]]]:
    """What the discriminator says of fake and real pictures that went through in one batch."""
    fake, real = (
        [[feature.chunk(2)[half] for feature in scale] for scale in outputs] for half in (0, 1)
    )
    return fake, real


class Training:
    """The two updates of a train step, with the state that they move.

    Args:
      device: where the networks go.
      num_classes, dontcare: of the layout, see `semantic_layout`.
      vgg19: None: no perceptual loss.
    """

    def __init__(
        self,
        generator: SpadeGenerator,
        discriminator: MultiscaleDiscriminator,
        vgg19: Vgg19 | None,
        *,
        device: torch.device,
        num_classes: int,
        dontcare: bool,
        settings: Settings = Settings(),
    ):
        self.device, self.num_classes, self.dontcare, self.settings = (
            device,
            num_classes,
            dontcare,
            settings,
        )
        self.generator, self.discriminator, self.vgg19 = (
            None if network is None else settings.formatted(network.to(device))
            for network in (generator, discriminator, vgg19)
        )
        rates = dict(zip((self.generator, self.discriminator), LEARNING_RATES))
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=rate, betas=BETAS, fused=True)
            for network, rate in rates.items()
        ]
        self._generator_losses, self._discriminator_losses = (
            settings.compiled(self.generator_losses),
            settings.compiled(self.discriminator_losses),
        )

    def __call__(
        self, image: np.ndarray, label: np.ndarray, instance: np.ndarray | None = None
    ) -> dict[str, torch.Tensor]:
        """One step on a batch as it comes from the host: uint8 pictures [B, H, W, 3], integer maps [B, H, W]. Returns the losses."""
        torch.compiler.cudagraph_mark_step_begin()
        batch = [
            None if array is None else torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in (image, label, instance)
        ]
        self.discriminator.requires_grad_(False)  # its gradients are not needed here
        generator_losses = self._descend(self.optimizers[0], self._generator_losses, batch)
        self.discriminator.requires_grad_(True)
        return generator_losses | self._descend(
            self.optimizers[1], self._discriminator_losses, batch
        )

    def _descend(self, optimizer, losses_of, batch):
        optimizer.zero_grad(set_to_none=True)
        with self.settings.autocast(self.device):
            losses = losses_of(*batch)
        sum(losses.values()).backward()
        optimizer.step()
        return {name: loss.detach() for name, loss in losses.items()}

    def generator_losses(
        self, image: torch.Tensor, label: torch.Tensor, instance: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """Adversarial loss, feature matching and, with VGG19, perceptual loss, all with their weights."""
        layout, real = self._inputs(image, label, instance)
        fake = self.generator(layout)
        fake_outputs, real_outputs = self._judge(layout, fake, real)
        losses = {
            'g_gan': mean_over_scales([-scale[-1].float().mean() for scale in fake_outputs]),
            'g_feature_matching': FEATURE_MATCHING_WEIGHT
            * mean_over_scales(
                [
                    sum(
                        F.l1_loss(f.float(), r.float().detach())
                        for f, r in zip(fake_scale[:-1], real_scale[:-1])
                    )
                    for fake_scale, real_scale in zip(fake_outputs, real_outputs)
                ]
            ),
        }
        if self.vgg19 is not None:
            with torch.no_grad():
                targets = self.vgg19(real)
            losses['g_perceptual'] = PERCEPTUAL_WEIGHT * sum(
                weight * F.l1_loss(f.float(), r.float())
                for weight, f, r in zip(PERCEPTUAL_WEIGHTS, self.vgg19(fake), targets)
            )
        return losses

    def discriminator_losses(
        self, image: torch.Tensor, label: torch.Tensor, instance: torch.Tensor | None
    ) -> dict[str, torch.Tensor]:
        """The hinge losses of a picture made anew and of the photograph."""
        layout, real = self._inputs(image, label, instance)
        with torch.no_grad():
            fake = self.generator(layout)
        fake_outputs, real_outputs = self._judge(layout, fake, real)
        return {
            'd_fake': mean_over_scales([hinge(scale[-1], real=False) for scale in fake_outputs]),
            'd_real': mean_over_scales([hinge(scale[-1], real=True) for scale in real_outputs]),
        }

    def _inputs(self, image, label, instance):
        layout = semantic_layout(
            label,
            instance,
            self.num_classes,
            self.dontcare,
            torch.bfloat16 if self.settings.bfloat16 else torch.float32,
        )
        real = (image.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
        return self.settings.formatted(layout), self.settings.formatted(real)

    def _judge(self, layout, fake, real):
        return halves(self.discriminator(torch.cat([layout, layout]), torch.cat([fake, real])))


class Drawing:
    """From label maps on the host to pictures on the host, in evaluation mode.

    Args:
      generator: is changed by `settings`.
      device, num_classes, dontcare, settings: see `Training`.
    """

    def __init__(
        self,
        generator: SpadeGenerator,
        *,
        device: torch.device,
        num_classes: int,
        dontcare: bool,
        settings: Settings = Settings(),
    ):
        self.device, self.num_classes, self.dontcare, self.settings = (
            device,
            num_classes,
            dontcare,
            settings,
        )
        self.generator = generator.to(device).eval().requires_grad_(False)
        self.dtype = torch.bfloat16 if settings.bfloat16 else torch.float32
        self.casts = (
            settings.bfloat16 and not settings.folded
        )  # norms that are computed in each pass keep their kernels in float32
        for module in self.generator.modules():
            if settings.folded and isinstance(module, SpectralConv2d):
                module.fold()
            if not self.casts and isinstance(module, nn.Conv2d):
                module.to(self.dtype)
        settings.formatted(self.generator)
        self._draw = settings.compiled(self.draw)

    @torch.inference_mode()
    def __call__(self, label: np.ndarray, instance: np.ndarray | None = None) -> np.ndarray:
        """[N, H, W] integers -> [N, H, W, 3] uint8."""
        torch.compiler.cudagraph_mark_step_begin()
        maps = [
            None if array is None else torch.from_numpy(array).to(self.device, non_blocking=True)
            for array in (label, instance)
        ]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.casts):
            return self._draw(*maps).cpu().numpy()

    def draw(self, label: torch.Tensor, instance: torch.Tensor | None) -> torch.Tensor:
        """On the device."""
        layout = self.settings.formatted(
            semantic_layout(label, instance, self.num_classes, self.dontcare, self.dtype)
        )
        image = self.generator(layout).permute(0, 2, 3, 1)  # [N, H, W, 3]
        return ((image + 1) / 2 * 255).clamp(0, 255).to(torch.uint8).contiguous()


def power_iterate(network: nn.Module) -> None:
    """A few power iterations in every spectral norm: of fresh vectors the norm would be near 0."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, SpectralConv2d):
                for _ in range(3):
                    module.normalized_weight()


def allow_fast_algorithms() -> None:
    """For a GPU: cuDNN chooses by trial, float32 products may use TF32."""
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def best_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def parameter_count(network: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
