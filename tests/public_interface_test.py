"""`import spade_jax` and the names that docs/python.md describes."""

import json
import signal

import pytest

import spade_jax
from spade_jax.config.flags import config_from_flags
from spade_jax.reports.run_log import read_scalars
from spade_jax.training.preemption import Preemption
from tests import program
from tests.fixtures.cli import parsed_flags
from tests.fixtures.small import SMALL
from tests.import_floors_test import python
from tests.sampling import tiny

PAGE = program.ROOT / 'docs' / 'python.md'


def test_importing_the_package_imports_nothing_heavy():
    script = (
        'import sys, spade_jax; dir(spade_jax); spade_jax.configure("quickstart"); '
        'print({"jax", "tensorflow", "flax", "orbax", "numpy", "PIL"} & {*sys.modules})'
    )
    assert python(script) == 'set()'


def test_every_public_name_exists_and_is_documented():
    page = PAGE.read_text()
    for name in spade_jax.__all__:
        assert getattr(spade_jax, name) is not None
        assert name in page, name
    with pytest.raises(AttributeError, match='no attribute'):
        spade_jax.missing  # noqa: B018


def test_every_public_member_of_the_generator_is_documented():
    members = [name for name in dir(spade_jax.TrainedGenerator) if not name.startswith('_')]
    # Of --mode=train, sample, evaluate and export.
    others = {'features', 'fingerprint', 'recalibrated', 'with_batch_statistics', 'trace'}
    assert [name for name in members if name not in PAGE.read_text()] == sorted(others)


def test_notebook_imports_only_the_public_interface():
    notebook = program.ROOT / 'experiments' / 'colab' / 'spade_jax.ipynb'
    cells = json.loads(notebook.read_text())['cells']
    lines = [line.strip() for cell in cells for line in cell['source']]
    imports = [line for line in lines if line.startswith(('import', 'from')) and 'spade' in line]
    assert imports == ['import spade_jax']


@pytest.mark.parametrize(
    'flagfile, options',
    [
        ('quickstart', {}),
        ('quickstart', {'max_steps': 3, 'learning_rate': 1e-3, 'flip': False, 'adam_beta1': None}),
        ('', {'dataset': 'ade20k', 'data_dir': 'x'}),
        ('', {'dataset': 'folders', 'num_classes': 5, 'train_list': 'list.txt'}),
    ],
)
def test_configure_agrees_with_the_command_line(flagfile, options):
    flags = [f'--{name}={value}' for name, value in options.items() if value is not None]
    flags += [f'--flagfile={flagfile}'] if flagfile else []
    with parsed_flags(*flags[::-1]) as values:
        assert spade_jax.configure(flagfile, **options) == config_from_flags(values)


def test_configure_reads_a_file(tmp_path):
    (tmp_path / 'mine.flags').write_text('--workdir=runs/mine\n--crop_size=64\n--load_size=64\n')
    assert spade_jax.configure(str(tmp_path / 'mine.flags')).data.crop_size == 64


@pytest.mark.parametrize(
    'flagfile, options, message',
    [
        ('', {'crop_sise': 64}, "'crop_sise'. Did you mean: crop_size"),
        ('', {'crop_size': 'large'}, 'crop_size=large'),
        ('', {'crop_size': 250}, 'use 224 or 256'),
        ('', {'gan_loss': 'best'}, 'gan_loss'),
        ('', {'dataset': 'folders'}, 'num_classes is not set'),
        ('gone', {}, 'flagfile=gone: no such file; give a file, or one of the package'),
    ],
)
def test_configure_refuses_in_one_line(flagfile, options, message):
    with pytest.raises(spade_jax.UserError) as error:
        spade_jax.configure(flagfile, **options)
    assert message in str(error.value)


def test_configure_takes_over_the_options_of_init_from(tmp_path):
    saved = tiny.PLAIN.replace(dataset='folders', num_classes=3)
    workdir = str(tiny.write_checkpoint(saved, tmp_path / 'run'))
    config = spade_jax.configure(init_from=workdir, batch_size=6)
    assert config == saved.replace(init_from=workdir, batch_size=6)
    with pytest.raises(spade_jax.UserError, match='init_from=.*nowhere: no such directory'):
        spade_jax.configure(init_from=str(tmp_path / 'nowhere'))


@pytest.mark.parametrize('workdir', ['nowhere', None])
def test_load_of_no_directory_names_the_demo(workdir):
    with pytest.raises(spade_jax.UserError, match='or demo for that of the package'):
        spade_jax.load(workdir)


def test_load_of_a_file_names_it(tmp_path):
    (tmp_path / 'generator.spade').write_bytes(b'')
    with pytest.raises(spade_jax.UserError, match='generator.spade is a file; give the work'):
        spade_jax.load(tmp_path / 'generator.spade')


def test_demo_is_a_name_unless_a_directory_has_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packaged = spade_jax.configure(init_from=spade_jax.DEMO)
    assert spade_jax.configure(init_from='demo') == packaged.replace(init_from='demo')
    assert spade_jax.load('demo').config.data == packaged.data
    (tmp_path / 'demo').mkdir()
    with pytest.raises(spade_jax.UserError, match='workdir=demo has no checkpoint'):
        spade_jax.load('demo')


def test_config_is_that_of_its_module():
    assert isinstance(spade_jax.Config.create(), type(spade_jax.configure('quickstart')))


def test_training_from_python_reports_and_can_be_loaded(tmp_path):
    data = program.write_folders(tmp_path / 'data')
    tiny = SMALL | {'generator_multipliers': '1', 'discriminator_depth': 1, 'batch_size': 2}
    options = dict(max_steps=2, log_every=1, num_discriminators=1, num_grid_samples=1)
    config = spade_jax.configure(dataset='folders', data_dir=data, **tiny, **options)
    records, workdir = [], str(tmp_path / 'runs' / 'new')
    spade_jax.train(config, workdir, on_metrics=lambda *record: records.append(record))
    assert [step for step, _ in records] == [1, 2]
    logged = [{'step': step, **metrics} for step, metrics in records]
    assert logged == read_scalars(workdir)
    assert 'step=2)' in repr(spade_jax.load(workdir))

    def interrupt(step, metrics):
        if step == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):  # Also after the last step: the caller must know.
        spade_jax.train(config.replace(max_steps=3), workdir, on_metrics=interrupt)
    assert 'step=3)' in repr(spade_jax.load(workdir))


def test_workdir_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(spade_jax.UserError, match='workdir=.* cannot be created'):
        spade_jax.train(spade_jax.Config.create(), str(tmp_path / 'file' / 'run'))


@pytest.mark.parametrize('saved', [False, True])
def test_signals_never_end_the_program_of_others(saved):
    """They raise exceptions: at once while there is nothing to save, else after the step."""
    raised = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: SystemExit}
    for number, kind in raised.items():
        with pytest.raises(kind), Preemption(as_guest=True) as preemption:
            if saved:
                preemption.enable_saving()
            signal.raise_signal(number)
            assert saved
            preemption.exit_after(1)
