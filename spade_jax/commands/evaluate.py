"""Score the images of a run, or of any program, against photos and label maps.

--workdir=W samples the validation set of the run (or the label maps of --label_dir) and compares
with its photos; with --image_dir, the images there, named as the label maps, are compared instead.
--workdir=A,B compares runs: in a table with confidence intervals, and on a page.
Without --workdir, --image_dir and --photo_dir are compared as they are. Each score is printed with
every choice that decides it, and written to evaluation.json in --output_dir.
docs/evaluation.md explains the scores.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from absl import flags

from spade_jax.commands import shared
from spade_jax.config.config import option_fields
from spade_jax.config.evaluation_config import EvaluationConfig
from spade_jax.config.flags import given_flags, given_options
from spade_jax.errors import UserError

if TYPE_CHECKING:
    from spade_jax.config.data_config import DataConfig
    from spade_jax.evaluation.comparison import Comparison, Sides
    from spade_jax.evaluation.image_sets import ImageFolder
    from spade_jax.evaluation.results import Results

IMAGE_DIR = flags.DEFINE_string('image_dir', None, 'Images to evaluate.')
PREDICTION_DIR = flags.DEFINE_string(
    'prediction_dir', None, 'Label maps that a segmentation network predicted, for miou.'
)
IOU_CLASSES = flags.DEFINE_integer(
    'iou_classes', 0, 'Classes of --label_dir without a run; other ids are unlabeled.', 0, 4096
)
_SIDES = (IMAGE_DIR, shared.PHOTO_DIR, shared.LABEL_DIR, PREDICTION_DIR)
# Options of the scores that do not change a value.
_NO_PROTOCOL = ('evaluate', 'inception_weights', 'lpips_weights', 'segmentation_weights')
_NO_PROTOCOL += ('feature_cache_dir',)
FLAGS = (
    *(*_SIDES, IOU_CLASSES),
    *(shared.OUTPUT_DIR, shared.INSTANCE_DIR, *shared.GENERATOR_FLAGS),
)
HELP = {'output_dir': 'Directory of the results. Default: <workdir>/evaluation.'}
SECTIONS = ('data', 'evaluation')
OTHER_OPTIONS = shared.OPTIONS_OF_SAMPLING
FIRST_FLAGS = {
    'Images': ('workdir', 'image_dir', 'photo_dir', 'output_dir'),
    'Scores': ('evaluate', 'style_rule', 'fid_mode', 'inception_weights', 'lpips_weights'),
    'Label maps': (
        *('label_dir', 'segmentation_network', 'segmentation_weights', 'protocol'),
        'prediction_dir',
    ),
}


class _Request(NamedTuple):
    """What is compared, by which protocol; `about` says so in the results.

    Attributes:
      sample: Samples the images, if the sides have none.
      log_step: The step of the checkpoint to log the scores for; None: no images of a run.
    """

    sides: Sides
    config: EvaluationConfig
    about: dict[str, Any]
    sample: Callable[[], ImageFolder] | None = None
    log_step: int | None = None


def run() -> None:
    """Print the scores and write them."""
    from spade_jax.evaluation.scores import parse_names

    names = parse_names(str(flags.FLAGS['evaluate'].value))
    if shared.WORKDIR.value is None:
        _evaluate(_folders(), names)
        return
    workdirs = shared.given_workdirs()
    if len(workdirs) > 1:
        _compare(workdirs, names)
    else:
        (workdir,) = workdirs.values()
        _evaluate(_of_run(workdir, '', names), names)


def _compare(workdirs: Mapping[str, str], names: list[str]) -> None:
    """Score runs, and write their comparison."""
    from spade_jax.evaluation import runs_page

    output_dir = shared.checked_output_dir(_results(next(iter(workdirs.values()))))
    runs = []
    for name, workdir in workdirs.items():
        print(f'{name}: {workdir}')
        comparison, scores = _evaluate(_of_run(workdir, name, names), names)
        runs.append(runs_page.Evaluated(name, comparison, scores))
    print('Comparison: {}, {}'.format(*runs_page.write(runs, output_dir)))


def _evaluate(request: _Request, names: list[str]) -> tuple[Comparison, Results]:
    """Sample if there are no images, score, print and write the scores."""
    from spade_jax.evaluation import results
    from spade_jax.evaluation.comparison import Comparison
    from spade_jax.reports.run_log import append_scores

    comparison = Comparison(request.sides, request.config, names)
    results.prepare(comparison)
    if request.sample:
        comparison.set_images(images := request.sample(), request.sides.restyled)
        request.about['image_dir'] = images.directory
    scores = results.score_all(comparison)
    request.about['fingerprints'] = comparison.fingerprints()
    print(results.table(scores))
    path = os.path.join(request.about['output_dir'], 'evaluation.json')
    results.write_json(scores, path, request.about)
    print(f'Scores: {path}')
    if request.log_step is not None:
        values = results.finite_values(scores)
        try:
            append_scores(request.about['workdir'], request.log_step, values)
        except OSError as error:
            print(f'warning: the scores are not in the log of the run ({error})', file=sys.stderr)
    return comparison, scores


def _folders() -> _Request:
    """Directories of any program."""
    from spade_jax.distributed.devices import start_devices
    from spade_jax.evaluation.comparison import Sides
    from spade_jax.evaluation.image_sets import LabelFiles, warn_of_differences
    from spade_jax.files.compilation_cache import keep_compilations

    names = option_fields(EvaluationConfig)
    options: dict[str, Any] = {name: flags.FLAGS[name].value for name in names}
    keep_compilations(shared.COMPILATION_CACHE_DIR.value)
    start_devices()
    output_dir = shared.checked_output_dir(default='evaluation')
    labels = None
    if label_dir := shared.LABEL_DIR.value:
        labels = LabelFiles('label_dir', label_dir, IOU_CLASSES.value)
    images, photos = _folder(IMAGE_DIR), _folder(shared.PHOTO_DIR)
    if images and photos:
        warn_of_differences(images, photos)
    sides = Sides(images, photos, labels, _folder(PREDICTION_DIR))
    about = _given_sides() | {'output_dir': output_dir}
    return _Request(sides, EvaluationConfig(**options), about)


def _of_run(workdir: str, subdirectory: str, names: list[str]) -> _Request:
    """The images of a run, or images of --image_dir, and the data of the run."""
    from spade_jax.data.files.label_maps import EvenlySpaced
    from spade_jax.evaluation import run_data
    from spade_jax.sampling import sample_files

    given = given_flags(flags.FLAGS)
    generator = shared.load_generator(workdir).on_all_devices()
    config = generator.config.replace(**given_options(flags.FLAGS, generator.config))
    output_dir = _results(workdir)
    if shared.OUTPUT_DIR.value:
        output_dir = os.path.join(os.path.expanduser(shared.OUTPUT_DIR.value), subdirectory)
    shared.check_directory('output_dir', output_dir, _inputs(config.data))
    maps, evaluation = shared.label_maps(config), config.evaluation
    bad = {}
    if config.data.on_bad_example == 'skip':
        size = config.data.image_width, config.data.image_height
        bad = sample_files.check_maps(maps, config, size, with_photos=True)
    maps = EvenlySpaced(maps, evaluation.evaluate_examples or len(maps.names), bad)
    sides = run_data.sides_of(config, maps, _folder(PREDICTION_DIR))
    sides = sides._replace(missing={**sides.missing, 'restyled': _one_style()})
    about = {'workdir': workdir, 'output_dir': output_dir} | _given_sides()
    style_rule = 'random' if IMAGE_DIR.value else evaluation.style_rule
    run_data.check_styles(config.model, style_rule, names)
    if images := _folder(IMAGE_DIR):
        return _Request(sides._replace(images=images), evaluation, about)
    choices: dict[str, Any] = dict(style_rule=style_rule, seed=given.get('seed', 0))
    size = given.get('batch_size', shared.MAPS_TOGETHER * generator.num_devices)
    log_step = generator.step
    sample = functools.partial(run_data.sample_images, generator, maps, output_dir, batch_size=size)
    if generator.latent_dim is not None:
        sides = sides._replace(restyled=functools.partial(sample, style_rule='random'))
    is_logged = not (shared.is_demo(workdir) or shared.LABEL_DIR.value) and (
        not evaluation.evaluate_every or _is_of_training(evaluation, generator.config.evaluation)
    )
    about |= {'checkpoint_step': log_step, **choices}
    sample = functools.partial(sample, **choices)
    return _Request(sides, evaluation, about, sample, log_step if is_logged else None)


def _results(workdir: str) -> str:
    """The directory of the results of a run; that of the demo is part of the package."""
    return 'demo_evaluation' if shared.is_demo(workdir) else os.path.join(workdir, 'evaluation')


def _is_of_training(evaluation: EvaluationConfig, trained: EvaluationConfig) -> bool:
    """True if scores are those that the run logs by itself: no curve has values of two kinds."""
    places = dict.fromkeys(_NO_PROTOCOL, '')
    same = dataclasses.replace(evaluation, **places) == dataclasses.replace(trained, **places)
    return same and shared.WEIGHTS.value is None


def _given_sides() -> dict[str, str]:
    """The directories that the flags give, by flag."""
    return {flag.name: flag.value for flag in _SIDES if flag.value}


def _one_style() -> UserError:
    """Why the given images of a label map cannot be compared with each other."""
    problem = f'image_dir={IMAGE_DIR.value} has one image of each label map'
    remedy = 'leave --image_dir out: the run samples images in several styles'
    return UserError(f'{problem}, but lpips_diversity compares several', remedy)


def _inputs(data: DataConfig) -> dict[str, str]:
    """Flag -> directory that is read and must not get sampled images."""
    if IMAGE_DIR.value:
        return {}
    given = (shared.LABEL_DIR, shared.PHOTO_DIR)
    inputs = {flag.name: os.path.expanduser(flag.value) for flag in given if flag.value}
    names = ('validation_image_dir', 'validation_label_dir')
    return inputs or shared.data_directories(data, names)


def _folder(flag: flags.FlagHolder) -> ImageFolder | None:
    from spade_jax.evaluation.image_sets import ImageFolder

    return ImageFolder(flag.name, flag.value) if flag.value else None
