/** Projects: a document with its style and snapshots as JSON, in a file or in an exported image. */

import {bytesOfIds, deflate, fromBase64, idsOfBytes, inflate, toBase64} from './bytes.js';
import {FileError, countIds} from './formats.js';
import {state} from './state.js';
import {checkedStyle} from './styles.js';

export const KEYWORD = 'spade_jax.studio';  // Of the text in a PNG file.
export const EXTENSION = '.studio.json';
const VERSION = 1;
const MOST_SIDE = 8192;
const MOST_SNAPSHOTS = 8;

async function packed(bytes) {
  return toBase64(await deflate(bytes));
}

async function packedMap({ids, width, height}) {
  return {width, height, dtype: ids instanceof Uint8Array ? 'uint8' : 'uint16',
    ids: await packed(bytesOfIds(ids))};
}

/** The project of the page as JSON text; an image carries it without snapshots. */
export async function projectText({withSnapshots = true} = {}) {
  const {document: map, model, style, snapshots} = state;
  const project = {
    format: KEYWORD, version: VERSION, name: map.name, ...await packedMap(map),
    background: map.background,
    model: {name: model.name, step: model.step},
    classes: model.classes.map(({id, name, color}) => ({id, name, color})),
    style: {current: style.current, a: style.a, b: style.b},
  };
  if (withSnapshots) {
    project.snapshots = await Promise.all(snapshots.items.map(async (item) => ({
      name: item.name, ...await packedMap(item), style: item.style,
      rgb: item.rgb && await packed(item.rgb),
    })));
  }
  return JSON.stringify(project);
}

/**
 * Read the text of a project: {name, ids, width, height, background, classes, style, snapshots}.
 *
 * Its ids are those of its own `classes`, see `counterparts`. A text that is none is a FileError.
 */
export async function readProject(text) {
  const project = parsed(text);
  try {
    const {name, background, classes, style, snapshots = []} = project;
    const known = new Set(classes.map(({id}) => id));
    check(typeof name === 'string' && name.length <= 200, 'name');
    check(classes.every((one) => Number.isInteger(one.id) && typeof one.name === 'string'
      && one.color.length === 3), 'classes');
    check(known.has(background), 'background');
    check(snapshots.length <= MOST_SNAPSHOTS, 'snapshots');
    const endOf = (one) => (one === null ? null : checkedStyle(one));
    return {
      name, background, classes, ...await unpackedMap(project, known),
      style: {current: checkedStyle(style.current), a: endOf(style.a), b: endOf(style.b)},
      snapshots: await Promise.all(snapshots.map(async (item) => ({
        name: String(item.name), ...await unpackedMap(item, known), style: checkedStyle(item.style),
        rgb: item.rgb && await inflate(fromBase64(item.rgb), 3 * item.width * item.height),
      }))),
    };
  } catch (error) {
    throw new FileError(`the project is damaged (${error.message})`, 'open another copy of it');
  }
}

function parsed(text) {
  let project = null;
  try {
    project = JSON.parse(text);
  } catch {
    project = null;
  }
  if (project?.format !== KEYWORD) {
    throw new FileError('this is no project of the studio', `open a file NAME${EXTENSION}`);
  }
  if (project.version !== VERSION) {
    throw new FileError(
      `the project has version ${project.version}`, 'open it with a newer studio');
  }
  return project;
}

async function unpackedMap({ids: text, width, height, dtype}, known) {
  for (const side of [width, height]) {
    check(Number.isInteger(side) && side > 0 && side <= MOST_SIDE, 'size');
  }
  check(width * height <= 2 ** 24, 'size');
  check(dtype === 'uint8' || dtype === 'uint16', 'dtype');
  const bytes = await inflate(fromBase64(text), width * height * (dtype === 'uint8' ? 1 : 2));
  const ids = idsOfBytes(bytes, dtype);
  check([...countIds(ids).keys()].every((id) => known.has(id)), 'ids');
  return {ids, width, height};
}

function check(isTrue, what) {
  if (!isTrue) throw new Error(what);
}
