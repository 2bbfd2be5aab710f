/** What Shift does to a point: lines at 0, 45 and 90 degrees, squares. */

/** The point nearest to `point` on a horizontal, vertical or diagonal line through `start`. */
export function snapToAngle(start, point) {
  const eighth = Math.round(Math.atan2(point.y - start.y, point.x - start.x) * 4 / Math.PI);
  return along(start, point, [[1, 0], [1, 1], [0, 1], [1, -1]][(eighth + 8) % 4]);
}

/** The point nearest to `point` on the line through `start` in direction [x, y]. */
export function along(start, point, [x, y]) {
  const way = ((point.x - start.x) * x + (point.y - start.y) * y) / (x * x + y * y);
  return {...point, x: start.x + way * x, y: start.y + way * y};
}

/** The corner of a square whose opposite one is `start`, as far away as `point` at most. */
export function snapToSquare(start, point) {
  const side = Math.max(Math.abs(point.x - start.x), Math.abs(point.y - start.y));
  const sign = (way) => (way < 0 ? -1 : 1);
  return {
    ...point, x: start.x + sign(point.x - start.x) * side,
    y: start.y + sign(point.y - start.y) * side,
  };
}
