import collections
import pickle
import pickletools
import zipfile

import ml_dtypes
import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.files import torch_files
from spade_jax.files.weight_files import read_state
from tests.fixtures.torch_files import (
    HEADER,
    WRITERS,
    Call,
    Global,
    Storage,
    Tensor,
    pickled,
    tensor,
    write_archive,
    write_tensors,
)
from tests.program import ROOT

CONTAINERS = sorted(WRITERS)
GOLDEN = ROOT / 'tests' / 'golden' / 'torch_files'
SIX = Storage(np.arange(6, dtype=np.float32))
BYTES = Global('torch.storage', 'UntypedStorage')
STORAGE = Storage(np.arange(8, dtype=np.uint8), BYTES)


class SpadeGenerator:
    """Stands for the class of a model that is pickled whole."""

    def __init__(self):
        self.weight = 3


def read(path):
    return read_state(str(path))


@pytest.fixture(params=CONTAINERS)
def write(request, tmp_path):
    """Write tensors in one container or the other; returns the path."""

    def write(tensors, **options):
        write_tensors(tmp_path / 'x.pth', tensors, request.param, **options)
        return str(tmp_path / 'x.pth')

    return write


@pytest.mark.parametrize('container', CONTAINERS)
def test_files_of_pytorch_are_read(container):
    """A convolution with spectral normalization, and batch normalization."""
    state = read(GOLDEN / f'{container}.pth')
    assert {name: array.shape for name, array in state.items()} == {
        '0.bias': (4,),
        '0.weight_orig': (4, 3, 3, 3),
        '0.weight_u': (4,),
        '0.weight_v': (27,),
        '1.weight': (4,),
        '1.bias': (4,),
        '1.running_mean': (4,),
        '1.running_var': (4,),
        '1.num_batches_tracked': (),
    }
    np.testing.assert_allclose([np.linalg.norm(state[f'0.weight_{x}']) for x in 'uv'], 1, rtol=1e-6)
    bias = [-0.01060392, 0.02889543, -0.07881414, 0.11419557]
    np.testing.assert_allclose(state['0.bias'], bias, rtol=1e-6)
    np.testing.assert_array_equal(state['1.running_var'], np.ones(4))
    assert state['1.num_batches_tracked'].dtype == np.int64


@pytest.mark.parametrize('container', CONTAINERS)
def test_reader_agrees_with_pytorch(container, tmp_path):
    torch = pytest.importorskip('torch')
    shared = torch.arange(24.0)
    values = {
        'transposed': shared.view(4, 6).t(),
        'shared': shared[3:9],
        'expanded': torch.ones(3).expand(2, 3),
        'half': shared.half(),
        'bfloat16': shared.bfloat16(),
        'count': torch.tensor(7),
        'parameter': torch.nn.Parameter(shared),
        'bool': shared > 3,
        'empty': torch.zeros(0, 3),
    }
    path = str(tmp_path / 'x.pth')
    torch.save(values, path, _use_new_zipfile_serialization=container == 'archive')
    state = read(path)
    for name, value in values.items():
        expected = value.detach()
        expected = expected.float() if name in ('half', 'bfloat16') else expected
        np.testing.assert_array_equal(state[name], expected.numpy(), strict=True)


@pytest.mark.parametrize(
    'dtype',
    [
        *('float64', 'float32', 'float16', ml_dtypes.bfloat16),
        *('int64', 'int32', 'int16', 'int8', 'uint8', 'bool'),
    ],
)
def test_numbers_of_each_type_are_read(dtype, write):
    values = np.array([[0, 1, 2], [3, 5, 120]]).astype(dtype)
    array = read(write({'weight': values}))['weight']
    wide = np.float32 if values.dtype in ('float16', ml_dtypes.bfloat16) else values.dtype
    np.testing.assert_array_equal(array, values.astype(wide), strict=True)
    assert array.flags.writeable and array.flags.c_contiguous


@pytest.mark.parametrize('dtype', ['float32', 'float16', ml_dtypes.bfloat16, 'int64'])
def test_big_endian_archive_is_read(dtype, tmp_path):
    values = np.array([1, -2, 258]).astype(dtype)
    write_tensors(tmp_path / 'x.pth', {'weight': values}, 'archive', order='big')
    np.testing.assert_array_equal(read(tmp_path / 'x.pth')['weight'], values.astype(np.float64))


@pytest.mark.parametrize('little_endian', [True, False])
def test_old_file_is_little_endian_from_any_machine(little_endian, tmp_path):
    values = np.array([1, -2, 258], np.float32)
    write_tensors(tmp_path / 'x.pth', {'weight': values}, 'old', little_endian=little_endian)
    np.testing.assert_array_equal(read(tmp_path / 'x.pth')['weight'], values)


@pytest.mark.parametrize(
    'value, expected',
    [
        (Tensor(SIX, 0, (3, 2), (1, 3)), [[0, 3], [1, 4], [2, 5]]),
        (Tensor(SIX, 2, (2, 2), (2, 1)), [[2, 3], [4, 5]]),
        (Tensor(SIX, 5, (), ()), 5),
        (Tensor(SIX, 1, (2, 3), (0, 2)), [[1, 3, 5], [1, 3, 5]]),
        (Tensor(SIX, 6, (0, 2), (2, 1)), np.zeros((0, 2))),
        (Tensor(SIX, 0, (2,), (1,), '_rebuild_tensor', ()), [0, 1]),
        (Call('torch._utils', '_rebuild_parameter', tensor(np.arange(2)), True, {}), [0, 1]),
        (
            Call(
                *('torch._tensor', '_rebuild_from_type_v2'),
                *(Global('torch._utils', '_rebuild_tensor_v2'), Global('torch', 'Tensor')),
                *((SIX, 4, (2,), (1,), False, {}), {'note': 'of a weight'}),
            ),
            [4, 5],
        ),
        (
            Tensor(
                STORAGE, 1, (3,), (1,), '_rebuild_tensor_v3', (False, {}, Global('torch', 'uint16'))
            ),
            [0x0302, 0x0504, 0x0706],
        ),
    ],
)
def test_tensors_of_all_forms_are_read(value, expected, write):
    array = read(write({'weight': value, 'all': Tensor(SIX, 0, (6,), (1,))}))['weight']
    np.testing.assert_array_equal(array, expected)


def test_arrays_of_one_storage_are_independent(write):
    state = read(write({name: Tensor(SIX, 0, (6,), (1,)) for name in 'ab'}))
    state['a'][:] = 9
    np.testing.assert_array_equal(state['b'], np.arange(6))


@pytest.mark.parametrize(
    'offset, shape, strides',
    [
        (1, (6,), (1,)),
        (0, (7,), (1,)),
        (0, (2, 3), (3, 2)),
        (-1, (2,), (1,)),
        (5, (2,), (-1,)),
        (6, (), ()),
        (0, (-1, -6), (1, 1)),
        (0, (5,), (1 << 60,)),
        (0, (3, 2), (1,)),
        (0, (1 << 70,), (0,)),
        (0, (1 << 20, 1 << 20), (0, 0)),
        (0, (2.0,), (1,)),
    ],
)
def test_tensor_beyond_its_storage_is_refused(offset, shape, strides, write):
    path = write({'weight': Tensor(SIX, offset, shape, strides)})
    with pytest.raises(UserError, match='is not a readable PyTorch state dictionary'):
        read(path)


QUANTIZED = Storage(np.arange(4, dtype=np.int8), Global('torch', 'QInt8Storage'))


@pytest.mark.parametrize(
    'value, what',
    [
        (Call('torch._utils', '_rebuild_sparse_tensor', 'coo', (1, 2)), '_rebuild_sparse_tensor'),
        (Call('torch._utils', '_rebuild_qtensor', QUANTIZED, 0, (4,), (1,)), '_rebuild_qtensor'),
        (
            Call('torch._utils', '_rebuild_meta_tensor_no_storage', 'float32'),
            '_rebuild_meta_tensor',
        ),
        (Tensor(QUANTIZED, 0, (4,), (1,)), 'torch.QInt8Storage'),
        (
            Tensor(
                STORAGE,
                0,
                (8,),
                (1,),
                '_rebuild_tensor_v3',
                (0, {}, Global('torch', 'float8_e5m2')),
            ),
            'torch.float8_e5m2',
        ),
        (Tensor(SIX, 0, (6,), (1,), more=(False, {}, {'neg': True})), '_rebuild_tensor_v2'),
    ],
)
def test_odd_tensors_are_refused(value, what, write):
    path = write({'plain': np.zeros(3), 'odd': value})
    with pytest.raises(
        UserError, match=f'the tensor odd is not a plain array of numbers .*{what}.*; save it dense'
    ):
        read(path)


@pytest.mark.parametrize(
    'value, message',
    [
        (
            {0: tensor(np.zeros(1)), 1: tensor(np.zeros(1))},
            'has tensors without a name: 0, 1; give',
        ),
        ({0: 3}, 'something other than tensors: 0; give'),
        ([tensor(np.zeros(1))], 'something other than tensors: list; give'),
        (tensor(np.zeros(1)), 'something other than tensors: Tensor; give'),
        (
            {
                'netG': {'weight': tensor(np.zeros(1))},
                'epoch': 3,
                'device': Call('torch', 'device', 'cpu'),
            },
            'something other than tensors: netG, epoch, device; give the state dictionary of one',
        ),
    ],
)
@pytest.mark.parametrize('container', CONTAINERS)
def test_other_content_is_refused(value, message, container, tmp_path):
    WRITERS[container](tmp_path / 'x.pth', *pickled(value))
    with pytest.raises(UserError, match=message):
        read(tmp_path / 'x.pth')


@pytest.mark.parametrize('container', [*CONTAINERS, 'pickle'])
@pytest.mark.parametrize('protocol', [2, 5])
def test_whole_model_is_refused_with_a_remedy(tmp_path, container, protocol):
    content = pickle.dumps({'model': SpadeGenerator(), 'epoch': 3}, protocol=protocol)
    if container == 'pickle':
        (tmp_path / 'x.pth').write_bytes(content)
    else:
        WRITERS[container](tmp_path / 'x.pth', content, {})
    with pytest.raises(UserError) as error:
        read(tmp_path / 'x.pth')
    assert 'pickled model or other objects' in error.value.problem
    assert error.value.problem.endswith('would run tests.files.torch_files_test.SpadeGenerator')
    assert 'torch.save(model.state_dict(), FILE)' in error.value.remedy


@pytest.mark.parametrize(
    'name', ['os system', 'builtins eval', 'torch._utils _import_dotted_name', 'torch.hub load']
)
@pytest.mark.parametrize('container', CONTAINERS)
def test_no_function_outside_the_list_is_called(name, container, tmp_path):
    content = f'\x80\x02c{name}\n'.replace(' ', '\n').encode('latin-1') + b'X\4\0\0\0true\x85R.'
    WRITERS[container](tmp_path / 'x.pth', content, {})
    with pytest.raises(UserError, match=f'would run {name.replace(" ", ".")}'):
        read(tmp_path / 'x.pth')


def test_pickle_cannot_change_the_reader(tmp_path):
    """BUILD sets attributes of anything on the stack."""
    for target in ('torch._utils\n_rebuild_tensor_v2', 'collections\nOrderedDict'):
        content = b'\x80\x02c' + target.encode() + b'\nN}X\4\0\0\0nameK\1s\x86b.'
        write_archive(tmp_path / 'x.pth', content, {})
        with pytest.raises(UserError, match='is not a readable'):
            read(tmp_path / 'x.pth')
    write_tensors(tmp_path / 'x.pth', {'a': np.ones(2)})
    np.testing.assert_array_equal(read(tmp_path / 'x.pth')['a'], [1, 1])


@pytest.mark.parametrize(
    'content',
    [
        b'\x80\x02]r\xff\xff\xff\x7f.',  # An index of 2 billion.
        b'\x80\x02]p2000000000\n.',
        b'\x80\x04\x8e' + (1 << 40).to_bytes(8, 'little') + b'.',  # Bytes that are not there.
        b'\x80\x05\x96' + (1 << 40).to_bytes(8, 'little') + b'.',
        b'\x80\x02',
        b'\x80\x02X\xff\xff\xff\x7f',
    ],
)
@pytest.mark.parametrize('container', CONTAINERS)
def test_pickle_with_false_sizes_is_refused(content, container, tmp_path):
    WRITERS[container](tmp_path / 'x.pth', content, {})
    with pytest.raises(UserError, match='is not a readable'):
        read(tmp_path / 'x.pth')


@pytest.mark.parametrize('container', CONTAINERS)
def test_every_truncation_is_refused(container, tmp_path):
    whole = (GOLDEN / f'{container}.pth').read_bytes()
    for length in (*range(0, len(whole), 97), len(whole) - 1):
        (tmp_path / 'x.pth').write_bytes(whole[:length])
        with pytest.raises(UserError, match='is not a readable'):
            read(tmp_path / 'x.pth')


@pytest.mark.parametrize('container', CONTAINERS)
def test_damaged_files_are_read_or_refused(container, tmp_path):
    whole = np.frombuffer((GOLDEN / f'{container}.pth').read_bytes(), np.uint8)
    random = np.random.default_rng(0)
    for _ in range(200):
        damaged = whole.copy()
        damaged[random.integers(len(whole), size=3)] = random.integers(256, size=3)
        (tmp_path / 'x.pth').write_bytes(damaged.tobytes())
        try:
            read(tmp_path / 'x.pth')
        except UserError:
            pass


def test_member_that_expands_beyond_the_file_is_refused(tmp_path):
    values = {'weight': np.zeros(100_000)}
    write_tensors(tmp_path / 'x.pth', values, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(
        UserError, match='archive/data/0 expands to 800000 bytes, more than the file'
    ):
        read(tmp_path / 'x.pth')


def test_tensors_that_share_numbers_count_each(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_files, 'MOST_BYTES', 100)
    write_tensors(tmp_path / 'x.pth', {f'{i}': Tensor(SIX, 0, (6,), (1,)) for i in range(5)})
    with pytest.raises(UserError, match='its tensors have 120 bytes, more than the limit of 100'):
        read(tmp_path / 'x.pth')


def test_strings_of_python_2_are_names(tmp_path):
    content, storages = pickled({'weight': tensor(np.ones(2))})
    content = content.replace(b'X\6\0\0\0weight', b'U\6weight')
    write_archive(tmp_path / 'x.pth', content, storages)
    assert list(read(tmp_path / 'x.pth')) == ['weight']


def test_state_dictionary_with_metadata_is_read(write, tmp_path):
    state = collections.OrderedDict(weight=tensor(np.ones(2)))
    state._metadata = {'': {'version': 1}}
    write_archive(tmp_path / 'x.pth', *pickled(state))
    assert list(read(tmp_path / 'x.pth')) == ['weight']


@pytest.mark.parametrize('content', ['gzip', 'npz'])
def test_file_without_a_pickle_is_refused(tmp_path, content):
    np.savez(tmp_path / 'x.npz', weight=np.zeros(1))
    gzipped = b'\x1f\x8b\x08\0\0'
    (tmp_path / 'x.pth').write_bytes(
        gzipped if content == 'gzip' else (tmp_path / 'x.npz').read_bytes()
    )
    with pytest.raises(UserError, match='neither a pickle nor a zip archive with one'):
        read(tmp_path / 'x.pth')


def test_pickle_of_another_program_is_refused(tmp_path):
    (tmp_path / 'x.pth').write_bytes(pickle.dumps({'weight': 3}, protocol=2))
    with pytest.raises(UserError, match='it is a pickle, but not of torch.save'):
        read(tmp_path / 'x.pth')


def test_writer_of_these_tests_writes_as_pytorch():
    """The opcodes of the header are those of a file of PyTorch."""
    with open(GOLDEN / 'old.pth', 'rb') as file:
        for number in HEADER:
            assert [arg for _, arg, _ in pickletools.genops(file)][1] == number
