import numpy as np
import pytest

from spade_jax.data.files.label_maps import LabelFolder
from spade_jax.data.pipeline.paired_transforms import resize_ids
from spade_jax.errors import UserError
from spade_jax.sampling.sample_files import SampleRequest, write_samples
from spade_jax.sampling.style_flags import StyleOptions
from tests.sampling import tiny
from tests.sampling.tiny import named_maps, pixels

SIZE = (32, 32)


@pytest.fixture
def sample(styled, tmp_path):
    """From style options to the images [maps, samples, H, W, 3] of three equal label maps."""
    labels = tiny.write_labels(tmp_path / 'equal', 'a')
    for name in 'bc':
        (labels / f'{name}.png').write_bytes((labels / 'a.png').read_bytes())
    maps = LabelFolder(tiny.STYLED.data, str(labels))

    def sample(**options):
        styles = StyleOptions(**options).styles(styled, maps)
        request = SampleRequest(maps, styles, SIZE)
        paths = write_samples(styled, request, str(tmp_path / 'out'))
        images = np.stack([pixels(path) for path in paths]).astype(int)
        return images.reshape(3, styles.num_samples, 32, 32, 3)

    return sample


def test_random_styles_differ_between_maps(sample):
    images = sample()
    assert np.any(images[0] != images[1])
    assert np.any(sample(seed=1) != images)


def test_fixed_style_is_equal_for_all_maps(sample):
    images = sample(fixed_style=True, num_samples=2)
    assert np.any(images[0, 0] != images[0, 1])
    np.testing.assert_array_equal(images[0], images[1])
    np.testing.assert_array_equal(images[0], images[2])
    np.testing.assert_array_equal(images[0, 0], sample()[0, 0])


def test_style_image_is_for_all_maps(sample, styled, tmp_path):
    photos = tiny.write_photos(tmp_path / 'photos', 'b', extension='.png')
    images = sample(style_image=str(photos / 'b.png'))
    np.testing.assert_array_equal(images[0], images[2])
    label = resize_ids(pixels(tmp_path / 'equal' / 'a.png'), SIZE)
    expected = styled(label, style=styled.encode(pixels(photos / 'b.png')))
    np.testing.assert_allclose(images[0, 0], expected, atol=1)


def test_directory_of_style_images_has_one_for_each_map(sample, tmp_path):
    photos = tiny.write_photos(tmp_path / 'photos', 'a', 'b', 'c', extension='.png')
    each = sample(style_image=str(photos))
    np.testing.assert_array_equal(each[1], sample(style_image=str(photos / 'b.png'))[1])
    assert np.any(each[0] != each[1])
    assert np.any(each[2] != each[1])


def test_interpolation_between_images_has_both_ends(sample, tmp_path):
    first, last = (str(tiny.write_photos(tmp_path, 'a', 'b') / f'{name}.jpg') for name in 'ab')
    images = sample(style_image=first, style_image_to=last, style_interpolation=3)
    ends = [sample(style_image=path)[:, 0] for path in (first, last)]
    np.testing.assert_allclose(images[:, [0, 2]], np.stack(ends, axis=1), atol=1)
    assert np.any(images[:, 1] != images[:, 0])
    assert np.any(images[:, 1] != images[:, 2])


def test_interpolation_between_seeds_has_both_ends(sample):
    images = sample(seed=1, seed_to=2, style_interpolation=4)
    ends = [sample(seed=seed)[:, 0] for seed in (1, 2)]
    np.testing.assert_allclose(images[:, [0, 3]], np.stack(ends, axis=1), atol=1)


def test_truncation_0_is_mean_style(sample):
    images = sample(truncation=0.0, num_samples=2)
    np.testing.assert_array_equal(images, np.broadcast_to(images[0, 0], images.shape))


BOTH_ENDS = 'give --style_image and --style_image_to, or --seed and --seed_to'


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(truncation=2.0), 'truncation=2.0 is not in [0, 1]'),
        (dict(style_interpolation=3), BOTH_ENDS),
        (dict(style_interpolation=3, style_image='a.jpg', seed_to=2), BOTH_ENDS),
        (dict(style_interpolation=3, style_image='a.jpg'), BOTH_ENDS),
        (
            dict(style_interpolation=3, style_image='a.jpg', style_image_to='b.jpg', seed_to=1),
            'needs two ends of the same kind',
        ),
        (dict(style_interpolation=1, seed_to=2), 'has only one end; use 2 or more'),
        (dict(style_interpolation=3, seed_to=2, num_samples=2), 'leave --num_samples out'),
        (dict(seed_to=2), 'seed_to is the end of an interpolation, but there is none; add --style'),
        (dict(style_image_to='b.jpg'), 'style_image_to is the end of an interpolation'),
        (
            dict(style_image='a.jpg', num_samples=2),
            'num_samples=2 with style_image=a.jpg: it is for random styles',
        ),
        (dict(style_image='a.jpg', seed=3), 'seed=3 with style_image=a.jpg: it is for random'),
        (dict(style_image='a.jpg', truncation=0.5), 'truncation=0.5 with style_image=a.jpg'),
        (dict(style_image='a.jpg', fixed_style=True), 'fixed_style=True with style_image=a.jpg'),
    ],
)
def test_contradictory_options_are_refused(options, message):
    with pytest.raises(UserError) as error:
        StyleOptions(**options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    'options',
    [
        dict(style_image='a.jpg'),
        dict(num_samples=2),
        dict(truncation=0.5),
        dict(fixed_style=True),
        dict(style_interpolation=3, seed_to=2),
    ],
)
def test_styles_of_model_without_latent_are_refused(options, plain):
    with pytest.raises(UserError, match='this model has no style latent; leave --'):
        StyleOptions(**options).styles(plain, named_maps('labels', 'a.png'))


def test_seed_is_allowed_without_latent(plain):
    """Flagfiles of the training set it."""
    assert StyleOptions(seed=3).styles(plain, named_maps('labels', 'a.png')).num_samples == 1


@pytest.fixture
def refusal_of(styled):
    def refusal(path):
        maps = named_maps('labels', 'a.png', 'b.png', 'c.png', 'd.png', 'e.png')
        with pytest.raises(UserError) as error:
            StyleOptions(style_image=str(path)).styles(styled, maps)
        return str(error.value)

    return refusal


def test_unreadable_style_image_is_named(refusal_of, tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no image')
    message = refusal_of(tmp_path / 'broken.jpg')
    assert 'broken.jpg: the style image cannot be read' in message
    assert 'set --style_image' in message


def test_missing_style_image_is_named(refusal_of, tmp_path):
    assert 'none.jpg' in refusal_of(tmp_path / 'none.jpg')


def test_maps_without_style_image_are_named(refusal_of, tmp_path):
    message = refusal_of(tiny.write_photos(tmp_path / 'photos', 'b'))
    assert 'has no style image for 4 of 5 label maps: a, c, d and 1 more' in message


def test_map_with_two_style_images_is_named(refusal_of, tmp_path):
    photos = tiny.write_photos(tmp_path / 'photos', 'b')
    tiny.write_photos(photos, *'abcde', extension='.png')
    assert 'has 2 files for the label map b' in refusal_of(photos)
