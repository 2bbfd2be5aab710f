/** The image's pane: the image, its badge, the stages until there is one, comparison by a wipe. */

import {announce} from './announce.js';
import {element, iconButton, setText} from './dialogs.js';
import {showRgb} from './pixels.js';
import {state, subscribe} from './state.js';

const REST = 700;  // Milliseconds: changes closer together are one, as those of a slider.

const canvas = element('canvas', {id: 'image', role: 'img', 'aria-label': 'Image: none yet'});
let before = null;
let lastChange = -REST;
let isBefore = false;

/** Build the pane; `sample()` asks for an image. */
export function buildImage(pane, sample) {
  const badge = element('span', {class: 'badge'});
  const stages = element('div', {class: 'stages'});
  const button = element('button', {
    type: 'button', class: 'primary sample', title: 'Ctrl+Enter', click: sample,
  }, 'Sample');
  pane.querySelector('.frame').append(canvas, stages, badge, button);
  const caption = pane.querySelector('figcaption span');

  const show = () => {
    const {text, light} = badgeOf(state);
    setText(badge, text);
    badge.dataset.light = light;
    badge.hidden = !text || !state.image.rgb;
    button.hidden = state.link.mode !== 'demand' || !isOlder(state) || !isReady(state.link.state);
    stages.hidden = state.image.rgb !== null;
    if (!stages.hidden) showStages(stages, state.link);
  };
  subscribe('link', (link, changed) => {
    if (changed.isStroke) keepBefore();
    show();
  });
  subscribe('document', show);
  subscribe('style', (_, changed) => 'current' in changed && keepBefore());
  subscribe('image', (image, changed) => {
    if ('rgb' in changed) {
      if (image.rgb && !isBefore) showRgb(canvas, image.rgb, image.width, image.height);
      if (state.link.mode !== 'live') announce('Image sampled');
    }
    setText(caption, captionOf(image));
    canvas.setAttribute('aria-label', `Image: ${caption.textContent || 'none yet'}`);
    show();
  });
  show();
}

const isReady = (name) => name === 'ready' || name === 'sampling';
const isOlder = ({image, document, style}) => image.revision !== document.revision
  || JSON.stringify(image.style) !== JSON.stringify(style.current);

/** What the badge says: {text, light}; light is good, wait or bad. */
export function badgeOf({link, image, document, style}) {
  if (link.state === 'lost') return {text: 'No connection', light: 'bad'};
  if (link.state === 'refused') return {text: 'Refused', light: 'bad'};
  if (link.state === 'connecting') return {text: 'Connecting', light: 'wait'};
  if (link.state === 'warming') return {text: stageName(link.stage), light: 'wait'};
  if (link.before > 0) return {text: `${link.before} before you`, light: 'wait'};
  if (image.size === 'half') return {text: 'Preview', light: 'wait'};
  if (link.mode === 'live') {
    return {text: link.rate ? `Live · ${Math.round(link.rate)}/s` : 'Live', light: 'good'};
  }
  if (isOlder({image, document, style})) return {text: 'Older than the map', light: 'wait'};
  return {text: link.mode === 'strokes' ? 'Each stroke' : 'On demand', light: 'good'};
}

function stageName(stage) {
  return stage?.name ? stage.name.charAt(0).toUpperCase() + stage.name.slice(1) : 'Starting';
}

/** Show what happens until the first image: what the server does, or why it cannot. */
function showStages(box, {state: name, stage, refused}) {
  if (name === 'refused' && refused) {
    box.replaceChildren(element('h2', {}, refused.problem), element('p', {}, refused.remedy ?? ''));
    return;
  }
  const titles = {connecting: 'Connecting', lost: 'No connection', warming: stageName(stage)};
  const seconds = stage?.seconds ? ` · ${Math.round(stage.seconds)} s` : '';
  const bar = element('progress', {max: stage?.of ?? 1, 'aria-label': 'Progress'});
  if (stage) bar.value = stage.done;
  box.replaceChildren(
    element('h2', {}, (titles[name] ?? 'Sampling') + (name === 'warming' ? seconds : '')),
    name === 'lost' ? '' : bar,
    element('p', {}, name === 'lost' ? 'You can go on painting; everything is kept.'
      : 'You can paint already.'));
}

function captionOf({rgb, style, milliseconds}) {
  if (!rgb) return '';
  const names = {
    seed: () => `seed ${style.seed}`, photo: () => 'style of a photo',
    blend: () => `blend ${Math.round(100 * style.share)} %`,
  };
  const time = milliseconds ? `sampled in ${Math.round(milliseconds)} ms` : '';
  return [names[style?.kind]?.(), time].filter(Boolean).join(' · ');
}

/** Keep the image that is shown as the one before, if what follows is a change of its own. */
function keepBefore() {
  const now = performance.now();
  if (now - lastChange > REST && state.image.rgb) before = {...state.image};
  lastChange = now;
}

/** Show the image before the last stroke or style while `isHeld`. */
export function holdBefore(isHeld) {
  const shown = isHeld ? before : state.image;
  if (isHeld === isBefore || !shown?.rgb) return;
  isBefore = isHeld;
  showRgb(canvas, shown.rgb, shown.width, shown.height);
  announce(isHeld ? 'The image before' : 'The image');
}

/** The image before the last stroke or style: {rgb, width, height}, or null. */
export function imageBefore() {
  return before;
}

/**
 * Lay `other` {name, rgb, width, height} over the image, with a slider that wipes it away; `null`
 * ends the comparison.
 */
export function compareWith(other) {
  const frame = canvas.parentElement;
  frame.querySelector('.wipe')?.remove();
  if (!other) return;
  const top = element('canvas', {'aria-hidden': 'true'});
  showRgb(top, other.rgb, other.width, other.height);
  const wipe = element('div', {class: 'wipe'});
  const share = element('input', {
    type: 'range', min: 0, max: 100, value: 50, 'aria-label': `${other.name} on the left up to`,
  });
  share.addEventListener('input', () => wipe.style.setProperty('--share', `${share.value}%`));
  const end = iconButton('x', 'End the comparison', {click: () => compareWith(null)});
  wipe.append(top, share, element('span', {class: 'badge'}, other.name), end);
  frame.append(wipe);
  share.focus();
}

/** Whether a comparison is on the pane. */
export function isComparing() {
  return canvas.parentElement.querySelector('.wipe') !== null;
}
