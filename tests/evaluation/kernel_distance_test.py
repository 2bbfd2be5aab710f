import numpy as np
import pytest

from spade_jax.evaluation.kernel_distance import (
    kernel_distance,
    random_subsets,
    squared_discrepancy,
)
from tests.evaluation.golden_weights import Golden, cases


@pytest.mark.parametrize('case', cases('kid'))
def test_distance_has_golden_numbers(case):
    golden = Golden('kid')
    x, y = golden[f'in/{case}/x'], golden[f'in/{case}/y']
    subsets = list(zip(golden[f'in/{case}/subsets_x'], golden[f'in/{case}/subsets_y'], strict=True))
    actual = kernel_distance(x, y, subsets)
    expected = [golden[f'out/{case}/{name}'] for name in ('mean', 'std_population')]
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)
    of_all = golden[f'out/{case}/all_unbiased']
    np.testing.assert_allclose(squared_discrepancy(x, y), of_all, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize('case', cases('kid'))
def test_random_subsets_are_those_of_torch_fidelity(case):
    golden = Golden('kid')
    x, y = golden[f'in/{case}/x'], golden[f'in/{case}/y']
    size = golden.meta['cases'][case]['torch_fidelity_subset_size']
    actual = kernel_distance(x, y, random_subsets(len(x), len(y), size=size, count=7))
    expected = golden[f'out/{case}/torch_fidelity_seed2020_subsets7']
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_discrepancy_by_hand():
    x, y = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    # Kernels (ab + 1)^3: 27 within x, 1 within y, and 1, 8, 1, 27 between them.
    assert squared_discrepancy(x, y) == pytest.approx(27 + 1 - 2 * 37 / 4)
