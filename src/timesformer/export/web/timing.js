// Frame numbers and frame rate from the timestamps of a video's packets: the rules of the Python library's
// `timesformer.data.video.packet_index` and `timing`.

const GAP = 10;
const MAX_GAP_FRACTION = 0.25;
const MAX_REORDER = 32;
const SEEK_COST = 8;
const MILLISECONDS = 1000;
const LARGEST_PART = 30000;

/**
 * Packets in presentation order.
 * @param {{pts: number, isKey: boolean, isShown: boolean}[]} packets In file order.
 * @returns {{sorted: number[], places: Int32Array, ranks: Int32Array, positions: number[], times: number[]}} Packets in
 *   presentation order, and the place of each in it; frame number of each packet, -1 if an edit list cuts it; position
 *   and timestamp of each shown frame.
 */
export function buildIndex(packets) {
  const sorted = packets.map((_, i) => i).sort((a, b) => packets[a].pts - packets[b].pts || a - b);
  sorted.forEach((position, i) => {
    if (i > 0 && packets[sorted[i - 1]].pts === packets[position].pts) {
      throw new Error("two frames have the same timestamp");
    }
    if (Math.abs(position - i) > MAX_REORDER) throw new Error("the timestamps are not an order of the frames");
  });
  const positions = sorted.filter((position) => packets[position].isShown);
  const ranks = new Int32Array(packets.length).fill(-1);
  positions.forEach((position, rank) => { ranks[position] = rank; });
  const places = new Int32Array(packets.length);
  sorted.forEach((position, place) => { places[position] = place; });
  return { sorted, places, ranks, positions, times: positions.map((position) => packets[position].pts) };
}

/**
 * Frames a second at the usual frame interval.
 * @param {number[]} times Timestamps of the shown frames, ascending, in units of 1 / timescale seconds.
 * @param {{timescale: number, average: [number, number]|null}} track `average` is the mean rate in the header, as a fraction.
 */
export function frameRate(times, { timescale, average }) {
  const stated = average ? average[0] / average[1] : 0;
  if (times.length < 2) return stated || 25;
  const intervals = times.slice(1).map((time, i) => time - times[i]);
  const limit = largestUsual(intervals);
  const kept = intervals.filter((interval) => interval <= limit);
  const span = kept.reduce((sum, interval) => sum + interval, 0);
  const runs = intervals.length - kept.length + 1;
  const isRounded = (rate, ticks) => Math.abs(kept.length / rate - span / timescale) <= ticks / timescale;
  if (stated && isRounded(stated, 2 * runs)) return stated;
  const measured = (kept.length * timescale) / span;
  if (stated || timescale !== MILLISECONDS) return measured;
  // timestamps in milliseconds hide the rate: a common one that explains them to the millisecond is the rate
  const common = [Math.round(measured), (Math.round((measured * 1001) / 1000) * 1000) / 1001];
  return common.find((rate) => rate > 0 && isRounded(rate, 1)) ?? measured;
}

/**
 * The simplest fraction near another whose parts are at most 30000, as FFmpeg reduces the frame rate of WebM files.
 * @param {number} numerator
 * @param {number} denominator
 */
export function reduced(numerator, denominator) {
  let [rest, next] = [numerator, denominator];
  let [before, last] = [[0, 1], [1, 0]];
  while (next > 0) {
    const whole = Math.floor(rest / next);
    const parts = [whole * last[0] + before[0], whole * last[1] + before[1]];
    if (Math.max(...parts) > LARGEST_PART) return closest(before, last, rest / next);
    [rest, next] = [next, rest - whole * next];
    [before, last] = [last, parts];
  }
  return last;
}

/** The last fraction before the parts become too large: a semiconvergent if it is nearer, else the convergent. */
function closest(before, last, exact) {
  const most = Math.min(...[0, 1].filter((i) => last[i] > 0).map((i) => Math.floor((LARGEST_PART - before[i]) / last[i])));
  return 2 * most > exact ? [most * last[0] + before[0], most * last[1] + before[1]] : last;
}

function largestUsual(intervals) {
  const sorted = [...intervals].sort((a, b) => a - b);
  const limit = GAP * sorted[(sorted.length - 1) >> 1];
  const gaps = sorted.filter((interval) => interval > limit).length;
  return gaps <= Math.max(1, MAX_GAP_FRACTION * sorted.length) ? limit : sorted[sorted.length - 1];
}

/**
 * Runs of packets to decode for some frames.
 * @param {number[]} wanted Ascending frame numbers.
 * @returns {{start: number, end: number}[]} First packet, a key frame, and last packet of each run.
 */
export function runsOf(wanted, { packets, index }) {
  const runs = [];
  for (const rank of wanted) {
    const position = index.positions[rank];
    const start = startOf(rank, { packets, index });
    const last = runs[runs.length - 1];
    if (last && start - last.lastWanted <= SEEK_COST) {
      last.end = Math.max(last.end, position);
      last.lastWanted = position;
    } else {
      runs.push({ start, end: position, lastWanted: position });
    }
  }
  return runs.map(({ start, end }) => ({ start, end }));
}

/** The last key frame that is shown no later than a frame, and decoded no later. */
function startOf(rank, { packets, index }) {
  for (let i = rank; i >= 0; i -= 1) {
    const position = index.positions[i];
    if (packets[position].isKey) return position <= index.positions[rank] ? position : 0;
  }
  return 0;
}
