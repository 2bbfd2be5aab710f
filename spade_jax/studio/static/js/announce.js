/**
 * What a screen reader says: one polite live region, at most one message in 500 ms.
 *
 * The newest message wins; a voice that lags behind helps nobody.
 */

const PAUSE = 500;

let waiting = null;
let timer = 0;
let last = -PAUSE;

/** Say `text` politely, now or as soon as 500 ms have passed since the last message. */
export function announce(text) {
  waiting = text;
  if (timer) return;
  timer = setTimeout(speak, Math.max(0, last + PAUSE - performance.now()));
}

function speak() {
  timer = 0;
  last = performance.now();
  const region = document.getElementById('announcements');
  if (region) region.textContent = waiting;
}
