import jax.numpy as jnp
import numpy as np
import pytest

from spade_jax.evaluation.layout_judge import accuracy, fit_judge, pixel_features, window_statistics

COLORS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200]], np.uint8)
SIZE = 32
EXAMPLES = 16
QUICK = dict(pixels_per_image=128, steps=150)  # The same everywhere: compiled once.


def layouts(count, seed, num_classes=3):
    """[count, SIZE, SIZE] uint8: blocks of 8x8 pixels of random classes."""
    blocks = np.random.default_rng(seed).integers(
        num_classes, size=(count, SIZE // 8, SIZE // 8), dtype=np.uint8
    )
    return blocks.repeat(8, axis=1).repeat(8, axis=2)


def colored(labels, seed):
    """Each class in its own color, with a little noise."""
    noise = np.random.default_rng(seed).integers(-20, 21, size=(*labels.shape, 3))
    return (COLORS[labels] + noise).astype(np.uint8)


@pytest.fixture(scope='module')
def color_judge():
    labels = layouts(EXAMPLES, seed=0)
    return fit_judge(zip(colored(labels, seed=1), labels, strict=True), 3, **QUICK)


def naive_windows(values, size):
    """Every window [H, W] of values [H, W, C], cut off at the border, as an array [pixels, C]."""
    height, width, _ = values.shape
    reach = size // 2
    return [
        [
            values[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].reshape(
                -1, values.shape[-1]
            )
            for x in range(width)
        ]
        for y in range(height)
    ]


def test_window_of_three_matches_hand_calculation():
    values = jnp.array([[0.0, 3.0, 6.0]]).reshape(1, 1, 3, 1)
    mean, deviation = window_statistics(values, 3)
    np.testing.assert_allclose(mean.ravel(), [1.5, 3, 4.5])
    np.testing.assert_allclose(deviation.ravel(), [1.5, np.sqrt(6), 1.5], rtol=1e-6)


@pytest.mark.parametrize('size', [1, 3, 7])
def test_windows_match_naive_loops(size):
    # The images are lower than the window of 7.
    values = np.random.default_rng(0).uniform(-1, 1, (2, 5, 9, 3)).astype(np.float32)
    windows = [naive_windows(image, size) for image in values]
    expected_mean = [[[w.mean(axis=0) for w in row] for row in image] for image in windows]
    expected_deviation = [[[w.std(axis=0) for w in row] for row in image] for image in windows]
    mean, deviation = window_statistics(values, size)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-6)
    tolerance = 1e-3 if size == 1 else 1e-5
    np.testing.assert_allclose(deviation, expected_deviation, atol=tolerance)


def test_features_of_plain_image_are_its_color():
    features = pixel_features(np.full((1, 4, 4, 3), 255, np.uint8), windows=(3,))
    assert features.shape == (1, 4, 4, 9)
    np.testing.assert_allclose(features[..., :6], 1, rtol=1e-6)  # color and mean
    np.testing.assert_allclose(features[..., 6:], 0, atol=1e-3)  # deviation


def test_features_do_not_depend_on_position():
    """A periodic image has periodic features, away from the border."""
    tile = np.random.default_rng(0).integers(256, size=(1, 8, 8, 3), dtype=np.uint8)
    features = np.asarray(pixel_features(np.tile(tile, (1, 6, 6, 1))))
    np.testing.assert_allclose(features[:, 8:16, 8:16], features[:, 32:40, 24:32], atol=1e-5)


def test_judge_recognizes_classes_by_color(color_judge):
    labels = layouts(4, seed=2)
    predicted = color_judge.predict(colored(labels, seed=3))
    assert predicted.shape == labels.shape
    assert accuracy(predicted, labels) > 0.98


def test_judge_recognizes_textures_of_equal_mean_color():
    """Both classes have as many dark as light pixels: plain blocks or a checkerboard."""

    def textured(labels, seed):
        plain = layouts(len(labels), seed, num_classes=2)
        checkerboard = np.broadcast_to(np.indices((SIZE, SIZE)).sum(axis=0) % 2, labels.shape)
        gray = np.array([64, 192], np.uint8)[np.where(labels == 0, plain, checkerboard)]
        return gray[..., None].repeat(3, axis=-1)

    labels, held_out = layouts(EXAMPLES, seed=0, num_classes=2), layouts(4, seed=1, num_classes=2)
    images, held_out_images = textured(labels, seed=10), textured(held_out, seed=11)
    examples = list(zip(images, labels, strict=True))
    by_texture = fit_judge(examples, 3, **QUICK)
    by_color = fit_judge(examples, 3, windows=(), **QUICK)
    assert accuracy(by_texture.predict(held_out_images), held_out) > 0.95
    assert accuracy(by_color.predict(held_out_images), held_out) < 0.65


def test_fit_is_deterministic_and_depends_on_seed(color_judge):
    labels = layouts(EXAMPLES, seed=0)
    examples = list(zip(colored(labels, seed=1), labels, strict=True))

    def logit_kernel(judge):
        return np.asarray(judge.params['logits']['kernel'])

    same, other = (fit_judge(examples, 3, seed=seed, **QUICK) for seed in (0, 1))
    np.testing.assert_array_equal(logit_kernel(same), logit_kernel(color_judge))
    assert np.any(logit_kernel(other) != logit_kernel(color_judge))


def test_accuracies_match_hand_calculation():
    labels = np.array([[[0, 0], [1, 255]]])
    predicted = np.array([[[0, 1], [1, 0]]])
    assert accuracy(predicted, labels) == pytest.approx(2 / 3)
    assert accuracy(predicted, labels, ignore=None) == pytest.approx(2 / 4)
    assert accuracy(predicted, labels, ignore=0) == pytest.approx(1 / 2)
    assert np.isnan(accuracy(predicted, np.full_like(labels, 255)))


def test_ignored_pixels_do_not_count():
    labels = layouts(EXAMPLES + 1, seed=8)
    images = colored(labels, seed=9)
    hidden = labels.copy()
    hidden[:, :, 16:] = 255
    hidden[0] = 255  # An image without any class, which leaves EXAMPLES.
    misleading = images.copy()
    misleading[hidden == 255] = 0

    fitted = fit_judge(zip(misleading, hidden, strict=True), 3, windows=(), **QUICK)
    assert accuracy(fitted.predict(images), labels) > 0.98


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(label=np.full((SIZE, SIZE), 255)), 'no pixel of .* one of the 3 classes'),
        (dict(windows=(3, 4)), 'a window of 4 pixels has no center pixel; use 5'),
        (dict(image=np.zeros((SIZE, SIZE, 3))), r'float64 image of .*; give uint8 \[H, W, 3\]'),
        (dict(label=np.zeros((8, SIZE), int)), r'with a label map of \(8, 32\); give uint8'),
    ],
)
def test_fit_rejects_bad_argument(change, message):
    label = layouts(1, seed=0)[0]
    arguments = dict(image=colored(label, seed=1), label=label) | change
    example = arguments.pop('image'), arguments.pop('label')
    with pytest.raises(ValueError, match=message):
        fit_judge([example], 3, **arguments)
