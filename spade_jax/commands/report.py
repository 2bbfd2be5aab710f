"""Write report.html with the curves and samples of the run in --workdir.

--workdir=A,B writes comparison.html to A: the curves of several runs over each other, and the
options that differ.
"""

import os

from spade_jax.commands.shared import given_workdir

FLAGS = ()
SECTIONS = ()


def run() -> None:
    """Write the report."""
    workdir = given_workdir()
    from spade_jax.reports import comparison, run_report

    workdirs = [os.path.expanduser(part) for part in workdir.split(',') if part]
    if len(workdirs) < 2 or os.path.isdir(workdir):
        print(f'Report: {run_report.write(workdir)}')
    else:
        print(f'Comparison: {comparison.write(workdirs)}')
