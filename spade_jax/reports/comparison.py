"""comparison.html: the curves of several runs over each other, and the options that differ."""

import html
import os
import pathlib
import string
from collections.abc import Sequence
from typing import Any, NamedTuple

from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.html_page import html_page
from spade_jax.reports import run_report
from spade_jax.reports.svg_charts import NUM_COLORS, Points, chart

FILE = 'comparison.html'


class _Run(NamedTuple):
    """A run by its letter on the page."""

    letter: str
    workdir: str
    metadata: dict[str, Any]
    curves: dict[str, Points]


def write(workdirs: Sequence[str]) -> str:
    """Write the comparison of two to six runs to the directory of the first; returns its path.

    Raises:
      UserError: A directory holds no run, is given twice, or there are too many.
    """
    given = f'workdir={",".join(workdirs)}'
    if len(workdirs) > NUM_COLORS:
        raise UserError(f'{given}: {len(workdirs)} runs', f'compare at most {NUM_COLORS}')
    if len({os.path.realpath(workdir) for workdir in workdirs}) < len(workdirs):
        raise UserError(f'{given} has a run twice', 'give different directories')
    runs = [_read(*pair) for pair in zip(string.ascii_uppercase, workdirs, strict=False)]
    path = os.path.join(workdirs[0], FILE)
    with atomic_write(path) as partial:
        pathlib.Path(partial).write_text(_page(runs), encoding='utf-8', errors='xmlcharrefreplace')
    return path


def _read(letter: str, workdir: str) -> _Run:
    metadata, records = run_report.read_run(workdir)
    return _Run(letter, workdir, metadata, run_report.finite_points(records))


def _page(runs: Sequence[_Run]) -> str:
    letters, body = [run.letter for run in runs], ''
    metrics = dict.fromkeys(metric for run in runs for metric in run.curves)
    charts = ''.join(
        chart(metric, {run.letter: run.curves.get(metric, []) for run in runs})
        for metric in metrics
    )
    sections = {
        'Runs': run_report.html_table(('', 'directory', 'steps', 'code'), map(_row, runs)),
        'Options that differ': run_report.html_table(('flag', *letters), _differing_options(runs)),
        'Curves': f'<div class="charts">{charts}</div>',
        'Newest samples: label map, generated, real': ''.join(map(_newest_samples, runs)),
    }
    for title, content in sections.items():
        body += f'\n<h2>{title}</h2>\n{content}'
    return html_page(f'Comparison of {len(runs)} runs', body, run_report.STYLE)


def _row(run: _Run) -> Sequence[Any]:
    session = (run.metadata.get('sessions') or [{}])[-1]
    last = max((points[-1][0] for points in run.curves.values()), default=0)
    return run.letter, run.workdir, f'{session.get("last_step", last):,}', session.get('code')


def _differing_options(runs: Sequence[_Run]) -> list[Sequence[Any]]:
    options = [run_report.options_of(run.metadata) for run in runs]
    names = dict.fromkeys(name for values in options for name in values)
    rows = [(name, *(values.get(name) for values in options)) for name in names]
    return [row for row in rows if any(value != row[1] for value in row[2:])]


def _newest_samples(run: _Run) -> str:
    figure = run_report.samples(pathlib.Path(run.workdir, 'samples'), newest=1)
    return f'<p>{run.letter}: {html.escape(run.workdir)}</p>{figure}' if figure else ''
