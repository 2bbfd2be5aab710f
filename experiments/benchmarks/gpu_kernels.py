"""The kernels of a program that XLA compiled for a GPU: their FLOPs, and the bytes they move."""

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2

# Instructions that launch no kernel.
_NO_KERNELS = (
    *('parameter', 'constant', 'get-tuple-element', 'tuple', 'bitcast', 'after-all'),
    *('partition-id', 'replica-id', 'async-update', 'async-done', 'copy-done'),
)
_SLICES = ('slice', 'dynamic-slice', 'gather')
_BYTES = (
    dict.fromkeys(('PRED', 'S8', 'U8'), 1)
    | dict.fromkeys(('S16', 'U16', 'F16', 'BF16'), 2)
    | dict.fromkeys(('S32', 'U32', 'F32'), 4)
    | dict.fromkeys(('S64', 'U64', 'F64', 'C64'), 8)
)
_CONVOLUTIONS = {
    'convolution': 'convolution',
    '__cudnn$convForward': 'convolution',
    '__cudnn$convBiasActivationForward': 'convolution',
    '__cudnn$convForwardGraph': 'convolution',
    '__cudnn$convBackwardInput': 'input gradient',
    '__cudnn$convBackwardFilter': 'kernel gradient',
}


class Kernel(NamedTuple):
    """One kernel launch.

    Attributes:
      kind: 'convolution', 'input gradient', 'kernel gradient', 'product', or the compiler's word:
        'loop_select_fusion', 'sort', ...
      source: The operation in JAX's words, e.g.
        'jit(train_step)/jvp(SpadeGenerator)/up_3/conv_0/conv_general_dilated'.
      flops: Of a product, border positions counted in full; 0 for other kernels.
      bytes: Of operands and results, each once; of an operand that is only sliced, the slices.
    """

    kind: str
    source: str
    flops: int
    bytes: int

    def seconds(self, flops_per_second: float, bytes_per_second: float) -> float:
        """The least time on a chip with these rates."""
        return max(self.flops / flops_per_second, self.bytes / bytes_per_second)


def kernels_of(serialized: bytes) -> list[Kernel]:
    """The kernels of an optimized program.

    Args:
      serialized: An `HloModuleProto`.

    Returns:
      The launches; of a conditional those of the branch that moves most bytes, of a loop those of
      all iterations.

    Raises:
      ValueError: The number of iterations of a loop depends on data.
    """
    module = hlo_pb2.HloModuleProto.FromString(serialized)  # pyright: ignore
    computations = {computation.id: computation for computation in module.computations}
    return list(_kernels(computations[module.entry_computation_id], computations))


def _kernels(computation: Any, computations: dict[int, Any]) -> Iterator[Kernel]:
    by_id = {instruction.id: instruction for instruction in computation.instructions}
    for instruction in computation.instructions:
        called = [computations[identifier] for identifier in instruction.called_computation_ids]
        if instruction.opcode in _NO_KERNELS:
            continue
        if instruction.opcode in ('call', 'async-start'):
            yield from _kernels(called[0], computations)
        elif instruction.opcode == 'while':
            body = [kernel for inner in called for kernel in _kernels(inner, computations)]
            yield from body * _iterations(instruction)
        elif instruction.opcode == 'conditional':
            branches = [list(_kernels(branch, computations)) for branch in called]
            yield from max(branches, key=lambda branch: sum(kernel.bytes for kernel in branch))
        else:
            operands = [by_id[identifier] for identifier in instruction.operand_ids]
            yield _kernel(instruction, operands, called)


def _kernel(instruction: Any, operands: list[Any], called: list[Any]) -> Kernel:
    kind, flops = _product(instruction, operands, called)
    if instruction.opcode == 'fusion':
        read = sum(_bytes_read(called[0], *numbered) for numbered in enumerate(operands))
    else:
        read = sum(_bytes(operand.shape) for operand in operands)
    # The result of copy-start has the operand in it too.
    written = read if instruction.opcode == 'copy-start' else _bytes(instruction.shape)
    return Kernel(kind or _kind(instruction), instruction.metadata.op_name, flops, read + written)


def _iterations(loop: Any) -> int:
    try:
        return int(json.loads(loop.backend_config)['known_trip_count']['n'])
    except (ValueError, KeyError):
        raise ValueError(f'{loop.name}: the number of iterations depends on data') from None


def _kind(instruction: Any) -> str:
    is_call = instruction.opcode == 'custom-call'
    name = instruction.custom_call_target if is_call else instruction.name
    return name.rstrip('.0123456789') or instruction.opcode


def _product(instruction: Any, operands: list[Any], called: list[Any]) -> tuple[str, int]:
    """Kind and FLOPs of a convolution or matrix product; ('', 0) for anything else."""
    target = instruction.custom_call_target
    # The first entry of a tuple is the result, the others are workspace.
    shapes = instruction.shape.tuple_shapes
    result = shapes[0] if shapes else instruction.shape
    if kind := _CONVOLUTIONS.get(target or instruction.opcode):
        # In every pass: weights of the kernel, for each position of the forward pass's result.
        kernel, outputs = {
            'convolution': (operands[1].shape, result),
            'input gradient': (operands[1].shape, operands[0].shape),
            'kernel gradient': (result, operands[1].shape),
        }[kind]
        dimension = instruction.convolution_dimension_numbers.kernel_output_feature_dimension
        return kind, 2 * _size(kernel) * (_size(outputs) // kernel.dimensions[dimension])
    if target.startswith('__cublas$'):
        config = json.loads(instruction.backend_config)['gemm_backend_config']
        contracted = config['dot_dimension_numbers']['lhs_contracting_dimensions']
        return 'product', _product_flops(operands[0].shape, map(int, contracted), result)
    for inner in called if instruction.opcode == 'fusion' else []:
        by_id = {each.id: each for each in inner.instructions}
        for each in inner.instructions:
            if each.opcode == 'dot':
                left = by_id[each.operand_ids[0]].shape
                contracted = each.dot_dimension_numbers.lhs_contracting_dimensions
                return 'product', _product_flops(left, contracted, each.shape)
    return '', 0


def _product_flops(left: Any, contracted: Iterable[int], result: Any) -> int:
    """FLOPs of a matrix product, given the contracted dimensions of its left operand."""
    return 2 * _size(result) * math.prod(left.dimensions[dimension] for dimension in contracted)


def _bytes_read(fusion: Any, number: int, operand: Any) -> int:
    """The bytes that a fusion reads of an operand."""
    parameter = next(
        each
        for each in fusion.instructions
        if each.opcode == 'parameter' and each.parameter_number == number
    )
    readers = [each for each in fusion.instructions if parameter.id in each.operand_ids]
    sliced = [
        each for each in readers if each.opcode in _SLICES and each.operand_ids[0] == parameter.id
    ]
    if readers and len(sliced) == len(readers):
        return min(_bytes(operand.shape), sum(_bytes(each.shape) for each in readers))
    return _bytes(operand.shape)


def _bytes(shape: Any) -> int:
    if shape.tuple_shapes:
        return sum(map(_bytes, shape.tuple_shapes))
    name = xla_data_pb2.PrimitiveType.Name(shape.element_type)  # pyright: ignore
    return _size(shape) * _BYTES.get(name, 0)


def _size(shape: Any) -> int:
    return math.prod(shape.dimensions)
