/** Lines of text about what one sees: below the map, and about model and connection. */

import {announce} from './announce.js';
import {classOf, titled} from './classes.js';
import {element, setText} from './dialogs.js';
import {state, subscribe} from './state.js';

const LIGHTS = {lost: 'bad', refused: 'bad', connecting: 'wait', warming: 'wait'};

/** Say below the map how large it is, and which material is under the pointer. */
export function buildMapCaption(caption, frame) {
  let timer = 0;
  const show = () => {
    timer = 0;
    const {width, height, ids} = state.document;
    const {pointer} = state.view;
    const material = pointer && titled(classOf(ids[pointer.y * width + pointer.x]).name);
    const place = pointer ? ` · ${material} at ${pointer.x}, ${pointer.y}` : '';
    setText(caption, width ? `${width} × ${height}${place}` : '');
  };
  // No one reads a text that changes in each frame, and the browser lays it out each time.
  const showSoon = () => { timer ||= setTimeout(show, 100); };
  subscribe('document', ({width, height}, changed) => {
    showSoon();
    // Not for each dab and each move of the pointer.
    if ('width' in changed) frame.setAttribute('aria-label', `Label map, ${width} by ${height}`);
  });
  subscribe('view', (_, changed) => {
    if (!('pointer' in changed)) return;
    showSoon();
    if (document.documentElement.dataset.hand === 'keys') sayPlace(state.view.pointer);
  });
  show();
}

/** Tell where the cursor of the keyboard is, and on what. */
function sayPlace(pointer) {
  if (!pointer) return;
  const {ids, width} = state.document;
  const {name} = classOf(ids[pointer.y * width + pointer.x]);
  announce(`${titled(name)}, ${pointer.x}, ${pointer.y}`);
}

/** Say which model samples, and how the connection is. */
export function buildStatus(line) {
  const text = element('span');
  line.append(text);
  const show = () => {
    const {model, link} = state;
    if (!model) return;
    const parts = [model.step ? `${model.name}, step ${model.step}` : model.name];
    if (link.state === 'lost') parts.push('no connection');
    if (link.state === 'connecting') parts.push('connecting');
    if (link.state === 'warming' || link.stage) parts.push(link.stage?.name ?? 'loading');
    if (link.before > 0) parts.push(`${link.before} before you`);
    setText(text, parts.join(' · '));
    line.dataset.light = LIGHTS[link.state] ?? 'good';
  };
  subscribe('model', show);
  subscribe('link', show);
}
