/** The bar above: menu, name, undo and redo, when to sample, compare, theme, keys, export. */

import {segments} from './controls.js';
import {element, icon, iconButton} from './dialogs.js';
import {openMenu} from './menus.js';
import {remember, setting} from './settings.js';
import {state, subscribe, update} from './state.js';
import {showTheme} from './theme.js';

export const MODES = [
  {name: 'live', label: 'Live'},
  {name: 'strokes', label: 'Each stroke'},
  {name: 'demand', label: 'On demand'},
];
export const THEMES = [
  {name: 'auto', label: 'As the system', icon: 'sun-moon'},
  {name: 'light', label: 'Light', icon: 'sun'},
  {name: 'dark', label: 'Dark', icon: 'moon'},
];
const SAVED = {
  saved: {sign: 'check', text: 'Saved'},
  saving: {sign: 'check', text: 'Saving'},
  failed: {sign: 'triangle-alert', text: 'Not saved'},
};

/**
 * Build the bar.
 *
 * `actions`: {undo, redo, compare, showKeys, mainMenu() -> items, exportMenu() -> items}.
 */
export function buildTopbar(bar, actions) {
  const brand = element('button', {
    type: 'button', class: 'brand', 'aria-label': 'Studio: menu', 'aria-haspopup': 'menu',
  }, icon('palette'), element('b', {}, 'Studio'), icon('chevron-down'));
  brand.addEventListener('click', () => openMenu(brand, actions.mainMenu()));
  const download = element(
    'button', {type: 'button', class: 'primary', 'aria-label': 'Export', 'aria-haspopup': 'menu'},
    icon('download'), element('span', {}, 'Export'));
  download.addEventListener('click', () => openMenu(download, actions.exportMenu()));
  const mode = segments('When to sample', MODES, (name) => update('link', {mode: name}));
  mode.root.classList.add('wide');
  subscribe('link', () => mode.set(state.link.mode));
  mode.set(state.link.mode);
  bar.append(
    brand, element('span', {class: 'separator wide'}), documentName(),
    element(
      'div', {class: 'middle'},
      historyButton('undo-2', 'Undo (Ctrl+Z)', 'canUndo', actions.undo),
      historyButton('redo-2', 'Redo (Ctrl+Shift+Z)', 'canRedo', actions.redo),
      element('span', {class: 'separator wide'}), mode.root),
    element(
      'button', {type: 'button', class: 'icon-button compare', title: 'Compare with another image',
        'aria-label': 'Compare', click: actions.compare},
      icon('square-split-horizontal'), element('span', {}, 'Compare')),
    themeButton(),
    iconButton('keyboard', 'Keyboard shortcuts (?)', {
      class: 'icon-button keys', click: actions.showKeys,
    }),
    download);
}

function documentName() {
  const name = element('input', {
    type: 'text', 'aria-label': 'Name', maxlength: 80, spellcheck: 'false',
    change: () => update('document', {name: name.value.trim() || 'Untitled'}),
    keydown: ({key}) => ['Enter', 'Escape'].includes(key) && name.blur(),
  });
  const saved = element('span', {class: 'saved'});
  const show = (_, changed) => {
    if (changed && !('name' in changed || 'saved' in changed)) return;  // Each dab is a change.
    if (document.activeElement !== name) name.value = state.document.name;
    document.title = `${state.document.name} · Studio`;
    if (saved.dataset.saved === state.document.saved) return;
    saved.dataset.saved = state.document.saved;
    const {sign, text} = SAVED[state.document.saved];
    saved.replaceChildren(icon(sign), text);
  };
  subscribe('document', show);
  show();
  return element('div', {class: 'document wide'}, name, saved);
}

function historyButton(sign, label, field, run) {
  const button = iconButton(sign, label, {click: run});
  const show = () => { button.disabled = !state.history[field]; };
  subscribe('history', show);
  show();
  return button;
}

function themeButton() {
  const button = iconButton('sun-moon', 'Theme', {class: 'icon-button theme'});
  button.addEventListener('click', () => {
    const at = THEMES.findIndex(({name}) => name === state.view.theme);
    update('view', {theme: THEMES[(at + 1) % THEMES.length].name});
  });
  subscribe('view', (_, changed) => {
    if (!('theme' in changed)) return;
    const theme = THEMES.find(({name}) => name === changed.theme) ?? THEMES[0];
    showTheme(theme.name);
    remember('theme', theme.name);
    button.replaceChildren(icon(theme.icon));
    button.title = `Theme: ${theme.label}`;
    button.setAttribute('aria-label', `Theme: ${theme.label}`);
  });
  queueMicrotask(() => update('view', {theme: setting('theme', 'auto')}));
  return button;
}
