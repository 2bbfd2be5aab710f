"""From integer label maps to the condition that the networks see, on the device."""

import jax
import jax.numpy as jnp

from spade_jax.config.data_config import DONTCARE_ID, DataConfig
from spade_jax.models.model import to_signed


def condition_of(
    data: DataConfig, label: jax.Array, instance: jax.Array | None = None
) -> jax.Array:
    """The condition [B, H, W, S] of a model: a layout, or a condition image in [-1, 1].

    See `semantic_layout` and `Model.condition` for the arguments.
    """
    if not data.uses_labels:
        return to_signed(label)
    instance = instance if data.instance_edges else None
    return semantic_layout(label, instance, num_classes=data.num_classes, dontcare=data.dontcare)


def semantic_layout(
    label: jax.Array, instance: jax.Array | None = None, *, num_classes: int, dontcare: bool = False
) -> jax.Array:
    """One-hot classes, then don't-care, then the edges between instances.

    Args:
      label: [B, H, W] integer class ids; one that is out of range gives a pixel of no class.
      instance: [B, H, W] integer instance ids; None: no edge channel.
      num_classes: Number of classes.
      dontcare: Add a channel of index `num_classes` for the id 255.

    Returns:
      [B, H, W, num_classes + dontcare + edges] of zeros and ones, float32.
    """
    label = jnp.asarray(label, jnp.int32)
    if dontcare:
        label = jnp.where(label == DONTCARE_ID, num_classes, label)
    layout = jax.nn.one_hot(label, num_classes + dontcare, dtype=jnp.float32)
    if instance is None:
        return layout
    edges = instance_edges(instance)[..., None].astype(layout.dtype)
    return jnp.concatenate([layout, edges], axis=-1)


def instance_edges(instance: jax.Array) -> jax.Array:
    """True where one of the four neighbors is of another instance: both sides of each border.

    [B, H, W] integers -> [B, H, W] bool.
    """
    rows = instance[:, 1:, :] != instance[:, :-1, :]  # [B, H-1, W]
    columns = instance[:, :, 1:] != instance[:, :, :-1]  # [B, H, W-1]
    above = jnp.pad(rows, ((0, 0), (1, 0), (0, 0)))
    below = jnp.pad(rows, ((0, 0), (0, 1), (0, 0)))
    left = jnp.pad(columns, ((0, 0), (0, 0), (1, 0)))
    right = jnp.pad(columns, ((0, 0), (0, 0), (0, 1)))
    return above | below | left | right
