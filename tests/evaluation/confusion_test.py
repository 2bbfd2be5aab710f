import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.evaluation.bootstrap import interval
from spade_jax.evaluation.confusion import ALL, IN_EITHER, IN_LABELS, Confusion
from spade_jax.evaluation.scores.segmentation import per_image_of
from tests.evaluation.golden_weights import Golden, cases

# The implementation that each convention is of.
NAMES = {IN_LABELS: 'deeplab', IN_EITHER: 'drn', ALL: 'csail'}


@pytest.mark.parametrize('case', cases('miou'))
def test_scores_have_golden_numbers(case):
    golden = Golden('miou')
    label, prediction = (
        golden[f'in/{case}/{name}'].astype(int) for name in ('label', 'prediction')
    )
    if 'plus_one' in case:  # The files of ADE20K have 0 for unlabeled pixels.
        label -= 1
    confusion = Confusion(golden.meta['cases'][case]['classes'])
    for pair in zip(label, prediction, strict=True):
        confusion.add(*pair)
    expected = {name: golden[f'out/{case}/{name}'] for name in ('confusion', 'iou')}
    np.testing.assert_array_equal(confusion.matrix, expected['confusion'])
    for convention, name in NAMES.items():
        scores = confusion.scores(convention)
        mean_iou = golden[f'out/{case}/{name}_mean_iou']
        np.testing.assert_allclose(scores.mean_iou, mean_iou, rtol=1e-9)
    np.testing.assert_allclose(scores.iou, expected['iou'], rtol=1e-12)
    for ours, name in (
        (scores.pixel_accuracy, 'pixel_accuracy'),
        (scores.mean_accuracy, 'mean_accuracy'),
        (scores.pixel_accuracy_of_all, 'pixel_accuracy_unknown_counted_wrong'),
    ):
        np.testing.assert_allclose(ours, golden[f'out/{case}/{name}'], rtol=1e-12)


def test_scores_by_hand():
    confusion = Confusion(5)
    label = np.array([[0, 0, 1, 1], [0, 2, 1, 255], [2, 2, 255, 1]])
    prediction = np.array([[0, 1, 1, 1], [0, 2, 3, 0], [2, 0, 3, 1]])
    confusion.add(label, prediction)
    scores = confusion.scores()
    np.testing.assert_allclose(scores.iou, [1 / 2, 3 / 5, 2 / 3, 0, np.nan])
    assert scores.mean_iou == pytest.approx((1 / 2 + 3 / 5 + 2 / 3) / 3)
    assert confusion.scores(IN_EITHER).mean_iou == pytest.approx((1 / 2 + 3 / 5 + 2 / 3) / 4)
    assert confusion.scores(ALL).mean_iou == pytest.approx((1 / 2 + 3 / 5 + 2 / 3) / 5)
    assert (scores.pixel_accuracy, scores.pixel_accuracy_of_all) == (7 / 10, 7 / 12)


def test_counts_of_images_add_up_to_those_of_all():
    random, confusion = np.random.default_rng(0), Confusion(4)
    images = random.integers(0, 4, (2, 3, 5, 6))
    images[0, :, 0] = 255
    for label, prediction in images.swapaxes(0, 1):
        confusion.add(label, prediction)
    again = confusion.of_images([2, 0, 1])
    np.testing.assert_array_equal(again.matrix, confusion.matrix)
    assert again.num_unlabeled == confusion.num_unlabeled == 3 * 6
    twice = Confusion(4)
    for index in (1, 1, 2):
        twice.add(*images[:, index])
    np.testing.assert_array_equal(confusion.of_images([1, 1, 2]).matrix, twice.matrix)


def test_predictions_of_another_size_or_class_are_refused():
    confusion = Confusion(2)
    with pytest.raises(UserError, match='differ in size'):
        confusion.add(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(UserError, match='predictions of 0 to 2 with 2 classes'):
        confusion.add(np.zeros(2, int), np.array([0, 2]))
    with pytest.raises(UserError, match='no pixel has the label'):
        confusion.scores()


def test_score_of_images_without_labeled_pixels_is_undefined():
    confusion = Confusion(2)
    for label in (255, 1):
        confusion.add(np.full((2, 2), label), np.ones((2, 2), int))
    images = per_image_of(confusion, IN_LABELS)
    np.testing.assert_array_equal(images.values, [np.nan, 1])
    assert np.isnan(images.score_of(np.array([0, 0])))
    assert interval(images) == (1, 1)
