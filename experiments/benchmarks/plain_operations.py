"""Operations (2 for a multiply-add) of the products in the plain networks, by arithmetic on their shapes.

The measure of useful work that is the same for every implementation: dense convolutions over the one-hot layout, positions on the border counted in full,
nothing that is added elementwise. An implementation that computes the same with less, by look-ups for example, gains by it.
"""

from __future__ import annotations

from typing import NamedTuple

from spade_jax.config.config import Config
from spade_jax.models.spade.options import UPSAMPLINGS

MAX_FEATURES = 512  # of the discriminator
VGG19_STAGES = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))


class Product(NamedTuple):
    """A convolution of one picture.

    name: of the layer.
    height, width: of the result.
    size: side of the kernel.
    inputs, outputs: channels.
    strides: step in both directions.
    of_data: its input is data, for which nobody asks a gradient.
    """

    name: str
    height: int
    width: int
    size: int
    inputs: int
    outputs: int
    strides: int = 1
    of_data: bool = False

    @property
    def positions(self) -> int:
        return self.height * self.width

    @property
    def weights(self) -> int:
        return self.size**2 * self.inputs * self.outputs


def generator_products(config: Config) -> list[Product]:
    """The convolutions of the generator without style latent, for one picture."""
    (height, width), n, channels = (
        config.model.grid_size(config.data),
        config.model.generator_width,
        config.data.layout_channels,
    )
    size, hidden = config.model.spade_kernel_size, config.model.spade_hidden

    def norm(name, features):
        return [
            Product(f'{name}.shared', height, width, size, channels, hidden, of_data=True),
            Product(f'{name}.gamma_and_beta', height, width, size, hidden, 2 * features),
        ]

    def block(name, inputs, outputs):
        middle = min(inputs, outputs)
        shortcut = (
            []
            if inputs == outputs
            else norm(f'{name}.norm_s', inputs)
            + [Product(f'{name}.conv_s', height, width, 1, inputs, outputs)]
        )
        return [
            *norm(f'{name}.norm_0', inputs),
            Product(f'{name}.conv_0', height, width, 3, inputs, middle),
            *norm(f'{name}.norm_1', middle),
            Product(f'{name}.conv_1', height, width, 3, middle, outputs),
            *shortcut,
        ]

    products = [Product('first', height, width, 3, channels, 16 * n, of_data=True)] + block(
        'head', 16 * n, 16 * n
    )
    height, width = 2 * height, 2 * width
    products += block('middle_0', 16 * n, 16 * n)
    if UPSAMPLINGS[config.model.upsampling] >= 6:
        height, width = 2 * height, 2 * width
    products += block('middle_1', 16 * n, 16 * n)
    widths = [16 * n, 8 * n, 4 * n, 2 * n, n] + (
        [n // 2] if UPSAMPLINGS[config.model.upsampling] == 7 else []
    )
    for i, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
        height, width = 2 * height, 2 * width
        products += block(f'up_{i}', inputs, outputs)
    return products + [Product('to_rgb', height, width, 3, widths[-1], 3)]


def discriminator_products(config: Config) -> list[Product]:
    """The convolutions of all scales of the discriminator, for one picture."""
    height, width, products = config.data.image_height, config.data.image_width, []
    for scale in range(config.model.num_discriminators):
        h, w, inputs = height, width, config.data.layout_channels + 3
        for i in range(config.model.discriminator_depth):
            strides = 1 if i and i == config.model.discriminator_depth - 1 else 2
            h, w = (h + 1, w + 1) if strides == 1 else (h // 2 + 1, w // 2 + 1)
            outputs = min(config.model.discriminator_width * 2**i, MAX_FEATURES)
            products.append(
                Product(
                    f'scale_{scale}.conv_{i}', h, w, 4, inputs, outputs, strides, of_data=i == 0
                )
            )
            inputs = outputs
        products.append(Product(f'scale_{scale}.logits', h + 1, w + 1, 4, inputs, 1))
        height, width = (height + 1) // 2, (width + 1) // 2
    return products


def vgg19_products(config: Config) -> list[Product]:
    """The convolutions of VGG19 to relu5_1, for one picture."""
    height, width, inputs, products = config.data.image_height, config.data.image_width, 3, []
    for stage, widths in enumerate(VGG19_STAGES, 1):
        for i, outputs in enumerate(widths, 1):
            products.append(Product(f'conv{stage}_{i}', height, width, 3, inputs, outputs))
            inputs = outputs
        height, width = height // 2, width // 2
    return products


def operations(products: list[Product]) -> int:
    """Of a forward pass."""
    return 2 * sum(product.positions * product.weights for product in products)


def sampling_operations(config: Config) -> int:
    """Operations to draw one picture."""
    return operations(generator_products(config))


def training_operations(config: Config) -> int:
    """Operations of a train step for each picture of its batch.

    Generator update: forward, gradients of weights and, but for the layout, of inputs; the discriminator forward for fake and real picture and its gradient for
    the fake one; so too VGG19, where it is used. Discriminator update: the generator forward; the discriminator forward for both pictures, gradients of weights and, but
    for the first layer, of inputs.
    """
    generator, discriminator = generator_products(config), discriminator_products(config)

    def with_gradients(products):
        return 3 * operations(products) - operations(
            [product for product in products if product.of_data]
        )

    perceptual = 3 * operations(vgg19_products(config)) if config.losses.perceptual_weight else 0
    generator_update = with_gradients(generator) + 3 * operations(discriminator) + perceptual
    return generator_update + operations(generator) + 2 * with_gradients(discriminator)
