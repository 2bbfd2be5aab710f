"""Write the generator to --output_file, which JAX and flatbuffers run without this package."""

import os

from absl import flags

from spade_jax.commands import shared
from spade_jax.errors import UserError

OUTPUT_FILE = flags.DEFINE_string('output_file', 'generator.jaxexport', 'The file to write.')
FLAGS = (OUTPUT_FILE, shared.SAMPLE_SIZE, *shared.GENERATOR_FLAGS)
SECTIONS = ()


def run() -> None:
    """Write the file."""
    workdir = shared.given_workdir(may_be_demo=True)
    path = os.path.expanduser(OUTPUT_FILE.value)
    from spade_jax.export import export
    from spade_jax.sampling import sizes

    if shared.SAMPLE_SIZE.value == sizes.NATIVE:
        problem = 'sample_size=native, but an exported file has one size'
        raise UserError(problem, 'use --sample_size=training or WIDTHxHEIGHT')
    generator = shared.load_generator(workdir)
    inputs = export(generator, path, sizes.parse_size(shared.SAMPLE_SIZE.value, generator.config))
    shapes = [(name, x.dtype, ', '.join(map(str, x.shape))) for name, x in inputs.items()]
    signature = ', '.join(f'{name} {dtype}[{shape}]' for name, dtype, shape in shapes)
    megabytes = os.path.getsize(path) / 1e6
    print(f'{path}: {megabytes:.1f} MB, ({signature}) -> images uint8[batch, height, width, 3]')
