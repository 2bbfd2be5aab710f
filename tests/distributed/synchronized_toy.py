"""The toy model with a normalization over all replicas."""

import jax.numpy as jnp
from flax import linen as nn

from spade_jax.config import model_options
from spade_jax.layers.normalization import Normalization
from spade_jax.models.model import LossOutput, to_signed
from tests.models.toy_model import Toy

ROW = model_options.RegisteredModel(
    options='tests.models.toy_model:ToyOptions', model=f'{__name__}:SynchronizedToy'
)


class SynchronizedPainter(nn.Module):
    width: int
    axis_name: str | None

    @nn.compact
    def __call__(self, layout, *, train):
        x = nn.Conv(self.width, (3, 3), use_bias=False)(layout)
        x = Normalization('sync_batch', axis_name=self.axis_name)(x, train=train)
        return jnp.tanh(nn.Conv(3, (1, 1))(nn.relu(x)))


class SynchronizedToy(Toy):
    def __init__(self, config, axis_name=None, *, portable=False):
        super().__init__(config, axis_name, portable=portable)
        self.networks = {'painter': SynchronizedPainter(config.model.toy_width, axis_name)}

    def loss(self, variables, batch, noise, reused):
        condition, statistics = self.condition(batch.label), ('batch_stats',)
        image, updated = self.sample(variables, condition, train=True, mutable=statistics)
        error = jnp.mean(jnp.abs(image - to_signed(batch.image)))
        return LossOutput({'l1': error}, {}, {'painter': updated})
