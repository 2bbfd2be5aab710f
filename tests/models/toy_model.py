"""A model of one convolution and one loss: all that the seam asks of a model."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from spade_jax.config.model_options import ModelOptions
from spade_jax.config.option import option
from spade_jax.models.model import LossOutput, Update, to_signed


@dataclasses.dataclass(frozen=True)
class ToyOptions(ModelOptions):
    name: ClassVar[str] = 'toy'
    toy_width: int = option(4, 'Channels of the hidden layer.', at_least=1)


class Painter(nn.Module):
    width: int

    @nn.compact
    def __call__(self, layout, *, train):
        return jnp.tanh(nn.Conv(3, (1, 1))(nn.relu(nn.Conv(self.width, (3, 3))(layout))))


class Toy:
    sampling_networks = ('painter',)
    latent_dim = None

    def __init__(self, config, axis_name=None, *, portable=False):
        self.config, self.axis_name = config, axis_name
        self.networks = {'painter': Painter(config.model.toy_width)}
        self.updates = (Update('painter', ('painter',), self.loss, ('painter',)),)

    def updates_at(self, step, epoch):
        return self.updates

    def example_inputs(self):
        data = self.config.data
        shape = (1, data.image_height, data.image_width, data.layout_channels)
        return {'painter': (jax.ShapeDtypeStruct(shape, jnp.float32),)}

    def abstract_constants(self):
        return {}

    load_constants = abstract_constants

    def condition(self, label, instance=None):
        return jax.nn.one_hot(label, self.config.data.label_channels)

    def sample(self, variables, condition, latent=None, *, train=False, mutable=()):
        network = self.networks['painter']
        return network.apply(variables['painter'], condition, train=train, mutable=list(mutable))

    def loss(self, variables, batch, noise, reused):
        image, _ = self.sample(variables, self.condition(batch.label), train=True)
        error = jnp.mean(jnp.abs(image - to_signed(batch.image)))
        return LossOutput({'l1': error}, {}, {})
