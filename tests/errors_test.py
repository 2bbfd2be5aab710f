import errno
import os

import pytest

from spade_jax.errors import UserError, one_line_errors, user_errors

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
        (UserError('a\x1b[31m.png'), 2, r'a\x1b[31m.png'),
    ],
)
def test_error_that_the_user_can_fix_is_one_line(error, status, line, capsys):
    with pytest.raises(SystemExit) as raised, one_line_errors(['program']):
        raise error
    assert raised.value.code == status
    assert capsys.readouterr().err == f'error: {line}\n'


@pytest.mark.parametrize(
    'error, line',
    [
        (
            OSError(errno.EROFS, '', 'run.json'),
            'run.json cannot be written (Read-only file system); make the disk writable',
        ),
        (
            OSError(errno.EDQUOT, '', 'x'),
            'x cannot be written (Disk quota exceeded); make room in your quota of the disk',
        ),
        (
            OSError(errno.EMFILE, '', 'x'),
            'x cannot be used (Too many open files); raise the limit on open files (ulimit -n)',
        ),
        (
            IsADirectoryError(errno.EISDIR, '', 'x.part', None, 'x'),
            'x cannot be used (Is a directory); move the directory away that has the place',
        ),
    ],
)
def test_error_of_the_system_has_its_own_remedy(error, line, capsys):
    with pytest.raises(SystemExit), one_line_errors(['program']):
        raise error
    assert capsys.readouterr().err.startswith(f'error: {line}')


def test_argument_that_is_no_flag_is_rejected(capsys):
    with pytest.raises(SystemExit), one_line_errors(['program', 'seed=1']):
        pass
    assert capsys.readouterr().err == 'error: seed=1 is not a flag; write --name=value\n'


@pytest.mark.parametrize(
    'error, remedy',
    [
        (OSError(errno.EMFILE, 'x'), 'raise the limit on open files (ulimit -n)'),
        (ValueError('zarr [OS error 28: ENOSPC]'), 'make room on the disk'),
        (OSError(errno.EACCES, 'x'), 'remove the file'),
    ],
)
def test_remedy_against_limits_replaces_that_for_the_file(error, remedy):
    with pytest.raises(UserError) as raised, user_errors('a.png', 'remove the file'):
        raise error
    assert raised.value.remedy == remedy


@pytest.mark.parametrize('error', [FileNotFoundError(errno.ENOENT, 'gone'), KeyError('x')])
def test_bug_keeps_its_traceback(error):
    with pytest.raises(type(error)), one_line_errors(['program']):
        raise error
