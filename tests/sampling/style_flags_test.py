import numpy as np
import pytest

from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.data.pipeline.paired_transforms import resize_ids
from spade_jax.errors import UserError
from spade_jax.sampling.sample_files import draw
from spade_jax.sampling.style_flags import StyleOptions
from tests.sampling import tiny
from tests.sampling.tiny import named_maps, pixels

SIZE = (32, 32)


def choice(styled, tmp_path, **wanted):
    """The pictures [maps, samples, H, W, 3] of three equal label maps."""
    labels = tiny.write_labels(tmp_path / 'equal', 'a')
    for name in 'bc':
        (labels / f'{name}.png').write_bytes((labels / 'a.png').read_bytes())
    maps = LabelFolder(tiny.STYLED, str(labels))
    styles = StyleOptions(**wanted).styles(styled, maps)
    paths = draw(styled, maps, str(tmp_path / 'out'), styles, size=SIZE)
    return (
        np.stack([pixels(path) for path in paths])
        .reshape(3, styles.num_samples, 32, 32, 3)
        .astype(int)
    )


def test_random_styles_differ_and_a_fixed_one_does_not(styled, tmp_path):
    free, fixed = (
        choice(styled, tmp_path),
        choice(styled, tmp_path, fixed_style=True, num_samples=2),
    )
    assert np.any(free[0] != free[1]) and np.any(fixed[0, 0] != fixed[0, 1])
    np.testing.assert_array_equal(fixed[0], fixed[1])
    np.testing.assert_array_equal(fixed[0], fixed[2])
    np.testing.assert_array_equal(fixed[0, 0], free[0, 0])
    assert np.any(choice(styled, tmp_path, seed=1) != free)


def test_the_style_of_a_picture_for_all_maps_or_of_one_for_each(styled, tmp_path):
    photos = tiny.write_photos(tmp_path / 'photos', 'a', 'b', 'c', extension='.png')
    one = choice(styled, tmp_path, style_image=str(photos / 'b.png'))
    np.testing.assert_array_equal(one[0], one[2])
    each = choice(styled, tmp_path, style_image=str(photos))
    np.testing.assert_array_equal(each[1], one[1])
    assert np.any(each[0] != each[1]) and np.any(each[2] != each[1])
    label = pixels(tmp_path / 'equal' / 'a.png')
    expected = styled(resize_ids(label, SIZE), style=styled.encode(pixels(photos / 'b.png')))
    assert np.abs(one[0, 0] - expected).max() <= 1


def test_the_way_between_two_styles_starts_and_ends_there(styled, tmp_path):
    photos = tiny.write_photos(tmp_path / 'photos', 'a', 'b')
    ends = [
        choice(styled, tmp_path, style_image=str(photos / f'{name}.jpg'))[:, 0] for name in 'ab'
    ]
    way = choice(
        styled,
        tmp_path,
        style_image=str(photos / 'a.jpg'),
        style_image_to=str(photos / 'b.jpg'),
        style_interpolation=3,
    )
    np.testing.assert_allclose(way[:, [0, 2]], np.stack(ends, axis=1), atol=1)
    assert np.any(way[:, 1] != way[:, 0]) and np.any(way[:, 1] != way[:, 2])
    seeds = choice(styled, tmp_path, seed=1, seed_to=2, style_interpolation=4)
    np.testing.assert_allclose(
        seeds[:, [0, 3]],
        np.stack([choice(styled, tmp_path, seed=seed)[:, 0] for seed in (1, 2)], axis=1),
        atol=1,
    )


def test_truncation_0_is_the_mean_style(styled, tmp_path):
    pictures = choice(styled, tmp_path, truncation=0.0, num_samples=2)
    assert np.all(pictures == pictures[0, 0])


@pytest.mark.parametrize(
    'wanted, message',
    [
        (dict(truncation=2.0), 'truncation=2.0 is not in [0, 1]'),
        (
            dict(style_interpolation=3),
            'give --style_image and --style_image_to, or --seed and --seed_to',
        ),
        (
            dict(style_interpolation=3, style_image='a.jpg', seed_to=2),
            'give --style_image and --style_image_to, or --seed and --seed_to',
        ),
        (
            dict(style_interpolation=3, style_image='a.jpg'),
            'give --style_image and --style_image_to',
        ),
        (
            dict(style_interpolation=3, style_image='a.jpg', style_image_to='b.jpg', seed_to=1),
            'of one kind',
        ),
        (dict(style_interpolation=1, seed_to=2), 'has no two ends; use 2 or more'),
        (dict(style_interpolation=3, seed_to=2, num_samples=2), 'leave --num_samples out'),
        (
            dict(seed_to=2),
            'seed_to is where an interpolation ends, and there is none; add --style_interpolation=N',
        ),
        (dict(style_image_to='b.jpg'), 'style_image_to is where an interpolation ends'),
        (
            dict(style_image='a.jpg', num_samples=2),
            'num_samples=2 with style_image=a.jpg: it is for random styles',
        ),
        (dict(style_image='a.jpg', truncation=0.5), 'truncation=0.5 with style_image=a.jpg'),
        (dict(style_image='a.jpg', fixed_style=True), 'fixed_style=True with style_image=a.jpg'),
    ],
)
def test_choices_that_say_two_things(wanted, message):
    with pytest.raises(UserError) as error:
        StyleOptions(**wanted)
    assert message in str(error.value)


@pytest.mark.parametrize(
    'wanted',
    [
        dict(style_image='a.jpg'),
        dict(num_samples=2),
        dict(truncation=0.5),
        dict(fixed_style=True),
        dict(style_interpolation=3, seed_to=2),
    ],
)
def test_a_style_for_a_model_without_encoder(wanted, plain):
    with pytest.raises(
        UserError, match='has no style encoder and draws a map in one way only; leave --'
    ):
        StyleOptions(**wanted).styles(plain, named_maps('labels', 'a.png'))
    assert (
        StyleOptions(seed=3).styles(plain, named_maps('labels', 'a.png')).num_samples == 1
    )  # flagfiles of training set it


def test_style_pictures_that_cannot_be_had(styled, tmp_path):
    maps = named_maps('labels', 'a.png', 'b.png', 'c.png', 'd.png', 'e.png')

    def refusal(path):
        with pytest.raises(UserError) as error:
            StyleOptions(style_image=str(path)).styles(styled, maps)
        return str(error.value)

    (tmp_path / 'broken.jpg').write_bytes(b'no picture')
    assert (
        'broken.jpg: the style picture cannot be read (not an image file); set --style_image'
        in refusal(tmp_path / 'broken.jpg')
    )
    assert 'none.jpg: the style picture is gone' in refusal(tmp_path / 'none.jpg')
    photos = tiny.write_photos(tmp_path / 'photos', 'b')
    assert (
        'has no style picture for 4 of 5 label maps: a, c, d and 1 more; name each as its label map (a.png or .jpg)'
        in refusal(photos)
    )
    tiny.write_photos(photos, *'abcde', extension='.png')
    assert 'has 2 files for the label map b' in refusal(photos)
