// Exact frames of a video file: our own reading of the container numbers them, the browser's `VideoDecoder` decodes them.

import { vp9Colors } from "./codecs.js";
import { isMatroska, readMatroska } from "./matroska.js";
import { isMp4, readMp4 } from "./mp4.js";
import { frameToRgb, upright } from "./pixels.js";
import { buildIndex, frameRate, runsOf } from "./timing.js";

const QUEUE = 8;
const RANK_US = 1000;
const DEFAULT_COLORS = { matrix: "smpte170m", primaries: "smpte170m", transfer: "smpte170m", fullRange: false };

/** A file whose frames cannot be read exactly here; the browser's player may still show it. */
export class InexactError extends Error {}

/**
 * Read a file's container.
 * @param {Blob} file
 * @returns {Promise<object>} `numFrames`, `fps`, `codec` and what `framesOf` needs.
 * @throws {InexactError} The container or codec is unknown, or the browser has no decoder for it.
 */
export async function openVideo(file) {
  const track = await readTrack(file);
  if (typeof VideoDecoder === "undefined") throw new InexactError("this browser has no WebCodecs");
  if (track.name === "VP9") track.colorSpace ??= await firstColors(file, track.packets[0]);
  const config = { codec: track.codec, ...(track.description && { description: track.description }),
    colorSpace: colorsOf(track.colorSpace), optimizeForLatency: false };
  const { supported } = await VideoDecoder.isConfigSupported(config).catch(() => ({ supported: false }));
  if (!supported) throw new InexactError(`this browser has no decoder for ${track.name} (${track.codec})`);
  const index = buildIndexOrRefuse(track.packets);
  return { file, track, config, index, packets: track.packets, numFrames: index.times.length,
    fps: frameRate(index.times, track) };
}

async function readTrack(file) {
  const head = new Uint8Array(await file.slice(0, 16).arrayBuffer());
  const read = isMp4(head) ? readMp4 : isMatroska(head) ? readMatroska : null;
  if (!read) throw new InexactError("it is neither an MP4 nor a WebM file");
  try {
    return await read(file);
  } catch (error) {
    throw new InexactError(error instanceof RangeError ? "its tables are damaged" : error.message);
  }
}

async function firstColors(file, { offset }) {
  return vp9Colors(new Uint8Array(await file.slice(offset, offset + 5).arrayBuffer()));
}

function buildIndexOrRefuse(packets) {
  try {
    return buildIndex(packets);
  } catch (error) {
    throw new InexactError(error.message);
  }
}

function colorsOf(stated) {
  if (!stated?.matrix) return DEFAULT_COLORS;
  return { ...DEFAULT_COLORS, matrix: stated.matrix, fullRange: stated.fullRange };
}

/**
 * Decode some frames, and hand each to `use` in ascending order of runs.
 * @param {object} video Result of `openVideo`.
 * @param {number[]} wanted Ascending frame numbers without repeats.
 * @param {(rank: number, picture: {rgb: Uint8Array, height: number, width: number, exact: boolean}) => void} use
 * @throws {InexactError} A frame cannot be decoded.
 */
export async function framesOf(video, wanted, use) {
  const missing = new Set(wanted);
  for (const run of runsOf(wanted, video)) {
    await decodeRun(video, run, missing, use).catch((error) => {
      if (run.start === 0) throw error;
    });
  }
  if (missing.size > 0) {
    const end = Math.max(...[...missing].map((rank) => video.index.positions[rank]));
    await decodeRun(video, { start: 0, end }, missing, use);
  }
  if (missing.size > 0) throw new InexactError(`${missing.size} of its frames cannot be decoded`);
}

/** Decode the packets of one run, and use those of its frames that are missing. */
async function decodeRun(video, { start, end }, missing, use) {
  const pending = [];
  const output = (frame) => pending.push(useFrame(frame, video, missing, use));
  let failure = null;
  const decoder = new VideoDecoder({ output, error: (error) => { failure = error; } });
  try {
    decoder.configure(video.config);
    for (let position = start; position <= end && !failure; position += 1) {
      decoder.decode(await chunkOf(video, position));
      await roomIn(decoder);
      await Promise.all(pending.splice(0));
    }
    if (!failure) await decoder.flush();
  } catch (error) {
    failure ??= error;
  } finally {
    await Promise.allSettled(pending);
    if (decoder.state !== "closed") decoder.close();
  }
  if (failure) throw new InexactError(`the browser's decoder stopped: ${failure.message}`);
  await Promise.all(pending);
}

/** Wait until the decoder has taken up what it was given. */
function roomIn(decoder) {
  if (decoder.decodeQueueSize < QUEUE || decoder.state !== "configured") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, 50);
    decoder.addEventListener("dequeue", () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

async function chunkOf({ file, packets, index }, position) {
  const { offset, size, isKey } = packets[position];
  const data = await file.slice(offset, offset + size).arrayBuffer();
  if (data.byteLength < size) throw new InexactError("the file is cut off");
  // the place in presentation order instead of the time: exact, and nothing is rounded
  return new EncodedVideoChunk({ type: isKey ? "key" : "delta", timestamp: index.places[position] * RANK_US, data });
}

async function useFrame(frame, { index, track }, missing, use) {
  try {
    const rank = index.ranks[index.sorted[Math.round(frame.timestamp / RANK_US)]];
    if (!missing.delete(rank)) return;
    const picture = await frameToRgb(frame);
    use(rank, { ...upright(picture, track.orientation), exact: picture.exact });
  } finally {
    frame.close();
  }
}
