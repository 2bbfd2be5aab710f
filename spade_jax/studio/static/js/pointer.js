/**
 * Mouse, pen and touch on the map: they become points for the tools, or move the view.
 *
 * A finger paints until there is a pen; two fingers move and zoom; a tap of two is undo, of three
 * redo. A second finger that comes early takes back what the first has begun to paint.
 */

import {endKeyboard, hideCursor, showCursor} from './cursor.js';
import {redo, undo} from './document.js';
import {state, update} from './state.js';
import {cancel, down, move, up} from './tools.js';
import {locate, panBy, zoomBy, zoomStep} from './view.js';

const SLACK = 8;  // CSS pixels within which a point is hit, or a finger has not moved.
const EARLY = 120;  // Milliseconds in which a second finger takes back the stroke of the first.
const TAP = 400;  // Milliseconds that a tap may take.
const WHEEL_STEP = 50;
const BUTTONS = {2: 'second', 5: 'background'};  // Right button; eraser of a pen.

let map = null;  // The element that pointers paint on.
let painting = null;  // {id, type, button, x, y, time} of the pointer that is down on a tool.
let hasPen = false;
const fingers = new Map();  // id -> {x, y, startX, startY} of all that touch the map.
let gesture = null;  // {time, most, isMoved, center, spread} while fingers move the view.

/**
 * Let pointers on `frame` paint; call once, after `attachView`.
 *
 * Strokes may begin next to it, on `around`: what reaches into the map is painted.
 */
export function attachPointer(frame, around) {
  map = frame;
  const listeners = {
    pointerdown: onDown, pointermove: onMove, pointerup: onUp, pointercancel: onUp,
    lostpointercapture: onUp, pointerleave: onLeave, contextmenu: (event) => event.preventDefault(),
  };
  for (const [name, listener] of Object.entries(listeners)) frame.addEventListener(name, listener);
  frame.addEventListener('wheel', onWheel, {passive: false});
  frame.addEventListener('mousedown', (event) => {
    if (event.button === 1) event.preventDefault();  // The middle button pans, and scrolls nothing.
  });
  const isAround = ({target}) => target === around || target === frame.parentElement;
  around.addEventListener('pointerdown', (event) => isAround(event) && onDown(event));
  for (const name of ['mousedown', 'contextmenu']) {  // The map keeps the focus.
    around.addEventListener(name, (event) => isAround(event) && event.preventDefault());
  }
  frame.addEventListener('blur', endKeyboard);
  window.addEventListener('blur', endAll);
}

function pointOf(event) {
  const at = locate(event.clientX, event.clientY);
  return {
    ...at, slack: SLACK * window.devicePixelRatio / state.view.zoom, shift: event.shiftKey,
    pressure: event.pointerType === 'pen' ? event.pressure : null,
    button: painting?.button ?? 'first',
  };
}

function onDown(event) {
  map.focus({preventScroll: true});
  endKeyboard();
  if (event.pointerType === 'touch') {
    touchDown(event);
    return;
  }
  if (event.pointerType === 'pen') noticePen();
  if (!painting) begin(event);  // Else it is another button of the same mouse.
}

function noticePen() {
  if (!hasPen) update('tool', {touchPaints: false});
  hasPen = true;
  if (painting?.type === 'touch') {  // The palm came first.
    cancel();
    painting = null;
  }
  gesture = null;
  fingers.clear();
}

function begin(event) {
  map.setPointerCapture(event.pointerId);
  painting = {
    id: event.pointerId, type: event.pointerType, button: BUTTONS[event.button] ?? 'first',
    x: event.clientX, y: event.clientY, time: event.timeStamp,
  };
  const point = pointOf(event);
  showCursor(point);
  down(point, event.button === 1 ? 'pan' : undefined);
}

function onMove(event) {
  if (event.pointerType === 'touch') moveFinger(event);
  if (event.pointerType === 'pen' && !hasPen) noticePen();  // It hovers: the palm is near.
  if (painting?.id === event.pointerId) {
    const events = event.getCoalescedEvents?.() ?? [];  // Missing on insecure origins.
    move((events.length ? events : [event]).map(pointOf));
  }
  if (event.pointerType !== 'touch' || painting?.id === event.pointerId) showCursor(pointOf(event));
}

/** Up, cancelled by the system or lost: the stroke ends and is kept. */
function onUp(event) {
  if (event.pointerType === 'touch') touchUp(event);
  if (painting?.id !== event.pointerId) return;
  painting = null;
  up();
  if (event.pointerType === 'touch') hideCursor();
}

function onLeave(event) {
  if (painting?.id !== event.pointerId) hideCursor();
}

function endAll() {
  endKeyboard();
  painting = null;
  gesture = null;
  fingers.clear();
  up();
}

function touchDown(event) {
  if (painting && painting.type !== 'touch') return;  // The palm of a hand whose pen paints.
  fingers.set(event.pointerId, {
    x: event.clientX, y: event.clientY, startX: event.clientX, startY: event.clientY,
  });
  if (gesture) {
    gesture.most = Math.max(gesture.most, fingers.size);
    measure();
  } else if (fingers.size === 1 && state.tool.touchPaints) {
    begin(event);
  } else if (!painting || isEarly(event)) {
    const time = painting?.time ?? event.timeStamp;
    cancel();
    painting = null;
    hideCursor();
    gesture = {time, most: fingers.size, isMoved: false, center: null, spread: 0};
    measure();
  }
}

function isEarly(event) {
  const {x, y, startX, startY} = fingers.get(painting.id) ?? {};
  return event.timeStamp - painting.time <= EARLY || Math.hypot(x - startX, y - startY) < SLACK;
}

/** Remember where the fingers are, and how far from one another. */
function measure() {
  const points = [...fingers.values()];
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / points.length;
  const x = mean(points.map((point) => point.x));
  const y = mean(points.map((point) => point.y));
  gesture.center = {x, y};
  gesture.spread = mean(points.map((point) => Math.hypot(point.x - x, point.y - y)));
}

function moveFinger(event) {
  const finger = fingers.get(event.pointerId);
  if (!finger) return;
  finger.x = event.clientX;
  finger.y = event.clientY;
  if (!gesture) return;
  const way = Math.hypot(finger.x - finger.startX, finger.y - finger.startY);
  if (way >= SLACK) gesture.isMoved = true;
  const {center, spread} = gesture;
  measure();
  if (!gesture.isMoved) return;
  const ratio = window.devicePixelRatio;
  panBy((gesture.center.x - center.x) * ratio, (gesture.center.y - center.y) * ratio);
  if (fingers.size > 1 && spread > 0) {
    const {deviceX, deviceY} = locate(gesture.center.x, gesture.center.y);
    zoomBy(gesture.spread / spread, deviceX, deviceY);
  }
}

function touchUp(event) {
  if (!fingers.delete(event.pointerId) || !gesture) return;
  if (fingers.size) {
    measure();
    return;
  }
  const isTap = !gesture.isMoved && event.timeStamp - gesture.time <= TAP;
  if (isTap && gesture.most === 2) undo();
  if (isTap && gesture.most === 3) redo();
  gesture = null;
}

let wheel = 0;

function onWheel(event) {
  event.preventDefault();
  const {deviceX, deviceY} = locate(event.clientX, event.clientY);
  const way = event.deltaY * [1, 16, 400][event.deltaMode];
  if (event.ctrlKey) {  // Two fingers on a trackpad.
    zoomBy(Math.exp(-way / 100), deviceX, deviceY);
    return;
  }
  wheel = Math.sign(wheel) === Math.sign(way) ? wheel + way : way;
  if (Math.abs(wheel) < WHEEL_STEP) return;
  zoomStep(-Math.sign(wheel), deviceX, deviceY);
  wheel = 0;
}

/** Forget the pointer that is down, after Esc: `tools.escape` ends the tool. */
export function releasePointer() {
  painting = null;
}
