/** Styles of photos: what the server reads from a photo, and small images that stand for them. */

import {element, notice} from './dialogs.js';
import {update} from './state.js';

const LARGEST_SIDE = 1024;
const THUMBNAIL = 96;

/** A refusal of the server, with the remedy that it knows. */
export class Refusal extends Error {
  constructor({problem, remedy}) {
    super(remedy ? `${problem}: ${remedy}` : problem);
  }
}

/** The latent of a photo, base64 of float32; the photo goes to the server and is not kept there. */
export async function postPhoto(file) {
  const photo = await reduced(file);
  const answer = await fetch('/api/style', {
    method: 'POST', body: photo, headers: {'Content-Type': photo.type, 'X-Studio': '1'},
  });
  const content = await answer.json().catch(() => ({problem: `the server says ${answer.status}`}));
  if (!answer.ok) throw new Refusal(content);
  return content.latent;
}

/** A photo with at most 1024 pixels a side; a small one stays as it is. */
async function reduced(file) {
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Refusal({problem: 'this is no photo', remedy: 'choose a PNG, JPEG or WebP file'});
  });
  const side = Math.max(bitmap.width, bitmap.height);
  const isKnown = ['image/png', 'image/jpeg', 'image/webp'].includes(file.type);
  if (side <= LARGEST_SIDE && isKnown) return file;
  const canvas = drawn(bitmap, Math.min(1, LARGEST_SIDE / side));
  return new Promise((resolve) => canvas.toBlob(resolve, 'image/png'));
}

function drawn(bitmap, scale) {
  const canvas = document.createElement('canvas');
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext('2d');
  context.imageSmoothingQuality = 'high';
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** A small image of a photo as a data URL, to stand for its style. */
export async function thumbnailOf(file) {
  const bitmap = await createImageBitmap(file);
  const canvas = drawn(bitmap, THUMBNAIL / Math.max(bitmap.width, bitmap.height));
  return canvas.toDataURL('image/jpeg', 0.8);
}

/** Ask for a photo, and lay it under the map to trace over; it stays in the page. */
export function choosePhoto() {
  const field = element('input', {type: 'file', accept: 'image/*'});
  field.addEventListener('change', async () => {
    const bitmap = await createImageBitmap(field.files[0]).catch(() => null);
    if (bitmap) update('view', {photo: {bitmap, opacity: 0.5}});
    else notice(`${field.files[0].name} is no photo.`, {kind: 'bad'});
  });
  field.click();
}
