/** Arrays of pixels on canvases, for thumbnails and the image; nothing is ever read back. */

/** Make `canvas` show `rgb` (Uint8Array, row by row) in its own size. */
export function showRgb(canvas, rgb, width, height) {
  const image = new ImageData(width, height);
  for (let from = 0, to = 0; from < rgb.length; from += 3, to += 4) {
    image.data[to] = rgb[from];
    image.data[to + 1] = rgb[from + 1];
    image.data[to + 2] = rgb[from + 2];
    image.data[to + 3] = 255;
  }
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  canvas.getContext('2d').putImageData(image, 0, 0);
}

/** The colors of `ids` as RGB, row by row; `colors` is a list of [r, g, b]. */
export function colorsOf(ids, colors) {
  const rgb = new Uint8Array(3 * ids.length);
  ids.forEach((id, index) => rgb.set(colors[id] ?? [0, 0, 0], 3 * index));
  return rgb;
}
