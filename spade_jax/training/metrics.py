"""Numbers that say how training goes, besides the losses: norms of weights, and what the discriminator thinks."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax

from spade_jax.models import losses
from spade_jax.models.train_state import TrainState


def mean_logits(
    fake_outputs: losses.Features, real_outputs: losses.Features
) -> dict[str, jax.Array]:
    """Mean logit of the patches of fake and of real pictures, mean over the scales, whatever the adversarial loss is."""
    return {
        f'd_score_{kind}': sum(jnp.mean(scale[-1].astype(jnp.float32)) for scale in outputs)
        / len(outputs)
        for kind, outputs in (('fake', fake_outputs), ('real', real_outputs))
    }


def weight_norms(state: TrainState) -> dict[str, float]:
    """Euclidean norm of the parameters of each network; NaN where one of them is."""
    networks = {
        'generator': state.generator,
        'discriminator': state.discriminator,
        'encoder': state.encoder,
    }
    return {
        f'{name}_weight_norm': float(_global_norm(variables['params']))
        for name, variables in networks.items()
        if variables is not None
    }


_global_norm = jax.jit(optax.tree.norm)
