/**
 * The map on the screen: where it is and how large, and its ids as colors.
 *
 * The canvas of the map has one pixel for each pixel of the map, and is enlarged by CSS. Sizes and
 * offsets are in device pixels, so that at whole zooms all pixels of the map are equal in size.
 */

import {fitScale} from './layout.js';
import {createRing, drawOverlay, placeRing} from './overlay.js';
import {union} from './raster.js';
import {state, subscribe, update} from './state.js';

const LARGEST_ZOOM = 32;
const DIMMED = 89;  // 35 % of opacity, for what is not highlighted.

// frame: the element; map, photo, overlay: its canvases; ring: around the cursor; width, height: of
// the frame in device pixels; image: the colors of the map; colors: of each id; dirty: what is not
// painted yet; corner: where the frame is in the window.
let stage = null;

/** Show the map in `frame`, an empty element without border; call once. */
export function attachView(frame) {
  const canvas = () => document.createElement('canvas');
  const layers = {photo: canvas(), map: canvas(), overlay: canvas(), ring: createRing()};
  for (const [name, layer] of Object.entries(layers)) {
    layer.setAttribute('class', `view-${name}`);
    layer.setAttribute('aria-hidden', 'true');
    Object.assign(layer.style, {
      position: 'absolute', left: '0', top: '0', transformOrigin: '0 0', pointerEvents: 'none',
    });
  }
  layers.map.style.imageRendering = 'pixelated';
  if (getComputedStyle(frame).position === 'static') frame.style.position = 'relative';
  Object.assign(frame.style, {
    overflow: 'hidden', touchAction: 'none', userSelect: 'none', webkitUserSelect: 'none',
  });
  frame.append(...Object.values(layers));
  stage = {
    frame, ...layers, width: 0, height: 0, image: null, colors: null, dirty: null,
    isScheduled: false, bitmap: null, corner: null,
  };
  new ResizeObserver(resize).observe(frame);
  window.addEventListener('resize', resize);  // Another screen, or another zoom of the page.
  resize();
  subscribe('document', (_, {dirty}) => {
    const {width, height} = state.document;
    if (stage.image?.width !== width || stage.image?.height !== height) repaint();
    else if (dirty) stage.dirty = union(stage.dirty, dirty);
    schedule();
  });
  subscribe('model', repaint);
  subscribe('tool', schedule);
  subscribe('view', (_, fields) => (('highlight' in fields) ? repaint() : schedule()));
  repaint();
}

function resize() {
  stage.corner = null;
  const {frame, overlay} = stage;
  const ratio = window.devicePixelRatio;
  const {width, height} = frame.getBoundingClientRect();  // Not rounded to CSS pixels.
  stage.width = Math.round(width * ratio);
  stage.height = Math.round(height * ratio);
  overlay.width = stage.width;
  overlay.height = stage.height;
  overlay.style.width = `${stage.width / ratio}px`;
  overlay.style.height = `${stage.height / ratio}px`;
  if (!state.document.width) return;
  const {fit, zoom, x, y} = state.view;
  place(fit ? fitted() : zoom, x, y);
}

function fitted() {
  const {width, height} = state.document;
  return Math.min(fitScale(Math.min(stage.width / width, stage.height / height)), LARGEST_ZOOM);
}

/** Paint all of the map again: its size or its colors changed. */
function repaint() {
  const {width, height} = state.document;
  if (!state.model || !width) return;
  const {map} = stage;
  if (stage.image?.width !== width || stage.image?.height !== height) {
    map.width = width;
    map.height = height;
    stage.image = new ImageData(width, height);
    place(fitted(), 0, 0);
  }
  stage.colors = colorsOf(state.model.classes, state.view.highlight);
  stage.dirty = {left: 0, top: 0, right: width, bottom: height};
  schedule();
}

/** The color of each id as ImageData has it: a number of the bytes R, G, B, A. */
function colorsOf(classes, highlight) {
  const bytes = new Uint8Array(4 * 65536).fill(255);
  for (const {id, color} of classes) {
    const isDimmed = highlight !== null && highlight !== id;
    bytes.set([...color, isDimmed ? DIMMED : 255], 4 * id);
  }
  return new Uint32Array(bytes.buffer);
}

function schedule() {
  if (stage.isScheduled) return;
  stage.isScheduled = true;
  requestAnimationFrame(paint);
}

function paint() {
  stage.isScheduled = false;
  stage.corner = null;
  const {map, image, dirty} = stage;
  if (!image) return;
  if (dirty) {
    paintIds(new Uint32Array(image.data.buffer), dirty);
    const {left, top, right, bottom} = dirty;
    map.getContext('2d').putImageData(image, 0, 0, left, top, right - left, bottom - top);
    stage.dirty = null;
  }
  paintPhoto();
  moveCanvases();
  stage.frame.style.cursor = (state.tool.held ?? state.tool.name) === 'pan' ? 'grab' : 'crosshair';
  drawOverlay(stage.overlay.getContext('2d'), stage.width, stage.height);
  placeRing(stage.ring);
}

function paintIds(pixels, {left, top, right, bottom}) {
  const {ids, width} = state.document;
  const {colors} = stage;
  for (let y = top; y < bottom; y++) {
    for (let k = y * width + left; k < y * width + right; k++) pixels[k] = colors[ids[k]];
  }
}

function paintPhoto() {
  const bitmap = state.view.photo?.bitmap ?? null;
  stage.photo.hidden = !bitmap;
  stage.map.style.opacity = bitmap ? 1 - state.view.photo.opacity : 1;
  if (bitmap === stage.bitmap) return;
  stage.bitmap = bitmap;
  if (!bitmap) return;
  stage.photo.width = bitmap.width;
  stage.photo.height = bitmap.height;
  stage.photo.getContext('2d').drawImage(bitmap, 0, 0);
}

function moveCanvases() {
  const ratio = window.devicePixelRatio;
  const {zoom, x, y} = state.view;
  for (const canvas of [stage.map, stage.photo]) {
    canvas.style.width = `${state.document.width * zoom / ratio}px`;
    canvas.style.height = `${state.document.height * zoom / ratio}px`;
    canvas.style.transform = `translate(${x / ratio}px, ${y / ratio}px)`;
  }
}

/** Center the map where it is smaller than the frame; else let it pass a quarter of it at most. */
function place(zoom, x, y) {
  const offset = (wanted, size, available) => {
    if (size <= available) return Math.floor((available - size) / 2);
    const margin = Math.floor(available / 4);
    return Math.round(Math.min(margin, Math.max(available - size - margin, wanted)));
  };
  const {width, height} = state.document;
  update('view', {
    zoom, x: offset(x, width * zoom, stage.width), y: offset(y, height * zoom, stage.height),
    fit: zoom === fitted(),
  });
}

/** Show all of the map, as large as whole device pixels allow. */
export function fitView() {
  place(fitted(), 0, 0);
}

/** Move the map by device pixels. */
export function panBy(x, y) {
  place(state.view.zoom, state.view.x + x, state.view.y + y);
}

/** Zoom by a factor; the point (x, y) of the frame, in device pixels, keeps its place. */
export function zoomBy(factor, x = stage.width / 2, y = stage.height / 2) {
  zoomTo(state.view.zoom * factor, x, y);
}

/** Zoom in or out by a whole number of device pixels, larger ones when it is large already. */
export function zoomStep(sign, x = stage.width / 2, y = stage.height / 2) {
  const {zoom} = state.view;
  const step = Math.max(1, Math.floor(zoom / 4));
  zoomTo(sign > 0 ? Math.floor(zoom) + step : Math.ceil(zoom) - step, x, y);
}

function zoomTo(wanted, x, y) {
  const old = state.view;
  const zoom = Math.min(Math.max(wanted, Math.min(1, fitted())), LARGEST_ZOOM);
  place(zoom, x - (x - old.x) * zoom / old.zoom, y - (y - old.y) * zoom / old.zoom);
}

/** Where a point of the window is: in pixels of the map, and in device pixels of the frame. */
export function locate(clientX, clientY) {
  // Asked for once a frame: each answer after a change of the page costs a layout.
  stage.corner ??= stage.frame.getBoundingClientRect();
  const {left, top} = stage.corner;
  const deviceX = (clientX - left) * window.devicePixelRatio;
  const deviceY = (clientY - top) * window.devicePixelRatio;
  const {x, y, zoom} = state.view;
  return {x: (deviceX - x) / zoom, y: (deviceY - y) / zoom, deviceX, deviceY};
}

/** Move the map so that a point of it is inside the frame. */
export function reveal(x, y) {
  const {zoom} = state.view;
  const [deviceX, deviceY] = [x * zoom + state.view.x, y * zoom + state.view.y];
  const way = (at, size) => Math.max(0, -at) + Math.min(0, size - at);
  panBy(way(deviceX, stage.width), way(deviceY, stage.height));
}
