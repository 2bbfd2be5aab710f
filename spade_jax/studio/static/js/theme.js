/**
 * Dark, light, or as the system says: one block of tokens.css is always on, always off, or a query.
 */

const LIGHT = '(prefers-color-scheme: light)';
const MEDIA = {auto: LIGHT, light: 'all', dark: 'not all'};

let block = null;

/** Show the page in `theme`: auto, dark or light. */
export function showTheme(theme) {
  block ??= lightBlock();
  block.media.mediaText = MEDIA[theme] ?? LIGHT;
  document.documentElement.dataset.theme = theme;
}

function lightBlock() {
  const sheet = [...document.styleSheets].find(({href}) => href?.endsWith('/tokens.css'));
  return [...sheet.cssRules].find((rule) => rule.media?.mediaText === LIGHT);
}
