"""The seam between the models and the engine.

Everything above this file knows the networks of a model only as keys of a mapping.
"""

import dataclasses
import functools
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.batch import Batch
from spade_jax.config.config import Config
from spade_jax.config.model_options import MODELS
from spade_jax.random_streams import Stream

# The variables of one network: collection -> tree of arrays. 'params'; where the network has them,
# 'batch_stats' (running statistics) and 'spectral' (the vectors of spectral norms). Others belong
# to the schedule of a run (a number of steps): the updates advance them, EMA does not average them,
# and `init_from` does not take them over.
Variables = dict[str, Any]
Networks = Mapping[str, Variables]  # By name.
# Noise of an update: (stream, dim) -> [B, dim] standard normal, one row for each example.
Noise = Callable[[Stream, int], jax.Array]


class LossOutput(NamedTuple):
    """What the loss of an update returns.

    Attributes:
      terms: Weighted terms by name; the update minimizes their sum.
      metrics: Scalars to log that are not minimized.
      updated: Network -> collections that the forward pass changed, such as 'batch_stats'.
      reusable: What a later update of the same step may use instead of computing it again.
    """

    terms: dict[str, jax.Array]
    metrics: dict[str, jax.Array]
    updated: dict[str, Variables]
    reusable: Any = None


@dataclasses.dataclass(frozen=True)
class Update:
    """One optimizer step within a train step.

    Attributes:
      player: Its name; it names the optimizer state and, by its first letter, the metrics.
      networks: The networks whose parameters the optimizer updates.
      loss: (variables of all networks and constants, batch, noise, `reusable` of the previous
        update of the step or None) -> LossOutput. Means over the examples of the batch.
      runs: The networks that run in training mode; their spectral norms do a power iteration.
      time_scale: Factor of the base learning rate.
      frozen: Networks among `networks`, or parts of them such as 'generator/global', that keep
        their parameters in this step.
      simultaneous: The loss sees the networks as they were before the step, not those that earlier
        updates of the step have changed.
      restart_epoch: The optimizer state starts anew with this epoch, counted from 0; 0: never.
    """

    player: str
    networks: tuple[str, ...]
    loss: Callable[[Networks, Batch, Noise, Any], LossOutput]
    runs: tuple[str, ...]
    time_scale: float = 1.0
    frozen: tuple[str, ...] = ()
    simultaneous: bool = False
    restart_epoch: int = 0

    @property
    def prefix(self) -> str:
        """Prefix of its metrics: 'g_' of the generator."""
        return f'{self.player[0]}_'

    def is_frozen(self, path: tuple[str, ...]) -> bool:
        """True for the path of a parameter that is frozen, such as ('generator', 'global', ...)."""
        return any(path[: len(part)] == part for part in (tuple(f.split('/')) for f in self.frozen))


class Model(Protocol):
    """All that is particular to one model. Models inherit what most of them do not have.

    Attributes:
      networks: The Flax modules by name.
      updates: The updates of a train step in their order.
      sampling_networks: Those that sampling needs and EMA averages; the first makes the image.
      latent_dim: Dimensions of the latent; None if the condition alone determines the image.
      axis_name: Axis of the replicas over which batch statistics are synchronized, or None.
      config: Of the run.
    """

    networks: Mapping[str, nn.Module]
    updates: tuple[Update, ...]
    sampling_networks: tuple[str, ...]
    latent_dim: int | None
    axis_name: str | None
    config: Config

    def __init__(self, config: Config, axis_name: str | None = None, *, portable: bool = False):
        """Build the networks; `portable` if the program may run on another platform than this."""

    def updates_at(self, step: int, epoch: int) -> tuple[Update, ...]:
        """The updates of a step; steps and epochs count from 0.

        By default the generator is updated in every `discriminator_steps`-th step only.
        """
        if step % self.config.optimizer.discriminator_steps == 0:
            return self.updates
        return tuple(update for update in self.updates if update.player == 'discriminator')

    def example_inputs(self) -> Mapping[str, tuple[jax.ShapeDtypeStruct | None, ...]]:
        """Shapes of the inputs of each network, for initialization."""
        ...

    def abstract_constants(self) -> dict[str, Variables]:
        """Shapes of the variables that never train (perceptual networks), by name."""
        return {}

    def load_constants(self) -> dict[str, Variables]:
        """These variables from their files. Raises UserError when a file is missing or wrong."""
        return {}

    def condition(self, label: jax.Array, instance: jax.Array | None = None) -> jax.Array:
        """What the generator is conditioned on, [B, H, W, S].

        Args:
          label: [B, H, W] class ids; [B, H, W, 3] uint8 with condition "rgb", [B, H, W, 0] with
            "none".
          instance: [B, H, W] instance ids; None without instance edges.
        """
        ...

    def sample(
        self,
        variables: Networks,
        condition: jax.Array,
        latent: jax.Array | None = None,
        *,
        train: bool = False,
        mutable: tuple[str, ...] = (),
    ) -> tuple[jax.Array, Variables]:
        """Sample images.

        Args:
          variables: Of `sampling_networks`.
          condition: From `condition`.
          latent: [B, latent_dim]; None exactly if `latent_dim` is None.
          train: Normalize by the statistics of this batch instead of the running ones.
          mutable: Collections to update.

        Returns:
          Images [B, H, W, 3] in [-1, 1] and the updated collections of the generator.
        """
        ...

    def encode(
        self,
        variables: Networks,
        image: jax.Array,
        label: jax.Array | None = None,
        instance: jax.Array | None = None,
    ) -> jax.Array:
        """The latent [B, latent_dim] of images [B, H, W, 3] in [-1, 1].

        Their maps are needed if the latent is a table (`ModelOptions.feature_table`).
        """
        raise NotImplementedError(f'{type(self).__name__} has no encoder, see `ModelOptions`')

    def prepare(self, variables: Networks, condition: jax.Array) -> Variables:
        """What of `sample` does not depend on the latent, as collections of the generator."""
        return {}


@functools.lru_cache(maxsize=16)
def build_model(config: Config, axis_name: str | None = None, *, portable: bool = False) -> Model:
    """The model of a configuration; see `Model` for the arguments."""
    model_class = pkgutil.resolve_name(MODELS[config.model.name].model)
    return model_class(config, axis_name, portable=portable)


def one_example(*shape: int) -> jax.ShapeDtypeStruct:
    """The shape [1, ...] of float32 inputs for one example."""
    return jax.ShapeDtypeStruct((1, *shape), jnp.float32)


def train_forward(network: nn.Module, variables: Variables, *inputs: Any) -> tuple[Any, Variables]:
    """The output of a network in training mode, and the running statistics that it updated."""
    mutable = [name for name in variables if name == 'batch_stats']
    output, updated = network.apply(variables, *inputs, train=True, mutable=mutable)
    return output, jax.lax.stop_gradient(dict(updated))


def to_signed(image: jax.Array) -> jax.Array:
    """uint8 in [0, 255] -> float32 in [-1, 1]."""
    return (jnp.asarray(image, jnp.float32) / 255 - 0.5) / 0.5


def to_uint8(image: jax.Array) -> jax.Array:
    """[-1, 1] -> uint8 in [0, 255]; truncated, not rounded, as in the published models."""
    return jnp.clip((image + 1) / 2 * 255, 0, 255).astype(jnp.uint8)
