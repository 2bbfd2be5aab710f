"""Label maps that the page paints, against the same rules in Python."""

import numpy as np
import pytest

from tests.studio import rasteriser
from tests.studio.browser import operations

BACKGROUND = 3


def reference(width, height, classes, made):
    """The map after each of the operations."""
    dtype = np.uint16 if classes > 256 else np.uint8
    label_map = rasteriser.LabelMap(np.zeros((height, width), dtype))
    for operation in made:
        operations.operate(label_map, operation, BACKGROUND)
        yield label_map.ids


def hash_of(ids):
    """As operations.js computes it: a polynomial of 31 in 32 bits."""
    values = ids.ravel().astype(np.uint32)
    powers = np.ones(values.size, np.uint32)
    powers[1:] = 31
    powers = np.multiply.accumulate(powers)[::-1]
    return int(np.sum(values * powers, dtype=np.uint32).astype(np.int32))


RUN = """async (made) => {
  const {operate, hash} = await import('/pages/operations.js');
  const {state, update} = await import('/static/js/state.js');
  update('document', {background: 3});
  return made.map((operation) => {
    operate(operation);
    return hash();
  });
}"""


@pytest.mark.parametrize(
    'width, height, classes, number',
    [(128, 128, 13, 300), (96, 64, 13, 300), (256, 256, 182, 100), (64, 96, 300, 100)],
)
def test_page_paints_the_ids_of_the_rules(open_map, width, height, classes, number):
    made = operations.make_operations(width + classes, width, height, classes, number)
    hashes = open_map(width, height, classes).evaluate(RUN, made)
    for index, ids in enumerate(reference(width, height, classes, made)):
        assert hashes[index] == hash_of(ids), (index, made[index])
