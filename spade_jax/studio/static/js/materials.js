/** The materials: a radio group; long tables have a search, "in this map" and "recent" in front. */

import {announce} from './announce.js';
import {classOf, titled} from './classes.js';
import {check, roving, swatch} from './controls.js';
import {element, icon} from './dialogs.js';
import {state, subscribe, update} from './state.js';

const MANY = 24;
const DIGITS = '1234567890';

const recent = [];

/**
 * Sort the classes into the groups of the list.
 *
 * Returns [{title, ids}]: one group without title for a short table; else what is searched for, or
 * what the map has, what was used last, and all.
 */
export function groupsOf(classes, {search = '', used = new Set(), recent = []} = {}) {
  const all = classes.map(({id}) => id);
  const nameOf = new Map(classes.map(({id, name}) => [id, name]));
  if (classes.length <= MANY) return [{title: '', ids: all}];
  const wanted = search.trim().toLowerCase();
  if (wanted) {
    const ids = all.filter((id) => nameOf.get(id).toLowerCase().includes(wanted));
    return [{title: ids.length ? 'Found' : `Nothing is called “${search.trim()}”`, ids}];
  }
  return [
    {title: 'In this map', ids: all.filter((id) => used.has(id))},
    {title: 'Recent', ids: recent.filter((id) => !used.has(id))},
    {title: 'All', ids: all.filter((id) => !used.has(id) && !recent.includes(id))},
  ].filter(({ids}) => ids.length > 0);
}

/** Build the list of materials in `section`, as soon as the model is known. */
export function buildMaterials(section) {
  const search = element('input', {
    type: 'search', class: 'field', placeholder: 'Search', 'aria-label': 'Search materials',
    input: () => list(),
  });
  const group = element('div', {
    id: 'materials-list', role: 'radiogroup', 'aria-label': 'Materials',
  });
  section.append(element('h2', {id: 'materials-heading'}, 'Materials'), search, group);
  roving(group, '.material', (button) => button.click());
  let listed = '';

  const list = () => {
    const {classes} = state.model;
    search.hidden = classes.length <= MANY;
    section.toggleAttribute('data-long', classes.length > MANY);
    const used = classes.length > MANY ? new Set(state.document.ids) : new Set();
    const groups = groupsOf(classes, {search: search.value, used, recent});
    const wanted = JSON.stringify(groups);
    if (wanted !== listed) {
      listed = wanted;
      group.replaceChildren(...groups.flatMap(({title, ids}) => [
        ...(title ? [element('h3', {}, title)] : []),
        ...ids.map((id) => materialButton(classOf(id)))]));
    }
    mark(group);
  };
  const setDigits = () => {
    const {classes} = state.model;
    const ids = classes.length <= MANY ? classes.map(({id}) => id) : recent;
    update('tool', {digits: ids.slice(0, DIGITS.length)});
  };
  subscribe('model', () => {
    recent.length = 0;
    if (state.model.classes.length > MANY) {
      recent.push(...[...new Set(state.document.ids)].slice(0, DIGITS.length));
    }
    setDigits();
    list();
  });
  subscribe('tool', (_, changed) => {
    if (!state.model) return;
    if ('first' in changed) {
      announce(titled(classOf(state.tool.first).name));
      if (keepRecent(state.tool.first)) setDigits();
    }
    if (['first', 'second', 'protected', 'digits'].some((field) => field in changed)) list();
  });
  subscribe('document', (_, changed) => {
    if (state.model?.classes.length > MANY && 'id' in changed) list();
  });
}

/** Put `id` among the ten recent ones, in front of the oldest; returns whether it was not there. */
function keepRecent(id) {
  if (recent.includes(id)) return false;
  recent.unshift(id);
  recent.length = Math.min(recent.length, DIGITS.length);
  return true;
}

function materialButton({id, name, color}) {
  return element('button', {
    type: 'button', role: 'radio', class: 'material', 'data-id': id, title: titled(name),
    'aria-label': titled(name),
    click: (event) => update('tool', event.shiftKey ? {second: id} : {first: id}),
  }, swatch(color), element('span', {}, titled(name)), element('kbd', {'aria-hidden': 'true'}));
}

/** Show in the list what is chosen, protected, and on which digit. */
function mark(group) {
  const {first, digits} = state.tool;
  for (const button of group.querySelectorAll('.material')) {
    const id = Number(button.dataset.id);
    check(button, id === first);
    button.querySelector('kbd').textContent = DIGITS[digits.indexOf(id)] ?? '';
    button.querySelector('.icon')?.remove();
    if (state.tool.protected.has(id)) button.append(icon('lock'));
  }
  const chosen = group.querySelector('[aria-checked=true]');
  if (!chosen) group.querySelector('.material')?.setAttribute('tabindex', 0);
  chosen?.scrollIntoView({block: 'nearest', inline: 'nearest'});
}
