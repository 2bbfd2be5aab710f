"""Several evaluated runs side by side: a table in Markdown, and a page with their label maps."""

from __future__ import annotations

import html
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from spade_jax.evaluation.bootstrap import Interval, interval, interval_of_difference
from spade_jax.evaluation.comparison import Comparison, PerImage
from spade_jax.evaluation.results import Results
from spade_jax.evaluation.scores import SCORES
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.html_page import html_page
from spade_jax.files.image_grid import data_url
from spade_jax.reports.run_report import STYLE, html_table

MARKDOWN, PAGE = 'comparison.md', 'comparison.html'
NUM_SHOWN = 4  # Worst and best label maps of a run.
_STYLE = STYLE + 'figure { display: inline-block; margin: 0 1rem 1rem 0; }'


class Evaluated(NamedTuple):
    """An evaluated run.

    Attributes:
      name: Its column.
      comparison: What was compared.
      results: The scores.
    """

    name: str
    comparison: Comparison
    results: Results


def write(runs: Sequence[Evaluated], output_dir: str) -> tuple[str, str]:
    """Write the table and the page; returns their paths."""
    header, rows = ['score', *(run.name for run in runs)], [*_rows(runs)]
    lines = [header, ['---'] * len(header), *rows]
    note = (
        'In brackets: 95 % of the scores of resampled images. Differences are to the first run, '
        'of the same label maps.'
    )
    markdown = '\n'.join(f'| {" | ".join(line)} |' for line in lines) + f'\n\n{note}\n'
    body = f'{html_table(header, rows)}<p class="quiet">{note}</p>'
    body += ''.join(_label_maps(run) for run in runs)
    page = html_page(f'Evaluation of {len(runs)} runs', body, _STYLE)
    paths = os.path.join(output_dir, MARKDOWN), os.path.join(output_dir, PAGE)
    for path, text in zip(paths, (markdown, page), strict=True):
        with atomic_write(path) as unfinished:
            pathlib.Path(unfinished).write_text(text, encoding='utf-8', errors='xmlcharrefreplace')
    return paths


def _rows(runs: Sequence[Evaluated]) -> Iterator[list[str]]:
    """For each score its values, and their differences to those of the first run."""
    for name in runs[0].results:
        results = [run.results[name] for run in runs]
        images = [result.per_image for result in results]
        yield [
            f'{name} ({SCORES[name].is_better} is better)',
            *(
                _number(result.value, per_image and interval(per_image))
                for result, per_image in zip(results, images, strict=True)
            ),
        ]
        if len({tuple(run.comparison.images.stems()) for run in runs}) == 1 and None not in images:
            yield [f'{name}: difference', '', *_differences(images)]


def _differences(images: Sequence[PerImage | None]) -> Iterator[str]:
    first, *others = (per_image for per_image in images if per_image is not None)
    for other in others:
        everything = np.arange(len(other.values))
        value = other.score_of(everything) - first.score_of(everything)
        yield _number(value, interval_of_difference(other, first))


def _number(value: float, bounds: Interval | None) -> str:
    return f'{value:.4g}' + (f' [{bounds.low:.4g}, {bounds.high:.4g}]' if bounds else '')


def _label_maps(run: Evaluated) -> str:
    """The worst and the best images of a run by its first score of single images."""
    for name, result in run.results.items():
        if result.per_image is None:
            continue
        sign = 1 if SCORES[name].is_better == 'higher' else -1
        values = result.per_image.values
        order = np.argsort(sign * values, kind='stable')[: np.sum(~np.isnan(values))]
        shown = {'worst': order[:NUM_SHOWN], 'best': order[::-1][:NUM_SHOWN]}
        sections = (
            f'<h3>{kind}</h3>'
            + ''.join(_figure(run.comparison, i, name, result.per_image) for i in indices)
            for kind, indices in shown.items()
        )
        heading = f'<h2>{html.escape(run.name)}: label map, image and photo, by {name}</h2>'
        return heading + ''.join(sections)
    return ''


def _figure(comparison: Comparison, index: int, name: str, per_image: PerImage) -> str:
    """Label map, image and photo."""
    panels = comparison.panels_of(index)
    urls = ''.join(f'<img src="{data_url(Image.fromarray(panel))}" alt="">' for panel in panels)
    stem = html.escape(comparison.images.stems()[index])
    caption = f'<figcaption>{stem}: {name} {per_image.values[index]:.4g}</figcaption>'
    return f'<figure>{urls}{caption}</figure>'
