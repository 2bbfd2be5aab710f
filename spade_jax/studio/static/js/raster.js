/**
 * The rasterizer: which pixels of a label map a tool writes, in exact integers.
 *
 * A point is {x, y} in pixels of the map: pixel (i, j) covers [i, i + 1) x [j, j + 1). All tools
 * write to a *target*, through `put` alone, which is the one place where protected materials and
 * "only over" apply. tests/studio/rasteriser.py states the same rules, and is tested against these.
 */

/**
 * @typedef {{left: number, top: number, right: number, bottom: number}} Rectangle  Half open.
 * @typedef {{ids: Uint8Array|Uint16Array, width: number, height: number, label: number,
 *   allowed: Uint8Array|null, mirrorX: boolean, mirrorY: boolean, changed: Rectangle|null}} Target
 */

/** A target for `label` on a document, by the fields of `state.tool`. */
export function makeTarget({ids, width, height}, label, tool) {
  const {protected: kept, only, mirrorX, mirrorY} = tool;
  return {
    ids, width, height, label, allowed: allowedIds(kept, only), mirrorX, mirrorY, changed: null,
  };
}

/** 1 for each id that may be overwritten; null if all may. */
export function allowedIds(kept, only) {
  if (!kept.size && !only.size) return null;
  const allowed = new Uint8Array(65536).fill(only.size ? 0 : 1);
  for (const id of only) allowed[id] = 1;
  for (const id of kept) allowed[id] = 0;
  return allowed;
}

/** The smallest rectangle that holds both; null is empty. */
export function union(a, b) {
  if (!a || !b) return a ?? b;
  return {
    left: Math.min(a.left, b.left), top: Math.min(a.top, b.top),
    right: Math.max(a.right, b.right), bottom: Math.max(a.bottom, b.bottom),
  };
}

/** Give pixels [left, right) of row y the id `label`, where that is allowed and on the map. */
function put(target, y, left, right, label) {
  const {ids, width, height, allowed} = target;
  if (y < 0 || y >= height) return;
  const row = y * width;
  const end = Math.min(right, width);
  let first = -1;
  let last = -1;
  for (let x = Math.max(left, 0); x < end; x++) {
    const old = ids[row + x];
    if (old === label || (allowed !== null && !allowed[old])) continue;
    ids[row + x] = label;
    if (first < 0) first = x;
    last = x;
  }
  if (first < 0) return;
  target.changed = union(target.changed, {left: first, top: y, right: last + 1, bottom: y + 1});
}

/** Write pixels [left, right) of row y, and their mirror images. */
export function write(target, y, left, right) {
  const {width, height, label, mirrorX, mirrorY} = target;
  put(target, y, left, right, label);
  if (mirrorX) put(target, y, width - right, width - left, label);
  if (mirrorY) put(target, height - 1 - y, left, right, label);
  if (mirrorX && mirrorY) put(target, height - 1 - y, width - right, width - left, label);
}

// Whether the pixel whose center is (u, v) half pixels from the dab's center belongs to it.
const shapes = {
  circle: (u, v, size) => u * u + v * v <= size * size,
  square: () => true,
  diamond: (u, v, size) => Math.abs(u) + Math.abs(v) <= size,
  bar: (u, v, size) => 4 * Math.abs(v) <= Math.max(size, 4),
};
const dabs = new Map();

/** The rows of a dab of size x size pixels: [left, right) of each, 0, 0 where there is none. */
export function dabRows(shape, size) {
  const key = `${shape} ${size}`;
  if (!dabs.has(key)) {
    const rows = new Int16Array(2 * size);
    for (let row = 0; row < size; row++) {
      const isInside = (column) => shapes[shape](2 * column - size + 1, 2 * row - size + 1, size);
      let left = 0;
      while (left < size && !isInside(left)) left++;
      if (left < size) rows.set([left, size - left], 2 * row);  // All shapes are symmetric.
    }
    dabs.set(key, rows);
  }
  return dabs.get(key);
}

/** The left (or top) pixel of a dab whose center is nearest to x. */
export function dabStart(x, size) {
  return Math.floor(x - size / 2 + 0.5);
}

function dab(target, shape, size, left, top) {
  const rows = dabRows(shape, size);
  for (let row = 0; row < size; row++) {
    if (rows[2 * row + 1]) write(target, top + row, left + rows[2 * row], left + rows[2 * row + 1]);
  }
}

/** Dabs at each pixel of the straight way between two points; halves round away from `from`. */
export function stroke(target, shape, size, from, to) {
  const [x, y] = [dabStart(from.x, size), dabStart(from.y, size)];
  const [dx, dy] = [dabStart(to.x, size) - x, dabStart(to.y, size) - y];
  const steps = Math.max(Math.abs(dx), Math.abs(dy));
  const part = (way, step) => Math.sign(way) * Math.floor(
    (2 * step * Math.abs(way) + steps) / (2 * steps));
  dab(target, shape, size, x, y);
  for (let step = 1; step <= steps; step++) {
    dab(target, shape, size, x + part(dx, step), y + part(dy, step));
  }
}

/** The rectangle between two points, both of their pixels included. */
export function rectangle(target, from, to) {
  const [x, y] = [Math.floor(from.x), Math.floor(from.y)];
  const [right, bottom] = [Math.floor(to.x), Math.floor(to.y)];
  for (let row = Math.max(0, Math.min(y, bottom)); row <= Math.max(y, bottom); row++) {
    if (row >= target.height) break;
    write(target, row, Math.min(x, right), Math.max(x, right) + 1);
  }
}

/**
 * The pixels whose centers are inside a polygon by the even-odd rule.
 *
 * Its corners are rounded to corners of pixels, so no center is level with a corner; a center on an
 * edge belongs to what is right of the edge.
 */
export function polygon(target, points) {
  const corners = points.map(({x, y}) => [Math.floor(x + 0.5), Math.floor(y + 0.5)]);
  const rows = corners.map(([, y]) => y);
  const bottom = Math.min(Math.max(...rows), target.height);
  for (let row = Math.max(Math.min(...rows), 0); row < bottom; row++) {
    const crossings = [];
    corners.forEach(([x0, y0], index) => {
      const [x1, y1] = corners[(index + 1) % corners.length];
      if ((y0 <= row) === (y1 <= row)) return;
      // The first column whose center is not left of the edge at the height of the row's centers.
      const [sign, height] = [Math.sign(y1 - y0), Math.abs(y1 - y0)];
      const twice = 2 * x0 * height + sign * (2 * row + 1 - 2 * y0) * (x1 - x0) - height;
      crossings.push(Math.ceil(twice / (2 * height)));
    });
    crossings.sort((a, b) => a - b);
    for (let k = 0; k < crossings.length; k += 2) {
      if (crossings[k] < crossings[k + 1]) write(target, row, crossings[k], crossings[k + 1]);
    }
  }
}

/** 1 for each pixel that is connected to (x, y) by pixels of its id, over sides, not corners. */
export function connectedMask({ids, width, height}, x, y) {
  const mask = new Uint8Array(ids.length);
  const queue = new Int32Array(ids.length);  // Each pixel enters once.
  const id = ids[y * width + x];
  let length = 0;
  const visit = (pixel) => {
    if (mask[pixel] || ids[pixel] !== id) return;
    mask[pixel] = 1;
    queue[length++] = pixel;
  };
  visit(y * width + x);
  for (let next = 0; next < length; next++) {
    const pixel = queue[next];
    const column = pixel % width;
    if (column > 0) visit(pixel - 1);
    if (column < width - 1) visit(pixel + 1);
    if (pixel >= width) visit(pixel - width);
    if (pixel < width * (height - 1)) visit(pixel + width);
  }
  return mask;
}

/** Fill what is connected to a point, or all pixels of the same id wherever they are. */
export function fill(target, point, everywhere = false) {
  const {ids, width, height} = target;
  const [x, y] = [Math.floor(point.x), Math.floor(point.y)];
  if (x < 0 || y < 0 || x >= width || y >= height) return;
  const id = ids[y * width + x];
  const mask = everywhere ? ids.map((other) => other === id) : connectedMask(target, x, y);
  for (let row = 0; row < height; row++) {
    for (let left = 0; left < width; left++) {
      if (!mask[row * width + left]) continue;
      let right = left + 1;
      while (right < width && mask[row * width + right]) right++;
      write(target, row, left, right);
      left = right;
    }
  }
}

/**
 * Give each pixel the most frequent id of the 3x3 pixels around it that are on the map.
 *
 * Of equally frequent ids its own wins, then the smallest. Mirrors do not apply.
 */
export function majority(target) {
  const {ids, width, height} = target;
  const before = ids.slice();
  const around = [];
  const counts = new Uint8Array(65536);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const own = before[y * width + x];
      around.length = 0;
      for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
        for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, width - 1); column++) {
          const id = before[row * width + column];
          counts[id]++;
          around.push(id);
        }
      }
      let best = own;
      for (const id of counts[own] > 4 ? [] : around) {
        const more = counts[id] - counts[best];
        if (more > 0 || (more === 0 && best !== own && id < best)) best = id;
      }
      for (const id of around) counts[id] = 0;
      if (best !== own) put(target, y, x, x + 1, best);
    }
  }
}

/** Write a whole map of ids. */
export function paste(target, ids) {
  for (let y = 0; y < target.height; y++) {
    for (let x = 0; x < target.width; x++) put(target, y, x, x + 1, ids[y * target.width + x]);
  }
}
