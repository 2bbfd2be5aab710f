"""The SPADE networks in plain PyTorch, written from the paper, without style encoder.

Modules are named as in the published state dictionaries, see
`spade_jax/models/spade/reference_names.py`.
"""

# PyTorch may not be installed.
# pyright: reportMissingImports=false

import torch
from torch import nn
from torch.nn import functional as F

MAX_FEATURES = 512
VGG19_STAGES = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))
DONTCARE_ID = 255


class SpectralConv2d(nn.Conv2d):
    """A convolution whose kernel is divided by its spectral norm.

    A training pass takes one power iteration; evaluation uses the stored vectors.
    """

    weight_u: torch.Tensor
    weight_v: torch.Tensor

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer('weight_u', F.normalize(torch.randn(self.weight.shape[0]), dim=0))
        self.register_buffer('weight_v', F.normalize(torch.randn(self.weight[0].numel()), dim=0))
        self.folded = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight if self.folded else self.normalized_weight()
        return self._conv_forward(x, weight, self.bias)

    def normalized_weight(self) -> torch.Tensor:
        """The kernel divided by its spectral norm, in float32 also under autocast."""
        with torch.autocast(self.weight.device.type, enabled=False):
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
        """Divide the stored kernel by its spectral norm."""
        with torch.no_grad():
            self.weight.copy_(self.normalized_weight())
        self.folded = True


class SpatiallyAdaptiveNorm(nn.Module):
    """Normalize x, then scale and shift each pixel by what the layout has there (equation 1)."""

    def __init__(self, channels: int, layout_channels: int, hidden: int, kernel_size: int):
        super().__init__()
        same = dict(kernel_size=kernel_size, padding=kernel_size // 2)
        self.param_free_norm = nn.BatchNorm2d(channels, affine=False)
        self.mlp_shared = nn.Sequential(nn.Conv2d(layout_channels, hidden, **same), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, channels, **same)
        self.mlp_beta = nn.Conv2d(hidden, channels, **same)

    def forward(self, x: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
        hidden = self.mlp_shared(F.interpolate(layout, size=x.shape[2:], mode='nearest'))
        return self.param_free_norm(x) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class SpadeResidualBlock(nn.Module):
    """(SPADE, leaky ReLU, 3x3 convolution) twice, plus the input.

    Where the numbers of channels differ, the input goes through SPADE and a 1x1 convolution.
    """

    def __init__(self, inputs: int, outputs: int, **norm):
        super().__init__()
        middle = min(inputs, outputs)
        self.norm_0 = SpatiallyAdaptiveNorm(inputs, **norm)
        self.conv_0 = SpectralConv2d(inputs, middle, 3, padding=1)
        self.norm_1 = SpatiallyAdaptiveNorm(middle, **norm)
        self.conv_1 = SpectralConv2d(middle, outputs, 3, padding=1)
        self.learned_shortcut = inputs != outputs
        if self.learned_shortcut:
            self.norm_s = SpatiallyAdaptiveNorm(inputs, **norm)
            self.conv_s = SpectralConv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: torch.Tensor, layout: torch.Tensor) -> torch.Tensor:
        shortcut = self.conv_s(self.norm_s(x, layout)) if self.learned_shortcut else x
        y = self.conv_0(F.leaky_relu(self.norm_0(x, layout), 0.2))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, layout), 0.2))
        return shortcut + y


class SpadeGenerator(nn.Module):
    """Layout [B, S, H, W] -> image [B, 3, H, W] in [-1, 1]."""

    def __init__(
        self,
        layout_channels: int,
        width: int = 64,
        num_upsamplings: int = 5,
        hidden: int = 128,
        kernel_size: int = 3,
    ):
        super().__init__()
        n = width
        norm = dict(layout_channels=layout_channels, hidden=hidden, kernel_size=kernel_size)
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
    """Double height and width by repeating pixels."""
    return F.interpolate(x, scale_factor=2, mode='nearest')


class PatchDiscriminator(nn.Module):
    """4x4 convolutions with padding 2, each followed by a leaky ReLU.

    All but the first and the one of the logits have instance and spectral normalization.
    """

    def __init__(self, inputs: int, width: int, depth: int):
        super().__init__()
        widths = [min(width * 2**i, MAX_FEATURES) for i in range(depth)]
        first = nn.Conv2d(inputs, width, 4, stride=2, padding=2)
        self.model0 = nn.Sequential(first, nn.LeakyReLU(0.2))
        for i in range(1, depth):
            options = dict(stride=1 if i == depth - 1 else 2, padding=2, bias=False)
            conv = SpectralConv2d(widths[i - 1], widths[i], 4, **options)
            normalized = nn.Sequential(conv, nn.InstanceNorm2d(widths[i]))
            self.add_module(f'model{i}', nn.Sequential(normalized, nn.LeakyReLU(0.2)))
        self.add_module(f'model{depth}', nn.Sequential(nn.Conv2d(widths[-1], 1, 4, padding=2)))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for layer in self.children():
            x = layer(x)
            features.append(x)
        return features


class MultiscaleDiscriminator(nn.Module):
    """Patch discriminators, each at half the resolution of the previous one.

    Returns all features of each scale, the logits last.
    """

    def __init__(self, layout_channels: int, width: int = 64, depth: int = 4, num_scales: int = 2):
        super().__init__()
        for scale in range(num_scales):
            discriminator = PatchDiscriminator(layout_channels + 3, width, depth)
            self.add_module(f'discriminator_{scale}', discriminator)

    def forward(self, layout: torch.Tensor, image: torch.Tensor) -> list[list[torch.Tensor]]:
        x, outputs = torch.cat([layout, image.to(layout.dtype)], 1), []
        for scale, discriminator in enumerate(self.children()):
            if scale:
                x = F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
            outputs.append(discriminator(x))
        return outputs


class Vgg19(nn.Module):
    """The activations relu1_1 to relu5_1, with random weights: the time does not depend on them."""

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
    """One-hot classes, don't-care and instance edges. Maps [B, H, W] -> layout [B, S, H, W]."""
    label = label.long()
    if dontcare:
        label = torch.where(label == DONTCARE_ID, num_classes, label)
    batch, height, width = label.shape
    shape = batch, num_classes + dontcare, height, width
    layout = torch.zeros(shape, dtype=dtype, device=label.device).scatter_(1, label[:, None], 1.0)
    if instance is None:
        return layout
    # Numbers, not booleans: torch.compile's C++ of padded booleans does not compile (2.13).
    rows = (instance[:, 1:] != instance[:, :-1]).to(dtype)
    columns = (instance[:, :, 1:] != instance[:, :, :-1]).to(dtype)
    edges = F.pad(rows, (0, 0, 1, 0)) + F.pad(rows, (0, 0, 0, 1))
    edges += F.pad(columns, (1, 0)) + F.pad(columns, (0, 1))
    return torch.cat([layout, edges.clamp(max=1)[:, None]], 1)


def power_iterate(network: nn.Module) -> None:
    """Take three power iterations in every spectral norm: that of fresh vectors is near 0."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, SpectralConv2d):
                for _ in range(3):
                    module.normalized_weight()


def parameter_count(network: nn.Module) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
