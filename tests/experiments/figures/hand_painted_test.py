"""The hand-painted label maps, and the sheet of what a run samples from them."""

import numpy as np
import pytest

import spade_jax
from experiments.figures import hand_painted
from spade_jax.errors import UserError
from spade_jax.landscapes.classes import CLASSES, MOUNTAIN, SKY


class Gray:
    """A generator of gray images."""

    latent_dim = None

    def __init__(self, **settings):
        defaults = dict(num_classes=len(CLASSES), crop_size=128, load_size=128)
        self.config = spade_jax.configure('demo', **(defaults | settings))

    def __call__(self, maps, seed, sample):
        return np.full((*maps.shape, 3), 100 + sample, np.uint8)


def test_maps_have_few_classes_and_are_the_same_on_every_call():
    maps = hand_painted.painted_maps(64)
    assert maps.shape == (20, 64, 64)
    assert max(len(np.unique(ids)) for ids in maps) <= 6
    assert set(np.unique(maps)) == set(range(len(CLASSES)))
    np.testing.assert_array_equal(maps, hand_painted.painted_maps(64))


def test_peak_has_a_wobbly_outline_at_every_size():
    small, large = (hand_painted.paint(hand_painted.MAPS['one_peak'], 1, n) for n in (64, 128))
    assert (small == large[::2, ::2]).mean() > 0.97
    tops = (large == MOUNTAIN).argmax(axis=0)[8:56]
    assert np.abs(np.diff(tops, 2)).sum() > 10
    assert large[0, 0] == SKY


def test_sheet_has_each_map_next_to_its_images():
    image = hand_painted.sheet(Gray(), 1, per_row=2)
    assert image.shape[0] == 10 * 132 - 4
    assert (image[:128, 132:260] == 100).all()


@pytest.mark.parametrize(
    'settings, styles, message',
    [
        (dict(num_classes=12), 1, '12 classes .*; choose a run of square landscapes'),
        (dict(aspect_ratio=2.0), 1, 'for 128x64 and'),
        (dict(), 2, 'this model has no styles; use --styles=1'),
    ],
)
def test_sheet_refuses_a_generator_that_does_not_fit(settings, styles, message):
    with pytest.raises(UserError, match=message):
        hand_painted.sheet(Gray(**settings), styles, per_row=2)
