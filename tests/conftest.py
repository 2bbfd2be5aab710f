"""Eight virtual devices, quick compilation and a cache of it, for every test."""

import gc
import os
import pathlib
import sys
import tempfile

import numpy as np
import pytest

os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)
os.environ['XLA_FLAGS'] += (
    ' --xla_backend_optimization_level=0'  # compiling is most of the time of the tests
)
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault(
    'JAX_COMPILATION_CACHE_DIR',
    str(pathlib.Path(tempfile.gettempdir()) / 'spade_jax_test_compilations'),
)
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.5')


@pytest.fixture(autouse=True, scope='module')
def no_programs_of_other_files():
    """A worker that keeps all programs of a whole run, for eight devices each, runs out of what XLA needs to load one more, and crashes."""
    yield
    if 'jax' in sys.modules:
        sys.modules['jax'].clear_caches()
        gc.collect()


# Files of a few tests that take minutes: they start first, or one of two workers would end with them alone.
LONGEST = ('processes_test', 'main_test', 'replicas_test', 'train_step_test')


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.stem not in LONGEST)


def pytest_terminal_summary(terminalreporter):
    """How far the golden numbers were from ours, where they were compared."""
    from tests import parity

    shares = [error / scale for _, error, scale in parity.COMPARED if scale > 1e-6]
    if shares:
        terminalreporter.write_line(
            f"{len(parity.COMPARED)} arrays compared with the reference; largest error as a share of each array's largest value: "
            f'median {np.median(shares):.1e}, 99 % below {np.quantile(shares, 0.99):.1e}'
        )
