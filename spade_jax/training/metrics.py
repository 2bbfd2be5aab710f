"""Diagnostics besides the losses, and means of metrics over steps."""

from collections.abc import Sequence

import jax
import numpy as np
import optax

from spade_jax.models.train_state import TrainState


def weight_norms(state: TrainState) -> dict[str, float]:
    """Euclidean norm of the parameters of each network; NaN if one of them is."""
    return {
        f'{name}_weight_norm': float(_global_norm(variables['params']))
        for name, variables in state.networks.items()
    }


def mean_metrics(records: Sequence[dict[str, jax.Array]]) -> dict[str, float]:
    """Mean of each metric over the steps that have it."""
    names = dict.fromkeys(name for record in records for name in record)
    return {
        name: float(np.mean([record[name] for record in records if name in record]))
        for name in names
    }


_global_norm = jax.jit(optax.tree.norm)
