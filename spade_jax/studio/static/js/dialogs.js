/**
 * Elements, icons, dialogs and notices: what every panel is made of. No text is ever parsed.
 */

import {announce} from './announce.js';

const SVG = 'http://www.w3.org/2000/svg';
const SIGNS = {info: 'info', warn: 'triangle-alert', bad: 'circle-x'};

/**
 * Make an element.
 *
 * `attributes`: a function is a listener of the event of that name (`{click: save}`), `true` an
 * attribute without value, `false`, `null` and `undefined` none; anything else is the value.
 * `children`: nodes and strings; `null` and `false` are left out.
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') made.addEventListener(name, value);
    else if (isThere(value)) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.filter(isThere));
  return made;
}

function isThere(value) {
  return value !== null && value !== undefined && value !== false;
}

/** The icon `name` of index.html, 20 px, in the color of the text; it has no name of its own. */
export function icon(name) {
  const made = document.createElementNS(SVG, 'svg');
  made.setAttribute('class', 'icon');
  made.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS(SVG, 'use');
  use.setAttribute('href', `#icon-${name}`);
  made.append(use);
  return made;
}

/** A button that shows an icon alone; `label` is its name and its tooltip. */
export function iconButton(name, label, attributes = {}) {
  return element('button', {
    type: 'button', class: 'icon-button', 'aria-label': label, title: label, ...attributes,
  }, icon(name));
}

/** Set the text of an element; the same text again would cost a layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Ask something in a modal dialog.
 *
 * `buttons`: `{name, label, primary}` from left to right; Enter presses the primary one.
 * Returns a promise of the name of the pressed button, or `null` after Esc or the cross.
 */
export function showDialog(title, body, buttons) {
  return new Promise((resolve) => {
    let chosen = null;
    const choose = (name) => {
      chosen = name;
      dialog.close();
    };
    const actions = buttons.map(({name, label, primary}) => element('button', {
      class: primary ? 'primary' : 'button', type: primary ? 'submit' : 'button',
      autofocus: primary, click: primary ? null : () => choose(name),
    }, label));
    const heading = element('h1', {id: `dialog-${Math.random().toString(36).slice(2)}`}, title);
    // `form-action 'none'` stands against a form that is sent.
    const submit = (event) => {
      event.preventDefault();
      choose(buttons.find((button) => button.primary)?.name ?? null);
    };
    const dialog = element(
      'dialog', {class: 'dialog', 'aria-labelledby': heading.id},
      element(
        'form', {submit},
        element('header', {}, heading, iconButton('x', 'Close', {click: () => choose(null)})),
        element('div', {class: 'dialog-body'}, body),
        actions.length > 0 && element('footer', {}, ...actions)));
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(chosen);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Tell something in a bar that stops nobody; returns a function that takes the bar away.
 *
 * `kind`: info, warn or bad, with a sign next to the color. `action`: `{label, run}`, a button of
 * the bar. A bar goes by itself after six seconds, with an action after twelve; a `lasting` one
 * stays.
 */
export function notice(text, {kind = 'info', action = null, lasting = false} = {}) {
  const bar = element(
    'div', {class: 'notice', 'data-kind': kind}, icon(SIGNS[kind]), element('p', {}, text));
  const remove = () => bar.remove();
  if (action) {
    const run = () => {
      remove();
      action.run();
    };
    bar.append(element('button', {class: 'button', type: 'button', click: run}, action.label));
  }
  bar.append(iconButton('x', 'Dismiss', {click: remove}));
  const shown = [...document.querySelectorAll('.notice')];
  shown.find((other) => other.querySelector('p').textContent === text)?.remove();
  document.getElementById('notices').append(bar);
  announce(text);
  if (!lasting) setTimeout(remove, action ? 12000 : 6000);
  return remove;
}
