/** Bytes as text and compressed, without a canvas. */

/** Bytes as base64. */
export function toBase64(bytes) {
  let text = '';
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

/** The bytes of base64. */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/** Bytes as a zlib stream. */
export async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream('deflate'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The `size` bytes of a zlib stream; an error if it holds more or less. */
export async function inflate(bytes, size) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const reader = stream.getReader();
  const found = new Uint8Array(size);
  let length = 0;
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    if (length + value.length > size) {
      await reader.cancel();
      throw new Error(`more than the ${size} bytes that were announced`);
    }
    found.set(value, length);
    length += value.length;
  }
  if (length < size) throw new Error(`${length} bytes instead of ${size}`);
  return found;
}

/** Ids as little-endian bytes. */
export function bytesOfIds(ids) {
  if (ids instanceof Uint8Array) return ids;
  const view = new DataView(new ArrayBuffer(2 * ids.length));
  ids.forEach((id, index) => view.setUint16(2 * index, id, true));
  return new Uint8Array(view.buffer);
}

/** The ids that little-endian bytes hold, of the type 'uint8' or 'uint16'. */
export function idsOfBytes(bytes, dtype) {
  if (dtype === 'uint8') return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = bytes.length / 2;
  return Uint16Array.from({length}, (_, index) => view.getUint16(2 * index, true));
}
