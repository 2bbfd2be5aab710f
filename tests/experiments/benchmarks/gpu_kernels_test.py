"""The kernels of programs compiled for a GPU, and the script that prints them."""

import importlib.util

import pytest
from google.protobuf import text_format
from tensorflow.compiler.xla.service import hlo_pb2

from experiments.benchmarks.gpu_kernels import Kernel, kernels_of
from tests.experiments.runner import TINY_NETWORKS, check_success, refusal, run

pytestmark = pytest.mark.tools

HAS_PLUGINS = importlib.util.find_spec('jax_plugins') is not None
CAN_COMPILE = HAS_PLUGINS and any(
    importlib.util.find_spec(f'jax_plugins.{name}') for name in ('xla_cuda12', 'xla_cuda13')
)
CONVOLUTION = (
    'window { dimensions { size: 3 } dimensions { size: 3 } } '
    'convolution_dimension_numbers { kernel_output_feature_dimension: 0 }'
)


def shape(element_type, *dimensions):
    sizes = ' '.join(f'dimensions: {size}' for size in dimensions)
    return f'shape {{ element_type: {element_type} {sizes} }}'


def tuple_shape(*shapes):
    parts = ' '.join(part.replace('shape', 'tuple_shapes', 1) for part in shapes)
    return f'shape {{ element_type: TUPLE {parts} }}'


def instruction(number, opcode, result, operands=(), rest=''):
    ids = ' '.join(f'operand_ids: {operand}' for operand in operands)
    names = f'id: {number} name: "{opcode}.{number}" opcode: "{opcode}"'
    return f'instructions {{ {names} {result} {ids} {rest} }}'


def parameters(first, *shapes):
    """Parameters with the ids `first`, `first + 1`, ..."""
    return ''.join(
        instruction(first + number, 'parameter', each, rest=f'parameter_number: {number}')
        for number, each in enumerate(shapes)
    )


def computation(number, instructions):
    return f'computations {{ id: {number} {instructions} }}'


def kernels(entry, others=''):
    text = f'entry_computation_id: 1 {computation(1, entry)} {others}'
    module = text_format.Parse(text, hlo_pb2.HloModuleProto())
    return kernels_of(module.SerializeToString())


# Of a 3x3 convolution from 4 to 5 channels.
IMAGES, KERNEL, RESULT = (
    shape('BF16', 2, 8, 8, 4),
    shape('BF16', 5, 3, 3, 4),
    shape('BF16', 2, 8, 8, 5),
)
CONV_FLOPS = 2 * (2 * 8 * 8) * 9 * 4 * 5
CONV_BYTES = 2 * (2 * 64 * 4) + 2 * 180 + 2 * (2 * 64 * 5)


@pytest.mark.parametrize(
    'target, kind, result, operands',
    [
        ('__cudnn$convBiasActivationForward', 'convolution', RESULT, (IMAGES, KERNEL)),
        ('__cudnn$convBackwardInput', 'input gradient', IMAGES, (RESULT, KERNEL)),
        ('__cudnn$convBackwardFilter', 'kernel gradient', KERNEL, (IMAGES, RESULT)),
    ],
)
def test_every_pass_of_a_convolution_has_the_same_flops(target, kind, result, operands):
    workspace = 'shape { element_type: U8 dimensions: 7 }'
    name = 'metadata { op_name: "jit(step)/conv" }'
    rest = f'custom_call_target: "{target}" {name} {CONVOLUTION}'
    entry = parameters(10, *operands)
    entry += instruction(20, 'custom-call', tuple_shape(result, workspace), (10, 11), rest)
    entry += instruction(21, 'get-tuple-element', result, (20,))
    assert kernels(entry) == [Kernel(kind, 'jit(step)/conv', CONV_FLOPS, CONV_BYTES + 7)]


def test_convolution_without_library_call_is_counted():
    entry = parameters(10, IMAGES, KERNEL)
    entry += instruction(12, 'convolution', RESULT, (10, 11), CONVOLUTION)
    assert kernels(entry) == [Kernel('convolution', '', CONV_FLOPS, CONV_BYTES)]


def test_fusion_reads_only_the_slices_it_takes():
    large, small = shape('F32', 100), shape('F32', 10)
    entry = parameters(10, large, small)
    entry += instruction(12, 'fusion', small, (10, 11), 'called_computation_ids: 2')
    fused = parameters(30, large, small)
    fused += instruction(32, 'slice', small, (30,))
    fused += instruction(33, 'add', small, (32, 31))
    assert kernels(entry, computation(2, fused)) == [Kernel('fusion', '', 0, 3 * 40)]


BATCHED = (
    'dot_dimension_numbers { lhs_batch_dimensions: 0 rhs_batch_dimensions: 0 '
    'lhs_contracting_dimensions: 2 rhs_contracting_dimensions: 1 }'
)
GEMM = (
    """custom_call_target: "__cublas$gemm" backend_config: '{"gemm_backend_config": """
    """{"dot_dimension_numbers": {"lhs_contracting_dimensions": ["2"]}}}'"""
)


@pytest.mark.parametrize(
    'opcode, rest', [('custom-call', GEMM), ('fusion', 'called_computation_ids: 9')]
)
def test_batched_matrix_product_is_counted(opcode, rest):
    a, b, c = shape('F32', 8, 6, 5), shape('F32', 8, 5, 7), shape('F32', 8, 6, 7)
    inner = computation(9, parameters(30, a, b) + instruction(32, 'dot', c, (30, 31), BATCHED))
    entry = parameters(30, a, b) + instruction(33, opcode, c, (30, 31), rest)
    expected = Kernel('product', '', 2 * 8 * 6 * 5 * 7, 4 * 8 * (30 + 35 + 42))
    assert kernels(entry, inner) == [expected]


VECTOR = shape('F32', 100)
NEGATE = computation(3, parameters(40, VECTOR) + instruction(41, 'negate', VECTOR, (40,)))
COPY = computation(
    2, parameters(50, shape('F32', 1)) + instruction(51, 'copy', shape('F32', 1), (50,))
)


def test_conditional_counts_branch_that_moves_most_bytes():
    called = 'called_computation_ids: 2 called_computation_ids: 3'
    entry = instruction(10, 'conditional', VECTOR, (), called)
    assert kernels(entry, NEGATE + COPY) == [Kernel('negate', '', 0, 800)]


def loop(config):
    called = 'called_computation_ids: 3 called_computation_ids: 2'
    return instruction(10, 'while', VECTOR, (), f"{called} backend_config: '{config}'")


def test_loop_counts_every_iteration():
    iteration = [Kernel('negate', '', 0, 800), Kernel('copy', '', 0, 8)]
    entry = loop('{"known_trip_count": {"n": "4"}}')
    assert kernels(entry, NEGATE + COPY) == iteration * 4


def test_loop_of_unknown_length_is_an_error():
    with pytest.raises(ValueError, match='while.10'):
        kernels(loop(''), NEGATE + COPY)


def test_asynchronous_operations_are_counted_once():
    started, called = tuple_shape(VECTOR, VECTOR), 'called_computation_ids: 3'
    entry = parameters(10, VECTOR)
    entry += instruction(11, 'async-start', started, (10,), called)
    entry += instruction(12, 'async-done', VECTOR, (11,), called)
    entry += instruction(13, 'copy-start', started, (12,))
    entry += instruction(14, 'copy-done', VECTOR, (13,))
    assert [kernel.bytes for kernel in kernels(entry, NEGATE)] == [800, 800]


@pytest.mark.parametrize('kernel_bytes, expected', [(10, 10), (1000, 100)])
def test_floor_of_a_kernel_is_the_longer_of_both(kernel_bytes, expected):
    assert Kernel('convolution', '', 1000, kernel_bytes).seconds(100.0, 10.0) == expected


@pytest.mark.skipif(CAN_COMPILE, reason='JAX can compile for GPUs here')
def test_compile_for_gpu_without_compiler_says_what_to_install():
    assert '[cuda]' in refusal(run('benchmarks.compile_for_gpu', *TINY_NETWORKS))


@pytest.mark.skipif(not CAN_COMPILE, reason="needs pip install -e '.[cuda]'")
def test_compile_for_gpu_counts_train_step_and_sampling(tmp_path):
    size = ['--crop_size=32', '--load_size=32', '--batch_sizes=2']
    arguments = [*TINY_NETWORKS, *size, '--top=3', f'--output_dir={tmp_path}']
    result = run('benchmarks.compile_for_gpu', *arguments)
    check_success(result)
    assert 'train, batch 2, bfloat16' in result.stdout
    assert 'sampling, batch 2, bfloat16' in result.stdout
    assert len(list(tmp_path.iterdir())) == 2
