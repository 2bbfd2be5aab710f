import numpy as np
import pytest

from spade_jax.models.semantic_layout import instance_edges, semantic_layout
from tests import parity


@pytest.mark.parametrize('case', parity.cases('preprocess'))
def test_layout_has_golden_numbers(case):
    golden = parity.Golden(case)
    options = golden.options
    label = golden['in/label_raw_uint8'][..., 0]
    instance = None if options['no_instance'] else golden['in/instance'][..., 0]
    layout = semantic_layout(
        label, instance, num_classes=options['label_nc'], dontcare=options['contain_dontcare_label']
    )
    np.testing.assert_array_equal(layout, golden['out/semantics'])
    if instance is not None:
        np.testing.assert_array_equal(instance_edges(instance), golden['out/edges'][..., 0])


def test_edges_are_both_sides_of_a_border():
    instance = np.array([[[1, 1, 2, 2], [1, 1, 1, 1]]])
    np.testing.assert_array_equal(instance_edges(instance)[0], [[0, 1, 1, 1], [0, 0, 1, 1]])


def test_dontcare_is_the_class_after_the_last():
    layout = semantic_layout(np.array([[[0, 255, 2]]], np.uint8), num_classes=3, dontcare=True)
    np.testing.assert_array_equal(layout[0, 0], [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]])
