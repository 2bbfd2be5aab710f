/**
 * The connection to the server. While it samples, the newest state is asked for: the server keeps
 * one waiting request of a page, which a newer one replaces. So no image waits behind one that
 * nobody wants any more, and the server need not wait for the page.
 */

import {notice} from './dialogs.js';
import {joinFrame, mapFrame, splitFrame} from './frames.js';
import {state, subscribe, update} from './state.js';

const PROTOCOL = 'spade-studio.1';
const DELAYS = [500, 1000, 2000, 3000];  // Milliseconds before another attempt to connect.
const SLOW = 400;  // Milliseconds an image, above which images follow each stroke, not each change.
const RATE_SPAN = 2000;  // Milliseconds over which the rate is measured.
const GAP = 20;  // Milliseconds between two requests while one waits, at least.
const BYTES = 4000;  // Of the label map in each millisecond of the gap.
const EARLY = 0.7;  // Share of the time of an image in which the server needs no newer request.
const REST = 150;  // Milliseconds without a change of the style, after which its image is exact.
const PATIENCE = 500;  // Milliseconds after which the page says how many are before it.
const SAME_MODEL = ['name', 'width', 'height', 'has_style', 'can_encode', 'classes'];
const CLOSINGS = {
  4400: ['The server does not understand this page', 'Reload it: your map is kept'],
  4413: ['The label map is too large for the server', 'Use a smaller one'],
  1009: ['The label map is too large for the server', 'Use a smaller one'],
  4426: ['A newer studio is running', 'Reload the page: your map is kept'],
  4429: ['Too many pages are open', 'Close another one, and reload this one'],
};

let socket = null;
let attempts = 0;
let retry = 0;
let isTrying = false;
let isReady = false;  // The server samples images.
let rev = 0;  // Of requests.
let asked = [];  // {rev, revision, style} of the requests since that of the last answer.
let lastSent = 0;
let lastAnswered = 0;
let later = 0;
let answered = {revision: -1, style: null, isExact: true};  // Of the last answer.
let isSettled = false;  // It is time for an exact image after quick ones.
let settling = 0;
let isAsked = false;  // By `requestImage`.
let variations = null;  // {rev, images, resolve, reject}
let isModeChosen = false;  // By the user.
let slowImages = 0;
let times = [];  // Of the last images.
let rest = 0;
let patience = 0;

/** Connect, and from now on show the image of the newest state. */
export function connect() {
  isModeChosen = state.link.mode !== 'live';
  subscribe('document', (_, changed) => 'revision' in changed && sendNewest());
  subscribe('style', (_, changed) => 'current' in changed && sendNewest());
  subscribe('link', (_, changed) => {
    if ('mode' in changed) isModeChosen = true;
    if ('mode' in changed || 'isStroke' in changed) sendNewest();
  });
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) return;
    if (state.link.state === 'lost') reconnect();
    else settle();
  });
  addEventListener('online', () => state.link.state === 'lost' && reconnect());
  open();
}

/** Ask for an image of the state as it is, in any mode. */
export function requestImage() {
  isAsked = true;
  sendNewest();
}

/**
 * Ask for images of this map in at most six styles: a promise of their RGB bytes.
 *
 * It is rejected when the connection is lost, the server refuses, or others are asked for.
 */
export function requestVariations(styles) {
  variations?.reject(new Error('other variations are asked for'));
  variations = null;
  if (!isReady) return Promise.reject(new Error('there is no connection'));
  return new Promise((resolve, reject) => {
    variations = {rev: ++rev, images: styles.map(() => null), resolve, reject};
    socket.send(mapFrame({op: 'variations', rev, styles}, state.document));
  });
}

function open() {
  const address = `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/live`;
  socket = new WebSocket(address, PROTOCOL);
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => socket.send(joinFrame({op: 'hello', version: state.model.version}));
  socket.onmessage = ({data}) => take(splitFrame(data));
  socket.onclose = ({code}) => end(code);
}

function end(code) {
  isReady = false;
  asked = [];
  calm();
  variations?.reject(new Error('the connection is lost'));
  variations = null;
  if (code in CLOSINGS) {
    const [problem, remedy] = CLOSINGS[code];
    refuse({code, problem, remedy});
    return;
  }
  update('link', {state: 'lost', stage: null, before: 0, rate: 0});
  retry = setTimeout(reconnect, DELAYS[Math.min(attempts++, DELAYS.length - 1)]);
}

function refuse(refused) {
  update('link', {state: 'refused', refused, stage: null, before: 0, rate: 0});
}

/** Connect again, unless the server has another model meanwhile. */
async function reconnect() {
  if (isTrying) return;
  clearTimeout(retry);
  isTrying = true;
  try {
    const response = await fetch('/api/model');
    const content = await response.json();
    if (response.ok) reopen(content);
    else if (response.status === 401) refuse({code: 'token', ...content});
    else throw new Error(content.problem);
  } catch {
    end(0);
  } finally {
    isTrying = false;
  }
}

function reopen(model) {
  const isSame = (name) => JSON.stringify(model[name]) === JSON.stringify(state.model[name]);
  if (!SAME_MODEL.every(isSame)) {
    const problem = `The server has another model: ${model.name}`;
    refuse({code: 'model', problem, remedy: 'Reload the page: your map is kept'});
  } else {
    open();
  }
}

function take({header, payload}) {
  const handlers = {
    state: takeState, waiting: takeWaiting, image: takeImage, variation: takeVariation,
    refused: takeRefusal,
  };
  handlers[header.op]?.(header, payload);
}

function takeState({state: name, stage, done, of, seconds, milliseconds}) {
  attempts = 0;
  const current = {name: stage, done, of, seconds};
  if (name === 'failed') {
    isReady = false;
    refuse({code: 'failed', problem: stage, remedy: ''});
  } else if (name !== 'ready') {
    update('link', {state: 'warming', stage: current});
  } else {
    const isNew = !isReady;
    isReady = true;
    if (milliseconds > SLOW) followStrokes(milliseconds);
    // The server may still compile what images do not need.
    const fields = {stage: stage ? current : null};
    if (isNew) {
      if (answered.isRefused) answered = {revision: -1, style: null, isExact: true};
      settle();
      Object.assign(fields, {state: nameNow(), refused: null});
    }
    update('link', fields);
  }
}

function takeWaiting({before}) {
  if (asked.length) patience ||= setTimeout(() => update('link', {before}), PATIENCE);
}

function takeImage({rev: shown, width, height, milliseconds, exact}, rgb) {
  const request = finish(shown, exact);
  if (!request) return;
  const {revision, style} = request;
  lastAnswered = performance.now();
  sendNewest();  // The server samples on while this page shows the image.
  if (!exact && !asked.length) settling = setTimeout(settle, REST);
  update('image', {revision, style, rgb, width, height, milliseconds, size: 'full'});
  update('link', {state: nameNow(), before: 0, rate: rateNow(), refused: null});
  // While the server compiles, images are slower than they will be.
  slowImages = milliseconds > SLOW && !state.link.stage ? slowImages + 1 : 0;
  if (slowImages >= 3) followStrokes(milliseconds);
}

function takeVariation({rev: shown, index}, rgb) {
  if (variations?.rev !== shown) return;
  variations.images[index] = rgb;
  if (variations.images.includes(null)) return;
  variations.resolve(variations.images);
  variations = null;
}

function takeRefusal({rev: refused, code, problem, remedy}) {
  if (variations?.rev === refused) {
    variations.reject(new Error(problem));
    variations = null;
  } else if (finish(refused, true)) {
    answered.isRefused = true;
    sendNewest();
    update('link', {state: nameNow(), before: 0, refused: {code, problem, remedy}});
    notice([problem, remedy].filter(Boolean).join('; '), {kind: 'bad'});
  }
}

/** The request that is answered now; null if there is none. The server has forgotten older ones. */
function finish(number, isExact) {
  const request = asked.find(({rev: other}) => other === number);
  if (!request) return null;
  calm();
  answered = {...request, isExact};
  asked = asked.filter(({rev: other}) => other > number);
  return answered;
}

function calm() {
  clearTimeout(patience);
  patience = 0;
}

/** Whether the last answer is of the state as it is. */
function isAnswered() {
  return isOfNow(answered);
}

function isOfNow({revision, style}) {
  return revision === state.document.revision && style === state.style.current;
}

/** Whether an image of the state as it is should be asked for. */
function isWanted() {
  const {mode, isStroke} = state.link;
  if (!state.document.width) return false;
  if (isAnswered()) return isSettled && !answered.isExact;
  return isAsked || mode === 'live' || mode === 'strokes' && !isStroke;
}

function sendNewest() {
  if (!isReady || document.hidden || asked.length && isOfNow(asked.at(-1))) return;
  if (mustWait()) return;
  const wanted = isWanted();
  isAsked = false;
  if (!wanted) return;
  const {document: map, style: {current}} = state;
  const style = state.model.has_style ? current : null;
  // Only the style changes: the next image follows soon, and an exact one when the style rests.
  const quick = answered.revision === map.revision && answered.style !== current;
  clearTimeout(settling);
  asked.push({rev: ++rev, revision: map.revision, style: current});
  lastSent = performance.now();
  socket.send(mapFrame({op: 'sample', rev, style, quick}, map));
  if (state.link.state === 'ready') update('link', {state: 'sampling'});
}

/** Whether a request is on its way that is new enough for now; the newest follows later. */
function mustWait() {
  clearTimeout(later);
  if (!asked.length) return false;
  const gap = Math.max(GAP, (state.document.ids?.byteLength ?? 0) / BYTES);
  const isEnough = asked.length > 1 && state.link.isStroke;  // One is sampled, another one waits.
  const until = isEnough ? lastAnswered + EARLY * state.image.milliseconds : 0;
  const pause = Math.max(lastSent + gap, until) - performance.now();
  if (pause <= 0) return false;
  later = setTimeout(sendNewest, pause);
  return true;
}

/** Ask for what is wanted, and for an exact image where the last one was quick. */
function settle() {
  isSettled = true;
  sendNewest();
  isSettled = false;
  if (state.link.state === 'sampling' && nameNow() === 'ready') update('link', {state: 'ready'});
}

function nameNow() {
  return asked.length || isAnswered() && !answered.isExact ? 'sampling' : 'ready';
}

/** The images a second over the last two seconds; none when no image comes any more. */
function rateNow() {
  const now = performance.now();
  times = [...times.filter((time) => time > now - RATE_SPAN), now];
  clearTimeout(rest);
  rest = setTimeout(() => update('link', {rate: 0}), RATE_SPAN);
  return times.length > 2 ? (times.length - 1) * 1000 / (now - times[0]) : 0;
}

/** Sample after each stroke, unless the user has chosen when. */
function followStrokes(milliseconds) {
  if (isModeChosen) return;
  update('link', {mode: 'strokes'});
  const seconds = (milliseconds / 1000).toFixed(1);
  notice(
    `An image takes ${seconds} s here, so it follows each stroke. Choose Live to see every change.`);
}
