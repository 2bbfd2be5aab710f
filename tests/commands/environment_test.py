"""Environment variables of JAX with which nothing can work are refused in one line."""

import jax
import pytest
from jax.extend.backend import clear_backends

from tests import program
from tests.fixtures.cli import refusal


@pytest.fixture
def jax_setting():
    """Set an option of JAX for one test."""
    before = {}

    def update(name, value):
        before[name] = getattr(jax.config, name)
        jax.config.update(name, value)

    yield update
    for name, value in before.items():
        jax.config.update(name, value)


MODES = pytest.mark.parametrize(
    'flags',
    [
        ['--mode=sample', '--workdir=demo', '--output_dir=out'],
        ['--mode=export', '--workdir=demo', '--output_file=file'],
        ['--mode=export_torch', '--workdir=demo', '--output_dir=out', '--torch_format=npz'],
        ['--mode=memory', *program.SMALL],
        ['--mode=train', '--workdir=run', *program.SMALL],
    ],
)


@MODES
def test_missing_accelerator_is_refused(flags, jax_setting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clear_backends()
    jax_setting('jax_platforms', 'cuda')
    try:
        message = refusal(*flags)
    finally:
        clear_backends()
    assert message == (
        'error: JAX cannot use a device of JAX_PLATFORMS=cuda (there is none); unset '
        'JAX_PLATFORMS, or install JAX for that device'
    )


@MODES
def test_64_bits_are_refused(flags, jax_setting, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jax_setting('jax_enable_x64', True)
    assert refusal(*flags) == (
        'error: JAX_ENABLE_X64 (jax_enable_x64) is set, but the models compute in 32 bits; unset it'
    )
