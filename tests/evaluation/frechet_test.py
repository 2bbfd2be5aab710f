import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.evaluation.frechet import fit_gaussian, frechet_distance, gaussian
from tests.evaluation.golden_weights import Golden, cases


@pytest.mark.parametrize('case', cases('frechet'))
def test_distance_has_golden_numbers(case):
    golden = Golden('frechet')
    x, y = golden[f'in/{case}/x'], golden[f'in/{case}/y']
    expected = float(golden[f'out/{case}/distance'])
    actual = frechet_distance(fit_gaussian(x), fit_gaussian(y))
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=1e-6)
    if max(len(x), len(y)) <= x.shape[1]:  # No covariance was factored.
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-6)


def test_distance_from_moments_is_that_of_features():
    golden = Golden('frechet')
    x, y = golden['in/correlated/x'], golden['in/correlated/y']
    moments = gaussian(golden['out/correlated/mu_x'], golden['out/correlated/sigma_x'], len(x))
    expected = float(golden['out/correlated/distance'])
    np.testing.assert_allclose(frechet_distance(moments, fit_gaussian(y)), expected, rtol=1e-9)


def test_distance_by_hand():
    x = np.array([[0.0, 0.0], [2.0, 0.0]], np.float32)  # Variances 2 and 0.
    y = np.array([[1.0, 0.0], [1.0, 4.0]], np.float32)  # Variances 0 and 8, mean (1, 2).
    assert frechet_distance(fit_gaussian(x), fit_gaussian(y)) == pytest.approx(4 + 2 + 8)


def test_distance_does_not_depend_on_the_order_of_images():
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(9, 4)).astype(np.float32) for _ in range(2))
    one, other = (frechet_distance(fit_gaussian(x), fit_gaussian(y[::s])) for s in (1, -1))
    assert one == pytest.approx(other, rel=1e-12)


def test_single_image_is_refused():
    with pytest.raises(UserError, match='1 image has no covariance'):
        fit_gaussian(np.zeros((1, 4), np.float32))


@pytest.mark.parametrize(
    'mean, covariance, problem',
    [
        (np.zeros(3), np.zeros((2, 2)), 'a mean \\[3\\] and a covariance \\[2, 2\\] do not fit'),
        (np.full(2, np.nan), np.eye(2), 'not finite'),
        (np.zeros(2), -np.eye(2), 'has a negative variance'),
        (np.zeros(2), np.triu(np.ones((2, 2))), 'is not symmetric'),
    ],
)
def test_wrong_statistics_are_refused(mean, covariance, problem):
    with pytest.raises(UserError, match=problem):
        gaussian(mean, covariance, 5)
