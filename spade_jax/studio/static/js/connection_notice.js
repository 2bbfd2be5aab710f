/** The bar that says that the server is gone or refuses the page, and what to do. */

import {notice} from './dialogs.js';
import {state, subscribe} from './state.js';

const DELAY = 1000;  // Milliseconds: a connection that is back sooner is not worth a word.

/** Show the bar while there is no connection. */
export function watchConnection() {
  let timer = 0;
  let remove = null;
  subscribe('link', ({state: name, refused}, fields) => {
    if (name === 'lost') {
      timer ||= setTimeout(() => { remove = showLost(); }, DELAY);
      return;
    }
    if (name === 'refused' && !fields.state) return;
    clearTimeout(timer);
    remove?.();
    timer = 0;
    remove = name === 'refused' ? showRefused(refused) : null;
  });
}

function showRefused({problem, remedy}) {
  const action = {label: 'Reload', run: () => location.reload()};
  return notice(`${problem}. ${remedy}.`, {kind: 'bad', lasting: true, action});
}

function showLost() {
  const command = state.model.command.map(quoted).join(' ');
  const text = 'The server is not there. You can go on painting; everything is kept. '
    + `Start it again with: ${command}`;
  const run = () => navigator.clipboard?.writeText(command);
  const action = navigator.clipboard ? {label: 'Copy command', run} : null;
  return notice(text, {kind: 'warn', lasting: true, action});
}

/** An argument as a shell reads it. */
function quoted(argument) {
  return /^[\w@%+=:,./~-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
}
