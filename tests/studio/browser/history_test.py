"""Undo and redo: of random operations, of very many strokes, of steps larger than their map."""

from tests.studio.browser import operations

UNDO_AND_REDO = """async (made) => {
  const {operate, hash} = await import('/pages/operations.js');
  const {undo, redo} = await import('/static/js/document.js');
  const {state} = await import('/static/js/state.js');
  const hashes = [hash()];
  for (const operation of made) {
    operate(operation);
    if (hash() !== hashes.at(-1)) hashes.push(hash());
  }
  const wrong = [];
  for (let k = hashes.length - 2; k >= 0; k--) if (!undo() || hash() !== hashes[k]) wrong.push(-k);
  if (undo() !== null || state.history.canUndo) wrong.push('start');
  for (let k = 1; k < hashes.length; k++) if (!redo() || hash() !== hashes[k]) wrong.push(k);
  if (redo() !== null || state.history.canRedo) wrong.push('end');
  return {wrong, steps: hashes.length - 1, bytes: state.history.bytes};
}"""


def test_undo_and_redo_of_300_operations_restore_every_map(open_map):
    made = operations.make_operations(5, 128, 128, 13, 300)
    result = open_map().evaluate(UNDO_AND_REDO, made)
    assert result['wrong'] == []
    assert result['steps'] > 150
    assert result['bytes'] < 2**20


def test_history_keeps_at_least_1000_of_2000_strokes_on_a_busy_map(open_map):
    """The map is noise, of which every pixel is a run of its own: the worst case."""
    result = open_map(256, 256).evaluate("""async () => {
      const {undo, replaceIds} = await import('/static/js/document.js');
      const {down, move, up} = await import('/static/js/tools.js');
      const {state, update} = await import('/static/js/state.js');
      let seed = 1;
      const random = (most) => {
        seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
        return (seed >>> 8) % most;
      };
      replaceIds(state.document.ids.map(() => random(13)));
      const point = () => ({
        x: random(256), y: random(256), shift: false, pressure: null, button: 'first', slack: 1});
      for (let k = 0; k < 2000; k++) {
        update('tool', {size: 12, first: random(13)});
        down(point());
        move([point()]);
        up();
      }
      const {bytes} = state.history;
      let count = 0;
      while (undo()) count++;
      return {bytes, count};
    }""")
    assert result['count'] >= 1000
    assert result['bytes'] <= 32 * 2**20


def test_history_drops_the_oldest_steps_above_its_bytes(page):
    assert page.evaluate("""async () => {
      const {History, makeStep} = await import('/static/js/history.js');
      const ids = new Uint8Array(64);
      const history = new History(1000);
      for (let k = 1; k <= 9; k++) {
        const before = ids.slice();
        ids[k] = k;
        history.push(makeStep(`${k}`, before, ids, 8, {left: 0, top: 0, right: 8, bottom: 8}));
      }
      const names = [];
      while (history.done.length) names.push(history.undo(ids).name);
      return [names.join(''), [...ids.slice(0, 10)], history.bytes <= 1000];
    }""") == ['9876', [0, 1, 2, 3, 4, 5, 0, 0, 0, 0], True]


def test_a_step_that_changes_every_pixel_takes_no_more_than_a_map(page):
    assert page.evaluate("""async () => {
      const {History, makeStep} = await import('/static/js/history.js');
      const before = Uint16Array.from({length: 4096}, (_, k) => k % 300);
      const ids = before.map((id) => 299 - id);
      const after = ids.slice();
      const history = new History();
      history.push(makeStep('All', before, ids, 64, {left: 0, top: 0, right: 64, bottom: 64}));
      const same = (other) => ids.every((id, k) => id === other[k]);
      return [
        history.undo(ids) && same(before), history.redo(ids) && same(after),
        history.undo(ids) && same(before), history.bytes < 8192 + 300];
    }""") == [True, True, True, True]
