/** A strip of six variations: this map in six styles, sampled when the map is at rest. */

import {check, roving} from './controls.js';
import {element} from './dialogs.js';
import {showRgb} from './pixels.js';
import {state, subscribe} from './state.js';
import {chooseStyle, seedStyle} from './styles.js';

const COUNT = 6;
const REST = 900;  // Milliseconds without a change.
const SLOW = 1500;  // Milliseconds an image: slower models sample variations only when asked to.

/** Build the strip; returns {root, next()}, which goes on to the next six seeds. */
export function buildVariations(requestVariations) {
  const root = element('div', {
    class: 'strip variations', role: 'radiogroup', 'aria-label': 'Variations',
  });
  const items = Array.from({length: COUNT}, makeItem);
  root.append(...items.map(({button}) => button));
  roving(root, '.thumbnail');
  let first = 0;
  let timer = 0;
  let shown = '';
  let isAsking = false;

  const mark = () => showSeeds(items, first);
  const sample = async () => {
    const {revision, width, height} = state.document;
    const start = first;
    const styles = items.map((_, index) => seedStyle(start + index));
    const wanted = JSON.stringify([state.document.id, revision, styles]);
    if (wanted === shown || isAsking || !state.model?.has_style) return;
    isAsking = true;
    try {
      const images = await requestVariations(styles);
      if (first !== start) return;  // They are no more those of the items.
      images.forEach((rgb, index) => {
        showRgb(items[index].canvas, rgb, width, height);
        items[index].canvas.hidden = false;
      });
      shown = wanted;
    } catch {
      // No connection, or something else came first: the next rest asks again.
    } finally {
      isAsking = false;
      if (first !== start) sample();
    }
  };
  const rest = () => {
    clearTimeout(timer);
    const {mode, state: name, isStroke} = state.link;
    if (mode === 'demand' || isStroke || document.hidden || state.image.milliseconds > SLOW) return;
    if (name === 'ready' || name === 'sampling') timer = setTimeout(sample, REST);
  };
  const next = () => {
    first += COUNT;
    for (const {canvas} of items) canvas.hidden = true;
    mark();
    sample();
  };
  subscribe('document', (_, changed) => 'revision' in changed && rest());
  subscribe('style', (_, changed) => {
    mark();
    if ('current' in changed) rest();
  });
  subscribe('link', (_, changed) => ('isStroke' in changed || changed.state === 'ready') && rest());
  mark();
  return {root, next};
}

function makeItem() {
  const canvas = element('canvas', {hidden: true});
  const number = element('span', {'aria-hidden': 'true'});
  const button = element(
    'button', {type: 'button', role: 'radio', class: 'thumbnail'}, number, canvas);
  button.addEventListener('click', () => chooseStyle(seedStyle(Number(button.dataset.seed))));
  return {button, canvas, number};
}

/** Give the items the seeds from `first` on, and mark the one that is chosen. */
function showSeeds(items, first) {
  const {kind, seed} = state.style.current;
  items.forEach(({button, number}, index) => {
    const own = first + index;
    number.textContent = own;
    button.dataset.seed = own;
    button.title = `Seed ${own}`;
    button.setAttribute('aria-label', `Seed ${own}`);
    check(button, kind === 'seed' && seed === own);
  });
  if (items.every(({button}) => button.tabIndex < 0)) items[0].button.tabIndex = 0;
}
