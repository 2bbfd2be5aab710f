/** The bar that says that the server is gone, and how it is started again. */

import {notice} from './dialogs.js';
import {state, subscribe} from './state.js';

const DELAY = 1000;  // Milliseconds: a connection that is back sooner is not worth a word.

/** Show the bar while the connection is lost. */
export function watchConnection() {
  let timer = 0;
  let remove = null;
  subscribe('link', ({state: name}) => {
    if (name === 'lost') {
      timer ||= setTimeout(() => { remove = show(); }, DELAY);
      return;
    }
    clearTimeout(timer);
    remove?.();
    timer = 0;
    remove = null;
  });
}

function show() {
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
