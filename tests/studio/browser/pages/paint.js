// The map alone, to paint on, with drafts: ?width=128&height=128&classes=13.
import {openDocument} from '/static/js/document.js';
import {attachKeys} from '/static/js/keys.js';
import {attachPointer} from '/static/js/pointer.js';
import {startRecovery, watchErrors} from '/static/js/recovery.js';
import {subscribe, update} from '/static/js/state.js';
import {attachView} from '/static/js/view.js';

const query = new URLSearchParams(location.search);
const number = (name, otherwise) => Number(query.get(name) ?? otherwise);
const classes = Array.from({length: number('classes', 13)}, (_, id) => (
  {id, name: `class ${id}`, color: [(id * 67) % 256, (id * 29 + 7) % 256, id >> 3]}));
const [width, height] = [number('width', 128), number('height', 128)];
const ids = new (classes.length > 256 ? Uint16Array : Uint8Array)(width * height);

watchErrors();
const {dataset} = document.documentElement;
subscribe('document', ({revision, saved}) => Object.assign(dataset, {revision, saved}));
update('model', {fixed_size: true, name: 'test', width, height, classes, unknown: null});
openDocument({ids, width, height, name: 'Test'});
const frame = document.getElementById('map');
attachView(frame);
attachPointer(frame, document.body);
attachKeys(frame, {});
await startRecovery();
dataset.ready = '';
