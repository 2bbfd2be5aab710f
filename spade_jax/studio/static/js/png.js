/**
 * PNG files from arrays, and the text that they carry. No canvas is involved: what is written is
 * what is in the array, bit for bit.
 *
 * Format: W3C, Portable Network Graphics, sections 5 (chunks), 11 (their contents).
 */

import {deflate} from './bytes.js';

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const COLOR_TYPES = {1: 0, 3: 2, 4: 6};  // By channels: gray, RGB, RGB and alpha.
const CRC_TABLE = Uint32Array.from({length: 256}, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/**
 * Encode an image.
 *
 * `pixels`: Uint8Array, row by row, of 1 (gray), 3 or 4 `channels`; or Uint16Array of grays, which
 * are written with 16 bits. `texts`: {keyword: text}, in UTF-8.
 */
export async function encodePng({width, height, channels, pixels, texts = {}}) {
  const depth = pixels.BYTES_PER_ELEMENT * 8;
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, depth);
  header.setUint8(9, COLOR_TYPES[channels]);
  const compressed = await deflate(filteredRows(pixels, width * channels, height));
  return joined([
    Uint8Array.from(SIGNATURE), chunk('IHDR', new Uint8Array(header.buffer)),
    ...Object.entries(texts).map(([keyword, text]) => chunk('iTXt', textData(keyword, text))),
    chunk('IDAT', compressed), chunk('IEND', new Uint8Array(0)),
  ]);
}

/** Rows, each behind the number of its filter: 0, none. Of two bytes the high one is first. */
function filteredRows(pixels, length, height) {
  const bytes = pixels.BYTES_PER_ELEMENT;
  const rows = new Uint8Array(height * (1 + bytes * length));
  for (let y = 0, to = 0; y < height; y++) {
    const row = pixels.subarray(y * length, (y + 1) * length);
    to++;
    if (bytes === 1) rows.set(row, to);
    else row.forEach((value, x) => rows.set([value >> 8, value & 255], to + 2 * x));
    to += bytes * length;
  }
  return rows;
}

/** The data of an iTXt chunk that is not compressed, without language. */
function textData(keyword, text) {
  const encoder = new TextEncoder();
  return joined([encoder.encode(keyword), new Uint8Array(5), encoder.encode(text)]);
}

function chunk(kind, data) {
  const content = joined([new TextEncoder().encode(kind), data]);
  const frame = new DataView(new ArrayBuffer(8));
  frame.setUint32(0, data.length);
  frame.setUint32(4, crc(content));
  const [length, checksum] = [0, 4].map((at) => new Uint8Array(frame.buffer, at, 4));
  return joined([length, content, checksum]);
}

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function joined(arrays) {
  const all = new Uint8Array(arrays.reduce((sum, array) => sum + array.length, 0));
  let to = 0;
  for (const array of arrays) {
    all.set(array, to);
    to += array.length;
  }
  return all;
}

/** Whether bytes begin as a PNG file does. */
export function isPng(bytes) {
  return SIGNATURE.every((byte, index) => bytes[index] === byte);
}

/** The text of `keyword` that `encodePng` wrote into a file; null if there is none. */
export function readPngText(bytes, keyword) {
  if (!isPng(bytes)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const start = new TextEncoder().encode(`${keyword}\0`);
  const decoder = new TextDecoder('utf-8');
  for (let at = SIGNATURE.length; at + 12 <= bytes.length;) {
    const length = view.getUint32(at);
    const kind = decoder.decode(bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (data.length < length || kind === 'IEND') return null;
    const isIt = kind === 'iTXt' && start.every((byte, index) => data[index] === byte);
    const isPlain = data.subarray(start.length, start.length + 4).every((byte) => byte === 0);
    if (isIt && isPlain) return decoder.decode(data.subarray(start.length + 4));
    at += 12 + length;
  }
  return null;
}
