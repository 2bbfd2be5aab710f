/** The command of the shell that makes the same image, bit for bit. */

import {state} from './state.js';

/** A name for files made of the document's: no characters that a system or a shell treats apart. */
export function fileStem(name = state.document.name) {
  const plain = name.normalize('NFC').replace(/[^\p{L}\p{N}._-]+/gu, '_');
  return plain.replace(/^[._-]+|[._-]+$/g, '').slice(0, 80) || 'Untitled';
}

/** An argument as a POSIX shell needs it. */
export function quoted(argument) {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`;
}

/** The flags of `--mode=sample` for a style. */
function styleFlags(style) {
  if (style.kind !== 'seed') return [`--style_json=${JSON.stringify(style)}`];
  const flags = [`--seed=${style.seed}`, '--fixed_style'];
  return style.truncation === 1 ? flags : [...flags, `--truncation=${style.truncation}`];
}

/** The command that samples the file `labels` as the page samples the document. */
export function sampleCommand(labels = `${fileStem()}.png`) {
  const {model, document: map, style} = state;
  const program = model.command.slice(0, model.command.indexOf('spade_jax.main') + 1);
  const isTraining = map.width === model.width && map.height === model.height;
  return [
    ...program, '--mode=sample', `--workdir=${model.workdir}`, `--checkpoint_step=${model.step}`,
    ...model.command.filter((argument) => argument.startsWith('--weights=')),
    `--label_dir=${labels}`,
    ...(model.has_instances ? [`--instance_dir=${labels}`] : []),
    ...(isTraining ? [] : ['--sample_size=native']),
    ...(model.has_style ? styleFlags(style.current) : []), '--output_dir=images',
  ].map(quoted).join(' ');
}
