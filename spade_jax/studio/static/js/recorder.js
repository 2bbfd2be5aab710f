/** A time-lapse: the images of a document since it was opened, thinned by two if there are many. */

import {FileError} from './formats.js';
import {state, subscribe} from './state.js';

const MILLISECONDS = 80;  // A frame.
const MOST_BYTES = 60 * 2 ** 20;  // Of all frames; the server takes 64 MB.

/** Frames of one size, every `stride`-th of all that came. */
export class Recorder {
  /** At most `mostFrames`; by default as many as the server takes. */
  constructor(mostFrames = null) {
    this.given = mostFrames;
    this.clear();
  }

  get mostFrames() {
    return this.given ?? state.model.limits.frames;
  }

  clear() {
    Object.assign(this, {frames: [], stride: 1, seen: 0, width: 0, height: 0});
  }

  /** Add an image; frames of another size begin anew. */
  add(rgb, width, height) {
    if (width !== this.width || height !== this.height) this.clear();
    Object.assign(this, {width, height});
    if (this.seen++ % this.stride !== 0) return;
    this.frames.push(rgb);
    const most = Math.max(2, Math.min(this.mostFrames, Math.floor(MOST_BYTES / rgb.length)));
    if (this.frames.length <= most) return;
    this.frames = this.frames.filter((_, index) => index % 2 === 0);
    this.stride *= 2;
  }

  /** All frames in a row, with `last` at the end. */
  bytes(last) {
    const frames = this.frames.at(-1) === last ? this.frames : [...this.frames, last];
    const kept = frames.slice(-this.mostFrames);
    const all = new Uint8Array(kept.length * last.length);
    kept.forEach((frame, index) => all.set(frame, index * last.length));
    return all;
  }
}

const recorder = new Recorder();

/** Record from now on; a document that is opened begins a new time-lapse. */
export function watchImages() {
  let id = state.document.id;
  subscribe('image', ({rgb, width, height, size}) => {
    if (id !== state.document.id) recorder.clear();
    id = state.document.id;
    if (rgb && size === 'full' && rgb !== recorder.frames.at(-1)) recorder.add(rgb, width, height);
  });
}

/** The time-lapse as a file, which the server encodes: `format` is gif or webp. */
export async function timeLapse(format) {
  const {rgb, width, height} = state.image;
  if (!rgb || recorder.frames.length < 2 || rgb.length !== recorder.frames[0].length) {
    throw new FileError('there are no two images yet', 'paint something');
  }
  const address = `/api/timelapse?format=${format}&width=${width}&height=${height}`
    + `&milliseconds=${MILLISECONDS}`;
  const answer = await fetch(address, {
    method: 'POST', body: recorder.bytes(rgb),
    headers: {'Content-Type': 'application/octet-stream', 'X-Studio': '1'},
  }).catch(() => {
    throw new FileError('the server is not there, which encodes the time-lapse', 'start it again');
  });
  if (!answer.ok) {
    const {problem, remedy} = await answer.json().catch(() => ({}));
    throw new FileError(problem ?? `the server says ${answer.status}`, remedy);
  }
  return new Uint8Array(await answer.arrayBuffer());
}
