/** What leaves the page: files made here from its arrays, without the server. */

import {classOf, titled} from './classes.js';
import {fileStem, sampleCommand} from './commands.js';
import {swatch, tint} from './controls.js';
import {element, notice, showDialog} from './dialogs.js';
import {
  FileError, colored, countIds, gauganImage, pixelText, rgbOf, scaled, sideBySide, trainingPixels,
} from './formats.js';
import {encodePng} from './png.js';
import {EXTENSION, KEYWORD, projectText} from './project.js';
import {timeLapse} from './recorder.js';
import {remember, setting} from './settings.js';
import {state} from './state.js';

const LIKE_SKY = 'sky';  // What GauGAN gets where it has nothing near, unless one chooses.

let hasAskedToKeep = false;

/** Give a file to the browser, which saves it. */
export function download(name, bytes, type = 'image/png') {
  const url = URL.createObjectURL(new Blob([bytes], {type}));
  element('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  // What one exports one wants to keep: drafts, too.
  if (!hasAskedToKeep) navigator.storage?.persist?.().catch(() => {});
  hasAskedToKeep = true;
}

/** The bytes of the file of this `format` that holds the map, if it is as it came; else null. */
function unchangedFile(format) {
  const {origin, ids} = state.document;
  if (!origin || (origin.format ?? 'ids') !== format) return null;
  return origin.ids.length === ids.length && origin.ids.every((id, index) => id === ids[index])
    ? origin.bytes : null;
}

/** The label map as a PNG file that training and `--mode=sample` read as these ids. */
export async function idsFile() {
  const {ids, width, height} = state.document;
  return unchangedFile('ids')
    ?? encodePng({width, height, ...trainingPixels(ids, state.model.classes)});
}

export async function exportIds() {
  download(`${fileStem()}.png`, await idsFile());
}

function colorsById() {
  return new Map(state.model.classes.map(({id, color}) => [id, color]));
}

export async function exportColors() {
  const {ids, width, height} = state.document;
  const bytes = await encodePng({width, height, ...colored(ids, colorsById())});
  download(`${fileStem()}.colors.png`, bytes);
}

/** A GauGAN drawing; classes that have no such material are listed first. */
export async function exportGaugan() {
  const unchanged = unchangedFile('gaugan');
  const materials = unchanged ? null : await materialsOfMap();
  if (!unchanged && !materials) return;
  const {ids, width, height} = state.document;
  const bytes = unchanged ?? await encodePng(gauganImage(ids, width, height, materials));
  download(`${fileStem()}.gaugan.png`, bytes);
}

/** id -> color of its material for all ids of the map; null if one chose not to export. */
async function materialsOfMap() {
  const colors = new Map(state.model.materials.map(({name, color}) => [name, color]));
  const used = [...countIds(state.document.ids)].map(([id, count]) => ({...classOf(id), count}));
  const chosen = new Map(Object.entries(setting('materials', {})));  // By the names of classes.
  const nameOf = ({name, material}) => (
    material.is_same ? material.name : chosen.get(name) ?? material.name ?? LIKE_SKY);
  const open = used.filter(({material}) => !material.is_same);
  if (open.length > 0) {
    const rows = open.map((one) => materialRow(one, nameOf(one), chosen));
    const body = element(
      'div', {class: 'report'},
      element('p', {}, 'GauGAN has no such materials; these take their place:'),
      element('ul', {class: 'report-rows'}, ...rows));
    const answer = await showDialog('GauGAN drawing', body, [
      {name: 'cancel', label: 'Cancel'}, {name: 'export', label: 'Export', primary: true}]);
    if (answer !== 'export') return null;
    remember('materials', Object.fromEntries(chosen));
  }
  return new Map(used.map((one) => [one.id, colors.get(nameOf(one))]));
}

function materialRow({name, color, count}, proposed, chosen) {
  const {materials} = state.model;
  const colorOf = (material) => rgbOf(materials.find((one) => one.name === material).color);
  const square = swatch(colorOf(proposed));
  const select = element(
    'select', {class: 'field', 'aria-label': `Material for ${titled(name)}`},
    ...materials.map((one) => element(
      'option', {value: one.name, selected: one.name === proposed}, titled(one.name))));
  select.addEventListener('change', () => {
    chosen.set(name, select.value);
    tint(square, colorOf(select.value));
  });
  return element(
    'li', {}, swatch(color), element('span', {}, titled(name)),
    element('small', {}, pixelText(count)), square, select);
}

/** The image that is shown; an error if there is none. */
function shownImage() {
  const {rgb, width, height, revision, style} = state.image;
  if (!rgb) throw new FileError('there is no image yet', 'wait until it is sampled');
  const isCurrent = revision === state.document.revision
    && JSON.stringify(style ?? state.style.current) === JSON.stringify(state.style.current);
  return {rgb, width, height, isCurrent};
}

/** The image as PNG, which carries the project if it is the image of the map as it is now. */
export async function imageFile(scale = 1) {
  const {rgb, width, height, isCurrent} = shownImage();
  if (!isCurrent) {
    notice('The image is older than the label map: it was exported without the project.');
  }
  const texts = isCurrent ? {[KEYWORD]: await projectText({withSnapshots: false})} : {};
  const size = [width * scale, height * scale];
  return encodePng({
    width: size[0], height: size[1], channels: 3, texts,
    pixels: scale === 1 ? rgb : scaled(rgb, 3, [width, height], size),
  });
}

export async function exportImage(scale = 1) {
  const bytes = await imageFile(scale);
  download(`${fileStem()}.image${scale === 1 ? '' : `.x${scale}`}.png`, bytes);
}

export async function exportSideBySide() {
  const {rgb, width, height} = shownImage();
  const {ids, width: mapWidth, height: mapHeight} = state.document;
  const {pixels} = colored(ids, colorsById());
  const right = scaled(rgb, 3, [width, height], [mapWidth, mapHeight]);
  const image = sideBySide(pixels, right, mapWidth, mapHeight);
  download(`${fileStem()}.pair.png`, await encodePng(image));
}

export async function copyImage() {
  if (!navigator.clipboard?.write || !window.ClipboardItem) {
    throw new FileError('the browser gives pages at this address no clipboard', 'export the image');
  }
  const blob = imageFile().then((bytes) => new Blob([bytes], {type: 'image/png'}));
  await navigator.clipboard.write([new ClipboardItem({'image/png': blob})]);
  notice('The image is in the clipboard.');
}

export async function saveProject() {
  download(`${fileStem()}${EXTENSION}`, await projectText(), 'application/json');
}

/** Show the command that makes the same image from the shell, and copy it. */
export async function copyCommand() {
  const command = sampleCommand();
  const isCopied = await (navigator.clipboard?.writeText(command) ?? Promise.reject())
    .then(() => true, () => false);
  const text = element(
    'textarea', {class: 'field command', readonly: true, 'aria-label': 'Command'});
  text.value = command;
  text.addEventListener('focus', () => text.select());
  const answer = await showDialog('Command', element(
    'div', {class: 'report'},
    element('p', {}, `${isCopied ? 'Copied. It' : 'This'} makes the same image in a shell, in the `
      + `folder where ${fileStem()}.png, the exported label map, is.`),
    text), [
    {name: 'export', label: 'Export label map'}, {name: 'close', label: 'OK', primary: true}]);
  if (answer === 'export') await guarded(exportIds)();
}

async function exportTimeLapse(format) {
  download(`${fileStem()}.${format}`, await timeLapse(format), `image/${format}`);
}

/** `run`, but an error becomes a notice. */
export function guarded(run) {
  return async (...values) => {
    try {
      return await run(...values);
    } catch (error) {
      notice(error.message, {kind: 'bad'});
      if (!(error instanceof FileError)) console.warn(error);
      return null;
    }
  };
}

/** All exports: {name, label, icon, run}. */
export const exports = [
  ['image', 'Image', 'image', () => exportImage(1)],
  ['image-2', 'Image, twice as large', null, () => exportImage(2)],
  ['image-4', 'Image, four times as large', null, () => exportImage(4)],
  ['copy-image', 'Copy the image', 'copy', copyImage],
  ['pair', 'Label map and image side by side', 'square-split-horizontal', exportSideBySide],
  ['ids', 'Label map', 'grid-2x2', exportIds],
  ['colors', 'Label map in colors', 'palette', exportColors],
  ['gaugan', 'GauGAN drawing', 'brush', exportGaugan],
  ['gif', 'Time-lapse as GIF', 'film', () => exportTimeLapse('gif')],
  ['webp', 'Time-lapse as WebP', null, () => exportTimeLapse('webp')],
  ['project', 'Project', 'save', saveProject],
  ['command', 'Copy command', 'terminal', copyCommand],
].map(([name, label, icon, run]) => ({name, label, icon, run: guarded(run)}));

/** The items of the menu: the exports, with lines between their kinds. */
export function exportMenu() {
  const starts = ['ids', 'gif', 'project'];
  return exports.flatMap((item) => (starts.includes(item.name) ? [null, item] : [item]));
}
