import errno
import os

import pytest

from spade_jax.errors import UserError, one_line_errors

FULL = (
    'cannot be written (No space left on device); make room on the disk and start the same command'
)


def full_disk(*path):
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *path)


@pytest.mark.parametrize(
    'error, status, line',
    [
        (UserError('a.png: unreadable', 'remove\nit'), 2, 'a.png: unreadable; remove it'),
        (FloatingPointError('step 3: nan'), 3, 'step 3: nan'),
        (full_disk('metrics.jsonl'), 2, f'metrics.jsonl {FULL} again'),
        (full_disk(), 2, f'a file {FULL} again'),
    ],
)
def test_error_that_the_user_can_fix_is_one_line(error, status, line, capsys):
    with pytest.raises(SystemExit) as raised, one_line_errors(['program']):
        raise error
    assert raised.value.code == status
    assert capsys.readouterr().err == f'error: {line}\n'


def test_argument_that_is_no_flag_is_rejected(capsys):
    with pytest.raises(SystemExit), one_line_errors(['program', 'seed=1']):
        pass
    assert capsys.readouterr().err == 'error: seed=1 is not a flag; write --name=value\n'


@pytest.mark.parametrize('error', [FileNotFoundError(errno.ENOENT, 'gone'), KeyError('x')])
def test_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)), one_line_errors(['program']):
        raise error
