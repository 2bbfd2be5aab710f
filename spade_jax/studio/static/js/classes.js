/** The classes of the model by id; "unknown" has an id far from those of the others. */

import {state} from './state.js';

const NONE = {id: -1, name: '', color: [0, 0, 0]};

/** The class of an id: {id, name, color}. */
export function classOf(id) {
  return state.model?.classes.find((one) => one.id === id) ?? NONE;
}

/** A name as the page shows it: "sky-other" is "Sky-other". */
export function titled(name) {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

/** The colors by id, as a list in which ids between the classes are empty. */
export function colorsById() {
  const colors = [];
  for (const {id, color} of state.model?.classes ?? []) colors[id] = color;
  return colors;
}

/**
 * The ids of a model by those of other classes, as a Map: of the same id and name, else of the same
 * name; a class without has none.
 */
export function counterparts(classes, model = state.model) {
  const byName = new Map(model.classes.map(({id, name}) => [name, id]));
  const own = new Set(model.classes.map(({id, name}) => `${id} ${name}`));
  const idOf = ({id, name}) => (own.has(`${id} ${name}`) ? id : byName.get(name));
  return new Map(classes.filter(({name}) => byName.has(name)).map((one) => [one.id, idOf(one)]));
}
