// Packets of the first video track of an MP4 or QuickTime file, plain or fragmented.
// Source: ISO/IEC 14496-12 (boxes), 14496-15 (avcC, hvcC), AV1-ISOBMFF, VP-codec-ISOBMFF.

import { codecOf, colorsOf } from "./codecs.js";

const CONTAINERS = new Set(["moov", "trak", "mdia", "minf", "stbl", "edts", "mvex", "moof", "traf"]);
const MOST_PACKETS = 4_000_000;

/** Whether the first bytes of a file are those of an MP4 or QuickTime file. */
export function isMp4(head) {
  return ["ftyp", "moov", "mdat", "wide", "free", "skip"].includes(fourcc(head, 4));
}

/**
 * Read the packets of a file.
 * @param {Blob} file
 * @returns {Promise<object>} Track: `codec`, `description`, `timescale`, `average`, `orientation`, `packets` with
 *   `offset`, `size`, `pts`, `isKey` and `isShown`.
 */
export async function readMp4(file) {
  const { moov, moofs } = await topLevel(file);
  if (!moov) throw new Error("the file is cut off: its moov box is missing");
  const tracks = all(moov, "trak").filter((trak) => handlerOf(trak) === "vide");
  if (tracks.length === 0) throw new Error("it has no video track");
  const track = trackOf(tracks[0]);
  const packets = samplesOf(tracks[0]);
  for (const { box, offset } of moofs) packets.push(...fragment(box, offset, moov, track));
  if (packets.length === 0) throw new Error("its video track is empty");
  applyEdits(packets, tracks[0], moov, track.timescale);
  const span = packets.reduce((sum, { duration }) => sum + duration, 0);
  const average = span > 0 ? [track.timescale * packets.length, span] : null;
  return { ...track, container: "MP4", average, packets };
}

async function topLevel(file) {
  const found = { moov: null, moofs: [] };
  for (let offset = 0; offset + 8 <= file.size;) {
    const head = new DataView(await file.slice(offset, offset + 16).arrayBuffer());
    let size = head.getUint32(0);
    if (size === 1 && head.byteLength === 16) size = Number(head.getBigUint64(8));
    if (size === 0) size = file.size - offset;
    if (size < 8) throw new Error("a box has an impossible size");
    const type = fourcc(new Uint8Array(head.buffer), 4);
    if (type === "moov" && offset + size > file.size) throw new Error("the file is cut off");
    if (type === "moov" || type === "moof") {
      const box = parse(new Uint8Array(await file.slice(offset, offset + size).arrayBuffer()));
      if (type === "moov") found.moov ??= box[0];
      else found.moofs.push({ box: box[0], offset });
    }
    offset += size;
  }
  return found;
}

function fourcc(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}

/** Boxes in some bytes; containers have `children`, all others `body`. */
function parse(bytes) {
  const boxes = [];
  const view = viewOf(bytes);
  for (let at = 0; at + 8 <= bytes.length;) {
    let size = view.getUint32(at);
    let header = 8;
    if (size === 1 && at + 16 <= bytes.length) {
      size = Number(view.getBigUint64(at + 8));
      header = 16;
    }
    if (size === 0) size = bytes.length - at;
    if (size < header) break;
    const type = fourcc(bytes, at + 4);
    const body = bytes.subarray(at + header, Math.min(at + size, bytes.length));
    boxes.push(CONTAINERS.has(type) ? { type, children: parse(body) } : { type, body });
    at += size;
  }
  return boxes;
}

function viewOf(bytes) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function all(box, type) {
  return box.children.filter((child) => child.type === type);
}

/** The box at a path of types, or undefined. */
function find(box, ...path) {
  return path.reduce((at, type) => at?.children?.find((child) => child.type === type), box);
}

/** Reader of a full box: version, flags and the fields after them. */
function fields(box) {
  const view = viewOf(box.body);
  return { view, version: view.getUint8(0), flags: view.getUint32(0) & 0xffffff, length: box.body.length };
}

function handlerOf(trak) {
  const box = find(trak, "mdia", "hdlr");
  return box ? fourcc(box.body, 8) : "";
}

function trackOf(trak) {
  const tkhd = fields(find(trak, "tkhd"));
  const mdhd = fields(find(trak, "mdia", "mdhd"));
  const matrixAt = tkhd.version === 1 ? 52 : 40;
  const matrix = [0, 1, 3, 4].map((i) => tkhd.view.getInt32(matrixAt + 4 * i));
  const entry = sampleEntry(find(trak, "mdia", "minf", "stbl", "stsd"));
  const { colors, ...codec } = codecOf(entry.type, (type) => entry.boxes.find((box) => box.type === type)?.body);
  return {
    id: tkhd.view.getUint32(tkhd.version === 1 ? 20 : 12),
    timescale: mdhd.view.getUint32(mdhd.version === 1 ? 20 : 12),
    orientation: orientationOf(matrix),
    ...codec,
    colorSpace: colorOf(entry.boxes.find((box) => box.type === "colr")?.body) ?? colors ?? null,
  };
}

/** Quarter turns counterclockwise, and whether the picture is mirrored before them. */
function orientationOf([a, b, c, d]) {
  const isMirrored = a * d - b * c < 0;
  const [x, y] = isMirrored ? [-a, -b] : [a, b];
  const turns = Math.round(Math.atan2(-y, x) / (Math.PI / 2));
  return { quarterTurns: ((turns % 4) + 4) % 4, isMirrored };
}

function sampleEntry(stsd) {
  const { view } = fields(stsd);
  const size = view.getUint32(8);
  return { type: fourcc(stsd.body, 12), boxes: parse(stsd.body.subarray(8 + 86, 8 + size)) };
}

function colorOf(body) {
  if (!body || !["nclx", "nclc"].includes(fourcc(body, 0))) return null;
  const view = viewOf(body);
  return colorsOf(view.getUint16(8), body.length > 10 && (view.getUint8(10) & 0x80) !== 0);
}

/** Packets of the sample tables, in file order. */
function samplesOf(trak) {
  const table = (type) => find(trak, "mdia", "minf", "stbl", type);
  const sizes = sampleSizes(table("stsz"));
  const offsets = chunkOffsets(table("stco") ?? table("co64"));
  const durations = expanded(table("stts"), sizes.length, (view, at) => view.getUint32(at));
  const shifts = table("ctts") ? expanded(table("ctts"), sizes.length, (view, at) => view.getInt32(at)) : null;
  const keys = table("stss") ? keySet(table("stss")) : null;
  const packets = [];
  let dts = 0;
  for (const { chunk, count } of chunksOf(table("stsc"), offsets.length)) {
    let offset = offsets[chunk];
    for (let i = 0; i < count && packets.length < sizes.length; i += 1) {
      const n = packets.length;
      packets.push({ offset, size: sizes[n], pts: dts + (shifts?.[n] ?? 0), duration: durations[n],
        isKey: keys === null || keys.has(n + 1), isShown: true });
      offset += sizes[n];
      dts += durations[n];
    }
  }
  return packets;
}

function sampleSizes(stsz) {
  const { view } = fields(stsz);
  const fixed = view.getUint32(4);
  const count = view.getUint32(8);
  if (count > MOST_PACKETS) throw new Error(`it has ${count} frames, more than ${MOST_PACKETS}`);
  return Uint32Array.from({ length: count }, (_, i) => fixed || view.getUint32(12 + 4 * i));
}

function chunkOffsets(box) {
  const { view } = fields(box);
  const count = view.getUint32(4);
  const read = box.type === "co64" ? (i) => Number(view.getBigUint64(8 + 8 * i)) : (i) => view.getUint32(8 + 4 * i);
  return Array.from({ length: count }, (_, i) => read(i));
}

/** A run-length table of (count, value) as one value per sample; the last value is repeated. */
function expanded(box, length, read) {
  const { view } = fields(box);
  const values = new Array(length).fill(0);
  let n = 0;
  for (let entry = 0, at = 8; entry < view.getUint32(4); entry += 1, at += 8) {
    const end = Math.min(n + view.getUint32(at), length);
    values.fill(read(view, at + 4), n, end);
    n = end;
  }
  return n > 0 ? values.fill(values[n - 1], n) : values;
}

function keySet(stss) {
  const { view } = fields(stss);
  return new Set(Array.from({ length: view.getUint32(4) }, (_, i) => view.getUint32(8 + 4 * i)));
}

function chunksOf(stsc, numChunks) {
  const { view } = fields(stsc);
  const entries = Array.from({ length: view.getUint32(4) }, (_, i) => ({
    first: view.getUint32(8 + 12 * i) - 1, count: view.getUint32(12 + 12 * i), entry: view.getUint32(16 + 12 * i) }));
  if (entries.some(({ entry }) => entry !== 1)) throw new Error("its frames have several codec settings");
  return entries.flatMap(({ first, count }, i) => {
    const end = Math.min(entries[i + 1]?.first ?? numChunks, numChunks);
    return Array.from({ length: Math.max(end - first, 0) }, (_, j) => ({ chunk: first + j, count }));
  });
}

/** Mark the frames that the edit list leaves out; only one part of the track may be shown. */
function applyEdits(packets, trak, moov, timescale) {
  const box = find(trak, "edts", "elst");
  if (!box) return;
  const { view, version } = fields(box);
  const size = version === 1 ? 20 : 12;
  const edits = Array.from({ length: view.getUint32(4) }, (_, i) => {
    const at = 8 + size * i;
    return version === 1
      ? { duration: Number(view.getBigUint64(at)), start: Number(view.getBigInt64(at + 8)) }
      : { duration: view.getUint32(at), start: view.getInt32(at + 4) };
  }).filter(({ start }) => start >= 0);
  if (edits.length > 1) throw new Error("its edit list joins several parts");
  if (edits.length === 0) return;
  const header = fields(find(moov, "mvhd"));
  const movie = header.view.getUint32(header.version === 1 ? 20 : 12);
  const [{ duration, start }] = edits;
  const end = duration > 0 ? start + Math.round((duration * timescale) / movie) : Infinity;
  for (const packet of packets) packet.isShown = start <= packet.pts && packet.pts < end;
  if (!packets.some(({ isShown }) => isShown)) packets.forEach((packet) => { packet.isShown = true; });
}

/** Packets of one movie fragment. */
function fragment(moof, moofOffset, moov, track) {
  return all(moof, "traf").flatMap((traf) => {
    const header = fields(find(traf, "tfhd"));
    if (header.view.getUint32(4) !== track.id) return [];
    const defaults = fragmentDefaults(header, moofOffset, moov, track.id);
    const tfdt = find(traf, "tfdt") && fields(find(traf, "tfdt"));
    track.nextDts = tfdt
      ? tfdt.version === 1 ? Number(tfdt.view.getBigUint64(4)) : tfdt.view.getUint32(4)
      : track.nextDts ?? 0;
    return all(traf, "trun").flatMap((box) => runOf(fields(box), defaults, track));
  });
}

function fragmentDefaults({ view, flags }, moofOffset, moov, id) {
  const extends_ = all(find(moov, "mvex") ?? { children: [] }, "trex").map(fields)
    .find((trex) => trex.view.getUint32(4) === id)?.view;
  let at = 8;
  const next = (flag, size, otherwise) => {
    if (!(flags & flag)) return otherwise;
    at += size;
    return size === 8 ? Number(view.getBigUint64(at - 8)) : view.getUint32(at - 4);
  };
  const base = next(1, 8, moofOffset);
  next(2, 4, 0);
  const duration = next(8, 4, extends_?.getUint32(12) ?? 0);
  const size = next(16, 4, extends_?.getUint32(16) ?? 0);
  return { base, duration, size, flags: next(32, 4, extends_?.getUint32(20) ?? 0) };
}

function runOf({ view, version, flags }, defaults, track) {
  const count = view.getUint32(4);
  if (count > MOST_PACKETS) throw new Error(`a fragment has ${count} frames, more than ${MOST_PACKETS}`);
  let at = 8;
  const next = (flag, otherwise) => {
    if (!(flags & flag)) return otherwise;
    at += 4;
    return view.getUint32(at - 4);
  };
  let offset = flags & 1 ? defaults.base + (next(1) | 0) : track.nextOffset ?? defaults.base;
  const firstFlags = next(4, null);
  return Array.from({ length: count }, (_, i) => {
    const duration = next(0x100, defaults.duration);
    const size = next(0x200, defaults.size);
    const own = next(0x400, i === 0 && firstFlags !== null ? firstFlags : defaults.flags);
    const raw = next(0x800, 0);
    const packet = { offset, size, duration, pts: track.nextDts + (version === 0 ? raw : raw | 0),
      isKey: (own & 0x10000) === 0, isShown: true };
    offset += size;
    track.nextOffset = offset;
    track.nextDts += duration;
    return packet;
  });
}
