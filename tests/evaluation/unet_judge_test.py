import dataclasses

import jax
import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.evaluation import unet_judge
from spade_jax.evaluation.unet_judge import MIN_IMAGES, Training, fit_unet

QUICK = Training(steps=30, widths=(8, 16), learning_rate=1e-2)
SIZE = 32


def layouts(count, seed):
    """[count, SIZE, SIZE] uint8: blocks of 8x8 pixels of two classes."""
    shape = (count, SIZE // 8, SIZE // 8)
    blocks = np.random.default_rng(seed).integers(2, size=shape, dtype=np.uint8)
    return blocks.repeat(8, axis=1).repeat(8, axis=2)


def textured(labels, seed):
    """Class 0 is plain and class 1 a checkerboard, both dark or light: no color tells them."""
    plain = layouts(len(labels), seed)
    checkerboard = np.broadcast_to(np.indices((SIZE, SIZE)).sum(axis=0) % 2, labels.shape)
    gray = np.array([64, 192], np.uint8)[np.where(labels == 0, plain, checkerboard)]
    return gray[..., None].repeat(3, axis=-1)


LABELS = layouts(MIN_IMAGES, seed=0)
IMAGES = textured(LABELS, seed=1)


def reader(images=IMAGES, labels=LABELS):
    return lambda index: (images[index], labels[index])


@pytest.fixture
def fit(tmp_path):
    def fit(read=None, fingerprint='toy', count=MIN_IMAGES, **changes):
        training = dataclasses.replace(QUICK, **changes)
        options = dict(fingerprint=fingerprint, cache_dir=str(tmp_path), training=training)
        return fit_unet(read or reader(), count, 2, **options)

    return fit


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)


def unreadable(index):
    raise AssertionError('nothing is to be read')


def test_judge_recognizes_textures_of_new_images(fit):
    labels = layouts(4, seed=2)
    predicted = fit().predict(textured(labels, seed=3))
    assert predicted.shape == labels.shape
    assert np.mean(predicted == labels) > 0.95


def test_training_is_deterministic_and_depends_on_seed(fit):
    judge = fit(steps=2)
    assert_equal(fit(steps=2, fingerprint='the same images'), judge)
    with pytest.raises(AssertionError):
        assert_equal(fit(steps=2, seed=1), judge)


def test_trained_judge_is_kept(fit):
    judge = fit(steps=2)
    assert_equal(fit(unreadable, steps=2), judge)
    for change in (dict(fingerprint='other'), dict(steps=3), dict(count=MIN_IMAGES + 1)):
        with pytest.raises(AssertionError, match='nothing is to be read'):
            fit(unreadable, **dict(steps=2) | change)


def test_interrupted_training_goes_on(fit, monkeypatch):
    uninterrupted = fit(steps=4, fingerprint='another copy')
    update, steps = unet_judge._update, []

    def interrupted(*arguments):
        steps.append(int(arguments[1].step))
        if len(steps) == 4:
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(unet_judge, '_SECONDS_BETWEEN_SAVES', 0)
    monkeypatch.setattr(unet_judge, '_update', interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(steps=4)
    assert_equal(fit(steps=4), uninterrupted)
    assert steps == [0, 1, 2, 3, 3]


def test_pixels_without_class_do_not_matter(fit):
    def labeled(unlabeled):
        labels = LABELS.copy()
        labels[:, :, 20:] = unlabeled
        return reader(labels=labels)

    assert_equal(fit(labeled(255), steps=2), fit(labeled(2), 'other', steps=2))


def test_only_labeled_pixels_are_learned(fit):
    """The right half is labeled wrongly, or not at all."""
    wrong, unlabeled = LABELS.copy(), LABELS.copy()
    wrong[:, :, 16:] = 1 - wrong[:, :, 16:]
    unlabeled[:, :, 16:] = 255
    labels = layouts(4, seed=2)
    images = textured(labels, seed=3)
    accuracies = [
        np.mean(fit(reader(labels=given), name).predict(images) == labels)
        for name, given in (('wrong', wrong), ('unlabeled', unlabeled))
    ]
    assert accuracies[0] < 0.8 < accuracies[1]


def test_images_of_any_size_are_judged(fit):
    """Most are larger than the crops, some are smaller; no size is a multiple of a grid."""
    images, labels = (array.repeat(2, axis=1).repeat(2, axis=2) for array in (IMAGES, LABELS))

    def read(index):
        height, width = (27, 35) if index % 2 else (61, 47)
        return images[index, :height, :width], labels[index, :height, :width]

    judge = fit(read, steps=2, crop_size=SIZE)
    assert judge.predict(images[:2, :21, :35]).shape == (2, 21, 35)


def test_large_images_are_reduced(fit):
    images, labels = (array.repeat(2, axis=1).repeat(2, axis=2) for array in (IMAGES, LABELS))
    predicted = fit(reader(images, labels), steps=2, max_side=SIZE).predict(images[:1])
    assert predicted.shape == (1, 2 * SIZE, 2 * SIZE)
    coarse = predicted[:, ::2, ::2]
    np.testing.assert_array_equal(predicted, coarse.repeat(2, axis=1).repeat(2, axis=2))


def test_too_few_images_are_refused(fit):
    with pytest.raises(UserError, match=r'16 images or more, and there are 15; use more'):
        fit(count=15)


def test_damaged_file_is_named(fit, tmp_path):
    fit(steps=2)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:999])
    with pytest.raises(UserError, match=rf'{file.name}, a trained judge, .*; remove it'):
        fit(steps=2)
