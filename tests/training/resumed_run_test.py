"""Going on with a run by its work directory, with the toy model."""

import json
import shlex

import pytest
from absl import flags

from spade_jax.config import model_options
from spade_jax.training.train_loop import train
from tests.fixtures.cli import refusal, succeed_inline
from tests.fixtures.states import assert_same_state, final_state
from tests.models.toy_model_test import ROW, config_of
from tests.program import write_folders


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(model_options.MODELS, 'toy', ROW)
    flags.DEFINE_integer('toy_width', 4, 'As in ToyOptions.')
    yield
    delattr(flags.FLAGS, 'toy_width')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp('data'), count=16, size=(16, 16))


def run_of(workdir, data, **options):
    """A run of 2 steps an epoch."""
    workdir.mkdir()
    train(config_of(data, **{'ema_decay': 0.9, **options}), str(workdir))
    return workdir


@pytest.fixture(scope='module')
def whole(data, tmp_path_factory):
    """A run of three epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(model_options.MODELS, 'toy', ROW)
        yield run_of(tmp_path_factory.mktemp('runs') / 'whole', data, constant_epochs=3)


@pytest.mark.parametrize(
    'options, arguments',
    [
        (dict(constant_epochs=3, max_steps=4), ['--max_steps=6']),
        (dict(constant_epochs=1), ['--constant_epochs=3']),
    ],
)
def test_workdir_alone_goes_on_as_if_uninterrupted(whole, data, tmp_path, options, arguments):
    workdir = run_of(tmp_path / 'run', data, **options)
    output = succeed_inline(f'--workdir={workdir}', *arguments)
    assert 'Compiling the train step (last time ' in output
    assert_same_state(final_state(workdir), final_state(whole))
    sessions = json.loads((workdir / 'run.json').read_text())['sessions']
    assert len([session['compilation'] for session in sessions]) == 2


def test_finished_run_says_how_to_extend_it(whole):
    assert 'A larger --constant_epochs extends it.' in succeed_inline(f'--workdir={whole}')
    # No more than it has done: nothing is trained.
    assert 'A larger --max_steps, ' in succeed_inline(f'--workdir={whole}', '--max_steps=6')


def test_other_modes_need_the_workdir_alone(whole, tmp_path):
    succeed_inline('--mode=report', f'--workdir={whole}')
    arguments = [f'--workdir={whole}', f'--output_dir={tmp_path}/images', '--constant_epochs=5']
    assert '16 images' in succeed_inline('--mode=sample', *arguments)
    succeed_inline('--mode=export', f'--workdir={whole}', f'--output_file={tmp_path}/file')


@pytest.mark.parametrize(
    'flag, conflict',
    [
        ('--batch_size=4', 'batch_size: 8 -> 4'),
        ('--data_dir={more}', '16 training examples, now there are 18'),
    ],
)
def test_change_of_the_past_is_refused_with_a_command_that_works(
    whole, data, tmp_path, flag, conflict
):
    more = write_folders(tmp_path / 'more', count=18, size=(16, 16))
    flag = flag.format(more=more)
    message = refusal(f'--workdir={whole}', flag)
    assert conflict in message
    python, option, program, *arguments = shlex.split(message.split('from its networks: ')[1])
    assert (python, option, program) == ('python', '-m', 'spade_jax.main')
    assert {flag, f'--init_from={whole}'} <= set(arguments)
    output = succeed_inline(*arguments, '--max_steps=1')
    assert f'From init_from={whole}:' in output
    assert 'steps 1 to 1' in output


def test_decay_that_would_have_begun_is_refused(whole):
    message = refusal(f'--workdir={whole}', '--constant_epochs=1', '--decay_epochs=4')
    assert '(constant_epochs: 3 -> 1; decay_epochs: 0 -> 4)' in message
