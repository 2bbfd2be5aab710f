"""The directory of compiled programs, which decides what a later run executes."""

import os

import jax
import pytest

from spade_jax.files.compilation_cache import keep_compilations


@pytest.fixture(autouse=True)
def setting():
    before = jax.config.jax_compilation_cache_dir  # pyright: ignore
    yield
    jax.config.update('jax_compilation_cache_dir', before)


def enabled():
    return jax.config.jax_compilation_cache_dir  # pyright: ignore


def test_new_directory_is_private_whatever_the_umask(tmp_path):
    umask = os.umask(0)
    try:
        keep_compilations(f'{tmp_path}/parent/cache')
    finally:
        os.umask(umask)
    assert enabled() == f'{tmp_path}/parent/cache'
    assert os.stat(f'{tmp_path}/parent/cache').st_mode & 0o777 == 0o700


def test_directory_that_all_can_write_is_not_used(tmp_path, capsys):
    tmp_path.chmod(0o777)
    keep_compilations(str(tmp_path))
    assert enabled() is None
    assert capsys.readouterr().err == (
        f'warning: compilation_cache_dir={tmp_path} is writable by all users; every start compiles '
        'again; name another directory, or "" for none\n'
    )


def test_directory_of_another_user_is_not_used(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, 'getuid', lambda: os.stat(tmp_path).st_uid + 1)
    keep_compilations(str(tmp_path))
    assert enabled() is None
    assert 'belongs to another user; every start compiles again' in capsys.readouterr().err


def test_directory_below_a_file_is_not_used(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    keep_compilations(f'{tmp_path}/file/cache')
    assert enabled() is None
    assert 'is not writable (Not a directory); every start' in capsys.readouterr().err


def test_empty_name_keeps_nothing(capsys):
    keep_compilations('')
    assert enabled() is None
    assert capsys.readouterr().err == ''
