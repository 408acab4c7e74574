// Which frames of a video, and which crops of a frame. Pure functions; the same numbers as the Python library's
// `timesformer.data.clips.sampling`, which the tests compare.

/** Nearest whole number; halves go to the even one, as in Python. */
export function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * Frame numbers of every clip of a video.
 * @param {{numFrames: number, fps: number}} video
 * @param {object} sampling `sampling` of the sidecar.
 * @param {number} clipFrames Frames of the model's clip, before they are multiplied for channels that are times.
 * @returns {number[][]} Per clip, ascending frame numbers from 0 to numFrames - 1.
 */
export function evalClips(video, sampling, clipFrames) {
  const total = video.numFrames;
  const count = sampling.num_frames;
  if (sampling.mode === "segment") return segmentClips(total, count, sampling.num_clips);
  if (sampling.mode === "uniform") return uniformClips(total, count, sampling.num_clips);
  const length = clipLength(sampling, clipFrames, video.fps);
  return clipStarts(sampling, total, length).map((start) => denseIndices(start, length, count, total));
}

/** Span of a dense clip in frames of the video; an implausible rate is taken to be the target rate. */
export function clipLength(sampling, clipFrames, fps) {
  const [lowest, highest] = sampling.plausible_fps;
  const rate = lowest <= fps && fps <= highest ? fps : sampling.target_fps;
  return Math.max(1, (clipFrames * sampling.frame_stride * rate) / sampling.target_fps);
}

function clipStarts(sampling, total, length) {
  const room = Math.max(total - length, 0);
  if (sampling.mode === "center") return [room / 2];
  if (sampling.mode === "coverage") {
    return Array.from({ length: Math.trunc((total - 1) / length) + 1 }, (_, i) => i * length);
  }
  return Array.from({ length: sampling.num_clips }, (_, i) => (room * i) / sampling.num_clips);
}

function denseIndices(start, length, count, total) {
  const steps = Math.max(count - 1, 1);
  return Array.from({ length: count }, (_, i) => {
    const position = start + ((length - 1) * i) / steps;
    return Math.trunc(Math.min(Math.max(position + 1e-9, 0), total - 1));
  });
}

function segmentClips(total, count, numClips) {
  const size = (total - 1) / count;
  return Array.from({ length: numClips }, (_, clip) => Array.from({ length: count }, (_, i) => {
    const [first, last] = [roundHalfEven(size * i), roundHalfEven(size * (i + 1))];
    return first + Math.floor(((last - first) * (2 * clip + 1)) / (2 * numClips));
  }));
}

function uniformClips(total, count, numClips) {
  if (numClips === 1) return [uniformIndices(total, count)];
  const shift = (total - 1) / Math.max(count * numClips - 1, 1);
  return Array.from({ length: numClips }, (_, clip) =>
    Array.from({ length: count }, (_, i) => Math.floor(shift * (numClips * i + clip) + 0.5)));
}

export function uniformIndices(total, count) {
  if (count === 1) return [Math.floor((total - 1) / 2)];
  const steps = count - 1;
  return Array.from({ length: count }, (_, i) => Math.floor((2 * i * (total - 1) + steps) / (2 * steps)));
}

/** Height and width to which a frame is resized: the smallest that covers the crop, times scale. */
export function resizedSize(height, width, crop, scale) {
  const [cropHeight, cropWidth] = crop;
  if (width * cropHeight < height * cropWidth) {
    const newWidth = roundHalfEven(scale * cropWidth);
    return [Math.max(Math.floor((height / width) * newWidth), cropHeight), newWidth];
  }
  const newHeight = roundHalfEven(scale * cropHeight);
  return [newHeight, Math.max(Math.floor((width / height) * newHeight), cropWidth)];
}

/** Spatial views of a resized frame: one center crop, or three along the side with more room. */
export function cropBoxes(height, width, crop, numCrops) {
  const spareHeight = height - crop[0];
  const spareWidth = width - crop[1];
  const top = Math.ceil(spareHeight / 2);
  const left = Math.ceil(spareWidth / 2);
  if (numCrops === 1) return [{ top, left }];
  if (spareHeight > spareWidth) return [0, top, spareHeight].map((offset) => ({ top: offset, left }));
  return [0, left, spareWidth].map((offset) => ({ top, left: offset }));
}
