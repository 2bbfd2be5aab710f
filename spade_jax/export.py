"""A trained generator as one file that JAX runs, with flatbuffers: no Flax or this package."""

import os
import pathlib
import re

import jax
import jax.numpy as jnp
from jax import export as jax_export

from spade_jax.errors import UserError, user_errors
from spade_jax.files.atomic_write import atomic_write, check_replaceable
from spade_jax.forking import check_not_forked
from spade_jax.sampling import TrainedGenerator, check_size

# The start of the program inside an exported file, after the magic number of MLIR.
_PROGRAM = re.compile(rb'ML\xefR.StableHLO_v', re.DOTALL)
PLATFORMS = ('cpu', 'cuda', 'tpu')
Inputs = dict[str, jax.ShapeDtypeStruct]


def export(generator: TrainedGenerator, path: str, size: tuple[int, int] | None = None) -> Inputs:
    """Write a file that `jax.export.deserialize` reads, with the parameters inside.

    It runs on CPU, CUDA and TPU with any number of maps. The function takes its arguments by
    position, in the order of the returned dictionary, and returns images [B, H, W, 3] uint8. It
    does not check ids: one that is out of range gives a pixel of no class.

    Args:
      generator: The generator with its parameters.
      path: The file to write.
      size: (width, height) of the label maps; None: the training size.

    Returns:
      Shape and type of each argument by name: labels, if the model has a condition; instances, if
      it was trained with instance edges; style, if it has a style latent.

    Raises:
      UserError: The generator cannot sample this size, the file cannot be written, or it exists and
        is no exported program.
    """
    check_not_forked()
    _check_is_export(path)
    data = generator.config.data
    width, height = size or (data.image_width, data.image_height)
    check_size(generator.config, height, width)
    inputs = _inputs(generator, height, width)

    def sample(*values):
        return generator.trace(**dict(zip(inputs, values, strict=True)))

    program = jax_export.export(jax.jit(sample), platforms=PLATFORMS)(*inputs.values())
    with user_errors(f'output_file={path} cannot be written', 'choose another file'):
        with atomic_write(path) as partial:
            pathlib.Path(partial).write_bytes(program.serialize())
    return inputs


def _check_is_export(path: str) -> None:
    """Raises UserError if there is a file that an exported one would replace: it would be lost."""
    check_replaceable(path)
    if os.path.isfile(path) and os.path.getsize(path):
        if not _PROGRAM.search(pathlib.Path(path).read_bytes()):
            remedy = 'move it away, or choose another file'
            raise UserError(f'{path} exists and is no exported generator', remedy)


def _inputs(generator: TrainedGenerator, height: int, width: int) -> Inputs:
    """Shape and type of each argument; the batch size is symbolic."""
    (batch,) = jax_export.symbolic_shape('batch')
    data = generator.config.data
    ids = jax.ShapeDtypeStruct((batch, height, width), jnp.int32)
    rgb = jax.ShapeDtypeStruct((batch, height, width, 3), jnp.uint8)
    inputs = {} if data.unconditional else {'labels': ids if data.uses_labels else rgb}
    if data.instance_edges:
        inputs['instances'] = ids
    if generator.latent_dim is not None:
        inputs['style'] = jax.ShapeDtypeStruct((batch, generator.latent_dim), jnp.float32)
    return inputs
