"""What a compiled program for a GPU does: its kernels, the operations of their products, and the bytes they read and write."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from tensorflow.compiler.xla import xla_data_pb2
from tensorflow.compiler.xla.service import hlo_pb2

NO_KERNELS = (
    'parameter',
    'constant',
    'get-tuple-element',
    'tuple',
    'bitcast',
    'after-all',
    'partition-id',
    'replica-id',
    'async-update',
    'async-done',
    'copy-done',
)
SLICES = ('slice', 'dynamic-slice', 'gather')
BYTES = {
    'PRED': 1,
    'S8': 1,
    'U8': 1,
    'S16': 2,
    'U16': 2,
    'F16': 2,
    'BF16': 2,
    'S32': 4,
    'U32': 4,
    'F32': 4,
    'S64': 8,
    'U64': 8,
    'F64': 8,
    'C64': 8,
}


class Kernel(NamedTuple):
    """One launch.

    kind: 'convolution', its gradients 'input gradient' and 'kernel gradient', 'product', or what the compiler calls it: 'loop_select_fusion', 'sort', ...
    source: where in the program it comes from, as JAX names it: 'jit(train_step)/jvp(SpadeGenerator)/up_3/conv_0/conv_general_dilated'.
    operations: of the product, 2 for a multiply-add, positions on the border counted in full; 0 for all else.
    bytes: of operands and results, each read or written once. Of an operand that is only sliced, the slices.
    """

    kind: str
    source: str
    operations: int
    bytes: int

    def seconds(self, operations_per_second: float, bytes_per_second: float) -> float:
        """The least that it can take on a chip with such rates."""
        return max(self.operations / operations_per_second, self.bytes / bytes_per_second)


CONVOLUTIONS = {
    'convolution': 'convolution',
    '__cudnn$convForward': 'convolution',
    '__cudnn$convBiasActivationForward': 'convolution',
    '__cudnn$convForwardGraph': 'convolution',
    '__cudnn$convBackwardInput': 'input gradient',
    '__cudnn$convBackwardFilter': 'kernel gradient',
}


def kernels_of(serialized: bytes) -> list[Kernel]:
    """The kernels of an optimised program, an `HloModuleProto`. Of branches, all those of the one that moves most bytes; of a loop, those of all its turns."""
    module = hlo_pb2.HloModuleProto.FromString(serialized)
    computations = {computation.id: computation for computation in module.computations}
    return list(_kernels(computations[module.entry_computation_id], computations))


def _kernels(computation: Any, computations: dict[int, Any]) -> Iterator[Kernel]:
    by_id = {instruction.id: instruction for instruction in computation.instructions}
    for instruction in computation.instructions:
        called = [computations[identifier] for identifier in instruction.called_computation_ids]
        if instruction.opcode in NO_KERNELS:
            continue
        if instruction.opcode in ('call', 'async-start'):
            yield from _kernels(called[0], computations)
        elif instruction.opcode == 'while':
            yield from [
                kernel for inner in called for kernel in _kernels(inner, computations)
            ] * _turns(instruction)
        elif instruction.opcode == 'conditional':
            yield from max(
                ([*_kernels(branch, computations)] for branch in called),
                key=lambda kernels: sum(kernel.bytes for kernel in kernels),
            )
        else:
            operands = [by_id[identifier] for identifier in instruction.operand_ids]
            kind, operations = _product(instruction, operands, called)
            read = sum(
                _bytes_read(called[0], number, operand)
                if instruction.opcode == 'fusion'
                else _bytes(operand.shape)
                for number, operand in enumerate(operands)
            )
            written = (
                read if instruction.opcode == 'copy-start' else _bytes(instruction.shape)
            )  # whose result has the operand in it too
            yield Kernel(
                kind or _kind(instruction), instruction.metadata.op_name, operations, read + written
            )


def _turns(loop: Any) -> int:
    """How often a loop runs. Raises ValueError where the compiler does not know."""
    try:
        return int(json.loads(loop.backend_config)['known_trip_count']['n'])
    except (ValueError, KeyError):
        raise ValueError(f'{loop.name}: a loop whose number of turns depends on data') from None


def _kind(instruction: Any) -> str:
    name = (
        instruction.custom_call_target if instruction.opcode == 'custom-call' else instruction.name
    )
    return name.rstrip('.0123456789') or instruction.opcode


def _product(instruction: Any, operands: list[Any], called: list[Any]) -> tuple[str, int]:
    """Kind and operations of a convolution or matrix product; ('', 0) for anything else."""
    target = instruction.custom_call_target
    if kind := CONVOLUTIONS.get(target or instruction.opcode):
        result = (
            instruction.shape.tuple_shapes[0]
            if instruction.shape.tuple_shapes
            else instruction.shape
        )
        # Of every form: weights of the kernel, for each position of the forward pass's result.
        kernel, outputs = {
            'convolution': (operands[1].shape, result),
            'input gradient': (operands[1].shape, operands[0].shape),
            'kernel gradient': (result, operands[1].shape),
        }[kind]
        features = kernel.dimensions[
            instruction.convolution_dimension_numbers.kernel_output_feature_dimension
        ]
        return kind, 2 * _size(kernel) * (_size(outputs) // features)
    if target.startswith('__cublas$'):
        result = (
            instruction.shape.tuple_shapes[0]
            if instruction.shape.tuple_shapes
            else instruction.shape
        )
        summed = json.loads(instruction.backend_config)['gemm_backend_config'][
            'dot_dimension_numbers'
        ]['lhs_contracting_dimensions']
        return 'product', _operations_of_product(operands[0].shape, map(int, summed), result)
    for inner in called if instruction.opcode == 'fusion' else []:
        by_id = {each.id: each for each in inner.instructions}
        for each in inner.instructions:
            if each.opcode == 'dot':
                return 'product', _operations_of_product(
                    by_id[each.operand_ids[0]].shape,
                    each.dot_dimension_numbers.lhs_contracting_dimensions,
                    each.shape,
                )
    return '', 0


def _operations_of_product(left: Any, summed: Iterable[int], result: Any) -> int:
    """Of a matrix product, given which dimensions of its left operand are summed over."""
    return 2 * _size(result) * math.prod(left.dimensions[dimension] for dimension in summed)


def _bytes_read(fusion: Any, number: int, operand: Any) -> int:
    """What a fusion reads of an operand."""
    parameter = next(
        each
        for each in fusion.instructions
        if each.opcode == 'parameter' and each.parameter_number == number
    )
    readers = [each for each in fusion.instructions if parameter.id in each.operand_ids]
    if readers and all(
        each.opcode in SLICES and each.operand_ids[0] == parameter.id for each in readers
    ):
        return min(_bytes(operand.shape), sum(_bytes(each.shape) for each in readers))
    return _bytes(operand.shape)


def _bytes(shape: Any) -> int:
    if shape.tuple_shapes:
        return sum(map(_bytes, shape.tuple_shapes))
    return _size(shape) * BYTES.get(xla_data_pb2.PrimitiveType.Name(shape.element_type), 0)


def _size(shape: Any) -> int:
    return math.prod(shape.dimensions)
