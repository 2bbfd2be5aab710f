"""Everything that a train step changes."""

from __future__ import annotations

import copy
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

from spade_jax.config.config import Config
from spade_jax.models.initialization import abstract_variables, draw_variables
from spade_jax.models.optimizers import make_optimizer
from spade_jax.models.spade.model import Networks, build_networks
from spade_jax.random_streams import Stream

Variables = dict[str, Any]  # 'params', and where the network has them 'batch_stats' and 'spectral'


@flax.struct.dataclass
class TrainState:
    """State of a run. With the Config it determines everything that follows.

    step: int32 scalar, number of steps done.
    generator, discriminator, encoder: variables of each network; `encoder` is None without a style encoder.
    generator_optimizer: over the parameters of generator and encoder together, see `trained_by_generator_update`.
    discriminator_optimizer: over the parameters of the discriminator.
    average: running average of what `averaged_part` takes from generator and encoder; None without averaging.
    """

    step: jax.Array
    generator: Variables
    discriminator: Variables
    encoder: Variables | None
    generator_optimizer: optax.OptState
    discriminator_optimizer: optax.OptState
    average: dict[str, Variables] | None = None


def averaged_part(generator: Variables, encoder: Variables | None) -> dict[str, Variables]:
    """Parameters and running statistics of the networks that draw, by network: of these a smooth average makes sense. The vectors of spectral norms are not
    among them.
    """
    networks = {'generator': generator} | ({} if encoder is None else {'encoder': encoder})
    return {
        name: {
            collection: variables[collection]
            for collection in ('params', 'batch_stats')
            if collection in variables
        }
        for name, variables in networks.items()
    }


def moved_average(
    average: dict[str, Variables],
    generator: Variables,
    encoder: Variables | None,
    *,
    step: jax.Array,
    decay: float,
) -> dict[str, Variables]:
    """Decay * average + (1 - decay) * weights. In the first steps the decay is (1 + step) / (10 + step) at most, so that the start is soon forgotten.

    Args:
      step: number of this step, from 0.
    """
    decay = jnp.minimum(decay, (1 + step) / (10 + step))
    return optax.incremental_update(averaged_part(generator, encoder), average, 1 - decay)


def weights_to_draw_with(
    generator: Variables, encoder: Variables | None, average: dict[str, Variables] | None
) -> tuple[Variables, Variables | None]:
    """Variables of generator and encoder: the averaged ones where there are any, with the spectral vectors of the trained ones."""
    if average is None:
        return generator, encoder
    return generator | average['generator'], None if encoder is None else encoder | average[
        'encoder'
    ]


def trained_by_generator_update(generator: Variables, encoder: Variables | None) -> dict[str, Any]:
    """The parameters that the generator update moves."""
    params = {'generator': generator['params']}
    if encoder is not None:
        params['encoder'] = encoder['params']
    return params


def abstract_networks(
    config: Config, networks: Networks
) -> tuple[Variables, Variables, Variables | None]:
    """Shapes of the variables of generator, discriminator and encoder."""

    def array(*shape):
        return jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    layout = array(config.data.image_height, config.data.image_width, config.data.layout_channels)
    image = array(config.data.image_height, config.data.image_width, 3)
    style = array(config.model.style_dim) if config.model.style_encoder else None
    encoder = None if networks.encoder is None else abstract_variables(networks.encoder, image)
    return (
        abstract_variables(networks.generator, layout, style),
        abstract_variables(networks.discriminator, layout, image),
        encoder,
    )


def with_fresh_optimizers(
    config: Config, generator: Variables, discriminator: Variables, encoder: Variables | None
) -> TrainState:
    """The state before the first step, of these variables (concrete or abstract): NumPy zeros for moments and step."""
    optimizer = make_optimizer(config)

    def moments(params):
        return jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(optimizer.init, params)
        )

    return TrainState(
        step=np.zeros((), np.int32),
        generator=generator,
        discriminator=discriminator,
        encoder=encoder,
        average=jax.tree.map(copy.copy, averaged_part(generator, encoder))
        if config.optimizer.ema_decay
        else None,
        generator_optimizer=moments(trained_by_generator_update(generator, encoder)),
        discriminator_optimizer=moments(discriminator['params']),
    )


def abstract_train_state(config: Config) -> TrainState:
    """Shapes and types of the state of a run, for reading one: nothing is drawn."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
        with_fresh_optimizers(config, *abstract_networks(config, build_networks(config))),
    )


def init_train_state(config: Config, networks: Networks) -> TrainState:
    """The state before the first step, as NumPy arrays: a function of the configuration, its seed included."""

    def draw(abstract, stream):
        return draw_variables(
            abstract,
            config.run.seed,
            stream,
            initialization=config.optimizer.initialization,
            gain=config.optimizer.init_gain,
        )

    generator, discriminator, encoder = abstract_networks(config, networks)
    return with_fresh_optimizers(
        config,
        draw(generator, Stream.GENERATOR_WEIGHTS),
        draw(discriminator, Stream.DISCRIMINATOR_WEIGHTS),
        None if encoder is None else draw(encoder, Stream.ENCODER_WEIGHTS),
    )


def parameter_count(variables: Variables) -> int:
    """Number of trained parameters of one network; works on abstract variables too."""
    return sum(leaf.size for leaf in jax.tree.leaves(variables['params']))
