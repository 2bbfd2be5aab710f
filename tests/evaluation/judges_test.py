import functools
import types

import numpy as np
import pytest

from spade_jax.config.config import Config
from spade_jax.config.evaluation_config import EvaluationConfig
from spade_jax.data.files.label_maps import LabelsOfSource
from spade_jax.data.pipeline.paired_transforms import Example
from spade_jax.data.sources.open_source import open_source
from spade_jax.errors import UserError
from spade_jax.evaluation import comparison as comparison_module
from spade_jax.evaluation import judges, run_data
from spade_jax.evaluation.comparison import Comparison, Sides
from spade_jax.evaluation.judges import FittedJudge, judge_images
from spade_jax.evaluation.layout_judge import fit_judge
from spade_jax.evaluation.scores import SCORES
from spade_jax.evaluation.unet_judge import Training
from tests import program
from tests.sampling import tiny

SIZE = 2
LABELS = np.arange(4, dtype=np.uint8)[:, None, None].repeat(SIZE, 1).repeat(SIZE, 2)
LABELS[0, 0, 0] = 255


class Arrays:
    """Images or label maps in memory, see `ImageSet` and `LabelSet`."""

    flag, num_classes = 'images', 4

    def __init__(self, arrays, names='abcd'):
        self._arrays, self._names = arrays, names

    def __len__(self):
        return len(self._arrays)

    def read(self, index):
        return self._arrays[index]

    def location(self, index):
        return f'{self._names[index]}.png'

    def stems(self):
        return self._names[: len(self)]

    def fingerprint(self):
        return 'arrays'


class RedChannel:
    """Takes the red channel for the class."""

    def predict(self, images):
        return images[..., 0].astype(np.int32)


def images_of(labels):
    return Arrays(labels[..., None].repeat(3, axis=-1))


def judged(labels):
    return judge_images(RedChannel(), images_of(labels), Arrays(LABELS))


def test_images_that_follow_their_label_maps_are_told_from_others():
    verdict = judged(LABELS % 4)
    assert verdict.own.scores().pixel_accuracy == 1
    assert (verdict.own.matrix.sum(), verdict.own.num_unlabeled) == (15, 1)
    assert verdict.others.scores().pixel_accuracy == 0


def test_other_label_map_is_half_the_set_away():
    verdict = judged((LABELS + 2) % 4)
    assert verdict.own.scores().pixel_accuracy == 0
    np.testing.assert_array_equal(verdict.others.matrix.diagonal(), [3, 4, 3, 4])


def test_image_of_another_size_is_named():
    images = images_of(LABELS[:, :1] % 4)
    with pytest.raises(UserError, match=r'a.png: a label map \[2, 2\], a prediction \[1, 2\]'):
        judge_images(RedChannel(), images, Arrays(LABELS))


def test_single_image_has_no_other_label_map():
    with pytest.raises(UserError, match='needs 2 label maps or more, and there is 1; give more'):
        judge_images(RedChannel(), images_of(LABELS[:1]), Arrays(LABELS[:1]))


def test_cache_of_judges_is_in_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', str(tmp_path))
    # The configuration keeps its "~": checkpoints with it travel to other homes.
    config = EvaluationConfig(feature_cache_dir='~/cache')
    assert config.feature_cache_dir == '~/cache'
    monkeypatch.setattr(comparison_module, 'fit_unet_judge', lambda *inputs: inputs[-1])
    labels, photos = Arrays(LABELS), images_of(LABELS % 4)
    sides = Sides(photos, photos, labels, None, lambda: (photos, labels))
    assert Comparison(sides, config, ['unet_miou']).unet_judge == str(tmp_path / 'cache')


@pytest.mark.parametrize('name, measure', [('layout', 'pixel_accuracy'), ('unet_miou', 'mean_iou')])
def test_score_has_ceiling_and_floor(name, measure, monkeypatch):
    labels, photos = Arrays(LABELS), images_of(LABELS % 4)

    def fit(training, photos, labels, cache_dir=''):
        return FittedJudge(RedChannel(), judge_images(RedChannel(), photos, labels), {'steps': 5})

    monkeypatch.setattr(comparison_module, 'fit_layout_judge', fit)
    monkeypatch.setattr(comparison_module, 'fit_unet_judge', fit)
    generated = LABELS % 4
    generated[3] = 2
    sides = Sides(images_of(generated), photos, labels, None, lambda: (photos, labels))
    value, _, protocol, per_image = SCORES[name].compute(
        Comparison(sides, EvaluationConfig(), [name])
    )
    # The IoU of the classes: 1, 1, 4 of 8, and 0.
    assert value == pytest.approx({'pixel_accuracy': 11 / 15, 'mean_iou': 2.5 / 4}[measure])
    assert (protocol['of_real_images'], protocol['ratio']) == (1, pytest.approx(value))
    assert protocol['with_other_label_maps'] == 0
    assert protocol['steps'] == 5 and protocol['images'] == 4
    assert per_image.score_of(range(4)) == value
    assert list(np.argsort(per_image.values))[0] == 3
    assert {'mean_iou', 'pixel_accuracy', 'mean_accuracy'} - protocol.keys() == {measure}


@pytest.mark.parametrize('name', ['layout', 'unet_miou'])
def test_judges_need_a_training_set(name):
    sides = Sides(images_of(LABELS), images_of(LABELS), Arrays(LABELS))
    with pytest.raises(UserError, match='fitted to the training set, .*; give --workdir'):
        SCORES[name].compute(Comparison(sides, EvaluationConfig(), [name]))


def comparison_config(directory, count, **options):
    data = program.write_folders(directory / 'data', count=count)
    cache = str(directory / 'cache')
    return tiny.PLAIN.replace(
        dataset='folders', data_dir=str(data), feature_cache_dir=cache, **options
    )


def comparison_of_run(directory, count, name, **options):
    """The photos of the validation set of a run, as if they were sampled, and the run's data."""
    config = comparison_config(directory, count, **options)
    maps = LabelsOfSource(open_source(config.data, 'validation'), config.data)
    comparison = Comparison(run_data.sides_of(config, maps), config.evaluation, [name])
    comparison.set_images(comparison.photos)
    return comparison


def test_judge_is_not_fitted_to_examples_that_are_skipped(tmp_path):
    config = comparison_config(tmp_path, 4, on_bad_example='skip')
    (tmp_path / 'data' / 'train_img' / '2.jpg').write_bytes(b'no image')
    images, labels = run_data.training_examples(config)
    assert [*images.stems()] == [*labels.stems()] and len(images) == 3


@pytest.mark.parametrize(
    'dataset, remap, num_classes, first',
    [('ade20k', '', 151, 255), ('ade20k', '0:255,1-150:0-149', 150, 0), ('coco_stuff', '', 182, 0)],
)
def test_pixels_of_a_class_that_is_unknown_have_no_label(dataset, remap, num_classes, first):
    ids = np.array([[0, 1], [150, 149]], np.uint8)
    maps = types.SimpleNamespace(read=lambda _: Example(None, ids))
    options = dict(condition='labels', dontcare=True, crop_size=64, load_size=64)
    options |= dict(num_classes=min(num_classes, 182) - (first == 255), label_remap=remap)
    config = Config.create(dataset=dataset, **options)
    labels = run_data.RunLabels(maps, config)
    labels._size = 2, 2
    np.testing.assert_array_equal(labels.read(0), [[first, 1], [150, 149]])
    assert labels.num_classes == num_classes


@pytest.mark.parametrize('name', ['layout', 'unet_miou'])
def test_judge_is_fitted_to_the_training_set_of_a_run(name, tmp_path, monkeypatch):
    quick = functools.partial(fit_judge, steps=50, pixels_per_image=64)
    monkeypatch.setattr(judges, 'fit_judge', quick)
    monkeypatch.setattr(judges, 'Training', functools.partial(Training, steps=2, widths=(8, 16)))
    comparison = comparison_of_run(tmp_path, 16, name)
    value, _, protocol, _ = SCORES[name].compute(comparison)
    assert value == protocol['of_real_images'] > protocol['with_other_label_maps']
    assert (protocol['images'], protocol['training_images']) == (16, 16)
    monkeypatch.delattr(judges, 'fit_judge')
    monkeypatch.delattr(judges, 'fit_unet')
    assert SCORES[name].compute(comparison).value == value  # It is fitted once.


def test_few_training_images_are_refused(tmp_path):
    with pytest.raises(UserError, match='on 16 images or more, and there are 2; use more'):
        SCORES['unet_miou'].prepare(comparison_of_run(tmp_path, 2, 'unet_miou'))


@pytest.mark.parametrize('name', ['layout', 'unet_miou'])
def test_condition_without_label_maps_is_refused(name, tmp_path):
    rgb = dict(condition='rgb', dontcare=False)
    with pytest.raises(UserError, match='condition=rgb: a judge needs label maps; choose scores'):
        SCORES[name].prepare(comparison_of_run(tmp_path, 2, name, **rgb))
