/** What the menus of the bar hold; the main one also has what a small window has no room for. */

import {element, showDialog} from './dialogs.js';
import {edit} from './document.js';
import {askNew} from './examples.js';
import {guarded, saveProject} from './exports.js';
import {chooseFile} from './files.js';
import {openSheet} from './menus.js';
import {choosePhoto} from './photos.js';
import {majority} from './raster.js';
import {showDrafts} from './recovery.js';
import {state, update} from './state.js';
import {MODES, THEMES} from './topbar.js';
import {fitView, zoomStep} from './view.js';

const isHidden = (selector) => !document.querySelector(selector).checkVisibility();

/** The entries of the main menu. */
export function mainMenu({examples, showKeys}) {
  return [
    {label: 'New…', icon: 'file-plus', run: () => askNew(examples)},
    {label: 'Open…', icon: 'folder-open', keys: 'Ctrl+O', run: chooseFile},
    {label: 'Save project', icon: 'save', keys: 'Ctrl+S', run: guarded(saveProject)},
    {label: 'Drafts…', icon: 'layers', run: showDrafts},
    ...(isHidden('.document') ? [{label: 'Rename…', icon: 'pencil', run: rename}] : []),
    {label: 'Clean up specks', icon: 'eraser', run: () => edit('Clean up', majority)},
    ...(isHidden('#snapshots') ? [{label: 'Snapshots…', icon: 'images', run: showSnapshots}] : []),
    ...(isHidden('.topbar .segments') ? [null, 'When to sample', ...choices('link', 'mode', MODES)]
      : []),
    ...(isHidden('.topbar .theme') ? [null, 'Theme', ...choices('view', 'theme', THEMES)] : []),
    null,
    {label: 'Keyboard shortcuts', icon: 'keyboard', keys: '?', run: showKeys},
  ];
}

/** Entries of which one is checked: the value of a field. */
function choices(slice, field, options) {
  return options.map(({name, label}) => ({
    label, checked: state[slice][field] === name, run: () => update(slice, {[field]: name}),
  }));
}

async function rename() {
  const field = element('input', {
    type: 'text', class: 'field', 'aria-label': 'Name', maxlength: 80, value: state.document.name,
    autofocus: true,
  });
  const answer = await showDialog('Rename', field, [
    {name: 'cancel', label: 'Cancel'}, {name: 'rename', label: 'Rename', primary: true}]);
  if (answer && field.value.trim()) update('document', {name: field.value.trim()});
}

function showSnapshots() {
  openSheet('Snapshots', [document.getElementById('snapshots')]);
}

/** The entries of the menu of the view. */
export function viewMenu() {
  const {tool, view} = state;
  const toggle = (slice, field) => () => update(slice, {[field]: !state[slice][field]});
  const highlight = () => update('view', {highlight: view.highlight === null ? tool.first : null});
  return [
    {label: 'Fit', icon: 'maximize-2', keys: 'Home', run: fitView},
    {label: 'Zoom in', icon: 'zoom-in', keys: '+', run: () => zoomStep(1)},
    {label: 'Zoom out', icon: 'zoom-out', keys: '−', run: () => zoomStep(-1)},
    null,
    {label: 'Grid from 8×', checked: view.grid, run: toggle('view', 'grid')},
    {label: 'Outlines between materials', checked: view.outlines, run: toggle('view', 'outlines')},
    {label: 'Highlight this material', checked: view.highlight !== null, run: highlight},
    view.photo
      ? {label: 'Photo under the map', checked: true, run: () => update('view', {photo: null})}
      : {label: 'Trace over a photo…', icon: 'image-up', run: choosePhoto},
    null,
    {label: 'Fingers paint', checked: tool.touchPaints, run: toggle('tool', 'touchPaints')},
    {label: 'Pressure of a pen', checked: tool.pressure, run: toggle('tool', 'pressure')},
  ];
}
