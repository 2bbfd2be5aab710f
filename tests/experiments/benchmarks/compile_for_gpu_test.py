"""The figures of programs that were compiled for a GPU, and the script that prints them."""

import importlib.util
import sys

import pytest
from google.protobuf import text_format
from tensorflow.compiler.xla.service import hlo_pb2

from tests.experiments.benchmarks.benchmark_test import TINY, run
from tests.program import ROOT

sys.path.append(str(ROOT / 'experiments'))
from experiments.benchmarks.compiled_operations import Kernel, kernels_of

CAN_COMPILE = (
    any(importlib.util.find_spec(f'jax_plugins.{name}') for name in ('xla_cuda12', 'xla_cuda13'))
    if importlib.util.find_spec('jax_plugins')
    else False
)

CONVOLUTION = 'window { dimensions { size: 3 } dimensions { size: 3 } } convolution_dimension_numbers { kernel_output_feature_dimension: 0 }'


def shape(element_type, *dimensions):
    return f'shape {{ element_type: {element_type} {" ".join(f"dimensions: {size}" for size in dimensions)} }}'


def module(entry, others=''):
    text = f'entry_computation_id: 1 computations {{ id: 1 {entry} }} {others}'
    return text_format.Parse(text, hlo_pb2.HloModuleProto()).SerializeToString()


def instruction(number, opcode, result, operands=(), rest=''):
    return f'instructions {{ id: {number} name: "{opcode}.{number}" opcode: "{opcode}" {result} {" ".join(f"operand_ids: {each}" for each in operands)} {rest} }}'


PICTURES, KERNEL, RESULT = (
    shape('BF16', 2, 8, 8, 4),
    shape('BF16', 5, 3, 3, 4),
    shape('BF16', 2, 8, 8, 5),
)
PICTURES_BYTES, KERNEL_BYTES, RESULT_BYTES = 2 * 2 * 64 * 4, 2 * 180, 2 * 2 * 64 * 5


@pytest.mark.parametrize(
    'target, kind, result, operands',
    [
        ('__cudnn$convBiasActivationForward', 'convolution', RESULT, (PICTURES, KERNEL)),
        ('__cudnn$convBackwardInput', 'input gradient', PICTURES, (RESULT, KERNEL)),
        ('__cudnn$convBackwardFilter', 'kernel gradient', KERNEL, (PICTURES, RESULT)),
    ],
)
def test_all_three_passes_of_a_convolution_count_the_same(target, kind, result, operands):
    with_workspace = f'shape {{ element_type: TUPLE {result.replace("shape", "tuple_shapes", 1)} tuple_shapes {{ element_type: U8 dimensions: 7 }} }}'
    entry = ''.join(
        instruction(number, 'parameter', operand, rest=f'parameter_number: {number - 10}')
        for number, operand in enumerate(operands, 10)
    )
    entry += instruction(
        20,
        'custom-call',
        with_workspace,
        (10, 11),
        f'custom_call_target: "{target}" metadata {{ op_name: "jit(step)/conv" }} {CONVOLUTION}',
    )
    entry += instruction(21, 'get-tuple-element', result, (20,))
    operations = 2 * (2 * 8 * 8) * 9 * 4 * 5
    assert kernels_of(module(entry)) == [
        Kernel(kind, 'jit(step)/conv', operations, PICTURES_BYTES + KERNEL_BYTES + RESULT_BYTES + 7)
    ]


def test_a_convolution_that_is_no_call_of_a_library_counts_too():
    entry = (
        instruction(10, 'parameter', PICTURES)
        + instruction(11, 'parameter', KERNEL, rest='parameter_number: 1')
        + instruction(12, 'convolution', RESULT, (10, 11), CONVOLUTION)
    )
    assert kernels_of(module(entry)) == [
        Kernel(
            'convolution',
            '',
            2 * (2 * 8 * 8) * 9 * 4 * 5,
            PICTURES_BYTES + KERNEL_BYTES + RESULT_BYTES,
        )
    ]


def test_a_fusion_reads_the_slices_that_it_takes():
    entry = (
        instruction(10, 'parameter', shape('F32', 100))
        + instruction(11, 'parameter', shape('F32', 10), rest='parameter_number: 1')
        + instruction(12, 'fusion', shape('F32', 10), (10, 11), 'called_computation_ids: 2')
    )
    fused = (
        instruction(30, 'parameter', shape('F32', 100))
        + instruction(31, 'parameter', shape('F32', 10), rest='parameter_number: 1')
        + instruction(32, 'slice', shape('F32', 10), (30,))
        + instruction(33, 'add', shape('F32', 10), (32, 31))
    )
    assert kernels_of(module(entry, f'computations {{ id: 2 {fused} }}')) == [
        Kernel('fusion', '', 0, 3 * 40)
    ]


BATCHED = 'lhs_batch_dimensions: 0 rhs_batch_dimensions: 0 lhs_contracting_dimensions: 2 rhs_contracting_dimensions: 1'
GEMM = """backend_config: '{"gemm_backend_config": {"dot_dimension_numbers": {"lhs_contracting_dimensions": ["2"]}}}'"""


@pytest.mark.parametrize(
    'opcode, rest',
    [
        ('custom-call', f'custom_call_target: "__cublas$gemm" {GEMM}'),
        ('fusion', 'called_computation_ids: 9'),
    ],
)
def test_products_of_several_matrices(opcode, rest):
    a, b, c = shape('F32', 8, 6, 5), shape('F32', 8, 5, 7), shape('F32', 8, 6, 7)
    arguments = instruction(30, 'parameter', a) + instruction(
        31, 'parameter', b, rest='parameter_number: 1'
    )
    inner = f'computations {{ id: 9 {arguments} {instruction(32, "dot", c, (30, 31), f"dot_dimension_numbers {{ {BATCHED} }}")} }}'
    entry = arguments + instruction(33, opcode, c, (30, 31), rest)
    assert kernels_of(module(entry, inner)) == [
        Kernel('product', '', 2 * 8 * 6 * 5 * 7, 4 * 8 * (30 + 35 + 42))
    ]


NEGATE = f'computations {{ id: 3 {instruction(40, "parameter", shape("F32", 100))} {instruction(41, "negate", shape("F32", 100), (40,))} }}'
COPY = f'computations {{ id: 2 {instruction(50, "parameter", shape("F32", 1))} {instruction(51, "copy", shape("F32", 1), (50,))} }}'


def test_of_branches_the_largest_counts():
    entry = instruction(
        10,
        'conditional',
        shape('F32', 100),
        (),
        'called_computation_ids: 2 called_computation_ids: 3',
    )
    assert kernels_of(module(entry, NEGATE + COPY)) == [Kernel('negate', '', 0, 800)]


def test_a_loop_counts_all_its_turns():
    def entry(config):
        return instruction(
            10,
            'while',
            shape('F32', 100),
            (),
            f"called_computation_ids: 3 called_computation_ids: 2 backend_config: '{config}'",
        )

    assert (
        kernels_of(module(entry('{"known_trip_count": {"n": "4"}}'), NEGATE + COPY))
        == [Kernel('negate', '', 0, 800), Kernel('copy', '', 0, 8)] * 4
    )
    with pytest.raises(ValueError, match='while.10'):
        kernels_of(module(entry(''), NEGATE + COPY))


def test_what_is_started_and_ended_counts_once():
    started = f'shape {{ element_type: TUPLE {shape("F32", 100).replace("shape", "tuple_shapes", 1)} {shape("F32", 100).replace("shape", "tuple_shapes", 1)} }}'
    entry = (
        instruction(10, 'parameter', shape('F32', 100))
        + instruction(11, 'async-start', started, (10,), 'called_computation_ids: 3')
        + instruction(12, 'async-done', shape('F32', 100), (11,), 'called_computation_ids: 3')
        + instruction(13, 'copy-start', started, (12,))
        + instruction(14, 'copy-done', shape('F32', 100), (13,))
    )
    assert [kernel.bytes for kernel in kernels_of(module(entry, NEGATE))] == [800, 800]


def test_the_floor_of_a_kernel_is_set_by_what_takes_longer():
    assert Kernel('convolution', '', 1000, 10).seconds(100.0, 10.0) == 10
    assert Kernel('convolution', '', 1000, 1000).seconds(100.0, 10.0) == 100


@pytest.mark.slow
@pytest.mark.skipif(CAN_COMPILE, reason='JAX can compile for GPUs here')
def test_without_the_gpu_compiler_it_says_what_to_install():
    result = run(*TINY[:5], script='compile_for_gpu.py')
    assert (
        result.returncode == 2 and 'cuda' in result.stderr and 'Traceback' not in result.stderr
    ), result.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    not CAN_COMPILE, reason="JAX cannot compile for GPUs here: pip install -e '.[cuda]'"
)
def test_train_step_and_sampling_are_counted(tmp_path):
    result = run(
        *TINY[:5],
        '--crop_size=32',
        '--load_size=32',
        '--batch_sizes=2',
        '--top=3',
        f'--output_dir={tmp_path}',
        script='compile_for_gpu.py',
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (
        'train, batch 2, bfloat16' in result.stdout
        and 'sampling, batch 2, bfloat16' in result.stdout
    )
    assert len(list(tmp_path.iterdir())) == 2
