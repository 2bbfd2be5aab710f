/** Lines of text about what one sees: below the map, and about model and connection. */

import {classOf, titled} from './classes.js';
import {element} from './dialogs.js';
import {state, subscribe} from './state.js';

/** Say below the map how large it is, and which material is under the pointer. */
export function buildMapCaption(caption, frame) {
  const show = () => {
    const {width, height, ids} = state.document;
    const {pointer} = state.view;
    const material = pointer && titled(classOf(ids[pointer.y * width + pointer.x]).name);
    const place = pointer ? ` · ${material} at ${pointer.x}, ${pointer.y}` : '';
    caption.textContent = width ? `${width} × ${height}${place}` : '';
    frame.setAttribute('aria-label', `Label map, ${width} by ${height}`);
  };
  subscribe('document', show);
  subscribe('view', (_, changed) => 'pointer' in changed && show());
  show();
}

/** Say which model samples, and how the connection is. */
export function buildStatus(line) {
  const text = element('span');
  line.append(text);
  const show = () => {
    const {model, link} = state;
    if (!model) return;
    const parts = [`${model.name}, step ${model.step}`];
    if (link.state === 'lost') parts.push('no connection');
    if (link.state === 'connecting') parts.push('connecting');
    if (link.state === 'warming') parts.push(link.stage?.name ?? 'loading');
    if (link.before > 0) parts.push(`${link.before} before you`);
    text.textContent = parts.join(' · ');
    line.dataset.light = {lost: 'bad', refused: 'bad', connecting: 'wait', warming: 'wait'}[link.state]
      ?? 'good';
  };
  subscribe('model', show);
  subscribe('link', show);
}
