/** Up to eight snapshots of map, style and image: go back to one, compare with one. */

import {colorsById} from './classes.js';
import {element, icon, notice} from './dialogs.js';
import {compareWith} from './image.js';
import {openMenu} from './menus.js';
import {colorsOf, showRgb} from './pixels.js';
import {state, subscribe, update} from './state.js';

const NAMES = 'ABCDEFGH';

/** Build the row of snapshots in `section`; `replaceIds(ids, options)` puts one's map back. */
export function buildSnapshots(section, replaceIds) {
  const add = element(
    'button', {type: 'button', class: 'thumbnail snapshot add', title: 'Keep a snapshot (N)',
      'aria-label': 'Keep a snapshot', click: takeSnapshot}, icon('plus'));
  const row = element('div', {class: 'snapshots'}, add);
  section.append(element('h2', {id: 'snapshots-heading'}, 'Snapshots'), row);
  const show = () => {
    row.replaceChildren(...state.snapshots.items.map((item) => thumbnail(item, replaceIds)), add);
    add.hidden = state.snapshots.items.length >= NAMES.length;
  };
  subscribe('snapshots', show);
  subscribe('model', show);
  show();
}

/** Keep map, style and image as they are now. */
export function takeSnapshot() {
  const {items} = state.snapshots;
  const name = [...NAMES].find((letter) => items.every((item) => item.name !== letter));
  if (!name) {
    notice('There are eight snapshots: delete one to keep another.');
    return;
  }
  const {ids, width, height} = state.document;
  const isCurrent = state.image.width === width && state.image.height === height;
  const item = {
    name, ids: ids.slice(), width, height, style: state.style.current,
    rgb: isCurrent ? state.image.rgb : null,
  };
  update('snapshots', {items: [...items, item].sort((a, b) => (a.name < b.name ? -1 : 1))});
}

function thumbnail(item, replaceIds) {
  const picture = element('canvas');
  showRgb(picture, item.rgb ?? colorsOf(item.ids, colorsById()), item.width, item.height);
  const button = element(
    'button', {type: 'button', class: 'thumbnail snapshot', 'aria-label': `Snapshot ${item.name}`,
      'aria-haspopup': 'menu'}, picture, element('span', {}, item.name));
  button.addEventListener('click', () => openMenu(button, [
    {label: 'Go back to it', icon: 'undo-2', run: () => goBack(item, replaceIds)},
    {label: 'Compare with the image', icon: 'square-split-horizontal', disabled: !item.rgb,
      run: () => compareWith({...item, name: `Snapshot ${item.name}`})},
    {label: 'Delete', icon: 'trash-2', run: () => remove(item)},
  ]));
  return button;
}

function goBack(item, replaceIds) {
  const {width, height} = state.document;
  if (item.width !== width || item.height !== height) {
    const sizes = `${item.width} × ${item.height} pixels, the map ${width} × ${height}`;
    notice(`Snapshot ${item.name} has ${sizes}.`, {kind: 'warn'});
    return;
  }
  replaceIds(item.ids.slice(), {label: `Snapshot ${item.name}`, origin: null});
  update('style', {current: item.style});
}

function remove(item) {
  const {items} = state.snapshots;
  update('snapshots', {items: items.filter((other) => other !== item)});
  notice(`Snapshot ${item.name} is deleted.`, {
    action: {label: 'Undo', run: () => update('snapshots', {items})},
  });
}
