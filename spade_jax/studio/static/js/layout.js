/** How large the two panes are: a whole number of device pixels for each pixel of the map. */

import {state, subscribe} from './state.js';

/**
 * Arrange two panes of one form in a room, beside or below one another, whichever is larger.
 *
 * All lengths but `mapWidth` and `mapHeight` are CSS pixels; `ratio` is device pixels a CSS pixel,
 * `below` what a caption takes below a pane. Returns {columns, scale}: the scale in device pixels
 * of a pixel of the map, or 1/n where the map has more pixels than the room.
 */
export function arrange({width, height, mapWidth, mapHeight, ratio, gap, below}) {
  const fit = (columns) => {
    const rows = 3 - columns;
    const paneWidth = (width - gap * (columns - 1)) / columns;
    const paneHeight = (height - gap * (rows - 1)) / rows - below;
    return whole(Math.min(paneWidth * ratio / mapWidth, paneHeight * ratio / mapHeight));
  };
  const beside = fit(2);
  const under = fit(1);
  return under > beside ? {columns: 1, scale: under} : {columns: 2, scale: beside};
}

function whole(scale) {
  if (scale >= 1) return Math.floor(scale + 1e-3);
  return 1 / Math.ceil(1 / Math.max(scale, 1e-2) - 1e-3);
}

/** Keep the panes of `stage` as large as its room, the map and the screen allow. */
export function watchLayout(stage) {
  const lay = () => {
    const {width: mapWidth, height: mapHeight} = state.document;
    if (!mapWidth || !mapHeight) return;
    const style = getComputedStyle(stage);
    const {columns, scale} = arrange({
      width: stage.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight),
      height: stage.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom),
      mapWidth, mapHeight, ratio: devicePixelRatio, gap: parseFloat(style.rowGap),
      below: captionHeight(stage),
    });
    stage.style.setProperty('--columns', columns);
    stage.style.setProperty('--pane-width', `${mapWidth * scale / devicePixelRatio}px`);
    stage.style.setProperty('--pane-height', `${mapHeight * scale / devicePixelRatio}px`);
  };
  let size = '';
  subscribe('document', ({width, height}) => {
    if (size === `${width}x${height}`) return;
    size = `${width}x${height}`;
    lay();
  });
  new ResizeObserver(lay).observe(stage);
  addEventListener('resize', lay);  // Another zoom of the page, or another screen.
  lay();
}

function captionHeight(stage) {
  const caption = stage.querySelector('figcaption');
  return getComputedStyle(caption).display === 'none' ? 0 : caption.offsetHeight;
}
