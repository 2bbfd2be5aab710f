/**
 * Drafts: the newest state of each document and a few earlier ones, in IndexedDB.
 *
 * The document of an open tab has a lock (without Web Locks, which need a secure origin, a
 * heartbeat). A draft whose lock is free belongs to a tab that is gone.
 */

import {state, subscribe, update} from './state.js';

const NAME = 'spade_jax.studio';
const PAUSE = 1000;  // Milliseconds without a change after which a draft is saved.
const LATEST = 5000;  // Milliseconds after which it is saved while changes go on.
const BEAT = 5000;
const MOST = 30;  // Drafts of other tabs that are kept.
const APART = 30000;  // Milliseconds between two earlier versions of a document, at least.
const MOST_VERSIONS = 10;  // Of a document.

let database = null;
let opening = Promise.resolve();  // Until the database is open, or cannot be opened.
let report = () => {};
let own = {};  // The fields of the document, which stay those of the old one when another opens.
let savedSnapshots = null;
let isKept = false;  // Whether the document has changed since it was opened.
let lastVersion = 0;  // When the newest earlier version of the document was kept.
let firstChange = 0;  // When it changed first since it was saved, or 0.
let timer = 0;
let release = () => {};

const done = (request, success = 'onsuccess') => new Promise((resolve, reject) => {
  request[success] = () => resolve(request.result);
  request.onerror = () => reject(request.error);
  request.onabort = () => reject(request.error);
});

async function openDatabase() {
  const request = indexedDB.open(NAME, 2);
  request.onupgradeneeded = ({oldVersion}) => {
    if (oldVersion < 1) {
      for (const store of ['drafts', 'snapshots', 'beats']) {
        request.result.createObjectStore(store, {keyPath: 'id'});
      }
    }
    request.result.createObjectStore('versions', {keyPath: ['id', 'time']});
  };
  return done(request);
}

/** Let `write(store)` write to the stores; on the disk, not only on its way, when this returns. */
async function transact(names, write) {
  const transaction = database.transaction(names, 'readwrite', {durability: 'strict'});
  write((name) => transaction.objectStore(name));
  transaction.commit();  // Also if the page ends before it hears of the writes.
  await done(transaction, 'oncomplete');
}

function read(store, method, ...keys) {
  return done(database.transaction(store).objectStore(store)[method](...keys));
}

/**
 * Keep drafts from now on; call once, when a document is open.
 *
 * `onFailure(error)` is called when drafts cannot be kept, and again only after one could be. The
 * promise resolves when the database is open, or cannot be opened.
 */
export function startDrafts(onFailure) {
  report = onFailure;
  opening = openDatabase().then((opened) => { database = opened; }, fail);
  follow();
  subscribe('document', (_, fields) => {
    if (state.document.id !== own.id) {
      saveNow();
      follow();
    } else if (fields.revision !== undefined || fields.name !== undefined) {
      own = {...state.document};
      schedule();
    }
  });
  subscribe('style', (_, changed) => {
    if (isKept && ['current', 'a', 'b'].some((field) => field in changed)) schedule();
  });
  subscribe('snapshots', schedule);
  document.addEventListener('visibilitychange', saveNow);
  window.addEventListener('beforeunload', saveNow);
  window.addEventListener('pagehide', saveNow);
  if (!navigator.locks) opening.then(beatOn);
  return opening;
}

/** Hold the lock of the document that is open now; it is saved once it changes. */
function follow() {
  own = {...state.document};
  savedSnapshots = state.snapshots.items;
  isKept = false;
  lastVersion = 0;
  release();
  if (!navigator.locks) return;
  const held = new Promise((resolve) => { release = resolve; });
  navigator.locks.request(`${NAME} ${own.id}`, () => held).catch(() => {});
}

function beatOn() {
  const change = (write) => {
    if (database) transact(['beats'], (store) => write(store('beats'))).catch(fail);
  };
  const beat = () => change((store) => store.put({id: own.id, time: Date.now()}));
  beat();
  setInterval(beat, BEAT);
  window.addEventListener('pagehide', () => change((store) => store.delete(own.id)));
}

function schedule() {
  isKept = true;
  const now = performance.now();
  firstChange ||= now;
  if (state.document.saved === 'saved') update('document', {saved: 'saving'});
  clearTimeout(timer);
  timer = setTimeout(save, Math.max(0, Math.min(PAUSE, firstChange + LATEST - now)));
}

function saveNow() {
  if (firstChange) save();
}

async function save() {
  clearTimeout(timer);
  firstChange = 0;
  const {id, name, width, height, ids, background} = own;
  const {style: {current, a, b}, snapshots: {items}} = state;
  const draft = {
    id, name, width, height, ids, background, style: current, ends: {a, b}, time: Date.now(),
    classes: state.model.classes.map((one) => ({id: one.id, name: one.name})),
  };
  const hasNewSnapshots = items !== savedSnapshots;
  if (!database) await opening;  // No pause in a page that ends.
  try {
    await transact(['drafts', 'snapshots'], (store) => {
      store('drafts').put(draft);
      if (hasNewSnapshots) store('snapshots').put({id, items});
    });
  } catch (error) {
    fail(error);
    return;
  }
  if (id !== own.id) return;
  if (draft.time - lastVersion >= APART) keepVersion(draft);
  savedSnapshots = items;
  if (!firstChange) update('document', {saved: 'saved'});
}

/** Keep a draft as an earlier version, too; where it cannot be kept, there is still the draft. */
async function keepVersion(draft) {
  lastVersion = draft.time;
  const keys = await read('versions', 'getAllKeys', versionsRange(draft.id)).catch(() => []);
  await transact(['versions'], (store) => {
    store('versions').put(draft);
    keys.slice(0, -(MOST_VERSIONS - 1)).forEach((key) => store('versions').delete(key));
  }).catch(() => {});
}

function fail(error) {
  const isKnown = state.document.saved === 'failed';
  update('document', {saved: 'failed'});
  if (!isKnown) report(error);
}

/** The drafts of tabs that are gone, newest first: {id, name, width, height, ids, time, ...}. */
export async function leftDrafts() {
  if (!database) return [];
  const open = await openIds();
  const drafts = (await read('drafts', 'getAll')).filter(({id}) => !open.has(id));
  drafts.sort((a, b) => b.time - a.time);
  await Promise.all(drafts.slice(MOST).map(({id}) => deleteDraft(id)));
  return drafts.slice(0, MOST);
}

async function openIds() {
  if (navigator.locks) {
    const {held} = await navigator.locks.query();
    return new Set(held.map(({name}) => name.slice(NAME.length + 1)));
  }
  const beats = await read('beats', 'getAll');
  const alive = beats.filter(({time}) => Date.now() - time < 3 * BEAT);
  return new Set([own.id, ...alive.map(({id}) => id)]);
}

/** The snapshots of a draft. */
export async function snapshotsOf(id) {
  return (await read('snapshots', 'get', id))?.items ?? [];
}

/** The earlier versions of a document, newest first; fields as those of its draft. */
export async function versionsOf(id) {
  if (!database) return [];
  return (await read('versions', 'getAll', versionsRange(id))).reverse();
}

function versionsRange(id) {
  return IDBKeyRange.bound([id, 0], [id, Infinity]);
}

/** Delete a draft and its earlier versions. */
export async function deleteDraft(id) {
  const stores = ['drafts', 'snapshots', 'beats', 'versions'];
  await transact(stores, (store) => stores.forEach(
    (name) => store(name).delete(name === 'versions' ? versionsRange(id) : id)));
}
