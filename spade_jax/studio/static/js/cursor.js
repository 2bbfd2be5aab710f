/** Where one is on the map: shown by the ring, moved by the keys, which paint by it too. */

import {announce} from './announce.js';
import {state, update} from './state.js';
import {brushSize, down, move, up} from './tools.js';
import {reveal} from './view.js';

let isKeyboardDown = false;

/** Show where the pointer, or the keyboard's pen, is on the map. */
export function showCursor(point) {
  const {width, height} = state.document;
  const [x, y] = [Math.floor(point.x), Math.floor(point.y)];
  const isInside = x >= 0 && y >= 0 && x < width && y < height;
  update('view', {
    cursor: {x: point.x, y: point.y, size: brushSize(point)}, pointer: isInside ? {x, y} : null,
  });
}

/** Show that one is nowhere on the map. */
export function hideCursor() {
  update('view', {cursor: null, pointer: null});
}

function keyboardPoint(x, y, shift = false) {
  const {zoom, x: left, y: top} = state.view;
  return {
    x, y, deviceX: left + x * zoom, deviceY: top + y * zoom, slack: 0.5, shift, pressure: null,
    button: 'first',
  };
}

function cursorPixel() {
  const {width, height} = state.document;
  return state.view.pointer ?? {x: width >> 1, y: height >> 1};
}

/** Move the cursor of the keyboard by pixels of the map; paints while it is down. */
export function moveCursor(dx, dy) {
  const {width, height} = state.document;
  const {x, y} = cursorPixel();
  const limit = (value, size) => Math.min(Math.max(value, 0), size - 1);
  const point = keyboardPoint(limit(x + dx, width) + 0.5, limit(y + dy, height) + 0.5);
  showCursor(point);
  reveal(point.x, point.y);
  if (isKeyboardDown) move([point]);
}

/** Enter: put the keyboard's pen down or take it up; a click for tools that need no way. */
export function pressKeyboard(shift = false) {
  if (state.link.isStroke && !isKeyboardDown) return;  // The pointer paints.
  if (isKeyboardDown) {
    endKeyboard();
    return;
  }
  const {x, y} = cursorPixel();
  const point = keyboardPoint(x + 0.5, y + 0.5, shift);
  showCursor(point);
  down(point);
  isKeyboardDown = ['brush', 'line', 'rectangle'].includes(state.tool.name);
  if (isKeyboardDown) announce('Pen down');
  else up();
}

/** Take the keyboard's pen up, and keep what it painted. */
export function endKeyboard() {
  if (!isKeyboardDown) return;
  isKeyboardDown = false;
  up();
  announce('Pen up');
}

/** Forget the keyboard's pen, after Esc: `tools.escape` ends the tool. */
export function releaseKeyboard() {
  isKeyboardDown = false;
}
