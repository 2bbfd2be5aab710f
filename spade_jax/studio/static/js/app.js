/** Start of the page: the only module that knows all others. */

import {watchConnection} from './connection_notice.js';
import {iconButton, notice} from './dialogs.js';
import {redo, replaceIds, undo} from './document.js';
import {askNew, fetchJson, listExamples, openFirst} from './examples.js';
import {exports, guarded, saveProject} from './exports.js';
import {chooseFile, watchFiles} from './files.js';
import {showFirstSteps, showShortcuts} from './help.js';
import {buildImage, compareWith, holdBefore, imageBefore, isComparing} from './image.js';
import {attachKeys, shortcuts, writtenKeys} from './keys.js';
import {watchLayout} from './layout.js';
import {connect, requestImage, requestVariations} from './link.js';
import {buildMaterials} from './materials.js';
import {openMenu, openSheet} from './menus.js';
import {attachPointer} from './pointer.js';
import {setting} from './settings.js';
import {buildSnapshots, takeSnapshot} from './snapshots.js';
import {state, subscribe, update} from './state.js';
import {buildMapCaption, buildStatus} from './status.js';
import {buildStyle, offerPhotos} from './style.js';
import {roll, watchStyles} from './styles.js';
import {buildOptions, buildQuick, buildTools} from './toolbar.js';
import {buildTopbar} from './topbar.js';
import {attachView, fitView, zoomStep} from './view.js';

const find = (id) => document.getElementById(id);

let examples = [];

async function start() {
  watchAttributes();
  watchStyles();
  watchFiles();
  update('view', {letters: setting('letters', true)});
  buildTopbar(find('topbar'), {
    undo, redo, compare: toggleCompare, showKeys,
    mainMenu: () => [
      {label: 'New…', icon: 'file-plus', run: () => askNew(examples)},
      {label: 'Open…', icon: 'folder-open', keys: 'Ctrl+O', run: chooseFile},
      {label: 'Save project', icon: 'save', keys: 'Ctrl+S', run: guarded(saveProject)},
    ],
    exportMenu: () => exports.map(({label, run}) => ({label, run})),
  });
  buildTools(find('tools'));
  const view = iconButton('eye', 'View');
  view.addEventListener('click', () => openMenu(view, viewMenu()));
  buildOptions(find('options'), view);
  buildImage(find('image-pane'), requestImage);
  buildQuick(
    find('quick'), iconButton('dices', 'Roll', {click: roll}),
    iconButton('sliders-horizontal', 'Style and options', {click: openAll}));
  buildMaterials(find('materials'));
  buildStyle(find('style'), requestVariations);
  buildSnapshots(find('snapshots'), replaceIds);
  buildMapCaption(find('map-pane').querySelector('figcaption span'), find('map'));
  buildStatus(find('status'));
  showFirstSteps(find('first-steps'));
  attachView(find('map'));
  attachPointer(find('map'));
  attachKeys(find('map'), {
    roll, compare: holdBefore, snapshot: takeSnapshot, sample: requestImage,
    help: showKeys, save: guarded(saveProject), open: chooseFile,
    export: () => document.querySelector('#topbar [aria-label=Export]').click(),
  });
  try {
    update('model', await fetchJson('/api/model'));
    examples = await listExamples();
    await openFirst(examples);
    offerPhotos(examples);
  } catch (error) {
    notice(`The page has no model: ${error.message}`, {
      kind: 'bad', lasting: true, action: {label: 'Reload', run: () => location.reload()},
    });
    return;
  }
  watchLayout(find('stage'));
  watchConnection();
  connect();
}

/** The attributes by which tests see the state, and styles whether a pointer is in use. */
function watchAttributes() {
  const {dataset} = document.documentElement;
  addEventListener('pointerdown', () => { dataset.hand = 'pointer'; }, true);
  addEventListener('keydown', () => { dataset.hand = 'keys'; }, true);
  subscribe('document', ({revision}) => { dataset.revision = revision; });
  subscribe('image', ({revision}) => { dataset.shown = revision; });
  subscribe('link', ({state: name}) => { dataset.link = name; });
}

function showKeys() {
  showShortcuts(shortcuts, writtenKeys);
}

function toggleCompare() {
  if (isComparing()) {
    compareWith(null);
    return;
  }
  const before = imageBefore();
  if (before) compareWith({...before, name: 'Before'});
  else notice('There is no other image yet: paint something, or keep a snapshot.');
}

function viewMenu() {
  const {view} = state;
  const toggle = (field) => () => update('view', {[field]: !view[field]});
  return [
    {label: 'Fit', icon: 'maximize-2', keys: 'Home', run: fitView},
    {label: 'Zoom in', icon: 'zoom-in', keys: '+', run: () => zoomStep(1)},
    {label: 'Zoom out', icon: 'zoom-out', keys: '−', run: () => zoomStep(-1)},
    null,
    {label: 'Grid from 8×', checked: view.grid, run: toggle('grid')},
    {label: 'Outlines between materials', checked: view.outlines, run: toggle('outlines')},
    {label: 'Highlight this material', checked: view.highlight !== null, run: () => update(
      'view', {highlight: view.highlight === null ? state.tool.first : null})},
  ];
}

/** On a phone: all that has no place on it. */
function openAll() {
  openSheet('Style and options', [find('options'), find('style'), find('snapshots')]);
}

start();
