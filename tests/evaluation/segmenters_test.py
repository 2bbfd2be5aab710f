import numpy as np
import pytest

from spade_jax.errors import UserError
from spade_jax.evaluation.segmenters import NETWORKS

# Ids of the files of a data set, and their classes; -1 and 255 are none.
IDS = {
    'drn_d_105': ([0, 7, 8, 33, 26, 255], [255, 0, 1, 18, 13, 255]),
    'upernet101': ([0, 1, 2, 150], [-1, 0, 1, 149]),
    'upernet101_old': ([0, 1, 2, 150], [-1, 0, 1, 149]),
    'deeplab_v2': ([0, 1, 181, 255], [0, 1, 181, 255]),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_classes_are_those_of_the_network(name):
    ids, classes = IDS[name]
    assert NETWORKS[name].classes(np.array([ids], np.uint8)).tolist() == [classes]
    assert NETWORKS[name].classes(np.array([ids], np.int32)).tolist() == [classes]


@pytest.mark.parametrize(
    'name, ids, problem',
    [
        ('drn_d_105', [7, 34, 26], 'the id 34 is not among those of Cityscapes, 0 to 33'),
        ('drn_d_105', [0, 1, 2, 8, 10, 18, 255], 'the id 18 without any of 19 to 33 looks like'),
        ('upernet101', [0, 149, 255], 'the id 255 is not among'),
        ('upernet101', [151], 'the id 151 is not among'),
        ('upernet101', [-1, 3], 'the id -1 is not among'),
        ('deeplab_v2', [0, 182], 'the id 182 is not among those of COCO-Stuff, 0 to 181'),
        ('deeplab_v2', [0, 24000], 'the id 24000 is not among'),
    ],
)
def test_ids_of_another_numbering_are_refused(name, ids, problem):
    with pytest.raises(UserError, match=problem):
        NETWORKS[name].classes(np.array([ids], np.int32))
