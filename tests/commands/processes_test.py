"""Each mode in a process of its own, as users start it; everything else runs in this process.

Training is started so by `distributed/processes_test.py`.
"""

import os
import subprocess
import sys

import pytest

from spade_jax.checkpoints.checkpointer import Checkpointer
from spade_jax.config.flags import config_from_flags
from spade_jax.models.train_state import init_train_state
from tests import program
from tests.fixtures.cli import parsed_flags, succeed_inline

PACKAGE = program.ROOT / 'spade_jax'


@pytest.fixture(scope='module')
def folder_flags(tmp_path_factory):
    folders = program.write_folders(tmp_path_factory.mktemp('data'), count=2)
    flags = ['--dataset=folders', f'--data_dir={folders}', '--num_classes=3', *program.SMALL]
    # The published blocks, for the conversion.
    return [*flags, '--generator_multipliers=', '--upsampling=normal']


@pytest.fixture(scope='module')
def trained(folder_flags, tmp_path_factory):
    """A work directory as after a step that changed nothing."""
    workdir = tmp_path_factory.mktemp('runs') / 'trained'
    with parsed_flags(*folder_flags) as values:
        config = config_from_flags(values)
    with Checkpointer(str(workdir)) as checkpointer:
        checkpointer.save(init_train_state(config), config, 2)
    (workdir / 'metrics.jsonl').write_text('{"step": 1, "g_gan": 1.0}\n')
    return workdir


def package_files():
    """The files of the package, but for the compiled modules of Python."""
    return {path for path in PACKAGE.rglob('*') if path.suffix != '.pyc'}


def test_sample_from_demo(tmp_path):
    before = package_files()
    flags = [f'--output_dir={tmp_path}/out', f'--style_image={program.ROOT}/docs/demo.png']
    output = program.succeed('--mode=sample', '--workdir=demo', *flags)
    assert package_files() == before
    assert f'8 images: {tmp_path}/out' in output
    assert (tmp_path / 'out' / 'index.html').exists()
    assert len(list((tmp_path / 'out' / 'gallery' / 'photos').iterdir())) == 8


def test_validate_data(folder_flags, tmp_path):
    output = program.succeed('--mode=validate_data', f'--output_dir={tmp_path}', *folder_flags)
    assert '--num_classes=3' in output
    assert (tmp_path / 'contact_sheet.png').exists()


def test_prepare_data(folder_flags, tmp_path):
    program.succeed('--mode=prepare_data', f'--records_dir={tmp_path}/records', *folder_flags)
    assert any((tmp_path / 'records').iterdir())


def test_report(trained):
    output = program.succeed('--mode=report', f'--workdir={trained}')
    assert f'Report: {trained}/report.html' in output


def test_memory():
    output = program.succeed('--mode=memory', '--memory_devices=2', *program.SMALL)
    assert '32' in output


def test_export_and_convert(trained, folder_flags, tmp_path):
    flags = ['--mode=export_torch', f'--workdir={trained}', '--torch_format=npz']
    output = program.succeed(*flags, f'--output_dir={tmp_path}/torch')
    assert 'latest_net_G.npz' in output
    flags = ['--mode=convert', f'--torch_checkpoint_dir={tmp_path}/torch', *folder_flags]
    output = program.succeed(*flags, f'--workdir={tmp_path}/run')
    assert 'latest_net_D.npz' in output
    assert (tmp_path / 'run' / 'checkpoints' / '0').is_dir()


def test_export(tmp_path):
    file = tmp_path / 'demo.jaxexport'
    output = program.succeed('--mode=export', '--workdir=demo', f'--output_file={file}')
    assert output.startswith(f'{file}: ')
    assert file.stat().st_size > 1e6


def test_refusal_is_one_line():
    result = program.run('--mode=train', '--workdir=x', '--crop_size=50')
    assert result.returncode == 2
    assert result.stderr.startswith('error: crop_size=50 is not divisible by 32')
    assert len(result.stderr.splitlines()) == 1


def test_installed_program_is_the_module(tmp_path):
    """The entry point of setup.cfg, called as the script that pip writes calls it."""
    script = (
        'import sys; from spade_jax.main import run; sys.argv[0] = "spade-jax"; sys.exit(run())'
    )
    result = subprocess.run(
        [sys.executable, '-c', script, '--help'],
        capture_output=True,
        text=True,
        env=os.environ | {'PYTHONPATH': str(program.ROOT)},
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == succeed_inline('--help')
    assert 'spade-jax = spade_jax.main:run' in (program.ROOT / 'setup.cfg').read_text()
