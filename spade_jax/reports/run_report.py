"""report.html: a whole run on one page, which opens without network. Everything stands in the page: pictures, curves, style."""

from __future__ import annotations

import base64
import dataclasses
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
from spade_jax.errors import UserError
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.image_grid import evenly_spaced
from spade_jax.reports.healthy_ranges import healthy_ranges, remarks
from spade_jax.reports.run_log import read_scalars
from spade_jax.reports.run_metadata import read_metadata
from spade_jax.reports.svg_charts import STYLE as CHART_STYLE
from spade_jax.reports.svg_charts import chart

FILE = 'report.html'
MOST_GRIDS, WIDEST_GRID = 12, 960
LONGEST_VALUE = 120  # characters of a configuration value
CHARTS = {
    "discriminator's losses": ('d_fake', 'd_real'),
    "generator's adversarial loss": ('g_gan',),
    "discriminator's scores": ('d_logits_fake', 'd_logits_real'),
    'reconstruction': ('g_feature_matching', 'g_perceptual'),
    'style: KL divergence': ('g_kl',),
    'norms of gradients': ('g_gradient_norm', 'd_gradient_norm'),
    'norms of weights': (
        'generator_weight_norm',
        'discriminator_weight_norm',
        'encoder_weight_norm',
    ),
    'learning rates': ('generator_learning_rate', 'discriminator_learning_rate'),
    'images a second': ('images_per_second',),
    'share of time waiting for data': ('share_of_time_waiting_for_data',),
}
STYLE = """
:root { color-scheme: light dark; --back: #fff; --text: #1b1f24; --quiet: #59636e; --line: #e3e6ea; --card: #f6f8fa;
  --healthy: #1a7f371f; --warn: #9a6700;
  --c0: #0969da; --c1: #cf5b00; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989; --c5: #57606a; }
@media (prefers-color-scheme: dark) { :root { --back: #0f1318; --text: #e6edf3; --quiet: #9aa4af; --line: #262c34; --card: #171c23;
  --healthy: #3fb95026; --warn: #d9a520;
  --c0: #58a6ff; --c1: #f0883e; --c2: #56d364; --c3: #bc8cff; --c4: #f778ba; --c5: #9aa4af; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1120px; padding: 0 1rem; background: var(--back); color: var(--text); }
h1 { margin-bottom: 0; overflow-wrap: anywhere; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.quiet { color: var(--quiet); } .warn { color: var(--warn); }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1.25rem 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .5rem 1rem; }
.tiles b { display: block; font-size: 1.25rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 440px), 1fr)); gap: 1rem; } .charts svg { width: 100%; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; } figcaption { color: var(--quiet); }
table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem 1.25rem .15rem 0; border-bottom: 1px solid var(--line); vertical-align: top; overflow-wrap: anywhere; }
"""


def write(workdir: str) -> str:
    """Writes the report of a run, finished or not, and returns its path.

    Raises:
      UserError: when the directory holds no run.
    """
    facts, records = read_metadata(workdir), read_scalars(workdir)
    if facts is None and not records:
        raise UserError(
            f'workdir={workdir} holds no run', 'give the directory that --mode=train wrote to'
        )
    path = os.path.join(workdir, FILE)
    with atomic_write(path) as partial, open(partial, 'w', encoding='utf-8') as file:
        file.write(page(workdir, facts or {}, records))
    return path


def page(workdir: str, facts: dict[str, Any], records: list[dict[str, float]]) -> str:
    """The page as text.

    Args:
      facts: see `run_facts`; {} where they are not known.
      records: see `run_log.read_scalars`.
    """
    name = os.path.basename(os.path.abspath(workdir))
    config = facts.get('config', {})
    values = finite_values(records)
    sections = {
        'What stands out': _stands_out(values, config.get('gan_loss', '')),
        'Curves': _curves(records, values, config.get('gan_loss', '')),
        'Samples: label map, generated, real': _samples(os.path.join(workdir, 'samples')),
        'Configuration': _configuration(config),
        'Where it ran': _sessions(facts.get('sessions', [])),
        'Checkpointer': _checkpoints(os.path.join(workdir, 'checkpoints')),
    }
    body = ''.join(
        f'<h2>{title}</h2>\n{content}\n' for title, content in sections.items() if content
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(name)}</title>\n'
        f'<style>{STYLE}{CHART_STYLE}</style></head>\n<body><h1>{html.escape(name)}</h1>\n{_tiles(facts, records, values)}\n{body}</body></html>\n'
    )


def finite_values(records: Iterable[dict[str, float]]) -> dict[str, list[float]]:
    """The values of each metric in order, without those that are not finite numbers."""
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


def _tiles(facts, records, values) -> str:
    sessions, config = facts.get('sessions', []), facts.get('config', {})
    step = max(
        [session['last_step'] for session in sessions[-1:]]
        + [record['step'] for record in records[-1:]],
        default=0,
    )
    tiles = {'steps': f'{step:,}'}
    if 'batch_size' in config:
        seen = step * config['batch_size']
        tiles['images seen'] = f'{seen:,}'
        if facts.get('num_examples'):
            tiles |= {
                'pictures in the training set': f'{facts["num_examples"]:,}',
                'epochs': f'{seen / facts["num_examples"]:.1f}',
            }
    if sessions:
        tiles['wall time'] = duration(sum(session['seconds'] for session in sessions))
    if speeds := values.get('images_per_second'):
        tiles['images a second, median'] = f'{statistics.median(speeds):.3g}'
    return (
        '<div class="tiles">'
        + ''.join(f'<div><b>{value}</b>{label}</div>' for label, value in tiles.items())
        + '</div>'
    )


def _stands_out(values, gan_loss) -> str:
    found = remarks(values, gan_loss)
    return (
        '<ul class="warn">'
        + ''.join(f'<li>{html.escape(remark)}</li>' for remark in found)
        + '</ul>'
        if found
        else ''
    )


def _curves(records, values, gan_loss) -> str:
    known = {name for names in CHARTS.values() for name in names}
    panels = CHARTS | {name: (name,) for name in values if name not in known}
    ranges = healthy_ranges(gan_loss)
    charts = []
    for title, names in panels.items():
        curves = {
            name.removesuffix('_weight_norm').removesuffix('_learning_rate'): _curve(records, name)
            for name in names
            if name in values
        }
        healthy = [ranges[name] for name in names if name in ranges]
        charts.append(
            chart(
                title,
                curves,
                healthy=(min(each.low for each in healthy), max(each.high for each in healthy))
                if healthy
                else None,
            )
        )
    note = '<p class="quiet">Shaded: where a healthy run stays. The numbers beside the names are the last ones.</p>'
    return f'{note}<div class="charts">{"".join(charts)}</div>' if any(charts) else ''


def _curve(records, name) -> tuple[list[float], list[float]]:
    """Steps and values of one metric, of the records that have it."""
    pairs = [
        (record['step'], record[name])
        for record in records
        if isinstance(record.get(name), (int, float))
    ]
    return [step for step, _ in pairs], [value for _, value in pairs]


def _samples(directory) -> str:
    steps = {}
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        if match := re.fullmatch(r'step_(\d+)\.png', name):
            steps[int(match[1])] = os.path.join(directory, name)
    figures = []
    for step in evenly_spaced(sorted(steps), MOST_GRIDS):
        try:
            picture = _inline_picture(steps[step])
        except OSError as error:
            figures.append(
                f'<p class="warn">step {step}: {html.escape(os.path.basename(steps[step]))} cannot be read ({html.escape(type(error).__name__)}).</p>'
            )
            continue
        figures.append(
            f'<figure><img src="{picture}" alt="samples at step {step}"><figcaption>step {step:,}</figcaption></figure>'
        )
    return ''.join(reversed(figures))  # the newest first


def _inline_picture(path: str) -> str:
    """A data URL: PNG where that is small, else JPEG; wide pictures are scaled down."""
    with Image.open(path) as file:
        picture = file.convert('RGB')
    if picture.width > WIDEST_GRID:
        picture = picture.resize(
            (WIDEST_GRID, round(picture.height * WIDEST_GRID / picture.width)),
            Image.Resampling.LANCZOS,
        )
    encoded = {}
    for kind, options in {'png': {'optimize': True}, 'jpeg': {'quality': 88}}.items():
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        encoded[kind] = buffer.getvalue()
    kind = 'png' if len(encoded['png']) <= 1.5 * len(encoded['jpeg']) else 'jpeg'
    return f'data:image/{kind};base64,{base64.b64encode(encoded[kind]).decode()}'


def _configuration(config: dict[str, Any]) -> str:
    if not config:
        return '<p class="quiet">Not known: the run has no run.json.</p>'
    defaults = {field.name: field.default for field in dataclasses.fields(Config)}
    changed = {
        name: value
        for name, value in config.items()
        if name not in defaults or value != defaults[name]
    }
    rest = {name: value for name, value in config.items() if name not in changed}
    table = (
        _table(
            ('flag', 'value', 'default'),
            [(name, value, defaults.get(name, '')) for name, value in changed.items()],
        )
        if changed
        else '<p>All defaults.</p>'
    )
    return f'{table}<details><summary>{len(rest)} more, at their defaults</summary>{_table(("flag", "value"), rest.items())}</details>'


def _sessions(sessions: list[dict[str, Any]]) -> str:
    if not sessions:
        return ''
    rows = [
        (
            session['started'],
            f'{session["first_step"] + 1:,} to {session["last_step"]:,}',
            duration(session['seconds']),
            session['devices'],
            ', '.join(f'{name} {version}' for name, version in session['versions'].items()),
        )
        for session in sessions
    ]
    return _table(('started', 'steps', 'time', 'devices', 'versions'), rows, longest=1000)


def _checkpoints(directory: str) -> str:
    steps = (
        sorted(int(name) for name in os.listdir(directory) if name.isdigit())
        if os.path.isdir(directory)
        else []
    )
    return (
        _table(
            ('step', 'MB'),
            [
                (f'{step:,}', f'{bytes_below(os.path.join(directory, str(step))) / 1e6:,.1f}')
                for step in steps
            ],
        )
        if steps
        else ''
    )


def bytes_below(directory: str) -> int:
    """Bytes of all files in a directory and in those below."""
    return sum(
        os.path.getsize(os.path.join(parent, name))
        for parent, _, names in os.walk(directory)
        for name in names
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]], longest: int = LONGEST_VALUE) -> str:
    def cell(value):
        text = '' if value is None else str(value)
        return f'<td>{html.escape(text if len(text) <= longest else text[:longest] + " ...")}</td>'

    return (
        '<table><tr>'
        + ''.join(f'<th>{name}</th>' for name in head)
        + '</tr>'
        + ''.join('<tr>' + ''.join(map(cell, row)) + '</tr>' for row in rows)
        + '</table>'
    )
