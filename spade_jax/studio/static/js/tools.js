/**
 * The tools: what down, move, up and cancel on the map do.
 *
 * A point is {x, y, deviceX, deviceY, slack, shift, pressure, button}: pixels of the map; device
 * pixels of the frame; the distance within which a point counts as hit, in pixels of the map;
 * pressure 0 to 1 of a pen, or null; button `first`, `second` or `background`, whose material the
 * tool writes.
 */

import {beginStroke, cancelStroke, edit, endStroke, paintStroke} from './document.js';
import {fill, polygon, rectangle, stroke} from './raster.js';
import {along, snapToAngle, snapToSquare} from './snapping.js';
import {state, subscribe, update} from './state.js';
import {panBy} from './view.js';

function idOf({button}) {
  const {first, second} = state.tool;
  return {first, second, background: state.document.background}[button];
}

function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}

/** The size of the brush: with pressure, a quarter at none, all at full. */
export function brushSize({pressure}) {
  const {size, pressure: isFelt} = state.tool;
  if (!isFelt || pressure === null) return size;
  return Math.max(1, Math.round(size * (0.25 + 0.75 * pressure)));
}

const strokes = {move() {}, up: endStroke, cancel: cancelStroke};

/** Freehand. Shift and down: straight from the end of the last stroke; Shift and move: one way. */
function brushTool() {
  let last = null;  // {id of the document, x, y}
  let start = null;  // Where Shift was pressed.
  let end = null;  // The direction is that from start to here, once they are apart.

  function paint(target, point) {
    stroke(target, state.tool.shape, brushSize(point), last ?? point, point);
    last = {...point, id: state.document.id};
  }

  function straighten(point) {
    if (!point.shift) {
      start = end = null;
      return point;
    }
    start ??= last;
    if (!end && distance(start, point) >= 2) end = snapToAngle(start, point);
    if (!end) return null;
    return along(start, point, [Math.sign(end.x - start.x), Math.sign(end.y - start.y)]);
  }

  return {
    ...strokes,
    down(point) {
      beginStroke('Brush', idOf(point));
      start = end = null;
      if (!point.shift || last?.id !== state.document.id) last = null;
      paintStroke((target) => paint(target, point));
    },
    move(points) {
      paintStroke((target) => {
        for (const point of points.map(straighten)) if (point) paint(target, point);
      });
    },
    cancel() {
      last = null;
      cancelStroke();
    },
  };
}

/** A shape from where the pointer went down to where it is; Shift makes it regular. */
function draggedTool(name, snap, draw) {
  let start = null;
  let shown = '';

  function show(point) {
    const end = point.shift ? snap(start, point) : point;
    const halves = `${Math.floor(2 * end.x)} ${Math.floor(2 * end.y)}`;
    if (halves === shown) return;  // All shapes depend on halves of pixels alone.
    shown = halves;
    paintStroke((target) => draw(target, start, end), {isReplacing: true});
  }

  return {
    ...strokes,
    down(point) {
      start = point;
      shown = '';
      beginStroke(name, idOf(point));
      show(point);
    },
    move(points) {
      show(points.at(-1));
    },
  };
}

/**
 * Corners by clicks, or a lasso by dragging; ends at the first corner, or at the last again.
 *
 * It has the material that is chosen at the end. Another tool ends it, too.
 */
function polygonTool() {
  let button = 'first';
  let before = null;  // The corners before this gesture, for `cancel`.
  let isClosing = false;
  let isLasso = false;
  const show = (sketch) => update('view', {sketch});

  function close() {
    const corners = state.view.sketch;
    show(null);
    if (corners?.length > 2) {
      edit('Polygon', (target) => polygon(target, corners), idOf({button}));
    }
  }

  return {
    close,
    down(point) {
      before = state.view.sketch;
      const corners = before ?? [];
      if (!corners.length) ({button} = point);
      const isAt = (corner) => distance(corner, point) <= point.slack;
      isClosing = corners.length > 2 && (isAt(corners[0]) || isAt(corners.at(-1)));
      isLasso = false;
      if (!isClosing) show([...corners, {x: point.x, y: point.y}]);
    },
    move(points) {
      if (isClosing || !state.view.sketch) return;  // A key has ended it.
      const corners = [...state.view.sketch];
      for (const {x, y, slack} of points) {
        if (distance(corners.at(-1), {x, y}) < (isLasso ? 1 : Math.max(slack, 1))) continue;
        isLasso = true;
        corners.push({x, y});
      }
      show(corners);
    },
    up() {
      if (isClosing || (isLasso && !before)) close();
    },
    cancel() {
      show(before);
    },
  };
}

function fillTool() {
  return {
    ...strokes,
    down(point) {
      beginStroke('Fill', idOf(point));
      paintStroke((target) => fill(target, point, point.shift));
    },
  };
}

function pickTool() {
  let before = null;

  function pick({x, y, button}) {
    const {ids, width, height} = state.document;
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (column < 0 || row < 0 || column >= width || row >= height) return;
    update('tool', {[button === 'second' ? 'second' : 'first']: ids[row * width + column]});
  }

  return {
    down(point) {
      before = {first: state.tool.first, second: state.tool.second};
      pick(point);
    },
    move: (points) => pick(points.at(-1)),
    up() {},
    cancel: () => update('tool', before),
  };
}

function panTool() {
  let last = null;
  return {
    down(point) {
      last = point;
    },
    move(points) {
      const point = points.at(-1);
      panBy(point.deviceX - last.deviceX, point.deviceY - last.deviceY);
      last = point;
    },
    up() {},
    cancel() {},
  };
}

const tools = {
  brush: brushTool(),
  line: draggedTool('Line', snapToAngle, (target, start, end) => {
    stroke(target, state.tool.shape, state.tool.size, start, end);
  }),
  rectangle: draggedTool('Rectangle', snapToSquare, rectangle),
  polygon: polygonTool(),
  fill: fillTool(),
  pick: pickTool(),
  pan: panTool(),
};
let active = null;  // The tool between down and up.

/** The pointer goes down; `name` if it is not the chosen tool that works. */
export function down(point, name = state.tool.held ?? state.tool.name) {
  cancel();
  active = tools[name];
  active.down(point);
}

/** The pointer passes `points`, in order. */
export function move(points) {
  if (points.length) active?.move(points);
}

/** The pointer goes up, and what it did is kept. */
export function up() {
  active?.up();
  active = null;
}

/** Take back what the pointer did since it went down. */
export function cancel() {
  active?.cancel();
  active = null;
}

/** Close and paint the unfinished polygon. */
export function closeSketch() {
  tools.polygon.close();
}

/** Take back the last corner of the unfinished polygon. */
export function dropCorner() {
  update('view', {sketch: state.view.sketch?.length > 1 ? state.view.sketch.slice(0, -1) : null});
}

/** Esc: take back the gesture and the unfinished polygon; returns whether there was any. */
export function escape() {
  const hadAny = Boolean(active || state.view.sketch);
  cancel();
  update('view', {sketch: null});
  return hadAny;
}

let documentId = null;
subscribe('document', ({id}) => {
  if (id !== documentId) escape();
  documentId = id;
});
subscribe('tool', ({name}) => {
  if (name !== 'polygon' && state.view.sketch) closeSketch();
});
