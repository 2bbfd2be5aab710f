"""Names and colors of classes."""

import numpy as np

from spade_jax.config.data_config import DataConfig
from spade_jax.data.files.palette import classes_of, colorize, default_palette


def test_default_palette_is_pascal_voc_without_black():
    np.testing.assert_array_equal(
        default_palette(4), [(128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    )


def test_default_palette_has_distinct_colors_for_200_classes():
    colors = default_palette(200)
    assert len(np.unique(colors, axis=0)) == 200
    assert colors.any(axis=1).all()


def test_colorize_paints_ids_without_color_black():
    label = np.array([[[0, 1], [255, 2]]], np.uint8)
    np.testing.assert_array_equal(
        colorize(label, np.array([(1, 2, 3), (4, 5, 6)])),
        [[[(1, 2, 3), (4, 5, 6)], [(0, 0, 0), (0, 0, 0)]]],
    )
    assert colorize(label, default_palette(3)).dtype == np.uint8


def test_classes_of_returns_scene_colors():
    config = DataConfig()
    names, colors = classes_of(config)
    assert colors.shape == (config.num_classes, 3)
    assert names[0] == 'sky'
    assert not np.array_equal(colors, default_palette(config.num_classes))
    assert np.array_equal(
        classes_of(DataConfig(dataset='folders')).colors, default_palette(config.num_classes)
    )
