import errno

import pytest

from spade_jax.errors import UserError, one_line_errors


@pytest.mark.parametrize(
    'error, status, line',
    [
        (UserError('a.png: unreadable', 'remove\nit'), 2, 'error: a.png: unreadable; remove it\n'),
        (FloatingPointError('step 3: nan'), 3, 'error: step 3: nan\n'),
        (
            OSError(errno.ENOSPC, 'No space left on device', 'metrics.jsonl'),
            2,
            'error: metrics.jsonl cannot be written (No space left on device); make room on the disk and start the same command again\n',
        ),
        (
            OSError(errno.ENOSPC, 'No space left on device'),
            2,
            'error: a file cannot be written (No space left on device); make room on the disk and start the same command again\n',
        ),
    ],
)
def test_what_the_user_can_mend_is_one_line(error, status, line, capsys):
    with pytest.raises(SystemExit) as raised, one_line_errors(['program']):
        raise error
    assert raised.value.code == status and capsys.readouterr().err == line


@pytest.mark.parametrize('error', [FileNotFoundError(errno.ENOENT, 'gone'), KeyError('x')])
def test_faults_of_the_program_keep_their_traceback(error):
    with pytest.raises(type(error)), one_line_errors(['program']):
        raise error
