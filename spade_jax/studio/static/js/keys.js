/** The table of all shortcuts: it decides what keys do, and the dialog of "?" shows it. */

import {announce} from './announce.js';
import {moveCursor, pressKeyboard, releaseKeyboard} from './cursor.js';
import {redo, undo} from './document.js';
import {releasePointer} from './pointer.js';
import {state, update} from './state.js';
import {closeSketch, dropCorner, escape} from './tools.js';
import {fitView, zoomStep} from './view.js';

const LARGEST_SIZE = 128;
const isMac = /Mac|iPhone|iPad/.test(navigator.platform);

const choose = (name) => () => update('tool', {name});
const hold = (name) => (isDown) => update('tool', {held: isDown ? name : null});

function resize(by) {
  update('tool', {size: Math.min(Math.max(state.tool.size + by, 1), LARGEST_SIZE)});
}

function say(verb, step) {
  const name = step();
  announce(name ? `${verb}: ${name}` : `Nothing to ${verb === 'Undone' ? 'undo' : 'redo'}`);
}

function takeBack() {
  if (state.view.sketch) dropCorner();
  else say('Undone', undo);
}

function exchange() {
  const {first, second} = state.tool;
  update('tool', {first: second, second: first});
}

/** Switch the mirror through left-right, up-down, both and none. */
function switchMirror() {
  const {mirrorX, mirrorY} = state.tool;
  update('tool', {mirrorX: !mirrorX, mirrorY: mirrorX ? !mirrorY : mirrorY});
}

function protectUnderPointer() {
  const {pointer} = state.view;
  if (!pointer) return;
  const id = state.document.ids[pointer.y * state.document.width + pointer.x];
  const changed = new Set(state.tool.protected);
  if (!changed.delete(id)) changed.add(id);
  update('tool', {protected: changed});
}

function abandon() {
  if (!escape()) return;
  releasePointer();
  releaseKeyboard();
}

function finish() {
  if (state.view.sketch?.length > 2 && state.tool.name === 'polygon') closeSketch();
  else pressKeyboard();
}

function digit(index) {
  const id = state.tool.digits[index];
  if (id !== undefined) update('tool', {first: id});
}

const arrows = [['Left', -1, 0], ['Right', 1, 0], ['Up', 0, -1], ['Down', 0, 1]];

/**
 * All shortcuts, in the order of the dialog: {group, keys, name}, and one of `run`, `hold` (called
 * with true and false) and `action` (what `attachKeys` is given under that name). `isMap`: only
 * while the map has the focus; `isFree`: or nothing has; `ofSketch`: or the chosen material has,
 * while a polygon is unfinished. Entries without name are not shown.
 */
export const shortcuts = [
  {group: 'Tools', keys: ['B'], name: 'Brush', run: choose('brush')},
  {group: 'Tools', keys: ['L'], name: 'Line', run: choose('line')},
  {group: 'Tools', keys: ['R'], name: 'Rectangle', run: choose('rectangle')},
  {group: 'Tools', keys: ['P'], name: 'Polygon, lasso', run: choose('polygon')},
  {group: 'Tools', keys: ['F', 'G'], name: 'Fill', run: choose('fill')},
  {group: 'Tools', keys: ['I'], name: 'Pick', run: choose('pick')},
  {group: 'Tools', keys: ['H'], name: 'Pan', run: choose('pan')},
  {group: 'Tools', keys: ['Alt'], name: 'Pick (hold)', hold: hold('pick')},
  {group: 'Tools', keys: ['Space'], name: 'Pan (hold)', hold: hold('pan'), isFree: true},

  {group: 'Brush', keys: ['['], name: 'Smaller', run: () => resize(-1)},
  {group: 'Brush', keys: [']'], name: 'Larger', run: () => resize(1)},
  {group: 'Brush', keys: ['Shift+['], name: 'Smaller by 8', run: () => resize(-8)},
  {group: 'Brush', keys: ['Shift+]'], name: 'Larger by 8', run: () => resize(8)},
  {group: 'Brush', keys: ['M'], name: 'Mirror', run: switchMirror},

  {group: 'Materials', keys: ['1'], name: 'Materials (1 to 9, 0)', run: () => digit(0)},
  ...[...'234567890'].map((key, index) => (
    {group: 'Materials', keys: [key], run: () => digit(index + 1)})),
  {group: 'Materials', keys: ['X'], name: 'Exchange with the second', run: exchange},
  {
    group: 'Materials', keys: ['E'], name: 'Material of the background',
    run: () => update('tool', {first: state.document.background}),
  },
  {
    group: 'Materials', keys: ['K'], name: 'Protect what is under the pointer',
    run: protectUnderPointer,
  },
  {
    group: 'Materials', keys: ['Shift+K'], name: 'Protect nothing',
    run: () => update('tool', {protected: new Set()}),
  },

  {group: 'Map', keys: ['Ctrl+Z'], name: 'Undo', run: takeBack},
  {
    group: 'Map', keys: ['Ctrl+Shift+Z', 'Ctrl+Y'], name: 'Redo', run: () => say('Redone', redo),
  },
  {group: 'Map', keys: ['Home'], name: 'Fit', run: fitView, isFree: true},
  {group: 'Map', keys: ['+'], name: 'Zoom in', run: () => zoomStep(1)},
  {group: 'Map', keys: ['-'], name: 'Zoom out', run: () => zoomStep(-1)},
  {group: 'Map', keys: ['Arrows'], name: 'Move the cursor (Shift: by 8)'},
  ...arrows.flatMap(([key, x, y]) => [
    {group: 'Map', keys: [`Arrow${key}`], run: () => moveCursor(x, y), isMap: true},
    {group: 'Map', keys: [`Shift+Arrow${key}`], run: () => moveCursor(8 * x, 8 * y), isMap: true},
  ]),
  {
    group: 'Map', keys: ['Enter'], name: 'Pen down or up; close the polygon', run: finish,
    isMap: true, ofSketch: true,
  },
  {group: 'Map', keys: ['Shift+Enter'], run: () => pressKeyboard(true), isMap: true},
  {group: 'Map', keys: ['Backspace'], name: 'Last corner back', run: dropCorner, isMap: true,
    ofSketch: true},
  {group: 'Map', keys: ['Escape'], name: 'Take the stroke back', run: abandon},

  {group: 'Image', keys: ['D'], name: 'Roll another style', action: 'roll'},
  {group: 'Image', keys: ['\\'], name: 'The image before (hold)', action: 'compare', isHeld: true},
  {group: 'Image', keys: ['N'], name: 'Snapshot', action: 'snapshot'},
  {group: 'Image', keys: ['Ctrl+Enter'], name: 'Sample now', action: 'sample'},

  {group: 'Files', keys: ['Ctrl+S'], name: 'Save project', action: 'save'},
  {group: 'Files', keys: ['Ctrl+E'], name: 'Export', action: 'export'},
  {group: 'Files', keys: ['Ctrl+O'], name: 'Open', action: 'open'},
  {group: 'Files', keys: ['?'], name: 'All shortcuts', action: 'help'},
];

/** How keys are written on this machine: 'Ctrl+Shift+Z', on a Mac '⌘⇧Z'. */
export function writtenKeys(keys) {
  if (!isMac) return keys;
  return keys.replace('Ctrl+', '⌘').replace('Shift+', '⇧').replace('Alt', '⌥');
}

/** The name of an event's keys, as `shortcuts` has them. */
function keysOf(event) {
  const same = {' ': 'Space', '{': '[', '}': ']', '=': '+', '|': '\\', '_': '-', '−': '-'};
  let {key = ''} = event;  // Filling in a form sends events without key.
  const isDigit = /^(Digit|Numpad)\d$/.test(event.code) && key.length === 1;
  if (isDigit && !isThirdLevel(event)) key = event.code.at(-1);
  key = same[key] ?? (key.length === 1 ? key.toUpperCase() : key);
  const isShift = event.shiftKey && !'?+'.includes(key) && key !== 'Shift';
  const isControl = isMac ? event.metaKey : event.ctrlKey && !isThirdLevel(event);
  return `${isControl ? 'Ctrl+' : ''}${isShift ? 'Shift+' : ''}${key}`;
}

/** Whether Alt only makes a character, as for brackets on many keyboards. */
function isThirdLevel(event) {
  return event.getModifierState('AltGraph') || (isMac && event.altKey && event.key.length === 1);
}

function isField(target) {
  if (target.isContentEditable || ['TEXTAREA', 'SELECT'].includes(target.tagName)) return true;
  const plain = ['range', 'checkbox', 'radio', 'button', 'color'];
  return target.tagName === 'INPUT' && !plain.includes(target.type);
}

/** Whether the focus is on the chosen material while a polygon is unfinished. */
function isMaterialOfSketch(target) {
  return state.view.sketch && target.matches('.material[aria-checked=true]');
}

function isAllowed(entry, keys, event, frame) {
  if (document.querySelector('dialog[open]')) return false;
  const {target} = event;
  const isFree = target === document.body && !entry.isMap;
  const isOnMap = target === frame || entry.ofSketch && isMaterialOfSketch(target);
  if ((entry.isMap || entry.isFree) && !isOnMap && !isFree) return false;
  if (/^(Shift\+)?.$/.test(keys) && !state.view.letters) return false;
  const isText = ['Ctrl+Z', 'Ctrl+Y', 'Ctrl+Shift+Z'].includes(keys) || !keys.startsWith('Ctrl+');
  return !(isText && isField(target));
}

/**
 * Let the keys work. `actions` are functions for the entries with `action`, by name; those of
 * entries that are held are called with true and false. `frame` is the element of the map.
 */
export function attachKeys(frame, actions) {
  const table = new Map(shortcuts.flatMap((entry) => entry.keys.map((keys) => [keys, entry])));
  const held = new Map();  // code -> function to call when it is released

  const release = (code) => {
    held.get(code)?.(false);
    held.delete(code);
  };

  window.addEventListener('keydown', (event) => {
    const keys = keysOf(event);
    const entry = table.get(keys);
    const run = entry && (entry.run ?? entry.hold ?? actions[entry.action]);
    if (!run || event.isComposing || !isAllowed(entry, keys, event, frame)) return;
    if (event.altKey && keys !== 'Alt' && !isThirdLevel(event)) return;
    event.preventDefault();
    if (!entry.hold && !entry.isHeld) {
      run();
    } else if (!held.has(event.code)) {
      held.set(event.code, run);
      run(true);
    }
  });
  window.addEventListener('keyup', (event) => release(event.code));
  window.addEventListener('blur', () => [...held.keys()].forEach(release));
}
