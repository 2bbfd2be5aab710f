"""The perceptual term of a model's loss, and the networks that it may compare images by."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype

from spade_jax.config.config import LossConfig
from spade_jax.files.weight_files import read_state
from spade_jax.models import efficientnet, losses, squeezenet, vgg19
from spade_jax.models.model import Variables


class PerceptualNetwork(NamedTuple):
    """A network whose activations the loss compares.

    Attributes:
      build: The module that computes in a type.
      load: Reads its variables.
      prepare: Images [B, H, W, 3] in [-1, 1] -> its inputs.
      activations: Its output -> the activations.
      weights: Of the activations in the loss.
    """

    build: Callable[[Dtype], nn.Module]
    load: Callable[[LossConfig], Variables]
    prepare: Callable[[LossConfig, jax.Array], jax.Array]
    activations: Callable[[Any], Sequence[jax.Array]]
    weights: Sequence[float]


def _equal_shares(differences: Sequence[float]) -> Sequence[float]:
    """Weights with which activations that differ so much have a loss of 1, in equal shares."""
    return [1 / (len(differences) * difference) for difference in differences]


def _load_lite0(_: LossConfig) -> Variables:
    remedy = 'use --perceptual_network=squeezenet'
    path = efficientnet.weights_path('perceptual_network=efficientnet_lite0', remedy)
    return efficientnet.load_efficientnet(read_state(path), path)


NETWORKS = {
    'vgg19': PerceptualNetwork(
        build=lambda dtype: vgg19.Vgg19(dtype=dtype),
        load=lambda config: vgg19.load_vgg19(config.vgg19_weights),
        prepare=lambda config, images: vgg19.prepare(images, config.perceptual_input),
        activations=list,
        weights=vgg19.LAYER_WEIGHTS,
    ),
    'squeezenet': PerceptualNetwork(
        build=lambda dtype: squeezenet.SqueezeNet(dtype=dtype),
        load=lambda _: squeezenet.load_squeezenet(),
        prepare=lambda _, images: squeezenet.prepare(images),
        activations=list,
        weights=_equal_shares(squeezenet.DIFFERENCES),
    ),
    'efficientnet_lite0': PerceptualNetwork(
        build=lambda _: efficientnet.EfficientNetLite0(),
        load=_load_lite0,
        prepare=lambda _, images: efficientnet.normalize((images + 1) * 127.5),
        activations=operator.itemgetter('resolutions'),
        weights=_equal_shares(efficientnet.DIFFERENCES),
    ),
}


class PerceptualTerm:
    """The perceptual loss with its weight; a model whose weight is 0 needs no network.

    Attributes:
      network: The module.
    """

    def __init__(self, config: LossConfig, dtype: Dtype):
        self._config, self._kind = config, NETWORKS[config.perceptual_network]
        self.network = self._kind.build(dtype)

    def abstract_constants(self) -> dict[str, Variables]:
        """See `Model.abstract_constants`."""
        if not self._config.perceptual_weight:
            return {}
        image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)  # The weights fit any size.
        variables = jax.eval_shape(self.network.init, jax.random.key(0), image)
        return {self._config.perceptual_network: variables}

    def load_constants(self) -> dict[str, Variables]:
        """See `Model.load_constants`."""
        if not self._config.perceptual_weight:
            return {}
        return {self._config.perceptual_network: self._kind.load(self._config)}

    def __call__(
        self, variables: Mapping[str, Variables], fake: jax.Array, real: jax.Array
    ) -> dict[str, jax.Array]:
        """The term by its name, or none, for images [B, H, W, 3] in [-1, 1]."""
        config, kind = self._config, self._kind
        if not config.perceptual_weight:
            return {}
        constants = variables[config.perceptual_network]

        def features(images: jax.Array) -> Sequence[jax.Array]:
            return kind.activations(self.network.apply(constants, kind.prepare(config, images)))

        loss = losses.perceptual(features, fake, real, kind.weights)
        return {'perceptual': config.perceptual_weight * loss}
