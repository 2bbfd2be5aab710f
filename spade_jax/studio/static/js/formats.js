/** The pixels of the files that the page writes, from ids and classes: pure functions. */

const GAUGAN_SIDE = 1024;

/** An error that names what helps, as those of the server do. */
export class FileError extends Error {
  constructor(problem, remedy = '') {
    super(remedy ? `${problem}; ${remedy}` : problem);
    Object.assign(this, {problem, remedy});
  }
}

/** '#rrggbb' as [r, g, b]. */
export function rgbOf(color) {
  return [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16));
}

/** '1 pixel', '2,304 pixels'. */
export function pixelText(count) {
  return `${count.toLocaleString('en')} pixel${count === 1 ? '' : 's'}`;
}

/** The number of pixels of each id, as a Map in the order of the ids. */
export function countIds(ids) {
  const counts = new Uint32Array(65536);
  for (const id of ids) counts[id]++;
  return new Map([...counts.entries()].filter(([, count]) => count > 0));
}

/**
 * The pixels of a label map as the files of the training have it: {channels, pixels}.
 *
 * Color masks where those of the training are such and every class in the map has a color; else
 * grays, the numbers that the model's reader turns into the ids.
 */
export function trainingPixels(ids, classes) {
  const used = [...countIds(ids).keys()].map((id) => classes.find((one) => one.id === id));
  if (used.every((one) => one.mask)) {
    const isOpaque = used.every(({mask}) => mask !== 'transparent');
    const colors = used.map(({id, mask}) => [
      id, mask === 'transparent' ? [0, 0, 0, 0] : isOpaque ? rgbOf(mask) : [...rgbOf(mask), 255]]);
    return colored(ids, new Map(colors), isOpaque ? 3 : 4);
  }
  const lost = used.filter(({number}) => number === null);
  if (lost.length > 0) {
    throw new FileError(
      `files of this model have no number for ${lost.map(({name}) => name).join(', ')}`,
      'export the colors, or paint something else there');
  }
  const Numbers = used.every(({number}) => number < 256) ? Uint8Array : Uint16Array;
  const numbers = new Map(used.map(({id, number}) => [id, number]));
  return {channels: 1, pixels: Numbers.from(ids, (id) => numbers.get(id))};
}

/** The colors of the classes: {channels, pixels}; `colors`: id -> [r, g, b]. */
export function colored(ids, colors, channels = 3) {
  const pixels = new Uint8Array(channels * ids.length);
  ids.forEach((id, index) => pixels.set(colors.get(id), channels * index));
  return {channels, pixels};
}

/** Pixels of `width` x `height` nearest at another size. */
export function scaled(pixels, channels, [width, height], [toWidth, toHeight]) {
  const result = new pixels.constructor(channels * toWidth * toHeight);
  for (let y = 0, to = 0; y < toHeight; y++) {
    const row = Math.floor(y * height / toHeight) * width;
    for (let x = 0; x < toWidth; x++, to += channels) {
      const from = channels * (row + Math.floor(x * width / toWidth));
      for (let channel = 0; channel < channels; channel++) {
        result[to + channel] = pixels[from + channel];
      }
    }
  }
  return result;
}

/** A GauGAN drawing, 1024x1024; `materials`: id -> '#rrggbb'. */
export function gauganImage(ids, width, height, materials) {
  const colors = new Map([...materials].map(([id, color]) => [id, rgbOf(color)]));
  const {channels, pixels} = colored(ids, colors);
  const size = [GAUGAN_SIDE, GAUGAN_SIDE];
  return {
    width: GAUGAN_SIDE, height: GAUGAN_SIDE, channels,
    pixels: scaled(pixels, channels, [width, height], size),
  };
}

/** Two RGB images of one size side by side. */
export function sideBySide(left, right, width, height) {
  const pixels = new Uint8Array(2 * left.length);
  for (let y = 0; y < height; y++) {
    const [start, end] = [3 * width * y, 3 * width * (y + 1)];
    pixels.set(left.subarray(start, end), 2 * start);
    pixels.set(right.subarray(start, end), 2 * start + 3 * width);
  }
  return {width: 2 * width, height, channels: 3, pixels};
}
