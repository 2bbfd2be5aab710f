"""Run the tour "From GAN to SPADE" and write its figures and numbers into the page.

    python -m experiments.figures.tour --workdir_root=runs/tour --seconds=360

trains each system of the story for the same time on the same landscapes: eight times six minutes,
and ten minutes for the rest. What is done is not repeated: the same command resumes, and more
--seconds extend all runs. The prose of the page is edited by hand; the command replaces what is
between `<!-- NAME -->` and `<!-- end -->`.
"""

import gc
import itertools
import json
import math
import os
import pathlib
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import app, flags
from PIL import Image

import spade_jax
from spade_jax.config.config import Config
from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.label_maps import EvenlySpaced, LabelsOfSource
from spade_jax.data.files.palette import colorize_input
from spade_jax.data.pipeline.input_pipeline import validation_examples
from spade_jax.data.sources.open_source import open_source
from spade_jax.errors import UserError, one_line_errors, require_extra
from spade_jax.evaluation import results, run_data
from spade_jax.evaluation.comparison import Comparison
from spade_jax.evaluation.scores import SCORES
from spade_jax.files.atomic_write import atomic_write
from spade_jax.files.compilation_cache import keep_compilations
from spade_jax.files.image_grid import image_grid
from spade_jax.landscapes.classes import GRASS, MOUNTAIN, SAND, SKY, TREE, WATER
from spade_jax.layers.convolution import Convolution
from spade_jax.layers.normalization import Normalization
from spade_jax.layers.spatially_adaptive_norm import SpatiallyAdaptiveNorm
from spade_jax.models.model import build_model
from spade_jax.models.train_state import abstract_networks, parameter_count
from spade_jax.reports.run_log import read_scalars
from spade_jax.sampling import TrainedGenerator

# Flagfile below configs/tour/, and name of a block in the page -> title.
SYSTEMS = {
    'gan': 'GAN, non-saturating',
    'gan_least_squares': 'GAN, least squares',
    'gan_growing': 'GAN, growing resolution',
    'pix2pix': 'pix2pix',
    'pix2pixhd': 'pix2pixHD',
    'spade_input_only': 'decoder, layout at the input',
    'spade_concat': 'decoder with concatenation',
    'spade': 'SPADE',
}
PAGE = pathlib.Path(__file__).parents[2] / 'docs' / 'from_gan_to_spade.md'
EXAMPLES = 6  # Images in a row.
UNIFORM_CLASSES = (SKY, MOUNTAIN, TREE, GRASS, WATER, SAND)
# A run is done when so much of its time is spent; it may exceed it by as much.
DONE = 0.95
FRECHET, LAYOUT = 'lite0_frechet', 'layout'
_COLORS = 128


class Pace(NamedTuple):
    """What the log of a run tells of its time, without compilation, grids and checkpoints.

    Attributes:
      steps: Steps that are done.
      seconds: Seconds that they took.
      recent: Seconds of a step, the mean over the last quarter of them.
    """

    steps: int = 0
    seconds: float = 0.0
    recent: float = 0.0


def pace_of(workdir: str, batch_size: int) -> Pace:
    """The pace of the run in a work directory, which may be empty."""
    steps, seconds = [0], [0.0]
    for record in read_scalars(workdir):
        if 'images_per_second' in record:
            number = record['step'] - steps[-1]
            steps.append(int(record['step']))
            seconds.append(seconds[-1] + number * batch_size / record['images_per_second'])
    if steps[-1] == 0:
        return Pace()
    start = int(np.searchsorted(steps, 0.75 * steps[-1], side='right')) - 1
    recent = (seconds[-1] - seconds[start]) / (steps[-1] - steps[start])
    return Pace(steps[-1], seconds[-1], recent)


def train_for(config: Config, workdir: str, seconds: float) -> Pace:
    """Train until the steps took so many seconds; resume what the directory holds.

    A session of a few steps measures them. Each later one has as many as fit into the rest of the
    time, but at most as many as were done before: steps of a network that grows become slower.

    Raises:
      UserError: The epochs of the configuration end before.
    """
    pace = pace_of(workdir, config.optimizer.batch_size)
    while pace.seconds < DONE * seconds:
        more = 2 * config.run.log_every
        if pace.steps:
            more = min(pace.steps, math.ceil((seconds - pace.seconds) / pace.recent))
        spade_jax.train(config.replace(max_steps=pace.steps + more), workdir)
        last, pace = pace, pace_of(workdir, config.optimizer.batch_size)
        if pace.steps == last.steps:
            problem = f'{workdir} ends after {pace.steps} steps, {pace.seconds:.0f} of {seconds} s'
            raise UserError(problem, 'give its flagfile more --constant_epochs')
    # The programs of all systems together have more memory maps than Linux allows a process.
    jax.clear_caches()
    gc.collect()
    return pace


class Scorer:
    """Scores generators by the validation set of some data."""

    def __init__(self, config: Config):
        source = open_source(config.data, 'validation')
        assert source is not None  # Landscapes have one.
        self.batch = validation_examples(source, config.data, EXAMPLES)
        self._maps, self._config = LabelsOfSource(source, config.data), config
        names = [FRECHET] * has_frechet() + [LAYOUT] * config.data.uses_labels
        sides = run_data.sides_of(config, self._maps)
        self._comparison = Comparison(sides, config.evaluation, names)
        results.prepare(self._comparison)

    def __call__(self, generator: TrainedGenerator) -> dict[str, float]:
        """The scores by name; that of the layout also for the real images."""
        with tempfile.TemporaryDirectory() as directory:
            options: dict[str, Any] = dict(style_rule='random', seed=0, batch_size=8)
            sample = run_data.sample_images
            images = sample(generator, self._maps, directory, is_temporary=True, **options)
            self._comparison.set_images(images)
            found = results.score_all(self._comparison)
        values = {name: result.value for name, result in found.items()}
        if LAYOUT in found:
            values['layout_of_photos'] = found[LAYOUT].protocol['of_real_images']
        return values

    def frechet_of_photos(self) -> float | None:
        """The Frechet distance of as many training photos: what a perfect generator has."""
        if not has_frechet():
            return None
        data = self._config.data
        source = open_source(data, 'train')
        assert source is not None
        maps = EvenlySpaced(LabelsOfSource(source, data), len(self._maps.names))
        self._comparison.set_images(run_data.RunPhotos(maps, self._config))
        return SCORES[FRECHET].compute(self._comparison).value

    def sample(self, generator: TrainedGenerator) -> np.ndarray:
        """The images [EXAMPLES, H, W, 3] of the first label maps, or samples."""
        if generator.config.data.unconditional:
            return generator(num=len(self.batch.label), seed=1)
        return generator(self.batch.label, seed=1)


def has_frechet() -> bool:
    """True if the network of the Frechet distance is installed."""
    try:
        require_extra('lite0', 'the Frechet distance of the tour')
    except UserError as error:
        print(f'warning: {error}')
        return False
    return True


def measure(config: Config, workdir: str, pace: Pace, scorer: Scorer) -> dict[str, Any]:
    """The numbers of a run; those of the same step are read from its `tour.json`."""
    path = os.path.join(workdir, 'tour.json')
    if os.path.exists(path):
        with open(path, encoding='utf-8') as file:
            if (found := json.load(file))['steps'] == pace.steps:
                return found
    networks = abstract_networks(build_model(config))
    counts = {name: parameter_count(networks[name]) for name in ('generator', 'discriminator')}
    found = {'steps': pace.steps, 'seconds': pace.seconds, **counts}
    found |= scorer(spade_jax.load(workdir))
    with atomic_write(path) as partial, open(partial, 'w', encoding='utf-8') as file:
        json.dump(found, file, indent=1)
    return found


def uniform_maps(config: DataConfig) -> np.ndarray:
    """Label maps [classes, H, W] of one class each."""
    size = config.image_height, config.image_width
    return np.stack([np.full(size, number, np.uint8) for number in UNIFORM_CLASSES])


def difference(images: np.ndarray) -> float:
    """The mean absolute difference between images [N, H, W, C] of the same place in pairs."""
    pairs = itertools.combinations(images.astype(np.float64), 2)
    return float(np.mean([np.abs(one - other).mean() for one, other in pairs]))


def differences_of_layers(num_classes: int = 13, features: int = 64, seed: int = 0) -> list[float]:
    """How much uniform label maps differ after a convolution, its normalization, and SPADE.

    The weights are random. The convolution pads with the mirror image: zeros at the border would
    be the only thing in a uniform map that a normalization does not remove.

    Returns:
      Mean absolute differences between the activations of two classes, the three layers in order.
    """
    layout = jax.nn.one_hot(np.arange(num_classes), num_classes)[:, None, None]
    layout = layout.repeat(16, axis=1).repeat(16, axis=2)  # [classes, 16, 16, classes]
    keys = jax.random.split(jax.random.key(seed))
    convolution = Convolution(features, reflect=True)
    x: Any = convolution.apply(convolution.init(keys[0], layout), layout)
    plain: Any = Normalization('instance').apply({}, x, train=False)
    spade = SpatiallyAdaptiveNorm('instance', hidden=features)
    variables = spade.init(keys[1], x, layout, train=False)
    modulated: Any = spade.apply(variables, x, layout, train=False)
    inner = slice(2, -2)  # SPADE pads with zeros.
    return [difference(np.asarray(y)[:, inner, inner]) for y in (x, plain, modulated)]


class Page:
    """The Markdown file of prose and blocks to fill; its figures are in `tour/` beside it."""

    def __init__(self, path: str | os.PathLike):
        self._path = pathlib.Path(path)

    def fill(self, name: str, content: str) -> None:
        """Replace a block; raises UserError if the page has none of that name."""
        text = self._path.read_text(encoding='utf-8')
        block = re.compile(rf'(<!-- {name} -->\n).*?(<!-- end -->)', re.DOTALL)
        if len(block.findall(text)) != 1:
            problem = f'{self._path} does not have one block <!-- {name} --> ... <!-- end -->'
            raise UserError(problem, 'add it where its numbers should be')
        text = block.sub(lambda found: f'{found[1]}{content}\n{found[2]}', text)
        with atomic_write(str(self._path)) as partial:
            pathlib.Path(partial).write_text(text, encoding='utf-8')

    def figure(self, name: str, rows: Sequence[np.ndarray], alt: str) -> str:
        """Write rows of images [N, H, W, 3] as a PNG with a palette; returns its Markdown."""
        grid = image_grid([np.stack(column) for column in zip(*rows, strict=True)], per_row=1)
        image = Image.fromarray(grid).quantize(_COLORS)
        with atomic_write(str(self._path.parent / 'tour' / f'{name}.png')) as partial:
            image.save(partial, format='PNG', optimize=True)
        return f'![{alt}](tour/{name}.png)'


def describe(found: Mapping[str, Any]) -> str:
    """The numbers of a system in a sentence or two."""
    step = found['seconds'] / found['steps']
    text = f'Generator {found["generator"]:,} and discriminator {found["discriminator"]:,} '
    text += f'parameters; {found["steps"]:,} steps of {step:.3f} s.'
    scores = []
    if LAYOUT in found:
        scores.append(f'Layout judge {found[LAYOUT]:.1%} (photos {found["layout_of_photos"]:.1%})')
    if FRECHET in found:
        scores.append(f'Frechet distance {found[FRECHET]:.0f}')
    return f'{text} {"; ".join(scores)}.' if scores else text


def table(rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; the first row is the head."""
    lines = [f'| {" | ".join(map(str, row))} |' for row in rows]
    return '\n'.join([lines[0], re.sub(r'[^|]+', '---', lines[0]), *lines[1:]])


def summary(measured: Mapping[str, Mapping[str, Any]], frechet_of_photos: float | None) -> str:
    """The table of all systems."""

    def cell(value: float | None, form: str) -> str:
        return '-' if value is None else format(value, form)

    rows = [
        ('system', '`--flagfile=`', 'generator', 'discriminator')
        + ('s a step', 'steps', 'minutes', 'layout judge', 'Frechet')
    ]
    for name, found in measured.items():
        counts = f'{found["generator"]:,}', f'{found["discriminator"]:,}'
        time = f'{found["seconds"] / found["steps"]:.3f}', f'{found["steps"]:,}'
        scores = cell(found.get(LAYOUT), '.1%'), cell(found.get(FRECHET), '.0f')
        minutes = f'{found["seconds"] / 60:.1f}'
        rows.append((SYSTEMS[name], f'`tour/{name}`', *counts, *time, minutes, *scores))
    ceiling = next((each['layout_of_photos'] for each in measured.values() if LAYOUT in each), None)
    scores = cell(ceiling, '.1%'), cell(frechet_of_photos, '.0f')
    return table([*rows, ('photos', *[''] * 6, *scores)])


def uniform_block(generators: Mapping[str, TrainedGenerator], page: Page) -> str:
    """The measured argument: layers with random weights, and trained generators."""
    names = ('convolution', 'convolution, instance normalization', 'the same, with SPADE')
    layers = zip(names, differences_of_layers(), strict=True)
    text = table([('layers', 'difference'), *((name, f'{value:.4f}') for name, value in layers)])
    if not generators:
        return text
    first = next(iter(generators.values()))
    maps = uniform_maps(first.config.data)
    images = {name: generator(maps, seed=1) for name, generator in generators.items()}
    titles = [SYSTEMS[name] for name in generators]
    alt = f'Uniform label maps, and what is sampled from them: {", ".join(titles)}'
    rows = [colorize_input(maps, first.config.data), *images.values()]
    values = [(SYSTEMS[name], f'{difference(each):.1f}') for name, each in images.items()]
    trained = table([('trained generator', 'difference, of 255'), *values])
    return '\n\n'.join([text, page.figure('uniform', rows, alt), trained])


def run(configs: Mapping[str, Config], root: str, seconds: float, page: Page) -> None:
    """Train and measure systems, by their names in `SYSTEMS`, and fill the page."""
    scorers: dict[DataConfig, Scorer] = {}
    measured, generators = {}, {}
    for name, config in configs.items():
        workdir = os.path.join(root, name)
        print(f'{SYSTEMS[name]}: {workdir}', flush=True)
        pace = train_for(config, workdir, seconds)
        if config.data not in scorers:
            scorers[config.data] = Scorer(config)
        scorer = scorers[config.data]
        measured[name] = measure(config, workdir, pace, scorer)
        generator = spade_jax.load(workdir)
        row = page.figure(name, [scorer.sample(generator)], f'Samples of {SYSTEMS[name]}')
        page.fill(name, f'{row}\n\n{describe(measured[name])}')
        if config.data.uses_labels:
            generators[name] = generator
            batch = scorer.batch
            rows = [colorize_input(batch.label, config.data), batch.image]
            page.fill('maps', page.figure('maps', rows, 'Held-out label maps, and their photos'))
    frechet = next(iter(scorers.values())).frechet_of_photos()
    page.fill('uniform', uniform_block(generators, page))
    page.fill('systems', summary(measured, frechet))


def main(argv: list[str]) -> None:
    """Run the systems that the flags choose."""
    with one_line_errors(argv):
        values = flags.FLAGS
        if unknown := [name for name in values.systems if name not in SYSTEMS]:
            problem = f'systems={unknown[0]} is not a system of the tour'
            raise UserError(problem, f'use {",".join(SYSTEMS)}')
        keep_compilations(None)
        configs = {name: spade_jax.configure(f'tour/{name}') for name in values.systems}
        run(configs, os.path.expanduser(values.workdir_root), values.seconds, Page(values.page))


if __name__ == '__main__':
    flags.DEFINE_string('workdir_root', 'runs/tour', 'Directory of the work directories.')
    flags.DEFINE_float('seconds', 360, 'Training time of each system.', 1)
    flags.DEFINE_list('systems', [*SYSTEMS], 'The systems to run.')
    flags.DEFINE_string('page', str(PAGE), 'The Markdown file whose blocks are filled.')
    app.run(main)
