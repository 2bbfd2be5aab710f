/** What lies over the map and is not part of it: grid, outlines, mirror axes, polygon, ring. */

import {dabRows, dabStart} from './raster.js';
import {state} from './state.js';

const GRID_FROM = 8;  // Device pixels of a pixel of the map.

let isBlank = true;

/** Draw what lies over all of the map on a canvas of the frame's size in device pixels. */
export function drawOverlay(context, width, height) {
  const {grid, outlines, zoom, sketch} = state.view;
  const {mirrorX, mirrorY} = state.tool;
  const hasGrid = grid && zoom >= GRID_FROM;
  const wasBlank = isBlank;
  isBlank = !(hasGrid || outlines || mirrorX || mirrorY || sketch);
  if (wasBlank && isBlank) return;  // A change costs the browser the whole area.
  context.clearRect(0, 0, width, height);
  if (hasGrid) drawGrid(context);
  if (outlines) drawOutlines(context);
  if (mirrorX || mirrorY) drawAxes(context);
  if (sketch) drawSketch(context, sketch);
}

function toDevice(x, y) {
  return [state.view.x + x * state.view.zoom, state.view.y + y * state.view.zoom];
}

/** The part of the map that the frame shows: pixels of the map, half open. */
function visible({canvas}) {
  const {x, y, zoom} = state.view;
  const {width, height} = state.document;
  return {
    left: Math.max(0, Math.floor(-x / zoom)), top: Math.max(0, Math.floor(-y / zoom)),
    right: Math.min(width, Math.ceil((canvas.width - x) / zoom)),
    bottom: Math.min(height, Math.ceil((canvas.height - y) / zoom)),
  };
}

function drawGrid(context) {
  const {left, top, right, bottom} = visible(context);
  context.beginPath();
  for (let x = left; x <= right; x++) addLine(context, x, top, x, bottom);
  for (let y = top; y <= bottom; y++) addLine(context, left, y, right, y);
  context.strokeStyle = 'rgb(0 0 0 / 0.18)';
  context.lineWidth = 1;
  context.stroke();
}

/** A line along pixels of the map, on the device pixels right of and below their edge. */
function addLine(context, x0, y0, x1, y1) {
  const shift = 0.5;
  const [startX, startY] = toDevice(x0, y0);
  const [endX, endY] = toDevice(x1, y1);
  context.moveTo(Math.round(startX) + shift, Math.round(startY) + shift);
  context.lineTo(Math.round(endX) + shift, Math.round(endY) + shift);
}

function drawOutlines(context) {
  const {ids, width, height} = state.document;
  const {left, top, right, bottom} = visible(context);
  context.beginPath();
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const id = ids[y * width + x];
      if (x + 1 < width && ids[y * width + x + 1] !== id) addLine(context, x + 1, y, x + 1, y + 1);
      if (y + 1 < height && ids[(y + 1) * width + x] !== id) {
        addLine(context, x, y + 1, x + 1, y + 1);
      }
    }
  }
  strokeTwice(context, 1);
}

/** White with black around it: visible on every material. */
function strokeTwice(context, line) {
  context.lineJoin = 'round';
  context.strokeStyle = 'rgb(0 0 0 / 0.7)';
  context.lineWidth = 3 * line;
  context.stroke();
  context.strokeStyle = 'white';
  context.lineWidth = line;
  context.stroke();
}

function drawAxes(context) {
  const {mirrorX, mirrorY} = state.tool;
  const {width, height} = state.document;
  context.beginPath();
  if (mirrorX) addLine(context, width / 2, 0, width / 2, height);
  if (mirrorY) addLine(context, 0, height / 2, width, height / 2);
  context.setLineDash([6 * window.devicePixelRatio, 6 * window.devicePixelRatio]);
  strokeTwice(context, window.devicePixelRatio);
  context.setLineDash([]);
}

function drawSketch(context, corners) {
  context.beginPath();
  for (const {x, y} of corners) context.lineTo(...toDevice(Math.round(x), Math.round(y)));
  const {cursor} = state.view;
  if (cursor) context.lineTo(...toDevice(Math.round(cursor.x), Math.round(cursor.y)));
  const [x, y] = toDevice(Math.round(corners[0].x), Math.round(corners[0].y));
  context.moveTo(x + 4 * window.devicePixelRatio, y);
  context.arc(x, y, 4 * window.devicePixelRatio, 0, 2 * Math.PI);
  strokeTwice(context, 1.5 * window.devicePixelRatio);
}

/** The ring around the cursor: an element, since moving one is cheaper than drawing it again. */
export function createRing() {
  const create = (name) => document.createElementNS('http://www.w3.org/2000/svg', name);
  const ring = create('svg');
  ring.style.overflow = 'visible';
  for (const [stroke, width] of [['rgb(0 0 0 / 0.7)', 4.5], ['white', 1.5]]) {
    const line = create('path');
    Object.assign(line.style, {fill: 'none', stroke, strokeWidth: width, strokeLinejoin: 'round'});
    ring.append(line);
  }
  return ring;
}

/** Put the ring around the dab, or around the pixel under the pointer for tools without one. */
export function placeRing(ring) {
  const {cursor, zoom} = state.view;
  const {held, name, shape, size} = state.tool;
  const tool = held ?? name;
  const isShown = cursor !== null && tool !== 'pan';
  ring.style.display = isShown ? 'block' : 'none';
  if (!isShown) return;
  const hasDab = ['brush', 'line'].includes(tool);
  const dab = hasDab ? {shape, size: cursor.size ?? size} : {shape: 'square', size: 1};
  const ratio = window.devicePixelRatio;
  const scale = zoom / ratio;
  const form = `${dab.shape} ${dab.size} ${scale}`;
  if (ring.dataset.form !== form) {
    ring.dataset.form = form;
    const outline = outlineOf(dab, scale);
    for (const line of ring.children) line.setAttribute('d', outline);
  }
  const [x, y] = toDevice(dabStart(cursor.x, dab.size), dabStart(cursor.y, dab.size));
  ring.style.transform = `translate(${x / ratio}px, ${y / ratio}px)`;
}

/** The exact outline of a dab as SVG has it: down the right edge, and up the left one. */
function outlineOf({shape, size}, scale) {
  const rows = dabRows(shape, size);
  const corners = [];
  for (const isRight of [1, 0]) {
    for (let k = 0; k < size; k++) {
      const row = isRight ? k : size - 1 - k;
      if (!rows[2 * row + 1]) continue;
      for (const end of isRight ? [row, row + 1] : [row + 1, row]) {
        corners.push(`${rows[2 * row + isRight] * scale} ${end * scale}`);
      }
    }
  }
  return `M${corners.join('L')}Z`;
}
