"""Operations (2 for a multiply-add) of the products in the plain networks, by arithmetic on their shapes.

The measure of useful work that is the same for every implementation: dense convolutions over the one-hot layout, positions on the border counted in full,
nothing that is added elementwise. An implementation that computes the same with less, by look-ups for example, gains by it.
"""

from __future__ import annotations

from typing import NamedTuple

from spade_jax.config import UPSAMPLINGS, Config

MAX_FEATURES = 512  # of the discriminator
VGG19_STAGES = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512, 512, 512), (512,))


class Product(NamedTuple):
    """A convolution: at how many positions, by how many weights; whether its input is data, for which nobody asks a gradient."""

    positions: int
    weights: int
    of_data: bool = False


def generator_products(config: Config) -> list[Product]:
    """The convolutions of the generator without style latent, for one picture."""
    (height, width), n, channels = config.latent_size, config.generator_width, config.layout_channels
    num_upsamplings = UPSAMPLINGS[config.upsampling]
    window, hidden = config.spade_kernel_size**2, config.spade_hidden

    def block(inputs, outputs, positions):
        def norm(features):
            return [Product(positions, window * channels * hidden, of_data=True), Product(positions, 2 * window * hidden * features)]  # gamma and beta

        middle = min(inputs, outputs)
        shortcut = [] if inputs == outputs else norm(inputs) + [Product(positions, inputs * outputs)]
        return norm(inputs) + [Product(positions, 9 * inputs * middle)] + norm(middle) + [Product(positions, 9 * middle * outputs)] + shortcut

    positions = height * width
    products = [Product(positions, 9 * channels * 16 * n, of_data=True)] + block(16 * n, 16 * n, positions)
    positions *= 4
    products += block(16 * n, 16 * n, positions)
    positions *= 4 if num_upsamplings >= 6 else 1
    products += block(16 * n, 16 * n, positions)
    widths = [16 * n, 8 * n, 4 * n, 2 * n, n] + ([n // 2] if num_upsamplings == 7 else [])
    for inputs, outputs in zip(widths, widths[1:]):
        positions *= 4
        products += block(inputs, outputs, positions)
    return products + [Product(positions, 9 * widths[-1] * 3)]


def discriminator_products(config: Config) -> list[Product]:
    """The convolutions of all scales of the discriminator, for one picture."""
    height, width, products = config.image_height, config.image_width, []
    for _ in range(config.num_discriminators):
        h, w, inputs = height, width, config.layout_channels + 3
        for i in range(config.discriminator_depth):
            h, w = (h + 1, w + 1) if i and i == config.discriminator_depth - 1 else (h // 2 + 1, w // 2 + 1)
            outputs = min(config.discriminator_width * 2**i, MAX_FEATURES)
            products.append(Product(h * w, 16 * inputs * outputs, of_data=i == 0))
            inputs = outputs
        products.append(Product((h + 1) * (w + 1), 16 * inputs))
        height, width = (height + 1) // 2, (width + 1) // 2
    return products


def vgg19_products(config: Config) -> list[Product]:
    """The convolutions of VGG19 to relu5_1, for one picture."""
    positions, inputs, products = config.image_height * config.image_width, 3, []
    for stage, widths in enumerate(VGG19_STAGES):
        positions //= 4 if stage else 1
        for outputs in widths:
            products.append(Product(positions, 9 * inputs * outputs))
            inputs = outputs
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
        return 3 * operations(products) - operations([product for product in products if product.of_data])

    perceptual = 3 * operations(vgg19_products(config)) if config.perceptual_weight else 0
    generator_update = with_gradients(generator) + 3 * operations(discriminator) + perceptual
    return generator_update + operations(generator) + 2 * with_gradients(discriminator)
