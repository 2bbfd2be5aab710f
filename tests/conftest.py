"""Virtual devices, fast compilation with a cache, and the order of the tests."""

import collections
import gc
import json
import os
import pathlib
import signal
import sys
import tempfile

import numpy as np
import pytest

NUM_DEVICES = 2
# Two workers share the cores: XLA's own thread pools only compete with them. Compilation is most
# of the time of the tests: it does not optimize, and without the emitters of fusions it takes less
# than half as long.
XLA_FLAGS = (
    '--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=0 '
    '--xla_cpu_use_fusion_emitters=false'
)
os.environ['XLA_FLAGS'] = ' '.join(
    [
        os.environ.get('XLA_FLAGS', ''),
        f'{XLA_FLAGS} --xla_force_host_platform_device_count={NUM_DEVICES}',
    ]
)
os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
CACHE_DIR = pathlib.Path(tempfile.gettempdir()) / 'spade_jax_test_compilations'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(CACHE_DIR))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.5')

# A parent such as nohup may have these ignored, and a run respects that.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)

TESTS = pathlib.Path(__file__).parent
# Seconds of each test that takes `SLOW_SECONDS` or more, and is marked slow for it.
# `SPADE_JAX_RECORD_DURATIONS=1 pytest -m ''` rewrites it; a selection rewrites those that run.
DURATIONS_FILE = TESTS / 'durations.json'
SLOW_SECONDS = 2.0
# They test what is not part of the product, and need extra packages or minutes.
TOOL_TESTS = ('experiments', 'notebook_test.py')


@pytest.fixture(scope='module')
def eight_devices():
    """Replace the two virtual devices by eight for the tests of one file."""
    yield from virtual_devices(8)


@pytest.fixture(scope='module')
def four_devices():
    """Replace the two virtual devices by four for the tests of one file."""
    yield from virtual_devices(4)


def virtual_devices(number):
    import jax
    from jax.extend.backend import clear_backends

    clear_backends()
    jax.config.update('jax_num_cpu_devices', number)
    yield
    clear_backends()
    jax.config.update('jax_num_cpu_devices', -1)  # XLA_FLAGS decides again


@pytest.fixture(autouse=True, scope='module')
def release_programs():
    """Release the compiled programs of a file; XLA crashes when a worker keeps those of all."""
    yield
    if 'jax' in sys.modules:
        sys.modules['jax'].clear_caches()
        gc.collect()


def relative_name(nodeid):
    return nodeid.removeprefix(f'{TESTS.name}/')


def file_of(name):
    return name.partition('::')[0]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests of tools and the slow ones; start with the files that take longest."""
    seconds = json.loads(DURATIONS_FILE.read_text())
    of_files = collections.Counter()
    for name, value in seconds.items():
        of_files[file_of(name)] += value
    for item in items:
        name = relative_name(item.nodeid)
        if name.startswith(TOOL_TESTS):
            item.add_marker(pytest.mark.tools)
        elif name in seconds:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: -of_files[file_of(relative_name(item.nodeid))])


def record_durations(reports, *, of_all):
    """Rewrite the seconds of these tests; if they are all there are, forget all others."""
    took = collections.Counter()
    for report in reports:
        if not (name := relative_name(report.nodeid)).startswith(TOOL_TESTS):
            took[name] += report.duration
    seconds = took if of_all else {**json.loads(DURATIONS_FILE.read_text()), **took}
    slow = {name: round(seconds[name]) for name in sorted(seconds) if seconds[name] >= SLOW_SECONDS}
    DURATIONS_FILE.write_text(json.dumps(slow, indent=0) + '\n')


def pytest_terminal_summary(terminalreporter):
    """Record durations if asked to; print how far the golden numbers were from ours."""
    if os.environ.get('SPADE_JAX_RECORD_DURATIONS'):
        reports = sum(terminalreporter.stats.values(), [])
        config = terminalreporter.config
        of_all = not config.option.markexpr and config.args == config.getini('testpaths')
        timed = [report for report in reports if hasattr(report, 'duration')]
        record_durations(timed, of_all=of_all)
    from tests import parity

    shares = [error / scale for _, error, scale in parity.COMPARED if scale > 1e-6]
    if shares:
        terminalreporter.write_line(
            f'{len(parity.COMPARED)} arrays compared with the reference; largest error relative to '
            f"each array's largest value: median {np.median(shares):.1e}, 99 % below "
            f'{np.quantile(shares, 0.99):.1e}'
        )
