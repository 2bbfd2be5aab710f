/** The rail of tools, the options of the chosen one, and on a phone the bar with the size. */

import {announce} from './announce.js';
import {classOf, titled} from './classes.js';
import {roving, segments, slider, swatch, tint} from './controls.js';
import {element, icon, showDialog} from './dialogs.js';
import {state, subscribe, update} from './state.js';

export const TOOLS = [
  {name: 'brush', label: 'Brush', icon: 'brush', keys: 'B'},
  {name: 'line', label: 'Line', icon: 'slash', keys: 'L'},
  {name: 'rectangle', label: 'Rect', icon: 'square', keys: 'R'},
  {name: 'polygon', label: 'Polygon', icon: 'pentagon', keys: 'P'},
  {name: 'fill', label: 'Fill', icon: 'paint-bucket', keys: 'F'},
  {name: 'pick', label: 'Pick', icon: 'pipette', keys: 'I'},
  {name: 'pan', label: 'Pan', icon: 'hand', keys: 'H'},
];
const SHAPES = [
  {name: 'circle', label: 'Circle', icon: 'circle'},
  {name: 'square', label: 'Square', icon: 'square'},
  {name: 'diamond', label: 'Diamond', icon: 'diamond'},
  {name: 'bar', label: 'Bar', icon: 'rectangle-horizontal'},
];
const HINTS = {
  rectangle: 'Drag from corner to corner',
  polygon: 'Click the corners, Enter closes; or drag around',
  fill: 'Shift: all of that material',
  pick: 'Click takes the material; Alt does it with any tool',
  pan: 'Drag moves, the wheel zooms; Space does it with any tool',
};
// The slider is finer where sizes are small: steps of 1 up to 24, of 2 up to 48, of 4 up to 128.
const SIZES = Array.from(
  {length: 56}, (_, k) => (k < 24 ? k + 1 : k < 36 ? 2 * k - 22 : 4 * k - 92));

/** Build the rail of tools in `rail`. */
export function buildTools(rail) {
  const buttons = TOOLS.map((tool) => element('button', {
    type: 'button', class: 'tool', title: `${tool.label} (${tool.keys})`,
    click: () => update('tool', {name: tool.name}),
  }, icon(tool.icon), element('span', {}, tool.label)));
  rail.append(...buttons);
  roving(rail, '.tool');
  const show = () => TOOLS.forEach((tool, index) => {
    buttons[index].setAttribute('aria-pressed', tool.name === state.tool.name);
    buttons[index].tabIndex = tool.name === state.tool.name ? 0 : -1;
  });
  subscribe('tool', (_, changed) => {
    if (!('name' in changed)) return;
    show();
    announce(TOOLS.find((tool) => tool.name === changed.name).label);
  });
  show();
}

/** Build the options of the tool in `bar`; `viewButton` stands at its end. */
export function buildOptions(bar, viewButton) {
  const size = sizeSlider();
  const shapes = segments('Shape', SHAPES, (shape) => update('tool', {shape}));
  const shape = element('div', {class: 'row'}, size.root, shapes.root);
  const hint = element('span', {class: 'hint'});
  const mirror = mirrorChip();
  const protect = protectChip();
  bar.append(
    currentMaterial(), element('span', {class: 'separator'}), shape, hint,
    element('span', {class: 'separator'}), mirror, protect, photoSlider(),
    element('span', {class: 'end'}),
    viewButton);
  const show = () => {
    const {name} = state.tool;
    size.set(state.tool.size);
    shapes.set(state.tool.shape);
    shape.hidden = name !== 'brush' && name !== 'line';
    hint.textContent = HINTS[name] ?? '';
    hint.hidden = !HINTS[name];
  };
  subscribe('tool', (_, changed) => {
    show();
    if ('size' in changed && document.activeElement?.type !== 'range') {
      announce(`Size ${state.tool.size}`);
    }
  });
  show();
}

/** Build the bar of a phone: material and size, and buttons of others. */
export function buildQuick(bar, ...buttons) {
  const size = sizeSlider();
  const square = swatch([0, 0, 0]);
  bar.append(square, size.root, ...buttons);
  const show = () => {
    size.set(state.tool.size);
    tint(square, classOf(state.tool.first).color);
  };
  subscribe('tool', show);
  subscribe('model', show);
  show();
}

function sizeSlider() {
  const made = slider({
    label: 'Size', min: 0, max: SIZES.length - 1, write: (index) => String(SIZES[index]),
    input: (index) => update('tool', {size: SIZES[index]}),
  });
  const set = (size) => made.set(SIZES.findLastIndex((one) => one <= size), String(size));
  return {...made, set};
}

/** How much of the photo under the map one sees, while there is one. */
function photoSlider() {
  const made = slider({
    label: 'Photo', min: 0, max: 100, write: (value) => `${value} %`,
    input: (value) => update('view', {photo: {...state.view.photo, opacity: value / 100}}),
  });
  made.root.classList.add('photo');
  const show = () => {
    made.root.hidden = state.view.photo === null;
    if (state.view.photo) made.set(Math.round(100 * state.view.photo.opacity));
  };
  subscribe('view', (_, changed) => 'photo' in changed && show());
  show();
  return made.root;
}

function currentMaterial() {
  const square = swatch([0, 0, 0]);
  const name = element('span');
  const show = () => {
    tint(square, classOf(state.tool.first).color);
    name.textContent = titled(classOf(state.tool.first).name);
  };
  subscribe('tool', show);
  subscribe('model', show);
  show();
  return element('div', {class: 'current'}, square, name);
}

/** Mirror has four states, which the button goes through: off, left-right, up-down, both. */
function mirrorChip() {
  const label = element('span');
  const sign = element('span', {class: 'row'});
  const run = () => {
    const {mirrorX, mirrorY} = state.tool;
    update('tool', {mirrorX: !mirrorX, mirrorY: mirrorX ? !mirrorY : mirrorY});
  };
  const chip = element('button', {
    type: 'button', class: 'chip', title: 'Paint both sides at once (M)', click: run,
  }, sign, label);
  const show = () => {
    const {mirrorX, mirrorY} = state.tool;
    const way = mirrorX && mirrorY ? ': four ways' : mirrorX ? ': left, right' : ': up, down';
    label.textContent = `Mirror${mirrorX || mirrorY ? way : ''}`;
    // Lucide names the axis: two triangles left and right of a line that stands are "vertical".
    sign.replaceChildren(icon(mirrorY && !mirrorX ? 'flip-horizontal-2' : 'flip-vertical-2'));
    chip.setAttribute('aria-pressed', mirrorX || mirrorY);
  };
  subscribe('tool', show);
  show();
  return chip;
}

function protectChip() {
  const label = element('span');
  const chip = element('button', {
    type: 'button', class: 'chip', title: 'Materials that no stroke changes (K)',
    click: askProtected,
  }, icon('lock'), label);
  const show = () => {
    const {protected: kept, only} = state.tool;
    const names = [...(only.size ? only : kept)].map((id) => titled(classOf(id).name));
    label.textContent = `${only.size ? 'Only over' : 'Protect'}${names.length ? ': ' : ''}`
      + names.join(', ');
    chip.setAttribute('aria-pressed', names.length > 0);
  };
  subscribe('tool', show);
  show();
  return chip;
}

/** Ask which materials no stroke may change, or which alone it may change. */
async function askProtected() {
  const used = new Set(state.document.ids);
  const {protected: kept, only} = state.tool;
  const shown = state.model.classes.filter(
    ({id}) => state.model.classes.length <= 40 || used.has(id) || kept.has(id) || only.has(id));
  const box = (id, group, isChecked) => element('input', {
    type: 'checkbox', 'data-group': group, value: id, checked: isChecked.has(id),
    'aria-label': `${group === 'only' ? 'Only over' : 'Protect'} ${classOf(id).name}`,
  });
  const rows = shown.map(({id, name, color}) => element(
    'tr', {}, element('th', {scope: 'row'}, swatch(color), titled(name)),
    element('td', {}, box(id, 'protect', kept)), element('td', {}, box(id, 'only', only))));
  const table = element(
    'table', {class: 'choices'},
    element('thead', {}, element('tr', {}, ...['Material', 'Protect', 'Only over'].map(
      (name) => element('th', {scope: 'col'}, name)))),
    element('tbody', {}, ...rows));
  const chosen = (group) => {
    const boxes = [...table.querySelectorAll(`[data-group=${group}]:checked`)];
    return new Set(boxes.map((input) => Number(input.value)));
  };
  const hint = 'Protected materials stay as they are. '
    + 'With “Only over”, strokes change these materials and no other.';
  const answer = await showDialog(
    'Protect', element('div', {}, element('p', {class: 'hint'}, hint), table),
    [{name: 'none', label: 'Clear'}, {name: 'done', label: 'Done', primary: true}]);
  if (answer === 'none') update('tool', {protected: new Set(), only: new Set()});
  if (answer === 'done') update('tool', {protected: chosen('protect'), only: chosen('only')});
}
