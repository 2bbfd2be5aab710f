/**
 * Binary frames of the WebSocket, the twin of studio/messages.py: the length of the header in 4
 * bytes, little-endian; the header, JSON; and a payload.
 */

/** The frame of a header (an object) and the bytes of a typed array. */
export function joinFrame(header, payload = new Uint8Array(0)) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const frame = new Uint8Array(4 + text.length + payload.byteLength);
  new DataView(frame.buffer).setUint32(0, text.length, true);
  frame.set(text, 4);
  const bytes = new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength);
  frame.set(bytes, 4 + text.length);
  return frame;
}

/** {header, payload} of a frame in an ArrayBuffer. */
export function splitFrame(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return {header, payload: new Uint8Array(buffer, 4 + length)};
}

/** The frame of a request about a label map: `fields` has op, rev, and style or styles. */
export function mapFrame(fields, {ids, width, height}) {
  const dtype = ids instanceof Uint16Array ? 'uint16' : 'uint8';
  return joinFrame({...fields, width, height, dtype}, ids);
}
