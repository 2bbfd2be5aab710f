"""The measurements of the studio's page, for seconds instead of minutes."""

import os
import re
import subprocess
import sys

import pytest

from tests import program
from tests.studio.browser.conftest import CHROMIUM

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f'needs {CHROMIUM}')


def measured(module, *options):
    """What a measurement prints, with programs that are compiled as usual."""
    command = [sys.executable, '-m', f'experiments.benchmarks.{module}', *options]
    environment = {name: value for name, value in os.environ.items() if name != 'XLA_FLAGS'}
    done = subprocess.run(
        command, cwd=program.ROOT, env=environment, capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rates_and_delays_are_measured():
    lines = measured('benchmark_studio', '--seconds=2', '--strokes=4', '--port=8198')
    (rate,) = re.findall(r'painting: ([\d.]+) images/s', lines)
    assert float(rate) > 0.2
    compiled, cached = re.findall(r'first image ([\d.]+) s after', lines)
    assert float(cached) < float(compiled)
    for mode in ('demand', 'live'):
        (late,) = re.findall(f'mode {mode}: 95 % .* within ([0-9]+) ms', lines)
        assert 0 < int(late) < 1000
    assert re.search('end of a stroke to its image: median [0-9]+ ms', lines)
    assert re.search(r'style slider: [\d.]+ images/s', lines)
    (size,) = re.findall('the page loads ([0-9]+) kB', lines)
    assert 50 < int(size) <= 300


def test_soak_tells_rates_and_memory():
    lines = measured('soak_studio', '--minutes=0.4', '--interval=6', '--port=8199')
    rows = re.findall(r'images, +([\d.]+)/s, studio +([\d.]+) MB, page +([\d.]+) MB', lines)
    assert len(rows) == 4
    for rate, studio, page in rows:
        assert float(rate) > 0.2 and 100 < float(studio) < 3000 and 0.5 < float(page) < 100
    assert re.search(r'since interval 3: studio [+-][\d.]+ MB, page [\d.]+ times, rate', lines)
