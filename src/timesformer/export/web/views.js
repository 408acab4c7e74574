// From frames to model input: resize, crop, channel order, normalization; and from logits to one answer.

import { luma } from "./pixels.js";
import { resize } from "./resize.js";
import { cropBoxes, resizedSize } from "./sampling.js";

const MIDDLE_GRAY = 127.5;

/** A frame as the views need it: resized, and gray if the channels of the model are times. */
export function smallFrame({ rgb, height, width }, sidecar) {
  const isGray = sidecar.normalization.channel_order === "time";
  const size = resizedSize(height, width, sidecar.crop.size, sidecar.resize.scale);
  const channels = isGray ? 1 : 3;
  const pixels = resize(isGray ? luma(rgb) : rgb, { height, width, channels }, size);
  return { pixels, height: size[0], width: size[1], channels };
}

/**
 * Model input of the spatial views of one clip.
 * @param {object[]} frames Results of `smallFrame`, in temporal order.
 * @returns {Float32Array[]} One per view: 3 channels x frames x height x width.
 */
export function viewsOf(frames, sidecar) {
  const { height, width } = frames[0];
  const boxes = cropBoxes(height, width, sidecar.crop.size, sidecar.crop.num_crops);
  return boxes.map((box) => normalized(cutChannels(frames, box, sidecar), sidecar));
}

/** 8-bit values of one view, channels first. */
export function cutChannels(frames, { top, left }, sidecar) {
  const [height, width] = sidecar.crop.size;
  const order = sidecar.normalization.channel_order;
  const numFrames = order === "time" ? frames.length / 3 : frames.length;
  const area = height * width;
  const values = new Uint8Array(3 * numFrames * area);
  for (let channel = 0; channel < 3; channel += 1) {
    for (let time = 0; time < numFrames; time += 1) {
      const frame = order === "time" ? frames[3 * time + channel] : frames[time];
      const offset = order === "time" ? 0 : order === "bgr" ? 2 - channel : channel;
      let to = (channel * numFrames + time) * area;
      for (let row = 0; row < height; row += 1) {
        let from = ((top + row) * frame.width + left) * frame.channels + offset;
        for (let column = 0; column < width; column += 1, from += frame.channels) values[to++] = frame.pixels[from];
      }
    }
  }
  return values;
}

/** (value / 255 - mean) / std per channel in single precision, after the background is removed if the model wants it. */
export function normalized(values, sidecar) {
  const { mean, std, background, channel_order: order } = sidecar.normalization;
  const size = values.length / 3;
  const area = sidecar.crop.size[0] * sidecar.crop.size[1];
  const floats = background === "remove" ? withoutBackground(values, area, order) : Float32Array.from(values);
  for (let channel = 0; channel < 3; channel += 1) {
    const center = Math.fround(mean[channel]);
    const spread = Math.fround(std[channel]);
    for (let i = channel * size; i < (channel + 1) * size; i += 1) {
      floats[i] = Math.fround(Math.fround(floats[i] / 255) - center) / spread;
    }
  }
  return floats;
}

/** Each pixel minus its mean over the frames, plus middle gray; channels that are times share one mean. */
function withoutBackground(values, area, order) {
  const floats = new Float32Array(values.length);
  const groups = order === "time" ? 1 : 3;
  const size = values.length / groups;
  for (let group = 0; group < groups; group += 1) {
    for (let pixel = 0; pixel < area; pixel += 1) {
      const first = group * size + pixel;
      let sum = 0;
      for (let i = first; i < (group + 1) * size; i += area) sum += values[i];
      const mean = Math.fround(sum / (size / area));
      for (let i = first; i < (group + 1) * size; i += area) {
        floats[i] = Math.fround(values[i] - mean) + MIDDLE_GRAY;
      }
    }
  }
  return floats;
}

function softmax(logits) {
  const largest = logits.reduce((most, value) => Math.max(most, value), -Infinity);
  const powers = Array.from(logits, (value) => Math.exp(value - largest));
  const total = powers.reduce((sum, value) => sum + value, 0);
  return powers.map((value) => value / total);
}

function meanOf(rows) {
  return Array.from(rows[0], (_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
}

/** Probabilities of the classes from the logits of all views; `softmax` averages probabilities, `logits` logits. */
export function fuse(logits, fusion) {
  return fusion === "logits" ? softmax(meanOf(logits)) : meanOf(logits.map(softmax));
}
