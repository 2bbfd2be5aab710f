/** Start of the page: the only module that knows all others. */

import {watchConnection} from './connection_notice.js';
import {iconButton, notice} from './dialogs.js';
import {redo, replaceIds, undo} from './document.js';
import {fetchJson, listExamples, openFirst} from './examples.js';
import {exportMenu, guarded, saveProject} from './exports.js';
import {chooseFile, watchFiles} from './files.js';
import {showFirstSteps, showShortcuts} from './help.js';
import {buildImage, compareWith, holdBefore, imageBefore, isComparing} from './image.js';
import {attachKeys, shortcuts, writtenKeys} from './keys.js';
import {watchLayout} from './layout.js';
import {connect, requestImage, requestVariations} from './link.js';
import {mainMenu, viewMenu} from './main_menu.js';
import {buildMaterials} from './materials.js';
import {openMenu, openSheet} from './menus.js';
import {attachPointer} from './pointer.js';
import {startRecovery, watchErrors} from './recovery.js';
import {setting} from './settings.js';
import {buildSnapshots, takeSnapshot} from './snapshots.js';
import {state, subscribe, update} from './state.js';
import {buildMapCaption, buildStatus} from './status.js';
import {buildStyle, offerPhotos} from './style.js';
import {roll, watchStyles} from './styles.js';
import {sendToken} from './token.js';
import {buildOptions, buildQuick, buildTools} from './toolbar.js';
import {buildTopbar} from './topbar.js';
import {attachView} from './view.js';

const find = (id) => document.getElementById(id);

let examples = [];

async function start() {
  watchErrors();
  watchAttributes();
  watchStyles();
  watchFiles();
  update('view', {letters: setting('letters', true)});
  buildPanels();
  buildMap();
  try {
    await sendToken();
    update('model', await fetchJson('/api/model'));
    examples = await listExamples();
    await openFirst(examples);
    offerPhotosLater();
  } catch (error) {
    notice(`The page has no model: ${error.message}`, {
      kind: 'bad', lasting: true, action: {label: 'Reload', run: () => location.reload()},
    });
    return;
  }
  startRecovery();
  watchConnection();
  connect();
}

function buildPanels() {
  buildTopbar(find('topbar'), {
    undo, redo, compare: toggleCompare, showKeys,
    mainMenu: () => mainMenu({examples, showKeys}),
    exportMenu,
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
}

function buildMap() {
  watchLayout(find('stage'));
  attachView(find('map'));
  attachPointer(find('map'), find('stage'));
  attachKeys(find('map'), {
    roll, compare: holdBefore, snapshot: takeSnapshot, sample: requestImage,
    help: showKeys, save: guarded(saveProject), open: chooseFile,
    export: () => document.querySelector('#topbar [aria-label=Export]').click(),
  });
}

/** Styles of photos wait for the first image: what one needs to paint comes first. */
function offerPhotosLater() {
  const end = subscribe('image', () => {
    end();
    offerPhotos(examples);
  });
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

/** On a phone: all that has no place on it. */
function openAll() {
  openSheet('Style and options', [find('options'), find('style'), find('snapshots')]);
}

start();
