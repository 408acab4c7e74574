// The worker: reads videos, prepares their views and runs the model, so that the page stays responsive.

import { framesOf, InexactError, openVideo } from "./decode.js";
import { withoutAlpha } from "./pixels.js";
import { evalClips } from "./sampling.js";
import { Model } from "./model.js";
import { fuse, smallFrame, viewsOf } from "./views.js";

const MOST_HELD = 256;

let model = null;
let current = 0;
let small = new Map();

const post = (message) => self.postMessage(message);
const progress = (job, stage, value) => post({ type: "progress", job, stage, value });

class Stopped extends Error {}

function checkCurrent(job) {
  if (job !== current) throw new Stopped();
}

/** Consecutive clips that together need few enough frames to be held in memory. */
function groupsOf(clips) {
  const groups = [];
  let needed = new Set();
  for (const clip of clips) {
    const grown = new Set([...needed, ...clip]);
    if (groups.length === 0 || grown.size > MOST_HELD) {
      groups.push([]);
      needed = new Set(clip);
    } else {
      needed = grown;
    }
    groups[groups.length - 1].push(clip);
  }
  return groups;
}

function keep(frames, number, picture) {
  const frame = smallFrame(picture, model.sidecar);
  const [first] = frames.values();
  if (first && (first.height !== frame.height || first.width !== frame.width)) {
    throw new InexactError("the size of its frames changes");
  }
  frames.set(number, frame);
}

/** Logits of all views of some clips. */
async function logitsOf(clips, frames, onView) {
  const logits = [];
  for (const clip of clips) {
    for (const view of viewsOf(clip.map((number) => frames.get(number)), model.sidecar)) {
      logits.push(await model.run(view));
      onView();
      await new Promise((resolve) => { setTimeout(resolve); });
    }
  }
  return logits;
}

async function classifyFile(job, file) {
  const started = performance.now();
  progress(job, "Reading the video", 0);
  const video = await openVideo(file);
  const clips = evalClips(video, model.sidecar.sampling, model.sidecar.num_frames);
  const total = clips.length * model.sidecar.crop.num_crops;
  const logits = [];
  let isExact = true;
  for (const group of groupsOf(clips)) {
    const frames = new Map();
    const wanted = [...new Set(group.flat())].sort((a, b) => a - b);
    await framesOf(video, wanted, (number, picture) => {
      checkCurrent(job);
      isExact &&= picture.exact;
      keep(frames, number, picture);
      if (logits.length === 0) progress(job, "Reading the video", frames.size / wanted.length);
    });
    logits.push(...await logitsOf(group, frames, () => {
      checkCurrent(job);
      progress(job, "Classifying", (logits.length + 1) / total);
    }));
  }
  post({ type: "answer", job, probabilities: fuse(logits, model.sidecar.fusion), clips: clips.length,
    views: logits.length, ms: performance.now() - started, isExact, numFrames: video.numFrames, fps: video.fps,
    codec: video.track.name, container: video.track.container, read: clips });
}

/** Classify pictures that the page sent before: frames of its player or of the camera. */
async function classifyPictures(job, clips) {
  const started = performance.now();
  const logits = await logitsOf(clips, small, () => checkCurrent(job));
  post({ type: "answer", job, probabilities: fuse(logits, model.sidecar.fusion), clips: clips.length,
    views: logits.length, ms: performance.now() - started, isExact: false, read: clips });
}

const handlers = {
  async load() {
    model = await Model.load((stage, value) => progress(0, stage, value));
    post({ type: "ready", sidecar: model.sidecar, threads: model.threads });
  },
  async file({ job, file }) {
    small = new Map();
    await classifyFile(job, file);
  },
  begin() {
    small = new Map();
  },
  picture({ number, pixels, height, width, oldest }) {
    for (const held of small.keys()) if (held < oldest) small.delete(held);
    keep(small, number, { rgb: withoutAlpha(pixels, height * width), height, width });
  },
  async pictures({ job, clips }) {
    await classifyPictures(job, clips);
  },
  stop() {},
};

self.onmessage = async ({ data }) => {
  if (data.job !== undefined) current = data.job;
  try {
    await handlers[data.type](data);
  } catch (error) {
    if (error instanceof Stopped) return;
    post({ type: "failed", job: data.job ?? 0, message: error.message, isInexact: error instanceof InexactError });
  }
};
