"""report.html: a whole run on one page that opens without network access."""

from __future__ import annotations

import base64
import html
import io
import math
import os
import re
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image

from spade_jax.config.config import Config
from spade_jax.config.model_options import MODELS
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.html_page import html_page
from spade_jax.files.image_grid import evenly_spaced
from spade_jax.reports.healthy_ranges import healthy_ranges, remarks
from spade_jax.reports.run_log import read_scalars
from spade_jax.reports.run_metadata import read_metadata
from spade_jax.reports.svg_charts import STYLE as CHART_STYLE
from spade_jax.reports.svg_charts import chart

FILE = 'report.html'
MAX_GRIDS, MAX_GRID_WIDTH = 12, 960
MAX_VALUE_LENGTH = 120  # characters of a configuration value
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
_STYLE = """
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


def write(workdir: str) -> str:
    """Write the report of a run, finished or not, and return its path.

    Raises:
      UserError: The directory holds no run.
    """
    metadata, records = read_metadata(workdir), read_scalars(workdir)
    if metadata is None and not records:
        remedy = 'give the directory that --mode=train wrote to'
        raise UserError(f'workdir={workdir} holds no run', remedy)
    path = os.path.join(workdir, FILE)
    with atomic_write(path) as partial, open(partial, 'w', encoding='utf-8') as file:
        file.write(page(workdir, metadata or {}, records))
    return path


def page(workdir: str, metadata: dict[str, Any], records: list[dict[str, float]]) -> str:
    """The text of the page.

    Args:
      workdir: The work directory.
      metadata: See `RunMetadata`; {} if unknown.
      records: See `run_log.read_scalars`.
    """
    options = _options(metadata.get('config', {}))
    gan_loss = options.get('gan_loss', '')
    values = finite_values(records)
    sections = {
        'Remarks': _remarks(values, gan_loss),
        'Curves': _curves(records, values, gan_loss),
        'Samples: label map, generated, real': _samples(os.path.join(workdir, 'samples')),
        'Configuration': _configuration(options),
        'Sessions': _sessions(metadata.get('sessions', [])),
        'Checkpoints': _checkpoints(os.path.join(workdir, 'checkpoints')),
    }
    body = _tiles(metadata, options, records, values) + ''.join(
        f'\n<h2>{title}</h2>\n{content}' for title, content in sections.items() if content
    )
    return html_page(os.path.basename(os.path.abspath(workdir)), body, _STYLE + CHART_STYLE)


def finite_values(records: Iterable[dict[str, float]]) -> dict[str, list[float]]:
    """The finite values of each metric in order."""
    values: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.items():
            if name != 'step' and isinstance(value, (int, float)) and math.isfinite(value):
                values.setdefault(name, []).append(value)
    return values


def duration(seconds: float) -> str:
    """'2 h 05 min' or '3 min 07 s'."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes:02d} min' if hours else f'{minutes} min {seconds:02d} s'


def bytes_below(directory: str) -> int:
    """Bytes of all files in a directory and its subdirectories."""
    paths = (os.path.join(top, name) for top, _, names in os.walk(directory) for name in names)
    return sum(map(os.path.getsize, paths))


def _options(sections: dict[str, Any]) -> dict[str, Any]:
    """All options by name, and the name of the model as 'model'."""
    flat = {name: value for values in sections.values() for name, value in values.items()}
    return {'model' if name == 'name' else name: value for name, value in flat.items()}


def _tiles(metadata, options, records, values) -> str:
    sessions, num_examples = metadata.get('sessions', []), metadata.get('num_examples')
    steps = [session['last_step'] for session in sessions[-1:]]
    steps += [record['step'] for record in records[-1:]]
    step = max(steps, default=0)
    tiles = {'steps': f'{step:,}'}
    if 'batch_size' in options:
        seen = step * options['batch_size']
        tiles['images seen'] = f'{seen:,}'
        if num_examples:
            tiles['images in the training set'] = f'{num_examples:,}'
            tiles['epochs'] = f'{seen / num_examples:.1f}'
    if sessions:
        tiles['wall time'] = duration(sum(session['seconds'] for session in sessions))
    if speeds := values.get('images_per_second'):
        tiles['images per second, median'] = f'{statistics.median(speeds):.3g}'
    boxes = (f'<div><b>{value}</b>{label}</div>' for label, value in tiles.items())
    return f'<div class="tiles">{"".join(boxes)}</div>'


def _remarks(values, gan_loss: str) -> str:
    items = ''.join(f'<li>{html.escape(remark)}</li>' for remark in remarks(values, gan_loss))
    return f'<ul class="warn">{items}</ul>' if items else ''


def _curves(records, values, gan_loss: str) -> str:
    ranges, charts = healthy_ranges(gan_loss), []
    for title, metrics in _charts(values).items():
        curves = {label: _curve(records, name) for name, label in metrics.items()}
        healthy = [ranges[name] for name in metrics if name in ranges]
        bounds = None
        if healthy:
            bounds = min(each.low for each in healthy), max(each.high for each in healthy)
        charts.append(chart(title, curves, healthy=bounds))
    note = 'Shaded: the range of a healthy run. The numbers after the names are the last values.'
    if not charts:
        return ''
    return f'<p class="quiet">{note}</p><div class="charts">{"".join(charts)}</div>'


def _charts(metrics: Iterable[str]) -> dict[str, dict[str, str]]:
    """The metrics of each chart, by its title, with their names in the legend."""
    charts: dict[str, dict[str, str]] = {}
    rest = dict.fromkeys(metrics)
    for pattern, title in CHARTS:
        for match in filter(None, (re.fullmatch(pattern, name) for name in list(rest))):
            charts.setdefault(match.expand(title), {})[match[0]] = match['label']
            del rest[match[0]]
    return charts | {name.replace('_', ' '): {name: name} for name in rest}


def _curve(records, name: str) -> tuple[list[float], list[float]]:
    """Steps and values of the records that have a metric."""
    having = [record for record in records if isinstance(record.get(name), (int, float))]
    return [record['step'] for record in having], [record[name] for record in having]


def _samples(directory: str) -> str:
    steps = {}
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        if match := re.fullmatch(r'step_(\d+)\.png', name):
            steps[int(match[1])] = os.path.join(directory, name)
    figures = []
    for step in evenly_spaced(sorted(steps), MAX_GRIDS):
        try:
            image = f'<img src="{_data_url(steps[step])}" alt="samples at step {step}">'
            figures.append(f'<figure>{image}<figcaption>step {step:,}</figcaption></figure>')
        except OSError as error:
            name, reason = os.path.basename(steps[step]), type(error).__name__
            figures.append(f'<p class="warn">step {step}: {name} cannot be read ({reason}).</p>')
    return ''.join(reversed(figures))  # newest first


def _data_url(path: str) -> str:
    """The image as a data URL: PNG if that is small, else JPEG; wide images are scaled down."""
    with Image.open(path) as file:
        image = file.convert('RGB')
    if image.width > MAX_GRID_WIDTH:
        height = round(image.height * MAX_GRID_WIDTH / image.width)
        image = image.resize((MAX_GRID_WIDTH, height), Image.Resampling.LANCZOS)
    png, jpeg = io.BytesIO(), io.BytesIO()
    image.save(png, 'png', optimize=True)
    image.save(jpeg, 'jpeg', quality=88)
    use_png = png.tell() <= 1.5 * jpeg.tell()
    kind, buffer = ('png', png) if use_png else ('jpeg', jpeg)
    return f'data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}'


def _configuration(options: dict[str, Any]) -> str:
    if not options:
        return '<p class="quiet">Not known: the run has no run.json.</p>'
    model = options.get('model')
    defaults = Config.create(model if model in MODELS else 'spade').options()
    changed = {name: value for name, value in options.items() if value != defaults.get(name)}
    rest = {name: value for name, value in options.items() if name not in changed}
    rows = [(name, value, defaults.get(name)) for name, value in changed.items()]
    table = _table(('flag', 'value', 'default'), rows) if rows else '<p>All defaults.</p>'
    summary = f'<summary>{len(rest)} more, at their defaults</summary>'
    return f'{table}<details>{summary}{_table(("flag", "value"), rest.items())}</details>'


def _sessions(sessions: list[dict[str, Any]]) -> str:
    rows = []
    for session in sessions:
        steps = f'{session["first_step"] + 1:,} to {session["last_step"]:,}'
        versions = ', '.join(f'{name} {version}' for name, version in session['versions'].items())
        time = duration(session['seconds'])
        rows.append((session['started'], steps, time, session['devices'], versions))
    header = ('started', 'steps', 'time', 'devices', 'versions')
    return _table(header, rows, max_length=1000) if rows else ''


def _checkpoints(directory: str) -> str:
    names = os.listdir(directory) if os.path.isdir(directory) else []
    rows = []
    for step in sorted(int(name) for name in names if name.isdigit()):
        megabytes = bytes_below(os.path.join(directory, str(step))) / 1e6
        rows.append((f'{step:,}', f'{megabytes:,.1f}'))
    return _table(('step', 'MB'), rows) if rows else ''


def _table(
    header: Sequence[str], rows: Iterable[Sequence[Any]], max_length: int = MAX_VALUE_LENGTH
) -> str:
    def cell(value: Any) -> str:
        text = '' if value is None else str(value)
        text = text if len(text) <= max_length else text[:max_length] + ' ...'
        return f'<td>{html.escape(text)}</td>'

    lines = [''.join(f'<th>{name}</th>' for name in header)]
    lines += [''.join(map(cell, row)) for row in rows]
    return f'<table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table>'
