/**
 * Steps that can be undone and redone, bounded by their bytes; the oldest goes first.
 *
 * A step holds runs of pixels that changed from one id to another, as numbers of 7 bits a byte:
 * gap since the last run, length, old id, new id. Where that is more than the map itself, the step
 * holds the map of the other side instead, and is undone by exchanging the two.
 */

const OVERHEAD = 200;  // Bytes of a step's objects, roughly.

function pushNumber(bytes, number) {
  while (number > 127) {
    bytes.push((number & 127) | 128);
    number >>>= 7;
  }
  bytes.push(number);
}

function encodeRuns(before, after, width, {left, top, right, bottom}) {
  const bytes = [];
  let end = 0;
  for (let y = top; y < bottom && bytes.length < before.byteLength; y++) {
    for (let pixel = y * width + left; pixel < y * width + right;) {
      const [old, id] = [before[pixel], after[pixel]];
      const start = pixel++;
      if (old === id) continue;
      while (pixel < y * width + right && before[pixel] === old && after[pixel] === id) pixel++;
      for (const number of [start - end, pixel - start, old, id]) pushNumber(bytes, number);
      end = pixel;
    }
  }
  return Uint8Array.from(bytes);
}

function applyRuns(runs, ids, isUndo) {
  let next = 0;
  const readNumber = () => {
    let number = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = runs[next++];
      number |= (byte & 127) << shift;
      if (byte < 128) return number;
    }
  };
  let end = 0;
  while (next < runs.length) {
    const start = end + readNumber();
    end = start + readNumber();
    const old = readNumber();
    const id = readNumber();
    ids.fill(isUndo ? old : id, start, end);
  }
}

/** The step from `before` to `after`, which differ within `rectangle` alone; null if nowhere. */
export function makeStep(name, before, after, width, rectangle) {
  const runs = encodeRuns(before, after, width, rectangle);
  if (!runs.length) return null;
  if (runs.length < before.byteLength) return {name, rectangle, runs, map: null};
  return {name, rectangle, runs: null, map: before.slice()};
}

function apply(step, ids, isUndo) {
  if (step.runs) {
    applyRuns(step.runs, ids, isUndo);
  } else {
    const map = ids.slice();
    ids.set(step.map);
    step.map = map;
  }
  return step;
}

function size(step) {
  return (step.runs ?? step.map).byteLength + OVERHEAD;
}

export class History {
  constructor(limit = 32 * 2 ** 20) {
    this.limit = limit;
    this.done = [];
    this.undone = [];
    this.bytes = 0;
  }

  /** Add a step that was done; what was undone is gone. */
  push(step) {
    for (const gone of this.undone) this.bytes -= size(gone);
    this.undone = [];
    this.done.push(step);
    this.bytes += size(step);
    let oldest = 0;
    while (this.bytes > this.limit) this.bytes -= size(this.done[oldest++]);
    if (oldest) this.done.splice(0, oldest);
  }

  /** Take the last step back from `ids`; returns it, or null. */
  undo(ids) {
    const step = this.done.pop();
    if (!step) return null;
    this.undone.push(step);
    return apply(step, ids, true);
  }

  /** Do the step that was undone last again; returns it, or null. */
  redo(ids) {
    const step = this.undone.pop();
    if (!step) return null;
    this.done.push(step);
    return apply(step, ids, false);
  }
}
