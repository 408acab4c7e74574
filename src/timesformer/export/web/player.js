// Frames by way of the browser's own player, for files that cannot be read exactly. The frame rate is measured by
// playing the beginning; frame n is the picture shown at (n + 1/2) / fps.

const ASSUMED_FPS = 30;
const NUM_MEASURED = 16;

function once(target, event, { seconds = 20 } = {}) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("the browser's player did not answer")), seconds * 1000);
    target.addEventListener(event, () => { clearTimeout(timer); resolve(); }, { once: true });
    target.addEventListener("error", () => {
      clearTimeout(timer);
      reject(new Error("this browser cannot play the file"));
    }, { once: true });
  });
}

/** Open a file in a player of its own, and find its length and frame rate. */
export async function openPlayer(url) {
  const video = document.createElement("video");
  video.muted = true;
  video.preload = "auto";
  video.src = url;
  await once(video, "loadeddata");
  if (!video.videoWidth) throw new Error("the file has no pictures");
  if (!Number.isFinite(video.duration)) await seek(video, Number.MAX_SAFE_INTEGER);
  const { fps, isMeasured } = await measuredRate(video);
  const duration = Number.isFinite(video.duration) ? video.duration : video.currentTime;
  return { video, fps, isMeasured, numFrames: Math.max(1, Math.round(duration * fps)) };
}

async function seek(video, seconds) {
  const done = once(video, "seeked");
  video.currentTime = seconds;
  await done;
}

async function measuredRate(video) {
  if (!video.requestVideoFrameCallback) return { fps: ASSUMED_FPS, isMeasured: false };
  await seek(video, 0);
  const times = await playedTimes(video);
  const gaps = times.slice(1).map((time, i) => time - times[i]).filter((gap) => gap > 1e-4).sort((a, b) => a - b);
  // a slow machine drops frames, which only lengthens gaps: the lower quartile is the interval of two neighbors
  return gaps.length < 2 ? { fps: ASSUMED_FPS, isMeasured: false } : { fps: 1 / gaps[gaps.length >> 2], isMeasured: true };
}

async function playedTimes(video) {
  const times = [];
  await new Promise((resolve) => {
    const timer = setTimeout(resolve, 3000);
    const finish = () => { clearTimeout(timer); resolve(); };
    const next = (_, { mediaTime }) => {
      times.push(mediaTime);
      if (times.length >= NUM_MEASURED) finish();
      else video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
    video.addEventListener("ended", finish, { once: true });
    video.playbackRate = 0.5;
    video.play().catch(finish);
  });
  video.pause();
  return times;
}

/** Pixels of one frame: RGBA, upright. */
export async function frameAt({ video, fps, numFrames }, number) {
  const time = (Math.min(number, numFrames - 1) + 0.5) / fps;
  await seek(video, Number.isFinite(video.duration) ? Math.min(time, video.duration) : time);
  return pixelsOf(video);
}

let canvas = null;

/** Pixels that a video element shows: RGBA. */
export function pixelsOf(video) {
  const [width, height] = [video.videoWidth, video.videoHeight];
  canvas ??= new OffscreenCanvas(width, height);
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(video, 0, 0, width, height);
  return { pixels: context.getImageData(0, 0, width, height).data, height, width };
}
