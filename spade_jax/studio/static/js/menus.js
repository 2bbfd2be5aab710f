/** Menus that hang on a button, and sheets that come up from below on a phone. */

import {roving} from './controls.js';
import {element, icon, iconButton} from './dialogs.js';

/**
 * Open a menu at `button`; it goes after a choice, Esc or a click outside.
 *
 * `items`: {label, icon, keys, run} are entries, with `checked` (a boolean) switches; a string is a
 * heading, `null` a line between.
 */
export function openMenu(button, items) {
  const choose = (item) => {
    menu.close();
    item.run();
  };
  const name = button.getAttribute('aria-label') ?? button.textContent.trim();
  const menu = element(
    'dialog', {class: 'menu', 'aria-label': name},
    element(
      'div', {role: 'menu', 'aria-label': name}, ...items.map((item) => entry(item, choose))));
  menu.addEventListener('click', (event) => event.target === menu && menu.close());
  menu.addEventListener('close', () => menu.remove());
  roving(menu, '[role^=menuitem]');
  document.body.append(menu);
  menu.showModal();
  place(menu, button.getBoundingClientRect());
  menu.querySelector('[role^=menuitem]').focus();
}

function entry(item, choose) {
  if (item === null) return element('hr');
  if (typeof item === 'string') return element('small', {}, item);
  const isSwitch = item.checked !== undefined;
  const sign = isSwitch ? (item.checked ? 'check' : 'blank') : item.icon ?? 'blank';
  return element('button', {
    type: 'button', role: isSwitch ? 'menuitemcheckbox' : 'menuitem', disabled: item.disabled,
    'aria-checked': isSwitch ? String(item.checked) : null, click: () => choose(item),
  }, icon(sign), element('span', {}, item.label), item.keys && element('kbd', {}, item.keys));
}

function place(menu, anchor) {
  const left = Math.min(anchor.left, innerWidth - menu.offsetWidth - 8);
  const isBelow = anchor.bottom + menu.offsetHeight + 14 <= innerHeight;
  const top = isBelow ? anchor.bottom + 6 : anchor.top - menu.offsetHeight - 6;
  menu.style.left = `${Math.max(8, left)}px`;
  menu.style.top = `${Math.max(8, top)}px`;
}

/**
 * Show elements of the page in a sheet that comes up from below; they go back to their places when
 * it closes: after Esc, the cross, a click outside, or "back".
 */
export function openSheet(title, nodes) {
  const places = nodes.map((node) => {
    const mark = document.createComment('');
    node.before(mark);
    return mark;
  });
  const close = () => sheet.close();
  const sheet = element(
    'dialog', {class: 'sheet', 'aria-label': title},
    element('header', {}, element('h1', {}, title), iconButton('x', 'Close', {click: close})),
    element('div', {class: 'sheet-body'}, ...nodes));
  sheet.addEventListener('click', (event) => event.target === sheet && close());
  sheet.addEventListener('close', () => {
    nodes.forEach((node, index) => places[index].replaceWith(node));
    sheet.remove();
    removeEventListener('popstate', close);
    if (history.state?.isSheet) history.back();
  });
  history.pushState({isSheet: true}, '');
  addEventListener('popstate', close);
  document.body.append(sheet);
  sheet.showModal();
}
