import os

import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.convert.from_torch import LETTERS, PROVENANCE, convert
from spade_jax.convert.to_torch import beyond_the_reference, export
from spade_jax.errors import UserError
from spade_jax.files import weight_files
from spade_jax.models.spade.reference_names import BATCH_COUNT
from tests import parity, program
from tests.convert import released_files
from tests.models.spade.reference_names_test import assert_same_state


def golden_states(case):
    golden = parity.Golden(case)
    states = {
        network: {
            name[len('netG.') :]: array
            for name, array in golden.state('sd').items()
            if name.startswith(f'net{letter}.')
        }
        for network, letter in LETTERS.items()
    }
    return golden, {network: state for network, state in states.items() if state}


def read(directory, format='npz', epoch='latest'):
    return {
        network: weight_files.read_state(path)
        for network, letter in LETTERS.items()
        if os.path.exists(path := str(directory / f'{epoch}_net_{letter}.{format}'))
    }


@pytest.mark.parametrize('format', weight_files.FORMATS)
@pytest.mark.parametrize('case', ['train_step_novae', 'train_step_vae'])
def test_the_round_trip_keeps_every_entry(case, format, tmp_path):
    """All networks of a golden train step, with counts of batches that are all different, there and back through the command line."""
    if format == 'pth':
        pytest.importorskip('torch')
    golden, states = golden_states(case)
    counts = [name for name in states['generator'] if name.endswith(BATCH_COUNT)]
    assert counts
    states['generator'] |= {name: np.array(i + 1, np.int64) for i, name in enumerate(counts)}
    files = released_files.write_files(tmp_path / 'files', states, format=format)
    result = program.run(
        '--mode=convert',
        f'--torch_checkpoint_dir={files}',
        f'--workdir={tmp_path / "run"}',
        *released_files.format_flags(released_files.model_fields(golden)),
        num_devices=1,
    )
    assert result.returncode == 0, result.stderr
    result = program.run(
        '--mode=export_torch',
        f'--workdir={tmp_path / "run"}',
        f'--output_dir={tmp_path / "back"}',
        f'--torch_format={format}',
        num_devices=1,
    )
    assert result.returncode == 0, result.stderr
    assert 'The reference implementation has no networks' not in result.stdout
    back = read(tmp_path / 'back', format)
    assert sorted(back) == sorted(states)
    for network, state in states.items():
        assert_same_state(back[network], state)


@pytest.fixture(scope='module')
def run_of_files(tmp_path_factory):
    """Files without counts of batches, and the work directory they were converted to."""
    directory = tmp_path_factory.mktemp('converted')
    config = Config.create(
        num_classes=3,
        crop_size=32,
        load_size=32,
        generator_width=2,
        spade_hidden=4,
        discriminator_width=4,
        encoder_width=2,
        style_dim=4,
        style_encoder=True,
        encoder_input_size=64,
        discriminator_norm='batch',
    )
    states = released_files.random_states(config)
    flags = dict(num_classes=3, crop_size=32)
    convert(
        str(released_files.write_files(directory / 'files', states)),
        'latest',
        str(directory / 'run'),
        flags,
        flags,
    )
    return directory / 'run', states


def test_counts_that_were_not_there_stay_away(run_of_files, tmp_path):
    workdir, states = run_of_files
    _, written = export(str(workdir), str(tmp_path), 'npz', '7')
    assert [os.path.basename(path) for path in written] == [
        '7_net_G.npz',
        '7_net_D.npz',
        '7_net_E.npz',
    ]
    for network, state in read(tmp_path, epoch='7').items():
        assert_same_state(state, states[network])


def test_counts_of_a_run_that_began_here_are_zero(run_of_files, tmp_path):
    workdir, states = run_of_files
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'checkpoints').symlink_to(workdir / 'checkpoints')
    export(str(tmp_path / 'run'), str(tmp_path), 'npz', 'latest')
    for network, state in read(tmp_path).items():
        counts = {name: array for name, array in state.items() if name.endswith(BATCH_COUNT)}
        assert set(counts) == {
            name.replace('running_mean', BATCH_COUNT)
            for name in states[network]
            if name.endswith('running_mean')
        }
        assert (network == 'encoder') == (not counts)
        assert all(
            array.dtype == np.int64 and array.shape == () and array == 0
            for array in counts.values()
        )


def test_what_the_reference_cannot_build_is_said():
    assert beyond_the_reference(Config.create()) == []
    assert beyond_the_reference(Config.create(style_encoder=True)) == []
    assert beyond_the_reference(Config.create(spade_hidden=64)) == ['--spade_hidden=64']
    assert beyond_the_reference(Config.create(style_encoder=True, style_dim=8, crop_size=64)) == [
        '--style_dim=8',
        '--crop_size=64 with a style encoder',
    ]


def test_refusals(run_of_files, tmp_path):
    workdir, _ = run_of_files
    (tmp_path / 'latest_net_D.npz').write_bytes(b'precious')
    with pytest.raises(UserError, match='latest_net_D.npz exists'):
        export(str(workdir), str(tmp_path), 'npz', 'latest')
    assert os.listdir(tmp_path) == ['latest_net_D.npz']
    with pytest.raises(UserError, match='no such directory'):
        export(str(tmp_path / 'nowhere'), str(tmp_path), 'npz', '1')
    (tmp_path / 'run').mkdir()
    with pytest.raises(UserError, match='has no checkpoint'):
        export(str(tmp_path / 'run'), str(tmp_path), 'npz', '1')
    (tmp_path / 'run' / PROVENANCE).write_text('{')
    (tmp_path / 'run' / 'checkpoints').symlink_to(workdir / 'checkpoints')
    with pytest.raises(UserError, match='is damaged; remove it'):
        export(str(tmp_path / 'run'), str(tmp_path), 'npz', '1')
    assert '--output_dir is missing' in program.refusal(
        '--mode=export_torch', f'--workdir={workdir}', num_devices=1
    )
