"""Run a script of experiments/ as a user does."""

import os
import subprocess
import sys

from tests.program import ROOT

# Flags of the smallest SPADE networks.
TINY_NETWORKS = [
    '--generator_width=2',
    '--spade_hidden=4',
    '--discriminator_width=4',
    '--discriminator_depth=2',
    '--num_discriminators=1',
]


def run(module: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run `python -m experiments.<module>` on the CPU, with little optimization by XLA."""
    environment = os.environ | {
        'XLA_FLAGS': '--xla_backend_optimization_level=0',
        'JAX_PLATFORMS': 'cpu',
        'OMP_NUM_THREADS': '1',
    }
    command = [sys.executable, '-m', f'experiments.{module}', *arguments]
    options = dict(capture_output=True, text=True, cwd=ROOT, timeout=600)
    return subprocess.run(command, env=environment, **options)


def check_success(result: subprocess.CompletedProcess) -> None:
    """Fail with the output of the script if it failed."""
    assert result.returncode == 0, result.stdout + result.stderr


def refusal(result: subprocess.CompletedProcess) -> str:
    """The one line with which a script refuses its flags."""
    assert result.returncode == 2, result.stdout + result.stderr
    assert 'Traceback' not in result.stderr
    line = result.stderr.splitlines()[-1]
    assert line.startswith('error: ')
    return line
