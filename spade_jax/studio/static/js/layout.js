/**
 * How large the two panes are: a whole number of device pixels for each pixel of the map. Only where
 * that would leave a third of the room or more empty, pixels are 1.5 to 2 device pixels large.
 *
 * On a phone one of them can be large, with the other one small next to it.
 */

import {element, iconButton} from './dialogs.js';
import {state, subscribe} from './state.js';

const SMALL = 96;  // CSS pixels: the width of a small pane.

/**
 * Arrange two panes of one form in a room, side by side or one below the other: the larger way.
 *
 * All lengths but `mapWidth` and `mapHeight` are CSS pixels; `ratio` is device pixels a CSS pixel,
 * `below` what a caption takes below a pane. Returns {columns, scale}; the scale is a `fitScale`.
 */
export function arrange({width, height, mapWidth, mapHeight, ratio, gap, below}) {
  const fit = (columns) => {
    const rows = 3 - columns;
    const paneWidth = (width - gap * (columns - 1)) / columns;
    const paneHeight = (height - gap * (rows - 1)) / rows - below;
    return fitScale(Math.min(paneWidth * ratio / mapWidth, paneHeight * ratio / mapHeight));
  };
  const inRow = fit(2);
  const under = fit(1);
  return under > inRow ? {columns: 1, scale: under} : {columns: 2, scale: inRow};
}

/** A scale in device pixels of a pixel of the map, or 1/n; from 1.5 to 2 in eighths. */
export function fitScale(scale) {
  if (scale >= 1.5 && scale < 2) return Math.floor(scale * 8 + 1e-3) / 8;
  if (scale >= 1) return Math.floor(scale + 1e-3);
  return 1 / Math.ceil(1 / Math.max(scale, 1e-2) - 1e-3);
}

/** Keep the panes of `stage` as large as its room, the map and the screen allow. */
export function watchLayout(stage) {
  const panes = [...stage.querySelectorAll('.pane')];
  const lay = () => {
    const {width, height} = state.document.width ? state.document : state.model ?? state.document;
    if (!width) return;
    const room = roomOf(stage);
    const sizes = {mapWidth: width, mapHeight: height, ratio: devicePixelRatio};
    const {large} = stage.dataset;
    const small = fitScale(SMALL * devicePixelRatio / width);
    const {columns, scale} = large ? arrangeLarge({...room, ...sizes, small})
      : arrange({...room, ...sizes});
    stage.style.setProperty('--columns', columns);
    for (const pane of panes) {
      const own = large && pane.id !== `${large}-pane` ? small : scale;
      pane.style.setProperty('--pane-width', `${width * own / devicePixelRatio}px`);
      pane.style.setProperty('--pane-height', `${height * own / devicePixelRatio}px`);
    }
  };
  let size = '';
  subscribe('document', ({width, height}) => {
    if (size === `${width}x${height}`) return;
    size = `${width}x${height}`;
    lay();
  });
  subscribe('model', lay);
  new ResizeObserver(lay).observe(stage);
  addEventListener('resize', lay);  // Another zoom of the page, or another screen.
  buildEnlarge(stage, lay);
  lay();
}

function roomOf(stage) {
  const style = getComputedStyle(stage);
  const caption = stage.querySelector('figcaption');
  return {
    width: stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
    height: stage.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom),
    gap: parseFloat(style.rowGap),
    below: getComputedStyle(caption).display === 'none' ? 0 : caption.offsetHeight,
  };
}

/** One large pane, with the small one below it, or next to it where that leaves more room. */
function arrangeLarge({width, height, mapWidth, mapHeight, ratio, gap, small}) {
  const fit = (across, down) => fitScale(
    Math.min((width - across) * ratio / mapWidth, (height - down) * ratio / mapHeight));
  const under = fit(0, gap + small * mapHeight / ratio);
  const inRow = fit(gap + small * mapWidth / ratio, 0);
  return under >= inRow ? {columns: 1, scale: under} : {columns: 2, scale: inRow};
}

/** Buttons on the panes: one makes the image large, a tap on a small pane exchanges them. */
function buildEnlarge(stage, lay) {
  const enlarge = (large) => {
    if (large) stage.dataset.large = large;
    else delete stage.dataset.large;
    lay();
  };
  for (const [name, title] of [['map', 'label map'], ['image', 'image']]) {
    stage.querySelector(`#${name}-pane`).append(element('button', {
      type: 'button', class: 'exchange', 'aria-label': `Enlarge the ${title}`,
      click: () => enlarge(name),
    }));
  }
  stage.querySelector('#image-pane').append(iconButton('maximize-2', 'One pane large, or both', {
    class: 'icon-button enlarge', click: () => enlarge(stage.dataset.large ? '' : 'image'),
  }));
}
