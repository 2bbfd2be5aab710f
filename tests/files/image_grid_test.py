import numpy as np
import pytest
from PIL import Image

from spade_jax.files.image_grid import BACKGROUND, GAP, evenly_spaced, image_grid, write_png


def test_grid_enlarges_and_groups_panels():
    black, gray = np.zeros((3, 64, 64, 3), np.uint8), np.full((3, 64, 64, 3), 7, np.uint8)
    grid = image_grid([black, gray], per_row=2)
    # Two rows of two groups of two images of 128 pixels, with two gaps between groups.
    assert grid.shape == (2 * 128 + GAP, 4 * 128 + 4 * GAP, 3)
    assert grid[0, 0, 0] == 0
    assert grid[0, 128, 0] == BACKGROUND
    assert grid[127, 128 + GAP, 0] == 7
    assert grid[200, 2 * 128 + 4 * GAP, 0] == BACKGROUND  # The last row has one group.


def test_grid_scales_wide_images_down():
    panel = np.zeros((2, 128, 256, 3), np.uint8)
    panel[:, :, 128:] = 200
    grid = image_grid([panel], per_row=2, most_wide=128)
    assert grid.shape == (64, 2 * 128 + 2 * GAP, 3)
    np.testing.assert_array_equal(grid[30, [20, 110]], [[0] * 3, [200] * 3])
    np.testing.assert_array_equal(image_grid([panel], 2, 256), image_grid([panel], 2))


def test_png_of_large_image_has_its_pixels(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (1, 130, 200, 3)).astype(np.uint8)
    write_png(str(tmp_path / 'new' / 'a.png'), image_grid([image]))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'new' / 'a.png')), image[0])


@pytest.mark.parametrize('count', [1, 11, 12, 13, 400])
def test_evenly_spaced_keeps_first_and_last(count):
    chosen = evenly_spaced(range(count), 12)
    assert len(chosen) == len(set(chosen)) == min(count, 12)
    assert chosen[0] == 0
    assert chosen[-1] == count - 1
