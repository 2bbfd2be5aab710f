"""Work directories become files that the reference implementation loads."""

import errno
import os
import shlex

import numpy as np
import pytest

import spade_jax
from spade_jax.checkpoints.checkpointer import newest_config
from spade_jax.config.config import Config
from spade_jax.convert.from_torch import PROVENANCE, convert
from spade_jax.convert.to_torch import export, unsupported_by_reference
from spade_jax.errors import UserError
from spade_jax.files import weight_files
from spade_jax.files.weight_files import BATCH_COUNT
from spade_jax.models.spade.published import FILES
from tests import parity
from tests.convert.released_files import options_to_give, random_states, write_files
from tests.fixtures.cli import succeed_inline
from tests.models.spade.reference_names_test import assert_same_state
from tests.sampling import tiny

STYLED = Config.create(
    num_classes=3,
    crop_size=32,
    load_size=32,
    generator_width=4,
    generator_multipliers='2,1',
    spade_hidden=4,
    discriminator_width=4,
    discriminator_norm='batch',
    style_encoder=True,
    style_dim=4,
    encoder_width=2,
    encoder_input_size=64,
)


def golden_states(golden):
    """Network -> state dictionary, from the entries netG.*, netD.*, netE.* of a train step."""
    states = {network: {} for network in FILES}
    for name, array in golden.state('sd').items():
        for network, letter in FILES.items():
            if name.startswith(f'net{letter}.'):
                states[network][name.removeprefix(f'net{letter}.')] = array
    return {network: state for network, state in states.items() if state}


def read_files(directory, format='npz', epoch='latest'):
    paths = {
        network: directory / f'{epoch}_net_{letter}.{format}' for network, letter in FILES.items()
    }
    return {
        network: weight_files.read_state(str(path))
        for network, path in paths.items()
        if path.exists()
    }


CASES = [case for case in parity.cases('train_step') if not case.endswith('_after')]


@pytest.mark.parametrize(
    'case, format',
    [*((CASES[-1], format) for format in weight_files.FORMATS), *((c, 'npz') for c in CASES[:-1])],
)
def test_round_trip_keeps_every_entry(case, format, tmp_path):
    if format == 'pth':
        pytest.importorskip('torch')
    golden = parity.Golden(case)
    options, states = options_to_give(golden), golden_states(golden)
    counts = [name for name in states['generator'] if name.endswith(BATCH_COUNT)]
    assert bool(counts) == (golden.norm != 'instance')
    states['generator'] |= {name: np.array(i + 1, np.int64) for i, name in enumerate(counts)}
    files = write_files(tmp_path / 'files', states, format=format)
    convert(str(files), 'latest', str(tmp_path / 'run'), options, options)
    (tmp_path / 'back').mkdir()
    export(str(tmp_path / 'run'), str(tmp_path / 'back'), format, 'latest')
    back = read_files(tmp_path / 'back', format)
    assert sorted(back) == sorted(states)
    for network, state in states.items():
        assert_same_state(back[network], state)


@pytest.fixture(scope='module')
def converted_run(tmp_path_factory):
    """The work directory that files without counts of batches were converted to."""
    directory = tmp_path_factory.mktemp('converted')
    files = write_files(directory / 'files', random_states(STYLED))
    options = dict(num_classes=3, crop_size=32)
    convert(str(files), 'latest', str(directory / 'run'), options, options)
    return directory / 'run'


@pytest.fixture
def trained_run(converted_run, tmp_path):
    """The same checkpoint in a work directory that was not converted."""
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'checkpoints').symlink_to(converted_run / 'checkpoints')
    return tmp_path / 'run'


def test_export_returns_written_files(converted_run, tmp_path):
    _, paths = export(str(converted_run), str(tmp_path), 'npz', '7')
    names = ['7_net_G.npz', '7_net_D.npz', '7_net_E.npz']
    assert sorted(os.path.basename(path) for path in paths) == sorted(names)
    assert sorted(os.listdir(tmp_path)) == sorted(names)


def test_printed_command_converts_back(converted_run, tmp_path):
    flags = [f'--output_dir={tmp_path}/for PyTorch', '--torch_format=npz', '--torch_epoch=7']
    output = succeed_inline('--mode=export_torch', f'--workdir={converted_run}', *flags)
    *program, mode, workdir = shlex.split(output.splitlines()[-1])[:5]
    assert (program[-1], mode, workdir) == (
        'spade_jax.main',
        '--mode=convert',
        f'--workdir={converted_run}_2',
    )
    succeed_inline(*shlex.split(output.splitlines()[-1])[3:])
    assert newest_config(f'{converted_run}_2', flag='') == newest_config(
        str(converted_run), flag=''
    )
    export(f'{converted_run}_2', str(tmp_path), 'npz', 'latest')
    for network, state in read_files(tmp_path).items():
        assert_same_state(state, random_states(STYLED)[network])


@pytest.mark.parametrize(
    'options',
    [
        dict(noise_injection=True, upsampling_method='bilinear', generator_multipliers='6,3'),
        dict(generator_multipliers='', generator_width=1, style_encoder=False),
        dict(style_encoder=False, upsampling='more', generator_multipliers='', generator_width=1),
    ],
)
def test_printed_command_tells_what_the_files_do_not(options, tmp_path):
    config = STYLED.replace(**options, crop_size=64, load_size=64, perceptual_weight=0.0)
    run = tiny.write_checkpoint(config, tmp_path / 'run')
    flags = f'--output_dir={tmp_path}/files', '--torch_format=npz'
    output = succeed_inline('--mode=export_torch', f'--workdir={run}', *flags)
    succeed_inline(*shlex.split(output.splitlines()[-1])[3:])
    labels = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64) // 16 % 3
    before, after = spade_jax.load(str(run)), spade_jax.load(f'{run}_2')
    assert after.config.model == before.config.model
    np.testing.assert_array_equal(before(labels), after(labels))


def test_export_adds_no_counts_to_files_without(converted_run, tmp_path):
    export(str(converted_run), str(tmp_path), 'npz', 'latest')
    for network, state in read_files(tmp_path).items():
        assert_same_state(state, random_states(STYLED)[network])


def test_export_writes_zero_counts_for_a_trained_run(trained_run, tmp_path):
    export(str(trained_run), str(tmp_path), 'npz', 'latest')
    for network, state in read_files(tmp_path).items():
        counts = {name: array for name, array in state.items() if name.endswith(BATCH_COUNT)}
        statistics = [name for name in state if name.endswith('running_mean')]
        zeros = {name.replace('running_mean', BATCH_COUNT): np.int64(0) for name in statistics}
        assert bool(zeros) == (network != 'encoder')
        assert_same_state(counts, zeros)


@pytest.mark.parametrize(
    'options, expected',
    [
        (dict(), []),
        (dict(style_encoder=True), []),
        (dict(style_encoder=True, encoder_norm='batch'), []),
        (dict(spade_hidden=64), ['--spade_hidden=64']),
        (dict(generator_multipliers='2,1'), ['--generator_multipliers=2,1']),
        (dict(style_encoder=True, style_dim=8), ['--style_dim=8']),
        (dict(style_encoder=True, encoder_input_size=128), ['--encoder_input_size=128']),
        (dict(style_encoder=True, crop_size=64), ['--crop_size=64 with a style encoder']),
    ],
)
def test_options_unsupported_by_reference(options, expected):
    assert unsupported_by_reference(Config.create(**options)) == expected


def test_export_keeps_existing_file(converted_run, tmp_path):
    (tmp_path / 'latest_net_D.npz').write_bytes(b'precious')
    with pytest.raises(UserError, match='latest_net_D.npz exists'):
        export(str(converted_run), str(tmp_path), 'npz', 'latest')
    assert os.listdir(tmp_path) == ['latest_net_D.npz']


def test_export_refuses_missing_work_directory(tmp_path):
    with pytest.raises(UserError, match='workdir=.*nowhere: no such directory'):
        export(str(tmp_path / 'nowhere'), str(tmp_path), 'npz', '1')


def test_export_refuses_work_directory_without_checkpoint(tmp_path):
    with pytest.raises(UserError, match='has no checkpoint'):
        export(str(tmp_path), str(tmp_path), 'npz', '1')


def test_export_refuses_damaged_provenance(trained_run, tmp_path):
    (trained_run / PROVENANCE).write_text('{')
    with pytest.raises(UserError, match=f'{PROVENANCE} is damaged; remove it'):
        export(str(trained_run), str(tmp_path), 'npz', '1')


@pytest.mark.parametrize(
    'content', ['[]', '{"batch_counts": {"generator": 3}}', '[' * 100_000, '\ud800', 'directory']
)
def test_export_refuses_provenance_of_other_contents(trained_run, tmp_path, content):
    path = trained_run / PROVENANCE
    if content == 'directory':
        path.mkdir()
    else:
        path.write_bytes(content.encode('utf-8', 'surrogatepass'))
    with pytest.raises(UserError, match=f'{PROVENANCE} is damaged; remove it'):
        export(str(trained_run), str(tmp_path), 'npz', '1')


@pytest.mark.parametrize('epoch', ['../x', '/x', 'a/b', '', 'x\0'])
def test_export_writes_into_its_directory_alone(trained_run, tmp_path, epoch):
    with pytest.raises(UserError, match='torch_epoch=.* is not the start of a file name; write'):
        export(str(trained_run), str(tmp_path / 'a' / 'b'), 'npz', epoch)
    assert sorted(os.listdir(tmp_path)) == ['run']


def test_export_leaves_no_file_on_a_full_disk(trained_run, tmp_path, monkeypatch):
    savez, saved = np.savez, []

    def full(path, **arrays):
        savez(path, **arrays)
        saved.append(path)
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(np, 'savez', full)
    with pytest.raises(UserError, match='_net_D.npz cannot be written .*make room'):
        export(str(trained_run), str(tmp_path / 'out'), 'npz', 'latest')
    assert len(saved) == 2
    assert os.listdir(tmp_path / 'out') == []  # So the same command can be run again.
