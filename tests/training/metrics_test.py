import types

import jax.numpy as jnp
import numpy as np

from spade_jax.training.metrics import mean_logits, weight_norms


def test_scores_are_means_of_logits_and_no_features():
    def outputs(*logits):
        return [
            [jnp.full((1, 2, 2, 1), 100.0), jnp.asarray(scale).reshape(1, 1, -1, 1)]
            for scale in logits
        ]

    # The scales count equally, however many patches they have.
    assert mean_logits(outputs([1.0, 3.0, 2.0, 2.0], [-4.0]), outputs([0.5], [0.25])) == {
        'd_logits_fake': -1.0,
        'd_logits_real': 0.375,
    }


def test_weight_norms_leave_out_the_statistics_and_the_absent_encoder():
    generator = {
        'params': {'w': jnp.array([[6.0], [8.0]])},
        'batch_stats': {'mean': jnp.array([100.0])},
    }
    state = types.SimpleNamespace(
        generator=generator,
        discriminator={'params': {'w': jnp.array([float('nan'), 1.0])}},
        encoder=None,
    )
    norms = weight_norms(state)
    assert (
        norms['generator_weight_norm'] == 10
        and np.isnan(norms['discriminator_weight_norm'])
        and set(norms) == {'generator_weight_norm', 'discriminator_weight_norm'}
    )
