import types

import jax.numpy as jnp
import numpy as np

from spade_jax.training.metrics import weight_norms


def test_weight_norms_are_those_of_parameters_by_network():
    painter = {
        'params': {'w': jnp.array([[6.0], [8.0]])},
        'batch_stats': {'mean': jnp.array([100.0])},
    }
    critic = {'params': {'w': jnp.array([float('nan'), 1.0])}}
    state = types.SimpleNamespace(networks={'painter': painter, 'critic': critic})
    norms = weight_norms(state)
    assert set(norms) == {'painter_weight_norm', 'critic_weight_norm'}
    np.testing.assert_allclose(norms['painter_weight_norm'], 10)
    assert np.isnan(norms['critic_weight_norm'])
