"""Everything that a train step changes."""

import copy
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from spade_jax.config.config import Config
from spade_jax.models.initialization import abstract_variables, init_variables
from spade_jax.models.model import Model, Update, Variables, build_model
from spade_jax.models.optimizers import make_optimizer
from spade_jax.random_streams import Stream


class TrainState(struct.PyTreeNode):
    """State of a run. With the Config it determines everything that follows.

    Attributes:
      step: int32 scalar, number of steps done.
      networks: The variables of each network by name.
      optimizers: The optimizer state of each player, over the parameters of its networks.
      ema: Exponential moving averages of the sampling networks, see `ema_part`; None without EMA.
    """

    step: jax.Array
    networks: dict[str, Variables]
    optimizers: dict[str, optax.OptState]
    ema: dict[str, Variables] | None = None


def trained_params(networks: Mapping[str, Variables], update: Update) -> dict[str, Any]:
    """The parameters that the optimizer of an update changes, by network."""
    return {name: networks[name]['params'] for name in update.networks}


def ema_part(networks: Mapping[str, Variables], names: tuple[str, ...]) -> dict[str, Variables]:
    """What EMA averages: parameters and running statistics, not the vectors of spectral norms."""
    averaged = {'params', 'batch_stats'}
    return {name: {c: networks[name][c] for c in networks[name] if c in averaged} for name in names}


def update_ema(
    ema: dict[str, Variables], networks: Mapping[str, Variables], *, step: jax.Array, decay: float
) -> dict[str, Variables]:
    """Return decay * ema + (1 - decay) * networks.

    In the first steps the decay is at most (1 + step) / (10 + step), so that the initial weights
    are forgotten soon. Steps count from 0.
    """
    decay_of_step = jnp.minimum(decay, (1 + step) / (10 + step))
    new = ema_part(networks, tuple(ema))
    return optax.incremental_update(new, ema, 1 - decay_of_step)  # pyright: ignore


def sampling_variables(
    networks: Mapping[str, Variables], ema: Mapping[str, Variables] | None, names: tuple[str, ...]
) -> dict[str, Variables]:
    """The variables of the networks `names`; EMA, if there is one, with the vectors of training."""
    return {name: networks[name] | (ema[name] if ema else {}) for name in names}


def create_train_state(config: Config, networks: dict[str, Variables]) -> TrainState:
    """The state before the first step: fresh optimizers and EMA for variables, maybe abstract."""
    model, optimizer = build_model(config), make_optimizer(config.optimizer)

    def zero_moments(update: Update) -> optax.OptState:
        shapes = jax.eval_shape(optimizer.init, trained_params(networks, update))
        return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)

    ema = None
    if config.optimizer.ema_decay:
        ema = jax.tree.map(copy.copy, ema_part(networks, model.sampling_networks))
    optimizers = {update.player: zero_moments(update) for update in model.updates}
    step = np.zeros((), np.int32)
    return TrainState(step, networks, optimizers, ema)  # pyright: ignore[reportArgumentType]


def abstract_networks(model: Model, names: Iterable[str] = ()) -> dict[str, Variables]:
    """Shapes and types of the variables of some networks; default: of all."""
    inputs, networks = model.example_inputs(), model.networks
    return {name: abstract_variables(networks[name], *inputs[name]) for name in names or networks}


def abstract_train_state(config: Config) -> TrainState:
    """Shapes and types of the state of a run; nothing is computed."""
    state = create_train_state(config, abstract_networks(build_model(config)))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)


def init_train_state(config: Config) -> TrainState:
    """The state before the first step as NumPy arrays, a function of the configuration."""
    abstract = abstract_networks(build_model(config))
    networks = {name: init_network(config, name, abstract[name]) for name in abstract}
    return create_train_state(config, networks)


def init_network(config: Config, name: str, abstract: Variables) -> Variables:
    """The initial variables of a network of these shapes, as NumPy arrays."""
    other = zlib.crc32(name.encode()) | 1 << 32  # Above the members of Stream.
    stream = Stream.__members__.get(f'{name.upper()}_WEIGHTS', other)
    optimizer = config.optimizer
    kind, gain, biases = optimizer.initialization, optimizer.init_gain, optimizer.init_biases
    options: dict[str, Any] = dict(initialization=kind, gain=gain, biases=biases)
    return init_variables(abstract, config.run.seed, stream, **options)


def parameter_count(variables: Variables) -> int:
    """Number of trained parameters of a network; works on abstract variables too."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables.get('params', {})))
