/** What helps a newcomer: the dialog of all shortcuts, and one line at the first start. */

import {element, showDialog} from './dialogs.js';
import {remember, setting} from './settings.js';
import {state, subscribe, update} from './state.js';

/** Show `shortcuts` ({group, keys, name}) in a dialog, with the switch of the single letters. */
export async function showShortcuts(shortcuts, write) {
  const named = shortcuts.filter(({name}) => name);
  const groups = [...new Set(named.map(({group}) => group))].map((group) => element(
    'section', {}, element('h2', {}, group),
    element('dl', {}, ...named.filter((entry) => entry.group === group).flatMap(
      ({keys, name}) => [
        element('dt', {}, ...keys.map((one) => element('kbd', {}, write(one)))),
        element('dd', {}, name),
      ]))));
  const letters = element('input', {type: 'checkbox', checked: state.view.letters});
  letters.addEventListener('change', () => {
    update('view', {letters: letters.checked});
    remember('letters', letters.checked);
  });
  await showDialog('Keyboard shortcuts', element(
    'div', {}, element('div', {class: 'shortcuts'}, ...groups),
    element('label', {class: 'switch'}, letters, 'Keys of a single letter')),
  [{name: 'close', label: 'Close', primary: true}]);
}

/** Say in `line` how to begin, until the first stroke of the first visit. */
export function showFirstSteps(line) {
  if (setting('hasPainted', false)) return;
  const text = ['Paint on the left. Pick a material with ', '1–9', ', size with ', '[ ]', '.'];
  line.replaceChildren(...text.map((part, at) => (at % 2 ? element('kbd', {}, part) : part)));
  line.hidden = false;
  const end = subscribe('link', ({isStroke}) => {
    if (!isStroke) return;
    line.hidden = true;
    remember('hasPainted', true);
    end();
  });
}
