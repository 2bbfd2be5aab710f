/** Controls that panels share: sliders, groups of which one is chosen, colored squares. */

import {element, icon} from './dialogs.js';

/**
 * A slider with its name and its value as text.
 *
 * `write(value)` turns a value into what is shown and said; `input(value)` hears of changes.
 * Returns {root, field, set(value, text)}.
 */
export function slider({label, min, max, step = 1, write = String, input}) {
  const output = element('output', {'aria-hidden': 'true'});
  const field = element('input', {type: 'range', min, max, step, 'aria-label': label});
  const set = (value, text = write(value)) => {
    field.valueAsNumber = value;
    const share = (value - min) / (max - min);
    field.style.setProperty('--filled', `calc(8px + (100% - 16px) * ${share})`);
    field.setAttribute('aria-valuetext', text);
    output.textContent = text;
  };
  field.addEventListener('input', () => {
    set(field.valueAsNumber);
    input(field.valueAsNumber);
  });
  const root = element('div', {class: 'slider'}, element('span', {'aria-hidden': 'true'}, label));
  root.append(field, output);
  return {root, field, set};
}

/**
 * A radio group of buttons: `options` are {name, label, icon}; one with an icon shows that alone.
 *
 * Returns {root, set(name)}.
 */
export function segments(label, options, choose) {
  const root = element('div', {
    class: options[0].icon ? 'segments icons' : 'segments', role: 'radiogroup', 'aria-label': label,
  });
  const buttons = options.map((option) => element('button', {
    type: 'button', role: 'radio', 'aria-label': option.label, title: option.icon && option.label,
    click: () => choose(option.name),
  }, option.icon ? icon(option.icon) : option.label));
  root.append(...buttons);
  roving(root, '[role=radio]', (button) => button.click());
  const set = (name) => options.forEach(
    (option, index) => check(buttons[index], option.name === name));
  return {root, set};
}

/** Mark a radio as checked or not; the checked one is where Tab stops. */
export function check(radio, isChecked) {
  radio.setAttribute('aria-checked', isChecked);
  radio.tabIndex = isChecked ? 0 : -1;
}

/**
 * Let arrows, Home and End move the focus among `selector` in `root`, which Tab enters and leaves
 * once; `arrive(item)` is called where the focus arrives.
 */
export function roving(root, selector, arrive = () => {}) {
  root.addEventListener('keydown', (event) => {
    const items = [...root.querySelectorAll(selector)].filter((item) => !item.disabled);
    const at = items.indexOf(document.activeElement);
    const to = {
      ArrowRight: at + 1, ArrowDown: at + rowLength(items),
      ArrowLeft: at - 1, ArrowUp: at - rowLength(items),
      Home: 0, End: items.length - 1,
    }[event.key];
    if (at < 0 || to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    const item = items[(to + items.length) % items.length];
    for (const other of items) other.tabIndex = other === item ? 0 : -1;
    item.focus();
    arrive(item);
  });
}

/** How many items stand in a row: what an arrow up or down has to skip. */
function rowLength(items) {
  const top = items[0]?.offsetTop;
  const length = items.findIndex((item) => item.offsetTop !== top);
  return length < 1 ? 1 : length;
}

/** A square of `color` [r, g, b]; its name stands next to it. */
export function swatch(color) {
  const made = element('i', {class: 'swatch', 'aria-hidden': 'true'});
  tint(made, color);
  return made;
}

/** Give a swatch another color. */
export function tint(square, color) {
  square.style.setProperty('--color', `rgb(${color.join(' ')})`);
}
