// Runs operations that tests/studio/browser/operations.py made at random, on the page's document.
import {closeSketch, down, move, up} from '/static/js/tools.js';
import {edit} from '/static/js/document.js';
import {majority} from '/static/js/raster.js';
import {state, update} from '/static/js/state.js';

const sets = ({protected: kept, only, ...rest}) => (
  {...rest, protected: new Set(kept), only: new Set(only)});
const pointOf = ([x, y, pressure], {shift, button}) => (
  {x, y, deviceX: x, deviceY: y, slack: 0.5, pressure, shift, button});

/** Do one operation as a hand would: {settings, points, shift, button, isClicks}. */
export function operate(operation) {
  update('tool', sets(operation.settings));
  const points = operation.points.map((point) => pointOf(point, operation));
  if (operation.settings.name === 'clean') {
    edit('Clean up', majority);
  } else if (operation.isClicks) {
    for (const point of points) {
      down(point);
      up();
    }
    closeSketch();
  } else {
    down(points[0]);
    for (let k = 1; k < points.length; k += 3) move(points.slice(k, k + 3));
    up();
  }
}

/** A number that depends on all ids. */
export function hash(ids = state.document.ids) {
  return ids.reduce((sum, id) => (Math.imul(sum, 31) + id) | 0, 0);
}
