/** The panel of the style: roll, seed, variety, photo, blend, variations of this map, presets. */

import {check, roving, slider} from './controls.js';
import {element, icon, iconButton, notice} from './dialogs.js';
import {openMenu} from './menus.js';
import {Refusal, postPhoto, thumbnailOf} from './photos.js';
import {remember, setting} from './settings.js';
import {state, subscribe, update} from './state.js';
import {
  LARGEST_SEED, adjustStyle, blend, canStep, chooseStyle, keepEnd, roll, seedStyle, stepStyle,
  varietyOf,
} from './styles.js';
import {buildVariations} from './variations.js';

const MOST_PRESETS = 24;
const percent = (value) => `${Math.round(100 * value)} %`;

/** Build the panel in `section`; `requestVariations(styles)` returns a promise of images. */
export function buildStyle(section, requestVariations) {
  const file = element('input', {
    type: 'file', accept: 'image/png,image/jpeg,image/webp', hidden: true,
  });
  file.addEventListener('change', () => {
    if (file.files[0]) usePhoto(file.files[0]);
    file.value = '';
  });
  const photo = iconButton('image-up', 'Style of a photo', {click: () => file.click()});
  const variations = buildVariations(requestVariations);
  const others = iconButton('refresh-cw', 'Six other variations', {click: variations.next});
  section.append(
    element(
      'div', {class: 'heading'}, element('h2', {id: 'style-heading'}, 'Style'),
      element('div', {class: 'steps'}, ...stepButtons(), others)),
    element('div', {class: 'row'}, rollButton(), seedField(), photo, file),
    element('div', {class: 'strips'}, variations.root, ...presetRow(photo)),
    varietySlider(), strengthSlider(), blendRow());
  subscribe('model', ({has_style: hasStyle, can_encode: canEncode}) => {
    section.hidden = !hasStyle;
    photo.hidden = !canEncode;
  });
}

function rollButton() {
  return element(
    'button', {type: 'button', class: 'button roll', title: 'Another style (D)', click: roll},
    icon('dices'), 'Roll');
}

function seedField() {
  const field = element('input', {
    type: 'number', class: 'field', min: 0, max: LARGEST_SEED, step: 1, inputmode: 'numeric',
    'aria-label': 'Seed',
  });
  field.addEventListener('change', () => {
    if (field.value !== '' && field.validity.valid) {
      chooseStyle(seedStyle(field.valueAsNumber));
      return;
    }
    if (field.value !== '' || field.validity.badInput) {
      notice(`A seed is a whole number from 0 to ${LARGEST_SEED}.`, {kind: 'warn'});
    }
    show();
  });
  const show = () => {
    const {kind, seed} = state.style.current;
    field.value = kind === 'seed' ? seed : '';
    field.placeholder = kind === 'seed' ? '' : {photo: 'photo', blend: 'blend'}[kind];
  };
  subscribe('style', show);
  show();
  return element('label', {class: 'seed'}, element('span', {'aria-hidden': 'true'}, 'Seed'), field);
}

function stepButtons() {
  const back = iconButton('chevron-left', 'Style before', {click: () => stepStyle(-1)});
  const forward = iconButton('chevron-right', 'Style after', {click: () => stepStyle(1)});
  const show = () => {
    back.disabled = !canStep(-1);
    forward.disabled = !canStep(1);
  };
  subscribe('style', show);
  show();
  return [back, forward];
}

function varietySlider() {
  const made = slider({
    label: 'Variety', min: 0, max: 1, step: 0.01, write: (value) => value.toFixed(2),
    input: (truncation) => adjustStyle({truncation}),
  });
  const show = () => {
    made.set(varietyOf(state.style.current));
    made.root.hidden = state.style.current.kind === 'photo';
    made.field.disabled = state.style.current.kind !== 'seed';
  };
  subscribe('style', show);
  show();
  return made.root;
}

function strengthSlider() {
  const made = slider({
    label: 'Strength', min: 0, max: 1, step: 0.01, write: percent,
    input: (strength) => adjustStyle({strength}),
  });
  const show = () => {
    made.root.hidden = state.style.current.kind !== 'photo';
    made.set(state.style.current.strength ?? 1);
  };
  subscribe('style', show);
  show();
  return made.root;
}

/** A and B keep a style each; the slider goes from one to the other. */
function blendRow() {
  const made = slider({label: 'Blend', min: 0, max: 1, step: 0.01, write: percent, input: blend});
  made.field.setAttribute('aria-label', 'Blend from A to B');
  const ends = ['a', 'b'].map(endButton);
  made.field.before(ends[0]);
  made.field.after(ends[1]);
  const show = () => {
    const {a, b, current} = state.style;
    made.field.disabled = !a || !b;
    made.set(current.kind === 'blend' ? current.share : current === b && b ? 1 : 0);
  };
  subscribe('style', show);
  show();
  return made.root;
}

function endButton(end) {
  const name = end.toUpperCase();
  const button = element('button', {type: 'button', class: 'slot'}, name);
  button.addEventListener('click', () => {
    const kept = state.style[end];
    if (!kept) keepEnd(end);
    else openMenu(button, [
      {label: 'Use this style', icon: 'check', run: () => chooseStyle(kept)},
      {label: `Keep the current style as ${name}`, icon: 'save', run: () => keepEnd(end),
        disabled: state.style.current.kind === 'blend'},
    ]);
  });
  const show = () => {
    const kept = state.style[end];
    const label = kept ? `Style ${name}: ${nameOf(kept)}` : `Keep the current style as ${name}`;
    button.dataset.kept = kept !== null;
    button.title = label;
    button.setAttribute('aria-label', label);
  };
  subscribe('style', show);
  show();
  return button;
}

function nameOf(style) {
  return style.kind === 'seed' ? `seed ${style.seed}` : 'a photo';
}

/** Take the style of a photo, and keep it among the presets. */
export async function usePhoto(file, name = file.name) {
  try {
    const [latent, image] = await Promise.all([postPhoto(file), thumbnailOf(file)]);
    const style = {kind: 'photo', latent, strength: 1};
    const others = state.style.presets.filter((preset) => preset.style?.latent !== latent);
    const presets = [{name, image, style}, ...others].slice(0, MOST_PRESETS);
    update('style', {presets});
    remember('photos', {...setting('photos', {}), [state.model.workdir]: presets.filter(isOwn)});
    chooseStyle(style);
  } catch (error) {
    notice(error.message, {kind: 'bad'});
  }
}

const isOwn = ({url}) => !url;  // Not of an example.

/**
 * Photos whose style can be taken: {name, image, style}, and those of examples with {url}, whose
 * style is there once the server has read it.
 */
function presetRow(before) {
  const row = element('div', {
    class: 'strip presets', role: 'radiogroup', 'aria-label': 'Styles of photos',
  });
  const title = element('h3', {hidden: true}, 'Photos');
  roving(row, '.thumbnail');
  const show = () => {
    const {presets, current} = state.style;
    row.hidden = title.hidden = presets.length === 0 || before.hidden;
    row.replaceChildren(...presets.map((preset) => {
      const button = element('button', {
        type: 'button', role: 'radio', class: 'thumbnail', 'aria-label': `Style of ${preset.name}`,
        title: preset.name, click: () => choosePreset(preset),
      }, element('img', {src: preset.image, alt: '', loading: 'lazy'}));
      check(button, current.kind === 'photo' && preset.style?.latent === current.latent);
      return button;
    }));
    if (!row.querySelector('[tabindex="0"]')) row.firstChild?.setAttribute('tabindex', 0);
  };
  subscribe('style', (_, changed) => ('presets' in changed || 'current' in changed) && show());
  return [title, row];
}

/** Offer the styles of the photos of examples, after those that the user kept. */
export function offerPhotos(examples) {
  const photos = examples.filter((example) => example.has_photo).map(({name, number}) => {
    const url = `/api/examples/${number}`;
    return {name, image: `${url}/thumbnail`, url: `${url}/photo`};
  });
  const own = setting('photos', {})[state.model.workdir] ?? [];  // A latent is for one model.
  update('style', {presets: [...own, ...photos]});
}

async function choosePreset(preset) {
  try {
    if (!preset.style) {
      const answer = await fetch(preset.url);
      if (!answer.ok) throw new Refusal(await answer.json());
      const file = await answer.blob();
      preset.style = {kind: 'photo', latent: await postPhoto(file), strength: 1};
    }
    chooseStyle(preset.style);
  } catch (error) {
    notice(error.message, {kind: 'bad'});
  }
}
