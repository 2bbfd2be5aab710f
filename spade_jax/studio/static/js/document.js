/** The document: all that changes its label map goes through here, and is a step of its history. */

import {History, makeStep} from './history.js';
import {makeTarget, paste, union} from './raster.js';
import {state, update} from './state.js';

let history = new History();
let stroke = null;  // {name, label, before, changed} while one is painted.

/** A random name of 16 hexadecimal digits; `crypto.randomUUID` needs a secure origin. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

function wholeMap() {
  return {left: 0, top: 0, right: state.document.width, bottom: state.document.height};
}

function showHistory() {
  update('history', {
    canUndo: history.done.length > 0, canRedo: history.undone.length > 0, bytes: history.bytes,
  });
}

function showChange(dirty, fields = {}) {
  update('document', {revision: state.document.revision + 1, dirty, ...fields});
}

/**
 * Open another document, with an empty history; revisions count on, so that they only grow.
 *
 * `origin` is {bytes, format} of the file that holds exactly these ids, or null; `id` is that of a
 * draft.
 */
export function openDocument({
  ids, width, height, name = 'Untitled', origin = null, background = 0, id = newId(),
}) {
  cancelStroke();
  history = new History();
  const revision = state.document.revision + 1;
  update('document', {
    id, name, width, height, ids: ids.slice(), background, revision, saved: 'saved',
    origin: origin && {...origin, ids: ids.slice()},
    dirty: {left: 0, top: 0, right: width, bottom: height},
  });
  showHistory();
}

function addStep(name, before, changed, fields) {
  const {ids, width} = state.document;
  const step = changed && makeStep(name, before, ids, width, changed);
  if (step && fields?.name) step.renamed = {from: state.document.name, to: fields.name};
  if (step) history.push(step);
  if (step || fields) showChange(changed, fields);
  showHistory();
  return Boolean(step);
}

/**
 * Replace the whole map by `ids` of the same size, as one step.
 *
 * `origin` as for `openDocument`. Protected materials stay only if `isMasked`; then there is no
 * origin. The document gets the name `name`, until the step is undone.
 */
export function replaceIds(
  ids, {label = 'Replace', origin = null, isMasked = false, name = null} = {},
) {
  endStroke();
  const before = state.document.ids.slice();
  if (isMasked) {
    paste(makeTarget(state.document, 0, state.tool), ids);
  } else {
    state.document.ids.set(ids);
  }
  const fields = {
    ...(origin && !isMasked && {origin: {...origin, ids: ids.slice()}}), ...(name && {name}),
  };
  return addStep(label, before, wholeMap(), Object.keys(fields).length ? fields : null);
}

/** Let `paint(target)` write `id`, as one step named `name`; returns whether a pixel changed. */
export function edit(name, paint, id = state.tool.first) {
  endStroke();
  const before = state.document.ids.slice();
  const target = makeTarget(state.document, id, state.tool);
  paint(target);
  return addStep(name, before, target.changed);
}

/** Begin a stroke that writes `id`: one step of history from now to `endStroke`. */
export function beginStroke(name, id = state.tool.first) {
  endStroke();
  const target = makeTarget(state.document, id, state.tool);
  stroke = {name, target, before: state.document.ids.slice(), changed: null};
  update('link', {isStroke: true});
}

/** Put back what the stroke changed; returns the rectangle. */
function takeBack() {
  const {ids, width} = state.document;
  const {changed, before} = stroke;
  if (changed) {
    for (let y = changed.top; y < changed.bottom; y++) {
      const [start, end] = [y * width + changed.left, y * width + changed.right];
      ids.set(before.subarray(start, end), start);
    }
  }
  stroke.changed = null;
  return changed;
}

/** Let `paint(target)` add to the stroke, or replace what it has; nothing without a stroke. */
export function paintStroke(paint, {isReplacing = false} = {}) {
  if (!stroke) return;
  const old = isReplacing ? takeBack() : null;
  stroke.target.changed = null;
  paint(stroke.target);
  const changed = stroke.target.changed;
  stroke.changed = union(stroke.changed, changed);
  if (old || changed) showChange(union(old, changed));
}

/** End the stroke and keep it; returns whether it changed a pixel. */
export function endStroke() {
  if (!stroke) return false;
  const {name, before, changed} = stroke;
  stroke = null;
  const step = changed && makeStep(name, before, state.document.ids, state.document.width, changed);
  if (step) history.push(step);
  showHistory();
  update('link', {isStroke: false});
  return Boolean(step);
}

/** End the stroke and take it back. */
export function cancelStroke() {
  if (!stroke) return;
  const changed = takeBack();
  stroke = null;
  if (changed) showChange(changed);
  update('link', {isStroke: false});
}

/** Take the last step back, or the stroke that is painted now; returns the step's name or null. */
export function undo() {
  if (stroke) {
    const {name} = stroke;
    cancelStroke();
    return name;
  }
  return show(history.undo(state.document.ids), 'to', 'from');
}

/** Do the last step that was undone again; returns its name or null. */
export function redo() {
  return stroke ? null : show(history.redo(state.document.ids), 'from', 'to');
}

function show(step, left, reached) {
  if (!step) return null;
  const {rectangle, renamed} = step;
  const isNamed = renamed && state.document.name === renamed[left];  // By nobody since.
  showChange(rectangle, isNamed ? {name: renamed[reached]} : {});
  showHistory();
  return step.name;
}
