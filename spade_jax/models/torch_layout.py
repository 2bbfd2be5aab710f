"""State dictionaries of PyTorch <-> variables, for networks of convolutions and normalizations.

Names and orders of axes are translated in both directions, and nothing else.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from flax import traverse_util

from spade_jax.files.weight_files import BATCH_COUNT


class ModuleNames(NamedTuple):
    """The modules of a network.

    Attributes:
      modules: Path of a module here, such as 'down_0/conv', -> its name there, 'model.4'.
      transposed: The paths of transposed convolutions.
    """

    modules: Mapping[str, str]
    transposed: frozenset[str] = frozenset()

    def inside(self, module: str) -> Self:
        """The names of this network as a module of another one here."""
        modules = {f'{module}/{ours}': theirs for ours, theirs in self.modules.items()}
        return type(self)(modules, frozenset(f'{module}/{ours}' for ours in self.transposed))


# (name of a parameter there, collection and name here). A spectrally normalized kernel is called
# weight_orig there.
_PARAMETERS = (
    ('weight', 'params/kernel'),
    ('weight_orig', 'params/kernel'),
    ('weight', 'params/scale'),
    ('bias', 'params/bias'),
    ('bias', 'params/transposed_bias'),
    ('weight_u', 'spectral/spectral_norm/u'),
    ('weight_v', 'spectral/spectral_norm/v'),
    ('running_mean', 'batch_stats/mean'),
    ('running_var', 'batch_stats/var'),
)


def to_variables(state: Mapping[str, Any], names: ModuleNames) -> dict[str, Any]:
    """The variables from a state dictionary, or from some gradients of the same names.

    Raises:
      KeyError: `names` has no such module, or a singular vector lacks its kernel.
    """
    paths = {theirs: ours for ours, theirs in names.modules.items()}
    meanings = dict(reversed(_PARAMETERS))  # Of several meanings, the first.
    flat = {}
    for name, array in state.items():
        module, _, parameter = name.rpartition('.')
        if parameter == BATCH_COUNT:
            continue
        path, array = paths[module], np.asarray(array)
        meaning, is_transposed = meanings[parameter], path in names.transposed
        if parameter == 'weight' and array.ndim == 1:
            meaning = 'params/scale'
        if parameter == 'bias' and is_transposed:
            meaning = 'params/transposed_bias'
        if array.ndim == 4:
            array = _kernel(array, is_transposed)
        elif array.ndim == 2:
            array = array.T
        if parameter == 'weight_v':  # [I * K * K] -> [K * K * I]
            if (kernel := state.get(f'{module}.weight_orig')) is None:
                raise KeyError(f'{name} has no {module}.weight_orig that gives its layout')
            window = np.shape(kernel)
            inputs = window[0] if is_transposed else window[1]
            array = array.reshape(inputs, *window[2:]).transpose(1, 2, 0)
            array = (array[::-1, ::-1] if is_transposed else array).reshape(-1)
        collection, _, leaf = meaning.partition('/')
        flat[f'{collection}/{path}/{leaf}'] = array
    return traverse_util.unflatten_dict(flat, sep='/')


def to_state(variables: Mapping[str, Any], names: ModuleNames) -> dict[str, np.ndarray]:
    """The state dictionary of variables: the inverse of `to_variables`."""
    parameters = {meaning: name for name, meaning in reversed(_PARAMETERS)}
    leaves: dict[str, Any] = traverse_util.flatten_dict(dict(variables), sep='/')
    state = {}
    for name, array in leaves.items():
        collection, _, path = name.partition('/')
        path, _, leaf = path.rpartition('/')
        if collection == 'spectral':
            path, leaf = path.removesuffix('/spectral_norm'), f'spectral_norm/{leaf}'
        array, is_transposed = np.asarray(array), path in names.transposed
        parameter = parameters[f'{collection}/{leaf}']
        if leaf == 'kernel':
            array = array.T if array.ndim == 2 else _kernel_there(array, is_transposed)
            parameter += '_orig' * (f'spectral/{path}/spectral_norm/u' in leaves)
        if parameter == 'weight_v':  # [K * K * I] -> [I * K * K]
            array = array.reshape(np.shape(leaves[f'params/{path}/kernel'])[:3])
            array = (array[::-1, ::-1] if is_transposed else array).transpose(2, 0, 1).reshape(-1)
        state[f'{names.modules[path]}.{parameter}'] = array
    return state


def _kernel(array: np.ndarray, is_transposed: bool) -> np.ndarray:
    """OIHW -> HWIO; of a transposed convolution, IOHW rotated by 180 degrees -> HWIO."""
    return array.transpose(2, 3, 0, 1)[::-1, ::-1] if is_transposed else array.transpose(2, 3, 1, 0)


def _kernel_there(array: np.ndarray, is_transposed: bool) -> np.ndarray:
    """The inverse of `_kernel`."""
    return array[::-1, ::-1].transpose(2, 3, 0, 1) if is_transposed else array.transpose(3, 2, 0, 1)


def residual_generator_names(
    num_downsamplings: int,
    num_blocks: int,
    *,
    prefix: str = 'model',
    dropout: bool = False,
    nested: bool = False,
) -> ModuleNames:
    """The modules of a `ResidualGenerator` in the published sequences.

    Args:
      num_downsamplings: Of the generator.
      num_blocks: Of the generator.
      prefix: Of the sequence.
      dropout: There is a dropout between the convolutions of a block.
      nested: Convolution and normalization are a sequence of their own, as in pix2pixHD++ of the
        SPADE code; otherwise normalization is the next element.
    """
    size = 2 if nested else 3  # Elements of a layer.
    modules = {}

    def add(path: str, name: str, position: int) -> None:
        conv, norm = (f'{position}.0', f'{position}.1') if nested else (position, position + 1)
        modules.update({f'{path}/conv': f'{name}.{conv}', f'{path}/norm': f'{name}.{norm}'})

    add('first', prefix, 1)
    position = 1 + size
    for i in range(num_downsamplings):
        add(f'down_{i}', prefix, position + i * size)
    position += num_downsamplings * size
    for i in range(num_blocks):
        add(f'block_{i}/layer_0', f'{prefix}.{position + i}.conv_block', 1)
        add(f'block_{i}/layer_1', f'{prefix}.{position + i}.conv_block', 2 + size + dropout)
    position += num_blocks
    for i in range(num_downsamplings):
        add(f'up_{i}', prefix, position + i * size)
    position += num_downsamplings * size
    modules['last/conv'] = f'{prefix}.{position + 1}'
    return ModuleNames(modules, frozenset(f'up_{i}/conv' for i in range(num_downsamplings)))
