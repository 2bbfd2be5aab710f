"""A trained generator as one file that JAX alone can run: no Flax, checkpoint or this package."""

from __future__ import annotations

import functools
import os

import jax
import jax.numpy as jnp
from jax import export as jax_export

from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.sampling import TrainedGenerator, check_size

PLATFORMS = ('cpu', 'cuda', 'tpu')


def export(
    generator: TrainedGenerator, path: str, size: tuple[int, int] | None = None
) -> dict[str, jax.ShapeDtypeStruct]:
    """Write a file that `jax.export.deserialize` reads, with the parameters inside.

    It runs on CPU, CUDA and TPU with any number of maps. The function takes its arguments by
    position, in the order of the returned dictionary, and returns images [B, H, W, 3] uint8. It
    does not check ids: one that is out of range gives a pixel of no class.

    Args:
      generator: With its parameters.
      path: Of the file.
      size: (width, height) of the label maps; None: the training size.

    Returns:
      Shape and type of each argument by name: labels; instances, if the model was trained with
      instance edges; style, if it has a style latent.

    Raises:
      UserError: The generator cannot sample this size, or the file cannot be written.
    """
    if os.path.isdir(path):
        raise UserError(f'output_file={path} is a directory', 'give the name of a file')
    data = generator.config.data
    width, height = size or (data.image_width, data.image_height)
    check_size(generator.config, height, width)
    inputs = arguments(generator, height, width)
    sample = jax.jit(functools.partial(_by_position, generator, tuple(inputs)))
    content = jax_export.export(sample, platforms=PLATFORMS)(*inputs.values()).serialize()
    try:
        with atomic_write(path) as partial, open(partial, 'wb') as file:
            file.write(content)
    except OSError as error:
        raise UserError(
            f'output_file={path} cannot be written ({error.strerror})', 'choose another file'
        ) from error
    return inputs


def arguments(
    generator: TrainedGenerator, height: int, width: int
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shape and type of each argument of the exported function; the batch size is symbolic."""
    (batch,) = jax_export.symbolic_shape('batch')
    data = generator.config.data
    ids = jax.ShapeDtypeStruct((batch, height, width), jnp.int32)
    rgb = jax.ShapeDtypeStruct((batch, height, width, 3), jnp.uint8)
    inputs = {'labels': ids if data.uses_labels else rgb}
    if data.instance_edges:
        inputs['instances'] = ids
    if generator.latent_dim is not None:
        inputs['style'] = jax.ShapeDtypeStruct((batch, generator.latent_dim), jnp.float32)
    return inputs


def _by_position(
    generator: TrainedGenerator, names: tuple[str, ...], *values: jax.Array
) -> jax.Array:
    return generator.trace(**dict(zip(names, values, strict=True)))
