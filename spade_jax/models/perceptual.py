"""The perceptual term of a model's loss, and the network that it needs."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax.typing import Dtype

from spade_jax.config.config import LossConfig
from spade_jax.models import losses
from spade_jax.models.model import Variables
from spade_jax.models.vgg19 import Vgg19, load_vgg19

NAME = 'vgg19'


class PerceptualTerm:
    """The perceptual loss with its weight; a model whose weight is 0 needs no VGG19.

    Attributes:
      network: VGG19.
    """

    def __init__(self, config: LossConfig, dtype: Dtype):
        self._config, self.network = config, Vgg19(dtype=dtype)

    def abstract_constants(self) -> dict[str, Variables]:
        """See `Model.abstract_constants`."""
        if not self._config.perceptual_weight:
            return {}
        image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)  # The weights fit any size.
        return {NAME: jax.eval_shape(self.network.init, jax.random.key(0), image)}

    def load_constants(self) -> dict[str, Variables]:
        """See `Model.load_constants`."""
        config = self._config
        return {NAME: load_vgg19(config.vgg19_weights)} if config.perceptual_weight else {}

    def __call__(
        self, variables: Mapping[str, Variables], fake: jax.Array, real: jax.Array
    ) -> dict[str, jax.Array]:
        """The term by its name, or none, for images [B, H, W, 3] in [-1, 1]."""
        config = self._config
        if not config.perceptual_weight:
            return {}
        features: Any = functools.partial(self.network.apply, variables[NAME])
        loss = losses.perceptual(features, fake, real, input_range=config.perceptual_input)
        return {'perceptual': config.perceptual_weight * loss}
