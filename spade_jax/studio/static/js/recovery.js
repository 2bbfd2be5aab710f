/**
 * Drafts of tabs that are gone: they are offered at the start, and opened only when asked. So are
 * the earlier versions of drafts and of the document.
 */

import {colorsById, counterparts} from './classes.js';
import {element, notice, showDialog} from './dialogs.js';
import {openDocument} from './document.js';
import {deleteDraft, leftDrafts, snapshotsOf, startDrafts, versionsOf} from './drafts.js';
import {colorsOf, showRgb} from './pixels.js';
import {state, update} from './state.js';

/** Keep drafts from now on, and offer those that are left; call when a document is open. */
export async function startRecovery() {
  await startDrafts(() => notice(
    'Drafts cannot be kept in this browser: save the project to keep the map.',
    {kind: 'warn', lasting: true}));
  const [newest, ...others] = await leftDrafts().catch(() => []);
  if (!newest) return;
  const more = others.length ? ` and ${others.length} more` : '';
  notice(`Kept from before: ${titleOf(newest)}${more}.`, {
    lasting: true, action: {label: 'Show', run: showDrafts},
  });
}

/** Tell of errors that nothing has caught; the map and its last draft are still there. */
export function watchErrors() {
  const tell = ({message = ''}) => {
    if (message.startsWith('ResizeObserver')) return;  // It only goes on in the next frame.
    notice('The page has an error, and the map is kept. Save the project, then reload.', {
      kind: 'bad', lasting: true, action: {label: 'Reload', run: () => location.reload()},
    });
  };
  window.addEventListener('error', tell);
  window.addEventListener('unhandledrejection', tell);
}

function titleOf({name, time}) {
  return `“${name}”, ${wordsOf(Date.now() - time)}`;
}

/** How long ago: "2 minutes ago". */
export function wordsOf(milliseconds) {
  const words = new Intl.RelativeTimeFormat('en', {numeric: 'auto'});
  const minutes = Math.round(milliseconds / 60000);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return words.format(-minutes, 'minute');
  if (minutes < 48 * 60) return words.format(-Math.round(minutes / 60), 'hour');
  return words.format(-Math.round(minutes / 60 / 24), 'day');
}

/** Show the drafts that are left, to open or to delete, and the earlier versions of all maps. */
export async function showDrafts() {
  const drafts = await leftDrafts();
  const own = await versionsList(state.document.id, 'Earlier versions of this map');
  const rows = await Promise.all(drafts.map(draftRow));
  const list = element('ul', {class: 'drafts'}, ...rows);
  const body = element('div', {}, own, drafts.length ? list : element('p', {}, 'No drafts.'));
  await showDialog('Drafts', body, [{name: 'close', label: 'Close', primary: true}]);
}

async function draftRow(draft) {
  const title = titleOf(draft);
  const remove = async () => {
    await deleteDraft(draft.id);
    row.remove();
  };
  const row = rowOf(draft, title, openDraft, element('button', {
    type: 'button', class: 'button', 'aria-label': `Delete ${title}`, click: remove,
  }, 'Delete'));
  const versions = await versionsList(draft.id, 'Earlier versions', draft.time);
  if (versions) row.append(versions);
  return row;
}

/** The versions of a document that are not of the time `newest`; null if there is none. */
async function versionsList(id, title, newest = 0) {
  const versions = (await versionsOf(id)).filter(({time}) => time !== newest);
  if (!versions.length) return null;
  const rows = versions.map((version) => rowOf(version, titleOf(version), openVersion));
  return element('details', {}, element('summary', {}, title),
    element('ul', {class: 'drafts'}, ...rows));
}

function rowOf(draft, title, open, ...more) {
  const thumbnail = element('canvas', {'aria-hidden': true});
  showRgb(thumbnail, colorsOf(draft.ids, colorsById()), draft.width, draft.height);
  const click = ({target}) => {
    target.closest('dialog').close();
    open(draft);
  };
  const button = element(
    'button', {type: 'button', class: 'button', 'aria-label': `Open ${title}`, click}, 'Open');
  return element('li', {}, thumbnail, element('span', {}, title), button, ...more);
}

/** Open an earlier version as a document of its own; the newer map stays, as a draft. */
function openVersion(version) {
  openMap({...version, id: undefined}, []);
}

/** Open a draft in the place of the document; for another model or size, a copy of it. */
export async function openDraft(draft) {
  const isFree = (await leftDrafts()).some(({id}) => id === draft.id);
  if (!isFree) {
    notice(`${titleOf(draft)} is open in another tab.`);
    return;
  }
  openMap(draft, await snapshotsOf(draft.id));
}

function openMap(draft, items) {
  const {model} = state;
  const {ids, background, lost} = translate(draft, model);
  const width = model.fixed_size ? model.width : draft.width;
  const height = model.fixed_size ? model.height : draft.height;
  const isSame = !lost.length && sameClasses(draft.classes, model.classes)
    && width === draft.width && height === draft.height;
  openDocument({
    ...draft, width, height, background,
    ids: resize(ids, draft.width, draft.height, width, height),
    id: isSame ? draft.id : undefined,  // What is changed here must not replace the draft.
  });
  if (isSame) {
    update('style', {current: draft.style, ...draft.ends});
    update('snapshots', {items});
  }
  if (width !== draft.width || height !== draft.height) {
    notice(`The map is scaled from ${draft.width} × ${draft.height} to ${width} × ${height} pixels.`);
  }
  if (lost.length) {
    notice(`This model has no ${lost.join(', ')}: look for ${nameOf(replacement(model))} there.`, {
      kind: 'warn', lasting: true,
    });
  }
}

function sameClasses(some, others) {
  const key = (classes) => classes.map(({id, name}) => `${id} ${name}`).join();
  return key(some) === key(others);
}

function replacement({unknown, classes}) {
  return unknown ?? classes[0].id;
}

function nameOf(id) {
  return state.model.classes.find((one) => one.id === id)?.name ?? 'unknown';
}

/**
 * A map for another model: its ids and background as `counterparts` says, the replacement for
 * classes without one; `lost`: the names of those.
 */
export function translate({ids, background, classes}, model) {
  const known = counterparts(classes, model);
  const table = new Uint16Array(65536).fill(replacement(model));
  for (const [id, own] of known) table[id] = own;
  const used = new Set(ids);
  const lost = classes.filter(({id}) => used.has(id) && !known.has(id));
  const Ids = model.classes.length > 256 ? Uint16Array : Uint8Array;
  return {
    ids: Ids.from(ids, (id) => table[id]), background: table[background],
    lost: lost.map(({name}) => name),
  };
}

/** A map of another size, each pixel from the nearest. */
export function resize(ids, width, height, newWidth, newHeight) {
  const changed = new ids.constructor(newWidth * newHeight);
  for (let y = 0; y < newHeight; y++) {
    const row = Math.floor((y + 0.5) * height / newHeight) * width;
    for (let x = 0; x < newWidth; x++) {
      changed[y * newWidth + x] = ids[row + Math.floor((x + 0.5) * width / newWidth)];
    }
  }
  return changed;
}
