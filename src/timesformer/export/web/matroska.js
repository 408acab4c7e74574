// Packets of the first video track of a WebM or Matroska file. Source: RFC 8794 (EBML), RFC 9559 (Matroska).

import { colorsOf, matroskaCodec } from "./codecs.js";
import { reduced } from "./timing.js";

const WINDOW = 1 << 20;
const ID = {
  ebml: 0x1a45dfa3, segment: 0x18538067, info: 0x1549a966, timestampScale: 0x2ad7b1, tracks: 0x1654ae6b,
  entry: 0xae, number: 0xd7, type: 0x83, codec: 0x86, codecPrivate: 0x63a2, defaultDuration: 0x23e383,
  encodings: 0x6d80, video: 0xe0, colors: 0x55b0, matrix: 0x55b1, range: 0x55b9, cluster: 0x1f43b675, timestamp: 0xe7, simpleBlock: 0xa3, group: 0xa0, block: 0xa1,
  reference: 0xfb,
};
const MASTERS = new Set([ID.segment, ID.cluster, ID.tracks, ID.info]);

/** Whether the first bytes of a file are those of a WebM or Matroska file. */
export function isMatroska(head) {
  return head[0] === 0x1a && head[1] === 0x45 && head[2] === 0xdf && head[3] === 0xa3;
}

/** Bytes of a file, read through a window. */
class Window {
  constructor(file) {
    this.file = file;
    this.start = 0;
    this.bytes = new Uint8Array(0);
  }

  async read(offset, length) {
    if (offset < this.start || offset + length > this.start + this.bytes.length) {
      const end = Math.min(offset + Math.max(length, WINDOW), this.file.size);
      this.bytes = new Uint8Array(await this.file.slice(offset, end).arrayBuffer());
      this.start = offset;
    }
    return this.bytes.subarray(offset - this.start, offset - this.start + length);
  }
}

function idAt(bytes, at) {
  const length = Math.clz32(bytes[at]) - 23;
  let value = 0;
  for (let i = 0; i < length; i += 1) value = value * 256 + bytes[at + i];
  return { value, length };
}

/** A variable-length number; null for "unknown size". */
function numberAt(bytes, at) {
  const length = Math.clz32(bytes[at]) - 23;
  let value = bytes[at] & ((1 << (8 - length)) - 1);
  let isUnknown = value === (1 << (8 - length)) - 1;
  for (let i = 1; i < length; i += 1) {
    value = value * 256 + bytes[at + i];
    isUnknown = isUnknown && bytes[at + i] === 0xff;
  }
  return { value: isUnknown ? null : value, length };
}

function unsigned(bytes) {
  return bytes.reduce((value, byte) => value * 256 + byte, 0);
}

/** Elements in some bytes, as pairs of id and body. */
function elements(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length;) {
    const id = idAt(bytes, at);
    const size = numberAt(bytes, at + id.length);
    if (id.length > 4 || size.length > 8) break;
    const start = at + id.length + size.length;
    const end = start + (size.value ?? bytes.length);
    found.push([id.value, bytes.subarray(start, end)]);
    at = end;
  }
  return found;
}

/**
 * Read the packets of a file.
 * @param {Blob} file
 * @returns {Promise<object>} Track, as `readMp4` gives it; times are in units of the file.
 */
export async function readMatroska(file) {
  const state = { track: null, scale: 1_000_000, time: 0, packets: [] };
  const window = new Window(file);
  for (let at = 0; at < file.size;) at = await step(window, at, state);
  if (!state.track) throw new Error("it has no video track");
  if (state.packets.length === 0) throw new Error("its video track is empty");
  const { defaultDuration, ...track } = state.track;
  const timescale = 1e9 / state.scale;
  const average = defaultDuration ? reduced(1e9, defaultDuration) : null;
  return { ...track, container: "WebM", timescale, average, packets: state.packets,
    orientation: { quarterTurns: 0, isMirrored: false } };
}

/** Handle the element at an offset, and return the offset of the next. */
async function step(window, at, state) {
  const head = await window.read(at, Math.min(12, window.file.size - at));
  const id = idAt(head, 0);
  const size = numberAt(head, id.length);
  const start = at + id.length + size.length;
  if (id.length > 4 || size.length > 8) throw new Error("it is damaged");
  if (MASTERS.has(id.value) && id.value !== ID.tracks) return start;
  if (size.value === null) throw new Error("an element has no size");
  const end = start + size.value;
  if (end > window.file.size) return window.file.size;
  if (id.value === ID.timestampScale) state.scale = unsigned(await window.read(start, size.value));
  if (id.value === ID.timestamp) state.time = unsigned(await window.read(start, size.value));
  if (id.value === ID.tracks) state.track ??= trackOf(await window.read(start, size.value));
  if (id.value === ID.simpleBlock) await addBlock(window, start, size.value, state, null);
  if (id.value === ID.group) await addGroup(window, start, size.value, state);
  return end;
}

function trackOf(bytes) {
  for (const [id, body] of elements(bytes)) {
    const values = new Map(id === ID.entry ? elements(body) : []);
    if (!values.has(ID.type) || unsigned(values.get(ID.type)) !== 1) continue;
    if (values.has(ID.encodings)) throw new Error("its frames are compressed or encrypted by the container");
    const name = new TextDecoder().decode(values.get(ID.codec));
    return {
      number: unsigned(values.get(ID.number)),
      colorSpace: colorSpaceOf(values.get(ID.video)),
      defaultDuration: values.has(ID.defaultDuration) ? unsigned(values.get(ID.defaultDuration)) : 0,
      ...matroskaCodec(name.replace(/\0+$/, ""), values.get(ID.codecPrivate)?.slice()),
    };
  }
  return null;
}

function colorSpaceOf(video) {
  const colors = video && new Map(elements(video)).get(ID.colors);
  const values = new Map(colors ? elements(colors) : []);
  return values.has(ID.matrix) ? colorsOf(unsigned(values.get(ID.matrix)), unsigned(values.get(ID.range) ?? [1]) === 2) : null;
}

async function addGroup(window, start, size, state) {
  const bytes = await window.read(start, size);
  const found = elements(bytes);
  const isKey = !found.some(([id]) => id === ID.reference);
  for (const [id, body] of found) {
    if (id === ID.block) {
      const offset = start + body.byteOffset - bytes.byteOffset;
      await addBlock(window, offset, body.length, state, isKey);
    }
  }
}

async function addBlock(window, start, size, state, isKey) {
  const head = await window.read(start, Math.min(12, size));
  const track = numberAt(head, 0);
  if (!state.track || track.value !== state.track.number) return;
  const at = track.length;
  const flags = head[at + 2];
  if (flags & 0x06) throw new Error("several frames share a block");
  const time = ((head[at] << 24) >> 16) | head[at + 1];
  state.packets.push({ offset: start + at + 3, size: size - at - 3, pts: state.time + time, duration: 0,
    isKey: isKey ?? (flags & 0x80) !== 0, isShown: true });
}
