"""Write report.html with the curves and samples of the run in --workdir."""

from spade_jax.commands.shared import given_workdir

FLAGS = ()
SECTIONS = ()


def run() -> None:
    """Write the report."""
    workdir = given_workdir()
    from spade_jax.reports import run_report

    print(f'Report: {run_report.write(workdir)}')
