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


def test_replaced_map_is_one_step_and_keeps_protected_pixels_only_if_asked(open_map):
    assert open_map(8, 8).evaluate("""async () => {
      const {replaceIds, undo} = await import('/static/js/document.js');
      const {state, update} = await import('/static/js/state.js');
      const now = () => state.document.ids.slice(0, 3).join('');
      replaceIds(state.document.ids.map((_, k) => k % 3));
      const file = {bytes: new Uint8Array(1)};
      update('tool', {protected: new Set([1])});
      const seen = [now()];
      replaceIds(new Uint8Array(64).fill(4), {isMasked: true, origin: file});
      seen.push(now(), state.document.origin);
      replaceIds(new Uint8Array(64).fill(5), {origin: file});
      seen.push(now(), state.document.origin.ids[9]);
      for (let k = 0; k < 3; k++) seen.push(undo() && now());
      return [...seen, undo()];
    }""") == ['012', '414', None, '555', 5, '414', '012', '000', None]


def test_clean_up_lets_the_own_id_win_then_the_smallest(open_map):
    assert open_map(4, 4).evaluate("""async () => {
      const {edit, replaceIds} = await import('/static/js/document.js');
      const {majority} = await import('/static/js/raster.js');
      const {state} = await import('/static/js/state.js');
      replaceIds(Uint8Array.from([1, 1, 2, 2, 1, 3, 2, 2, 5, 5, 5, 4, 5, 4, 4, 4]));
      edit('Clean up', majority);
      return [...state.document.ids];
    }""") == [1, 1, 2, 2, 1, 1, 2, 2, 5, 5, 4, 4, 5, 5, 4, 4]
