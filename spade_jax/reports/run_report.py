"""report.html: a whole run on one page that opens without network access."""

import datetime
import html
import os
import pathlib
import re
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from spade_jax.config.config import Config
from spade_jax.config.model_options import MODELS
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.html_page import html_page
from spade_jax.files.image_grid import data_url, evenly_spaced
from spade_jax.files.names import CHECKPOINTS
from spade_jax.reports.healthy_ranges import healthy_ranges, remarks
from spade_jax.reports.run_log import REPORT, read_scalars
from spade_jax.reports.run_metadata import is_count, read_metadata
from spade_jax.reports.svg_charts import STYLE as CHART_STYLE
from spade_jax.reports.svg_charts import Points, chart

MAX_GRIDS, MAX_GRID_WIDTH = 12, 960
MAX_CELL_LENGTH = 300  # characters of a table cell
MAX_FLOAT32 = float(np.finfo(np.float32).max)  # Beyond it the axis of a chart overflows.
# Patterns of metrics and titles of their charts, in the order of the page. The group `label` is the
# name in the legend; a metric that no pattern matches has a chart of its own.
CHARTS = (
    (r'(?P<label>._gan)', 'adversarial losses'),
    (r'(?P<label>(._)(?!logits_|gradient_norm).+)', r'losses \2*'),
    (r'(?P<label>._logits_.+)', 'mean logits'),
    (r'(?P<label>.)_gradient_norm', 'gradient norms'),
    (r'(?P<label>.+)_weight_norm', 'weight norms'),
    (r'(?P<label>.+)_learning_rate', 'learning rates'),
)
_PAGE_STYLE = """
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .5rem 1rem; }
.tiles b { display: block; font-size: 1.25rem; }
.charts { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); }
.charts svg { width: 100%; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; }
table { border-collapse: collapse; }
td, th { text-align: left; padding: .15rem 1.25rem .15rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
"""
STYLE = CHART_STYLE + _PAGE_STYLE


def write(workdir: str) -> str:
    """Write the report of a run, finished or not, and return its path.

    Raises:
      UserError: The directory holds no run.
    """
    metadata, records = read_run(workdir)
    path = os.path.join(workdir, REPORT)
    content = page(workdir, metadata, records)
    with atomic_write(path) as partial:  # Names of directories may have no encoding.
        pathlib.Path(partial).write_text(content, encoding='utf-8', errors='xmlcharrefreplace')
    return path


def read_run(workdir: str) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """Metadata ({} if they are unknown) and records; UserError if the directory has neither."""
    metadata, records = read_metadata(workdir), read_scalars(workdir)
    if metadata is None and not records:
        remedy = 'give the directory that --mode=train wrote to'
        raise UserError(f'workdir={workdir} holds no run', remedy)
    return metadata or {}, records


def page(workdir: str, metadata: dict[str, Any], records: list[dict[str, float]]) -> str:
    """The text of the page; the metadata are {} if they are unknown."""
    options = options_of(metadata)
    curves, gan_loss = finite_points(records), options.get('gan_loss', '')
    sections = {
        'Remarks': _remarks(curves, gan_loss),
        'Curves': _curves(curves, gan_loss),
        'Samples: label map, generated, real': samples(pathlib.Path(workdir, 'samples')),
        'Configuration': _configuration(options),
        'Sessions': _sessions(metadata.get('sessions', [])),
        'Checkpoints': _checkpoints(pathlib.Path(workdir, CHECKPOINTS)),
    }
    body = _tiles(metadata, options, records, curves)
    for title, content in sections.items():
        body += f'\n<h2>{title}</h2>\n{content}' if content else ''
    return html_page(os.path.basename(os.path.abspath(workdir)), body, STYLE)


def finite_points(records: Iterable[dict[str, float]]) -> dict[str, Points]:
    """Step and value of each record that has a metric, by metric; values are of float32, finite."""
    points: dict[str, Points] = {}
    for record in records:
        for name, value in record.items():
            if name != 'step' and abs(value) <= MAX_FLOAT32:
                points.setdefault(name, []).append((record['step'], value))
    return points


def bytes_below(directory: str | pathlib.Path) -> int:
    """Bytes of all files in a directory and its subdirectories."""
    paths = pathlib.Path(directory).rglob('*')
    return sum(path.stat().st_size for path in paths if path.is_file())


def options_of(metadata: dict[str, Any]) -> dict[str, Any]:
    """All options by name, and the name of the model as 'model'."""
    sections = metadata.get('config', {}).values()
    flat = {name: value for values in sections for name, value in values.items()}
    return {'model' if name == 'name' else name: value for name, value in flat.items()}


def _tiles(metadata, options, records, curves) -> str:
    sessions, num_examples = metadata.get('sessions', []), metadata.get('num_examples')
    steps = [session['last_step'] for session in sessions[-1:]]
    step = max(steps + [record['step'] for record in records[-1:]], default=0)
    tiles = {'steps': f'{step:,}'}
    if is_count(options.get('batch_size')):
        seen = step * options['batch_size']
        tiles['images seen'] = f'{seen:,}'
        if num_examples:
            tiles['images in the training set'] = f'{num_examples:,}'
            tiles['epochs'] = f'{seen / num_examples:.1f}'
    if sessions:
        seconds = round(sum(session['seconds'] for session in sessions))
        tiles['wall time'] = str(datetime.timedelta(seconds=seconds))
    for name, number in metadata.get('parameters', {}).items():
        tiles[f'parameters of the {html.escape(name)}'] = f'{number:,}'
    if speeds := [value for _, value in curves.get('images_per_second', ())]:
        tiles['images per second, median'] = f'{statistics.median(speeds):.3g}'
    boxes = (f'<div><b>{value}</b>{label}</div>' for label, value in tiles.items())
    return f'<div class="tiles">{"".join(boxes)}</div>'


def _remarks(curves: dict[str, Points], gan_loss: str) -> str:
    values = {name: [value for _, value in points] for name, points in curves.items()}
    items = ''.join(f'<li>{html.escape(remark)}</li>' for remark in remarks(values, gan_loss))
    return f'<ul class="warn">{items}</ul>' if items else ''


def _curves(curves: dict[str, Points], gan_loss: str) -> str:
    ranges, charts = healthy_ranges(gan_loss), ''
    for title, metrics in _charts(curves).items():
        healthy = [ranges[name] for name in metrics if name in ranges]
        lows, highs = [each.low for each in healthy], [each.high for each in healthy]
        bounds = (min(lows), max(highs)) if healthy else None
        labeled = {label: curves[name] for name, label in metrics.items()}
        charts += chart(title, labeled, bounds)
    note = 'Shaded: the range of a healthy run. The numbers after the names are the last values.'
    return f'<p class="quiet">{note}</p><div class="charts">{charts}</div>' if charts else ''


def _charts(metrics: Iterable[str]) -> dict[str, dict[str, str]]:
    """The metrics of each chart, by its title, with their names in the legend."""
    charts: dict[str, dict[str, str]] = {}
    rest = list(metrics)
    for pattern, title in CHARTS:
        for match in filter(None, [re.fullmatch(pattern, name) for name in rest]):
            charts.setdefault(match.expand(title), {})[match[0]] = match['label']
            rest.remove(match[0])
    return charts | {name.replace('_', ' '): {name: name} for name in rest}


def samples(directory: pathlib.Path, newest: int = MAX_GRIDS) -> str:
    """Figures of the sample grids, newest first: evenly spaced ones, or only the newest."""
    paths = [path for path in directory.glob('step_*.png') if path.stem[5:].isdecimal()]
    steps, figures = {int(path.stem[5:]): path for path in paths}, ''
    for step in evenly_spaced(sorted(steps)[::-1], newest):
        try:
            url = data_url(Image.open(steps[step]), MAX_GRID_WIDTH)
            image = f'<img src="{url}" alt="samples at step {step}">'
            figures += f'<figure>{image}<figcaption>step {step:,}</figcaption></figure>'
        except Exception as error:  # Pillow raises many types for a damaged file.
            problem = f'{steps[step].name} cannot be read ({type(error).__name__})'
            figures += f'<p class="warn">step {step}: {problem}.</p>'
    return figures


def _configuration(options: dict[str, Any]) -> str:
    if not options:
        return '<p class="quiet">Not known: the run has no run.json.</p>'
    model = options['model'] if str(options.get('model')) in MODELS else 'spade'
    defaults = Config.create(model).options()
    rows = [(name, value, defaults.get(name)) for name, value in options.items()]
    changed = [row for row in rows if row[1] != row[2]]
    rest = [row[:2] for row in rows if row[1] == row[2]]
    table = html_table(('flag', 'value', 'default'), changed) if changed else '<p>All defaults.</p>'
    summary = f'<summary>{len(rest)} more, at their defaults</summary>'
    return f'{table}<details>{summary}{html_table(("flag", "value"), rest)}</details>'


def _sessions(sessions: list[dict[str, Any]]) -> str:
    rows = []
    for session in sessions:
        steps = f'{session["first_step"] + 1:,} to {session["last_step"]:,}'
        versions = ', '.join(f'{name} {version}' for name, version in session['versions'].items())
        time = datetime.timedelta(seconds=round(session['seconds']))
        code = session.get('code', '')
        rows.append((session['started'], steps, time, session['devices'], code, versions))
    return (
        html_table(('started', 'steps', 'time', 'devices', 'code', 'versions'), rows)
        if rows
        else ''
    )


def _checkpoints(directory: pathlib.Path) -> str:
    steps = sorted(int(path.name) for path in directory.glob('*') if path.name.isdecimal())
    rows = [(f'{step:,}', f'{bytes_below(directory / str(step)) / 1e6:,.1f}') for step in steps]
    return html_table(('step', 'MB'), rows) if rows else ''


def html_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table; long values are cut."""

    def cell(value: Any) -> str:
        text = '' if value is None else str(value)
        text = text if len(text) <= MAX_CELL_LENGTH else text[:MAX_CELL_LENGTH] + ' ...'
        return f'<td>{html.escape(text)}</td>'

    lines = [''.join(f'<th>{name}</th>' for name in header)]
    lines += [''.join(map(cell, row)) for row in rows]
    return f'<table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'
