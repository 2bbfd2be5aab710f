"""A trained generator as one file that JAX alone can run: no Flax, no checkpoint, no code of this package."""

from __future__ import annotations

import functools
import os

import jax
import jax.numpy as jnp
from jax import export as jax_export

from spade_jax.config.config import Config
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.sampling.trained_generator import TrainedGenerator, check_size

PLATFORMS = ('cpu', 'cuda', 'tpu')


def export(
    generator: TrainedGenerator, path: str, size: tuple[int, int] | None = None
) -> dict[str, jax.ShapeDtypeStruct]:
    """Writes what `jax.export.deserialize` reads, with the parameters inside, for CPU, CUDA and TPU and any number of maps at a time.

    The function takes its arguments by position, in the order of what is returned here, and returns pictures [B, H, W, 3] uint8. It checks no ids: one that
    is out of range gives a pixel of no class.

    Args:
      path: of the file.
      size: (width, height) of the label maps; None: the training size.

    Returns:
      Shape and type of each argument, by name: labels; instances, if the model was trained with instance edges; style, if it has a style encoder.

    Raises:
      UserError: when the generator cannot draw this size, or the file cannot be written.
    """
    config = generator.config
    if os.path.isdir(path):
        raise UserError(f'output_file={path} is a directory', 'give the name of a file')
    width, height = size or (config.data.image_width, config.data.image_height)
    check_size(config, height, width)
    inputs = arguments(config, height, width)
    drawing = jax.jit(functools.partial(_by_position, generator, tuple(inputs)))
    content = jax_export.export(drawing, platforms=PLATFORMS)(*inputs.values()).serialize()
    try:
        with atomic_write(path) as partial, open(partial, 'wb') as file:
            file.write(content)
    except OSError as error:
        raise UserError(
            f'output_file={path} cannot be written ({error.strerror})', 'choose another file'
        ) from error
    return inputs


def arguments(config: Config, height: int, width: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of each argument of the exported function; the number of maps is symbolic."""
    (batch,) = jax_export.symbolic_shape('batch')
    ids = jax.ShapeDtypeStruct((batch, height, width), jnp.int32)
    inputs = {
        'labels': jax.ShapeDtypeStruct((batch, height, width, 3), jnp.uint8)
        if config.data.condition == 'rgb'
        else ids
    }
    if config.data.instance_edges:
        inputs['instances'] = ids
    if config.model.style_encoder:
        inputs['style'] = jax.ShapeDtypeStruct((batch, config.model.style_dim), jnp.float32)
    return inputs


def _by_position(
    generator: TrainedGenerator, names: tuple[str, ...], *values: jax.Array
) -> jax.Array:
    return generator.draw(**dict(zip(names, values)))
