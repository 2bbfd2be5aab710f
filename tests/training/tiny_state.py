"""A TrainState of a few numbers: what checkpoints do does not depend on networks."""

import numpy as np

from spade_jax.models.train_state import TrainState


def tiny_state(step: int, *, width: int = 64) -> TrainState:
    """A state whose numbers are a function of the step."""
    random = np.random.default_rng(step)

    def network():
        return {
            'params': {
                'layer': {
                    'kernel': random.normal(size=(width, 50)).astype(np.float32),
                    'bias': random.normal(size=width).astype(np.float32),
                }
            }
        }

    return TrainState(
        step=np.asarray(step, np.int32),
        generator=network(),
        discriminator=network(),
        encoder=None,
        generator_optimizer={'moment': network()['params']},
        discriminator_optimizer={'moment': network()['params']},
    )
