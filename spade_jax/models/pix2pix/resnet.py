"""The residual generator of pix2pix, whose noise is dropout within the blocks."""

import jax

from spade_jax.layers.dropout import dropout_of
from spade_jax.models.residual_generator import ResidualGenerator


class ResNet(ResidualGenerator):
    """`ResidualGenerator` with the dropout of a latent; see there for the attributes."""

    def __call__(
        self, condition: jax.Array, latent: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Images [B, H, W, 3] in [-1, 1] from [B, H, W, S] and latents of `dropout_of`."""
        return super().__call__(condition, train=train, between_layers=dropout_of(latent))
