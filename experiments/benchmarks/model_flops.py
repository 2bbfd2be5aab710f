"""Model FLOPs: the work of the plain networks, by arithmetic on the shapes of their convolutions.

They are the same for every implementation: dense convolutions over the one-hot layout, 2 FLOPs for
a multiply-add, border positions counted in full, no elementwise operations. An implementation that
computes the same result with less work gains by it.
"""

from collections.abc import Iterable
from typing import NamedTuple

from spade_jax.config.config import Config
from spade_jax.models.spade.options import SpadeOptions

MAX_FEATURES = 512  # Of the discriminator.
VGG19_STAGES = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))


class ConvShape(NamedTuple):
    """A convolution of one image.

    Attributes:
      name: Name of the layer.
      height: Height of the result.
      width: Width of the result.
      kernel_size: Side of the kernel.
      in_channels: Channels of the input.
      out_channels: Channels of the result.
      strides: Step in both directions.
      input_is_data: True if nothing needs the gradient of the input.
    """

    name: str
    height: int
    width: int
    kernel_size: int
    in_channels: int
    out_channels: int
    strides: int = 1
    input_is_data: bool = False

    @property
    def weights(self) -> int:
        """Number of entries of the kernel."""
        return self.kernel_size**2 * self.in_channels * self.out_channels

    @property
    def flops(self) -> int:
        """FLOPs of the forward pass."""
        return 2 * self.height * self.width * self.weights


def spade_options(config: Config) -> SpadeOptions:
    """The model options of a SPADE configuration."""
    assert isinstance(config.model, SpadeOptions)
    return config.model


def generator_convs(config: Config) -> list[ConvShape]:
    """The convolutions of the SPADE generator without style latent."""
    # This module imports JAX; command lines are checked without it.
    from spade_jax.models.spade.generator import block_name, upsampling_blocks

    model, layout_channels = spade_options(config), config.data.layout_channels
    height, width = model.grid_size(config.data)
    features = [int(multiplier * model.generator_width) for multiplier in model.width_multipliers]
    upsampling = upsampling_blocks(len(features), model.num_upsamplings)
    in_channels = features[0]
    convs = [ConvShape('first', height, width, 3, layout_channels, in_channels, input_is_data=True)]
    for i, out_channels in enumerate(features):
        if i in upsampling:
            height, width = 2 * height, 2 * width
        convs += _block_convs(config, block_name(i), height, width, in_channels, out_channels)
        in_channels = out_channels
    return [*convs, ConvShape('to_rgb', height, width, 3, in_channels, 3)]


def _block_convs(config, name, height, width, inputs, outputs) -> list[ConvShape]:
    """The convolutions of a SPADE residual block and of its norms."""
    model = spade_options(config)
    size, hidden = model.spade_kernel_size, model.spade_hidden
    layout_channels, middle = config.data.layout_channels, min(inputs, outputs)

    def conv(layer, kernel_size, in_channels, out_channels, input_is_data=False):
        channels = in_channels, out_channels
        layer = f'{name}.{layer}'
        return ConvShape(layer, height, width, kernel_size, *channels, input_is_data=input_is_data)

    def norm(layer, features):
        return [
            conv(f'{layer}.shared', size, layout_channels, hidden, input_is_data=True),
            conv(f'{layer}.gamma_and_beta', size, hidden, 2 * features),
        ]

    convs = [*norm('norm_0', inputs), conv('conv_0', 3, inputs, middle)]
    convs += [*norm('norm_1', middle), conv('conv_1', 3, middle, outputs)]
    if inputs != outputs:
        convs += [*norm('norm_s', inputs), conv('conv_s', 1, inputs, outputs)]
    return convs


def discriminator_convs(config: Config) -> list[ConvShape]:
    """The convolutions of all scales of the discriminator."""
    model, convs = spade_options(config), []
    height, width = config.data.image_height, config.data.image_width
    for scale in range(model.num_discriminators):
        h, w, inputs = height, width, config.data.layout_channels + 3
        for i in range(model.discriminator_depth):
            strides = 1 if i and i == model.discriminator_depth - 1 else 2
            h, w = (h + 1, w + 1) if strides == 1 else (h // 2 + 1, w // 2 + 1)
            outputs = min(model.discriminator_width * 2**i, MAX_FEATURES)
            name = f'scale_{scale}.conv_{i}'
            convs.append(ConvShape(name, h, w, 4, inputs, outputs, strides, input_is_data=i == 0))
            inputs = outputs
        convs.append(ConvShape(f'scale_{scale}.logits', h + 1, w + 1, 4, inputs, 1))
        height, width = (height + 1) // 2, (width + 1) // 2
    return convs


def vgg19_convs(config: Config) -> list[ConvShape]:
    """The convolutions of VGG19 up to relu5_1."""
    height, width, inputs, convs = config.data.image_height, config.data.image_width, 3, []
    for stage, widths in enumerate(VGG19_STAGES, 1):
        for i, outputs in enumerate(widths, 1):
            convs.append(ConvShape(f'conv{stage}_{i}', height, width, 3, inputs, outputs))
            inputs = outputs
        height, width = height // 2, width // 2
    return convs


def forward_flops(convs: Iterable[ConvShape]) -> int:
    """FLOPs of a forward pass of one image."""
    return sum(conv.flops for conv in convs)


def sampling_flops(config: Config) -> int:
    """FLOPs to sample one image."""
    return forward_flops(generator_convs(config))


def training_flops(config: Config) -> int:
    """FLOPs of a train step for each image of its batch.

    Generator update: forward, gradients of weights and of inputs other than the layout; the
    discriminator forward for the fake and the real image, its input gradient for the fake one;
    VGG19 likewise. Discriminator update: the generator forward; the discriminator forward for both
    images, gradients of weights and of inputs other than those of the first layer.
    """
    generator, discriminator = generator_convs(config), discriminator_convs(config)

    def with_gradients(convs):
        without_input_gradient = [conv for conv in convs if conv.input_is_data]
        return 3 * forward_flops(convs) - forward_flops(without_input_gradient)

    perceptual = 3 * forward_flops(vgg19_convs(config)) if config.losses.perceptual_weight else 0
    generator_update = with_gradients(generator) + 3 * forward_flops(discriminator) + perceptual
    return generator_update + forward_flops(generator) + 2 * with_gradients(discriminator)
