import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.palette import classes_of, colorize, default_palette


def test_the_default_palette_is_that_of_pascal_voc_without_black():
    np.testing.assert_array_equal(
        default_palette(4), [(128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    )


def test_the_colours_of_two_hundred_classes_differ_and_none_is_black():
    colors = default_palette(200)
    assert len(np.unique(colors, axis=0)) == 200
    assert colors.any(axis=1).all()


def test_ids_without_a_colour_are_black():
    label = np.array([[[0, 1], [255, 2]]], np.uint8)
    np.testing.assert_array_equal(
        colorize(label, np.array([(1, 2, 3), (4, 5, 6)])),
        [[[(1, 2, 3), (4, 5, 6)], [(0, 0, 0), (0, 0, 0)]]],
    )
    assert colorize(label, default_palette(3)).dtype == np.uint8


def test_scenes_have_colours_of_their_own():
    config = DataConfig()
    names, colors = classes_of(config)
    assert colors.shape == (config.num_classes, 3)
    assert names[0] == 'sky'
    assert not np.array_equal(colors, default_palette(config.num_classes))
    assert np.array_equal(
        classes_of(DataConfig(dataset='folders')).colors, default_palette(config.num_classes)
    )
