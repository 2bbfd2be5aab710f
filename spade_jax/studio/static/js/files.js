/** Files in: label maps, projects, photos, by a dialog, dropped on the page or pasted. */

import {counterparts} from './classes.js';
import {element, notice, showDialog} from './dialogs.js';
import {openDocument, replaceIds} from './document.js';
import {guarded} from './exports.js';
import {FileError, countIds} from './formats.js';
import {classField, decide, readMap} from './imports.js';
import {readPngText} from './png.js';
import {EXTENSION, KEYWORD, readProject} from './project.js';
import {watchImages} from './recorder.js';
import {state, update} from './state.js';
import {usePhoto} from './style.js';

const MOST_BYTES = 64 * 2 ** 20;  // Of a project.
const ACCEPTED = `.png,.json,${EXTENSION},image/png,image/jpeg,image/webp,application/json`;

/** Open any file: a project, an image that carries one, a label map, or a photo. */
export const importFile = guarded(async (file) => {
  if (file.size > MOST_BYTES) {
    throw new FileError(`${file.name} has ${file.size} bytes`, `open at most ${MOST_BYTES}`);
  }
  const bytes = new Uint8Array(await file.arrayBuffer());
  const text = readPngText(bytes, KEYWORD);
  if (text !== null) return openProjectText(text);
  if (bytes[0] === 0x7b || file.name.endsWith('.json')) {
    return openProjectText(new TextDecoder().decode(bytes));
  }
  return importMap(file, bytes);
});

/** Ask for a file, and open it. */
export function chooseFile() {
  const field = element('input', {type: 'file', accept: ACCEPTED});
  field.addEventListener('change', () => field.files[0] && importFile(field.files[0]));
  field.click();
}

async function importMap(file, bytes) {
  let answer;
  try {
    answer = await readMap(file);
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    await offerPhoto(file, error);
    return;
  }
  const decision = await decide(file, answer);
  if (!decision) return;
  const {ids, width, height} = decision;
  const {taken_for: takenFor, report} = decision.answer;
  const isKnown = report.sources.every(({kind}) => kind !== 'unknown');
  const format = report.exact ? 'ids' : takenFor === 'gaugan' && isKnown ? 'gaugan' : null;
  const origin = format && decision.isAsRead ? {bytes, format} : null;
  const name = file.name.replace(/\.[^.]*$/, '').replaceAll('_', ' ').slice(0, 80) || 'Untitled';
  showMap({ids, width, height, name, origin, label: `Import ${file.name}`});
  notice(`${file.name} is imported: ${width} × ${height} pixels, ${countIds(ids).size} materials.`);
}

/** A map of the document's size is a step of its history; another one is a new document. */
function showMap({ids, width, height, name, origin, label}) {
  if (width === state.document.width && height === state.document.height) {
    replaceIds(ids, {label, origin, name});
  } else {
    const background = [...countIds(ids)].reduce((most, one) => (one[1] > most[1] ? one : most))[0];
    openDocument({ids, width, height, name, origin, background});
  }
}

/** Say why a file is no label map; a photo is good for something else. */
async function offerPhoto(file, error) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  const buttons = bitmap ? [
    {name: 'trace', label: 'Lay it under the map'},
    ...(state.model.can_encode ? [{name: 'style', label: 'Use its style'}] : []),
  ] : [];
  const body = element(
    'div', {class: 'report'}, element('p', {}, `${error.problem}.`),
    error.remedy && element('p', {class: 'quiet'}, `Remedy: ${error.remedy}.`));
  const answer = await showDialog(`${file.name} is not imported`, body, [
    ...buttons, {name: 'close', label: 'OK', primary: true}]);
  if (answer === 'style') await usePhoto(file);
  if (answer === 'trace') update('view', {photo: {bitmap, opacity: 0.5}});
}

async function openProjectText(text) {
  const project = await readProject(text);
  const ids = counterparts(project.classes);
  if (!await chooseMissing(project, ids)) return;
  const {width, height, style, name} = project;
  checkSize(width, height);
  const Ids = state.model.classes.some(({id}) => id > 255) ? Uint16Array : Uint8Array;
  const renumbered = (map) => Ids.from(map, (id) => ids.get(id));
  openDocument({
    ids: renumbered(project.ids), width, height, name, background: ids.get(project.background) ?? 0,
  });
  if (state.model.has_style) update('style', style);
  const items = project.snapshots.map((item) => ({...item, ids: renumbered(item.ids)}));
  update('snapshots', {items});
  notice(`The project ${name} is open.`);
}

function checkSize(width, height) {
  const {fixed_size: isFixed, multiple, width: ownWidth, height: ownHeight, limits} = state.model;
  if (width * height > limits.map_pixels) {
    throw new FileError(
      `the project has ${width}×${height} pixels`, `at most ${limits.map_pixels} are sampled`);
  }
  const fits = isFixed ? width === ownWidth && height === ownHeight
    : width % multiple === 0 && height % multiple === 0;
  if (fits) return;
  const legal = isFixed ? `${ownWidth}×${ownHeight} pixels` : `multiples of ${multiple} pixels`;
  throw new FileError(
    `the project has ${width}×${height} pixels, and this model samples ${legal}`,
    'open it with its own model, export the label map and import that');
}

/** Add to `ids` what one chooses for classes that the model lacks; false if one stops. */
async function chooseMissing(project, ids) {
  const maps = [project, ...project.snapshots];
  const used = new Set(maps.flatMap((map) => [...countIds(map.ids).keys()]));
  const missing = project.classes.filter(({id}) => used.has(id) && !ids.has(id));
  if (missing.length === 0) return true;
  const rows = missing.map(({id, name}) => element(
    'li', {}, element('span', {}, name),
    ...classField(name, null, (chosen) => ids.set(id, chosen))));
  const body = element(
    'div', {class: 'report'}, element('p', {}, 'The project is of another model. What becomes of:'),
    element('ul', {class: 'report-rows'}, ...rows));
  const answer = await showDialog('Open project', body, [
    {name: 'cancel', label: 'Cancel'}, {name: 'open', label: 'Open', primary: true}]);
  return answer === 'open';
}

/** Take files that are dropped on the page or pasted, and record the time-lapse. */
export function watchFiles() {
  watchImages();
  const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
  addEventListener('dragover', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = 'copy';
  });
  addEventListener('drop', (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    takeOne(event.dataTransfer.files);
  });
  addEventListener('paste', (event) => {
    if (event.clipboardData.files.length === 0) return;
    event.preventDefault();
    takeOne(event.clipboardData.files);
  });
}

function takeOne(files) {
  if (document.querySelector('dialog[open]')) return;
  if (files.length > 1) notice(`Only the first of ${files.length} files is opened.`);
  importFile(files[0]);
}
