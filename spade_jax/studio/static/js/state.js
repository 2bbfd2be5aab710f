/**
 * The state of the page: slices of plain fields, and who listens to them.
 *
 * Modules read `state.SLICE.field`, write through `update` alone, and never import each other for
 * data. Listeners run at once; one that paints waits for the next frame by itself.
 */

export const state = {
  // GET /api/model, see studio/description.py; null until it is there.
  model: null,

  // ids: Uint8Array, or Uint16Array above 256 classes, row by row; `revision` counts its changes.
  // origin: {bytes, format, ids} of an imported file ('ids', the default, or 'gaugan'): while the
  // map has these ids, an export in this format is the file itself; or null. dirty: the rectangle
  // that the last change touched: {left, top, right, bottom}, half open.
  document: {
    id: '', name: 'Untitled', width: 0, height: 0, ids: new Uint8Array(0), revision: 0,
    origin: null, background: 0, dirty: null, saved: 'saved',  // saved | saving | failed
  },

  history: {canUndo: false, canRedo: false, bytes: 0},

  // current: {kind: 'seed', seed, truncation} | {kind: 'photo', latent, strength}
  //   | {kind: 'blend', from, to, share}; latent: base64 of float32. The server's messages have it.
  style: {
    current: {kind: 'seed', seed: 2, truncation: 1}, a: null, b: null, recent: [], presets: [],
  },

  // name: brush | line | rectangle | polygon | fill | pick | pan. shape: circle | square | diamond
  // | bar. first, second: class ids. protected, only: sets of class ids. digits: the class ids of
  // the keys 1 to 9 and 0, in this order.
  tool: {
    name: 'brush', held: null, size: 12, shape: 'circle', first: 0, second: 0,
    mirrorX: false, mirrorY: false,
    protected: new Set(), only: new Set(), pressure: false, touchPaints: true, digits: [],
  },

  // zoom: device pixels of a pixel of the map; x, y: offset in device pixels. pointer: {x, y} of
  // the pixel of the map under the pointer, or null; cursor: the same with fractions, also outside
  // the map. sketch: corners of an unfinished polygon, or null. photo: {bitmap, opacity} below the
  // map, or null. highlight: class id, or null. letters: whether single letters are shortcuts.
  view: {
    zoom: 1, x: 0, y: 0, fit: true, grid: true, outlines: false, highlight: null, photo: null,
    pointer: null, cursor: null, sketch: null, letters: true, theme: 'auto',  // auto | dark | light
  },

  // The image that is shown: rgb Uint8Array row by row, of the document's `revision`, in `style`.
  image: {revision: -1, rgb: null, width: 0, height: 0, milliseconds: 0, style: null, size: 'full'},

  snapshots: {items: []},  // At most 8 of {name, ids, width, height, style, rgb}.

  // state: connecting | warming | ready | sampling | lost | refused. mode: live | strokes | demand.
  // stage: {name, done, of, seconds} while warming, and while the server still compiles; or null.
  // refused: {code, problem, remedy} or null.
  link: {
    state: 'connecting', stage: null, mode: 'live', rate: 0, before: 0, refused: null,
    isStroke: false,
  },
};

const listeners = new Map();

/** Set fields of a slice and call its listeners; `model` is replaced as a whole. */
export function update(slice, fields) {
  state[slice] = state[slice] === null ? fields : Object.assign(state[slice], fields);
  for (const listener of listeners.get(slice) ?? []) listener(state[slice], fields);
}

/** Call `listener(slice, changedFields)` after each update; returns a function that ends it. */
export function subscribe(slice, listener) {
  if (!listeners.has(slice)) listeners.set(slice, new Set());
  listeners.get(slice).add(listener);
  return () => listeners.get(slice).delete(listener);
}
