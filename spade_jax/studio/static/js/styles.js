/** The style of the image: roll, seeds, blends, and the way back through the last fifty. */

import {fromBase64} from './bytes.js';
import {state, subscribe, update} from './state.js';

const MOST_RECENT = 50;
const SEEDS = 2 ** 31;
export const LARGEST_SEED = 2 ** 32 - 1;

let place = -1;
let isAdjusting = false;

/** Choose a style, as a step of the way back. */
export function chooseStyle(current) {
  update('style', {current});
}

/** Change the style without a step, as a slider does. */
export function adjustStyle(fields) {
  isAdjusting = true;
  update('style', {current: {...state.style.current, ...fields}});
  isAdjusting = false;
}

/** Choose a random seed. */
export function roll() {
  chooseStyle(seedStyle(crypto.getRandomValues(new Uint32Array(1))[0] % SEEDS));
}

/** The style of a seed, with the variety that is set. */
export function seedStyle(seed) {
  return {kind: 'seed', seed, truncation: varietyOf(state.style.current)};
}

/** The variety of a style; a photo has none, and the whole stands for it. */
export function varietyOf(style) {
  return style.truncation ?? 1;
}

/** Go `steps` through the last styles, negative for back. */
export function stepStyle(steps) {
  const to = Math.min(Math.max(place + steps, 0), state.style.recent.length - 1);
  if (to === place) return;
  place = to;
  update('style', {current: state.style.recent[place]});
}

/** Whether `stepStyle(steps)` would go anywhere. */
export function canStep(steps) {
  return place + steps >= 0 && place + steps < state.style.recent.length;
}

/** Keep the current style as an end of the blend, `a` or `b`. */
export function keepEnd(end) {
  if (state.style.current.kind !== 'blend') update('style', {[end]: state.style.current});
}

/** Blend the two ends: 0 is A, 1 is B. */
export function blend(share) {
  const {a, b, current} = state.style;
  if (!a || !b) return;
  if (current.kind === 'blend') adjustStyle({from: a, to: b, share});
  else chooseStyle({kind: 'blend', from: a, to: b, share});
}

/** Write down which styles were chosen, by whomever. */
export function watchStyles() {
  const record = () => {
    const {current, recent} = state.style;
    if (recent[place] === current) return;
    const kept = isAdjusting ? recent.slice(0, place) : recent.slice(0, place + 1);
    const all = [...kept, current].slice(-MOST_RECENT);
    place = all.length - 1;
    update('style', {recent: all});
  };
  subscribe('style', (_, changed) => 'current' in changed && record());
  record();
}

/** A style of a file with the fields that the server takes, see style_messages.py; else an error. */
export function checkedStyle(style) {
  if (style?.kind !== 'blend') return checkedEnd(style);
  const [from, to] = [checkedEnd(style.from), checkedEnd(style.to)];
  return {kind: 'blend', from, to, share: checkedShare(style.share)};
}

function checkedEnd(style) {
  const {kind, seed, truncation, latent, strength} = style ?? {};
  if (kind === 'seed' && Number.isInteger(seed) && seed >= 0 && seed <= LARGEST_SEED) {
    return {kind, seed, truncation: checkedShare(truncation)};
  }
  if (kind === 'photo' && typeof latent === 'string' && isLatent(fromBase64(latent))) {
    return {kind, latent, strength: checkedShare(strength)};
  }
  throw new Error('style');
}

function checkedShare(share) {
  if (typeof share !== 'number' || !(share >= 0 && share <= 1)) throw new Error('style');
  return share;
}

function isLatent(bytes) {
  if (bytes.length === 0 || bytes.length % 4 !== 0) return false;
  return new Float32Array(bytes.slice().buffer).every(Number.isFinite);
}
