"""The sheet of landscapes."""

import numpy as np

from experiments.figures import landscapes as figure
from spade_jax import landscapes
from spade_jax.landscapes.compositions import sample_layout


def test_sheet_shows_scenes_of_a_composition_with_their_maps():
    image = figure.sheet(2, 128, per_row=1, labels=True, of='tree')
    assert image.shape == (2 * 132 - 4, 2 * 132 - 4, 3)
    seed = next(seed for seed in range(1000) if sample_layout(seed).composition == 'tree')
    np.testing.assert_array_equal(image[:128, 132:], landscapes.render_scene(seed, 128, 128).image)
