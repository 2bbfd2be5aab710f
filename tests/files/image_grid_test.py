import numpy as np
from PIL import Image

from spade_jax.files.image_grid import BACKGROUND, GAP, image_grid, write_png


def test_groups_and_enlargement():
    a, b = np.zeros((3, 64, 64, 3), np.uint8), np.full((3, 64, 64, 3), 7, np.uint8)
    grid = image_grid([a, b], per_row=2)
    assert grid.shape == (
        2 * 128 + GAP,
        4 * 128 + 4 * GAP,
        3,
    )  # pictures of 128; two gaps between the groups
    assert grid[0, 0, 0] == 0 and grid[127, 128 + GAP, 0] == 7 and grid[0, 128, 0] == BACKGROUND
    assert grid[200, 2 * 128 + 2 * GAP + 2 * GAP, 0] == BACKGROUND  # the last row has one group


def test_large_pictures_are_left_alone(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (1, 130, 200, 3)).astype(np.uint8)
    write_png(str(tmp_path / 'new' / 'a.png'), image_grid([picture]))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'new' / 'a.png')), picture[0])
