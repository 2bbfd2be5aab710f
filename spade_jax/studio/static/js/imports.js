/** The dialog of an import: what a file was taken for, its classes, and what is unknown in it. */

import {fromBase64, idsOfBytes} from './bytes.js';
import {classOf, titled} from './classes.js';
import {swatch, tint} from './controls.js';
import {element, icon, showDialog} from './dialogs.js';
import {FileError, pixelText, rgbOf} from './formats.js';
import {remember, setting} from './settings.js';
import {state} from './state.js';

const MOST_ROWS = 60;  // Of one kind; those that have more pixels come first.
const TITLES = {
  ids: 'Label map', model: 'Colors of this model', gaugan: 'GauGAN drawing',
  ade20k: 'Colors of ADE20K', camvid: 'Colors of CamVid',
  camvid_32: 'Colors of CamVid, 32 classes', facades: 'Colors of Facades',
  celebamask_hq: 'Colors of CelebAMask-HQ', cityscapes: 'Colors of Cityscapes',
  cityscapes_19: 'Colors of Cityscapes, 19 classes', scenes: 'Colors of the demo',
};
const FITS = {nearest: 'nearest pixels', majority: 'majority of the pixels', keep: 'keep the size'};

/** Post a file to the server, which reads it as training does: its answer. */
export async function readMap(file, takeAs = 'auto', fit = 'ask') {
  const most = state.model.limits.upload_bytes;
  if (file.size > most) {
    throw new FileError(`${file.name} has ${file.size} bytes`, `choose a file of at most ${most}`);
  }
  const query = new URLSearchParams({as: takeAs, fit, name: file.name.slice(0, 100)});
  const answer = await fetch(`/api/import?${query}`, {
    method: 'POST', body: file,
    headers: {'Content-Type': 'application/octet-stream', 'X-Studio': '1'},
  }).catch(() => {
    throw new FileError('the server is not there, which reads label maps', 'start it again');
  });
  const content = await answer.json().catch(() => ({problem: `the server says ${answer.status}`}));
  if (!answer.ok) throw new FileError(content.problem, content.remedy);
  return content;
}

/**
 * Let one decide about the answer of `readMap`: {ids, width, height, answer, isAsRead}, or null.
 * isAsRead: the classes that the file has by itself are not changed.
 *
 * A file that holds the model's ids at the model's size needs no decision.
 */
export async function decide(file, answer) {
  let current = answer;
  let choices = proposedChoices(answer);
  if (!isClear(answer)) {
    const body = element('div', {class: 'report'});
    const show = (next) => {
      current = next;
      choices = proposedChoices(next);
      body.replaceChildren(...reportOf(next, choices, again));
    };
    const again = async (takeAs, fit) => {
      try {
        show(await readMap(file, takeAs, fit));
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        show(current);
        body.prepend(element(
          'p', {class: 'problem', role: 'alert'}, icon('circle-x'), error.message));
      }
    };
    show(answer);
    const chosen = await showDialog(`Import ${file.name}`, body, [
      {name: 'cancel', label: 'Cancel'}, {name: 'import', label: 'Import', primary: true}]);
    if (chosen !== 'import') return null;
    rememberChoices(current, choices);
  }
  const lost = choices.filter((id) => id === null).length;
  if (lost > 0) throw new FileError(`${lost} values have no class`, 'number the classes from 0');
  const values = idsOfBytes(fromBase64(current.values), current.values_dtype);
  const Ids = current.dtype === 'uint8' ? Uint8Array : Uint16Array;
  return {
    ids: Ids.from(values, (source) => choices[source]),
    width: current.width, height: current.height, answer: current,
    isAsRead: current.report.sources.every(
      ({kind, id}, source) => kind !== 'same' || choices[source] === id),
  };
}

/** Whether nothing is changed or guessed: all classes are meant, and the size is right. */
function isClear({report: {fit, sources}}) {
  return fit === null && sources.every(({kind}) => kind === 'same');
}

/** The class for each source: what one chose last, or what is proposed; null: one has to choose. */
function proposedChoices({taken_for: takenFor, report: {sources}}) {
  const chosen = setting('counterparts', {})[takenFor] ?? {};
  return sources.map(({id, name, kind}) => {
    const last = kind === 'nearest' && state.model.classes.find((one) => one.name === chosen[name]);
    return last ? last.id : id ?? state.model.unknown;
  });
}

/** Remember the classes that stand for those of another table, for the next import. */
function rememberChoices({taken_for: takenFor, report: {sources}}, choices) {
  const all = setting('counterparts', {});
  const chosen = sources.flatMap(({name, kind}, index) => (
    kind === 'nearest' ? [[name, classOf(choices[index]).name]] : []));
  remember('counterparts', {...all, [takenFor]: {...all[takenFor], ...Object.fromEntries(chosen)}});
}

function reportOf(answer, choices, again) {
  const {taken_for: takenFor, report} = answer;
  const kinds = {unknown: [], nearest: [], same: []};
  report.sources.forEach((source, index) => kinds[source.kind].push({...source, index}));
  const section = (title, sources, isClosed) => sources.length > 0 && element(
    isClosed ? 'details' : 'section', {},
    element(isClosed ? 'summary' : 'h2', {}, title(sources)),
    element('ul', {class: 'report-rows'}, ...sources.slice(0, MOST_ROWS).map(
      (source) => sourceRow(source, choices))),
    sources.length > MOST_ROWS && element('p', {}, restText(sources.slice(MOST_ROWS))));
  return [
    element('p', {class: 'row'}, 'Taken for ', takenForField(answer, again)),
    sizeText(answer, again),
    section(unknownTitle, kinds.unknown),
    section(({length}) => `${length} without the same material here`, kinds.nearest),
    section(({length}) => `${length} as they are`, kinds.same, true),
    takenFor === 'gaugan' && kinds.unknown.length > 0 && element(
      'p', {class: 'quiet'},
      'The first byte of a GauGAN color is the number of a COCO-Stuff class.'),
  ].filter(Boolean);
}

function unknownTitle(sources) {
  const pixels = sources.reduce((sum, {count}) => sum + count, 0);
  const share = sources.reduce((sum, source) => sum + source.share, 0);
  const what = /^\d/.test(sources[0].value) ? 'number' : 'color';
  const many = `${sources.length} unknown ${what}${sources.length === 1 ? '' : 's'}`;
  const blends = sources.length > 20 && share < 0.2 ? ': blends along borders, nearest fits' : '';
  return `${many}, ${pixelText(pixels)} (${percent(share)})${blends}`;
}

function restText(sources) {
  const pixels = sources.reduce((sum, {count}) => sum + count, 0);
  const many = sources.length.toLocaleString('en');
  return `And ${many} more, ${pixelText(pixels)}: the nearest class.`;
}

function percent(share) {
  const value = 100 * share;
  return `${value >= 0.01 || value === 0 ? value.toFixed(2) : '< 0.01'} %`;
}

function takenForField({taken_for: takenFor, report}, again) {
  const tables = state.model.tables.filter((name) => TITLES[name]);
  const select = element(
    'select', {class: 'field', 'aria-label': 'Taken for'},
    ...tables.map((name) => element(
      'option', {value: name, selected: name === takenFor}, TITLES[name])));
  select.addEventListener('change', () => again(select.value, report.fit ?? 'ask'));
  return select;
}

function sizeText({taken_for: takenFor, width, height, report}, again) {
  const [fileWidth, fileHeight] = report.file_size;
  const {width: ownWidth, height: ownHeight, fixed_size: isFixed} = state.model;
  const found = `${fileWidth} × ${fileHeight} pixels`;
  if (fileWidth === ownWidth && fileHeight === ownHeight) return element('p', {}, found);
  const fits = Object.keys(FITS).filter((name) => name !== 'keep' || !isFixed);
  const select = element(
    'select', {class: 'field', 'aria-label': 'How it is scaled'},
    ...fits.map((name) => element(
      'option', {value: name, selected: name === (report.fit ?? 'keep')}, FITS[name])));
  select.addEventListener('change', () => again(takenFor, select.value));
  const squeezed = report.squeezed ? ' It is squeezed: the shapes differ.' : '';
  return element('p', {class: 'row'}, `${found}, becomes ${width} × ${height}: `, select, squeezed);
}

/** One color or number: what it is, how often, where first, and the class that it becomes. */
function sourceRow(source, choices) {
  const {value, name, kind, index, count, share, first, distance, first_byte: firstByte} = source;
  const isColor = value.startsWith('#');
  const facts = [`${pixelText(count)} (${percent(share)})`];
  if (kind === 'unknown') {
    facts.push(`first at ${first[0]}, ${first[1]}`);
    if (name) facts.push(`nearest ${name}, ${distance} away`);
    if (firstByte) facts.push(`its first byte is COCO-Stuff’s ${firstByte}`);
  }
  const label = kind === 'unknown' ? value : titled(name ?? value);
  return element(
    'li', {'data-value': value}, isColor && swatch(rgbOf(value)), element('span', {}, label),
    element('small', {}, facts.join(', ')),
    ...classField(label, choices[index], (id) => { choices[index] = id; }));
}

/** A field to choose a class of the model; null as `chosen` leaves it open, and required. */
export function classField(label, chosen, choose) {
  const square = swatch(chosen === null ? [0, 0, 0] : classOf(chosen).color);
  const select = element(
    'select', {class: 'field', required: true, 'aria-label': `Class for ${label}`},
    element('option', {value: '', selected: chosen === null}, 'Choose…'),
    ...state.model.classes.map(({id, name}) => element(
      'option', {value: id, selected: id === chosen}, titled(name))));
  select.addEventListener('change', () => {
    const id = select.value === '' ? null : Number(select.value);
    tint(square, id === null ? [0, 0, 0] : classOf(id).color);
    choose(id);
  });
  return [square, select];
}
