/**
 * What the page remembers between visits besides drafts: theme, presets, switches. It works without
 * storage too, and forgets then.
 */

const KEY = 'spade_jax.studio.settings';

/** The setting `name`, or `fallback`. */
export function setting(name, fallback) {
  return read()[name] ?? fallback;
}

/** Remember `value` as the setting `name`. */
export function remember(name, value) {
  try {
    localStorage.setItem(KEY, JSON.stringify({...read(), [name]: value}));
  } catch {
    // Forbidden or full: the setting lives as long as the page.
  }
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}
