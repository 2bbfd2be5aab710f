import logging
import os

import jax
import pytest

from spade_jax.distributed import devices
from spade_jax.errors import UserError


def start(monkeypatch, find):
    monkeypatch.setattr(jax, 'devices', find)
    monkeypatch.setattr(devices, 'jax_has_started', lambda: False)
    devices.start_devices()


def test_messages_of_libraries_are_held_back_but_not_the_warnings_of_jax(monkeypatch, capfd):
    def find():
        os.write(2, b'WARNING: Logging before InitGoogle() is written to STDERR\n')
        logging.getLogger('jax._src.xla_bridge').warning('A GPU may be present, %s', 'without CUDA')
        logging.getLogger('jax._src.xla_bridge').info('Unable to initialize backend')

    start(monkeypatch, find)
    assert capfd.readouterr().err == 'warning: A GPU may be present, without CUDA\n'


def test_messages_are_shown_if_the_devices_do_not_start(monkeypatch, capfd):
    def find():
        os.write(2, b'The TPU is in use\n')
        raise RuntimeError('Unable to initialize backend')

    with pytest.raises(UserError, match='JAX cannot use a device'):
        start(monkeypatch, find)
    assert 'The TPU is in use' in capfd.readouterr().err
