/** The label maps that come with a model, and new ones made of its materials. */

import {colorsById, titled} from './classes.js';
import {element, showDialog} from './dialogs.js';
import {openDocument} from './document.js';
import {colorsOf, showRgb} from './pixels.js';
import {state, update} from './state.js';

const FIRST = 'landscape_03';  // What the demo shows at its first start.

/** The examples of the server: [{number, name, has_photo}]. */
export async function listExamples() {
  return (await fetchJson('/api/examples')).examples;
}

/** The JSON of an address; an error says what the server said. */
export async function fetchJson(address) {
  const answer = await fetch(address);
  const content = await answer.json().catch(() => ({}));
  const {problem = `the server says ${answer.status}`, remedy} = content;
  if (!answer.ok) throw new Error(remedy ? `${problem}; ${remedy}` : problem);
  return content;
}

/** The label map of an example: {name, ids, width, height, bytes} with the bytes of its file. */
export async function readExample(number) {
  const {name, width, height, ids, file} = await fetchJson(`/api/examples/${number}`);
  const pixels = bytesOf(ids);
  const isWide = pixels.length === 2 * width * height;
  return {
    name: titled(name.replaceAll('_', ' ')), width, height,
    ids: isWide ? new Uint16Array(pixels.buffer) : pixels,
    bytes: file ? bytesOf(file) : null,
  };
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

/** Open a map of which there is a file, such as an example. */
export function openMap({bytes, ...map}) {
  openDocument({...map, origin: bytes ? {bytes} : null, background: mostFrequent(map.ids)});
}

/** Open what one sees first: an example that fits the model, else its first two materials. */
export async function openFirst(examples) {
  const first = examples.find(({name}) => name === FIRST) ?? examples[0];
  const map = first ? await readExample(first.number).catch(() => null) : null;
  openMap(map && fits(map) ? map : horizonMap());
  const material = named('tree', 'vegetation', 'plant') ?? state.model.classes.at(1)?.id ?? 0;
  update('tool', {first: material, second: state.document.background});
}

/** The id of the first of some names that the model has, or of one that goes on with "-". */
function named(...names) {
  const {classes} = state.model;
  return names.map((name) => classes.find(
    (one) => one.name === name || one.name.startsWith(`${name}-`))).find(Boolean)?.id;
}

function fits({width, height}) {
  const {fixed_size: isFixed, multiple, width: ownWidth, height: ownHeight} = state.model;
  if (isFixed) return width === ownWidth && height === ownHeight;
  return width % multiple === 0 && height % multiple === 0;
}

function mostFrequent(ids) {
  const counts = new Map();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts].reduce((most, one) => (one[1] > most[1] ? one : most), [0, 0])[0];
}

/** An empty map of one material. */
export function emptyMap(id) {
  const {width, height, classes} = state.model;
  const Ids = classes.length > 256 ? Uint16Array : Uint8Array;
  return {name: 'Untitled', width, height, ids: new Ids(width * height).fill(id)};
}

/** Sky over grass, or over what a model has instead. */
export function horizonMap() {
  const map = emptyMap(named('sky') ?? 0);
  const ground = named('grass', 'terrain', 'road', 'sidewalk', 'floor') ?? map.ids[0];
  map.ids.fill(ground, map.width * Math.round(map.height * 0.6));
  return map;
}

/** Ask what to begin with, and open it; the old map stays in its draft. */
export async function askNew(examples) {
  const maps = await Promise.all(examples.slice(0, 12).map(
    ({number}) => readExample(number).catch(() => null)));
  const fitting = [{...horizonMap(), title: 'Horizon'}, ...maps.filter((map) => map && fits(map))];
  const name = `new-${Math.random()}`;
  const choices = fitting.map((map, index) => choice(name, map, index));
  const options = state.model.classes.map(({id, name: title}) => element(
    'option', {value: id, selected: id === state.tool.first}, titled(title)));
  const material = element('select', {class: 'field', 'aria-label': 'Material'}, ...options);
  const empty = element(
    'label', {class: 'row choice-empty'},
    element('input', {type: 'radio', name, value: 'empty'}), 'All of one material', material);
  material.addEventListener('change', () => { empty.querySelector('input').checked = true; });
  const body = element('div', {}, element('div', {class: 'choices-of-maps'}, ...choices), empty);
  const answer = await showDialog('New label map', body, [
    {name: 'cancel', label: 'Cancel'}, {name: 'open', label: 'Open', primary: true}]);
  if (answer !== 'open') return;
  const chosen = body.querySelector('input:checked').value;
  openMap(chosen === 'empty' ? emptyMap(Number(material.value)) : fitting[Number(chosen)]);
}

function choice(name, map, index) {
  const canvas = element('canvas');
  showRgb(canvas, colorsOf(map.ids, colorsById()), map.width, map.height);
  return element(
    'label', {class: 'choice-of-map'},
    element('input', {type: 'radio', name, value: index, checked: index === 0}), canvas,
    element('span', {}, map.title ?? map.name));
}
