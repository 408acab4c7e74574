/** The video: chosen, dropped or recorded, checked against the server's limits, and shown. */

import { Problem } from "./api.js";
import { $, bytes, clock, plural, span } from "./dom.js";

const SECONDS_FOR_METADATA = 5;

/** Let the user give a video in every way; `onFile` gets each. */
export function acceptFiles(onFile) {
  const input = $("file");
  for (const button of document.querySelectorAll("[data-choose]")) button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    const [file] = input.files;
    input.value = ""; // so that the same file can be chosen again
    if (file) onFile(file);
  });
  let depth = 0;
  const light = (change) => {
    depth = change === 0 ? 0 : Math.max(0, depth + change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  addEventListener("dragenter", (event) => (event.preventDefault(), light(1)));
  addEventListener("dragleave", () => light(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    light(0);
    const [file] = event.dataTransfer?.files ?? [];
    if (file) onFile(file);
  });
}

/** Show one of the three faces of the video panel: `drop`, `stage` or `camera`. */
export function showFace(name) {
  const hadFocus = ["drop", "stage", "camera"].some((face) => face !== name && $(face).contains(document.activeElement));
  for (const face of ["drop", "stage", "camera"]) $(face).hidden = face !== name;
  if (hadFocus) $(name).querySelector("button").focus(); // the focused button is hidden now
}

/** Forget the video that is shown. */
export function closePreview() {
  const video = $("preview");
  if (video.src) URL.revokeObjectURL(video.src);
  video.removeAttribute("src");
  video.load();
}

/**
 * Show a video, if the browser can play it.
 *
 * @returns {Promise<{duration: number, width: number, height: number}|null>} What the browser knows of it; null if it
 *   cannot play it, which the server may still be able to.
 */
export async function preview(file) {
  const video = $("preview");
  $("preview-note").hidden = true;
  $("file-name").textContent = file.name;
  $("file-facts").textContent = bytes(file.size);
  showFace("stage");
  video.hidden = false;
  video.src = URL.createObjectURL(file);
  const known = await metadata(video);
  if (known === null || known.width === 0) {
    video.hidden = true;
    $("preview-note").textContent = "This browser cannot play this file. The server reads more formats.";
    $("preview-note").hidden = false;
    return null;
  }
  const length = Number.isFinite(known.duration) ? `${clock(known.duration, { precise: true })}, ` : "";
  $("file-facts").textContent = `${length}${known.width} × ${known.height} pixels, ${bytes(file.size)}`;
  return known;
}

function metadata(video) {
  return new Promise((resolve) => {
    const events = new AbortController();
    const settle = (value) => (events.abort(), clearTimeout(timer), resolve(value));
    const timer = setTimeout(() => settle(null), 1000 * SECONDS_FOR_METADATA);
    const read = () => settle({ duration: video.duration, width: video.videoWidth, height: video.videoHeight });
    video.addEventListener("loadedmetadata", read, { signal: events.signal });
    video.addEventListener("error", () => settle(null), { signal: events.signal });
  });
}

/** Refuse a file that the server would refuse by its type or size. */
export function checkFile(file, limits) {
  if (file.size === 0) {
    throw new Problem({ title: "The file is empty", detail: `${file.name} has 0 bytes.`, fix: "Choose a video file." });
  }
  if (file.type && !/^(video|image\/gif|application)/.test(file.type)) {
    const detail = `${file.name} is of type ${file.type}.`;
    throw new Problem({ title: "This is not a video", detail, fix: "Choose a video file, such as MP4, WebM, MOV or MKV." });
  }
  if (limits.bytes && file.size > limits.bytes) {
    const detail = `${file.name} has ${bytes(file.size)}; this server accepts up to ${bytes(limits.bytes)}.`;
    throw new Problem({ title: "The file is too large", detail, fix: "Cut or compress the video, or start the server with a higher limit." });
  }
}

/** Refuse a video that the server would refuse by its length or the size of its frames. */
export function checkVideo(known, limits) {
  if (limits.seconds && Number.isFinite(known.duration) && known.duration > limits.seconds) {
    const detail = `It lasts ${span(known.duration)}; this server accepts up to ${span(limits.seconds)}.`;
    throw new Problem({ title: "The video is too long", detail, fix: "Cut the video, or start the server with a higher limit." });
  }
  if (limits.pixels && known.width * known.height > limits.pixels) {
    const given = `${known.width} × ${known.height} pixels`;
    const detail = `Its frames have ${given}; this server accepts up to ${plural(limits.pixels, "pixel")} a frame.`;
    throw new Problem({ title: "The frames are too large", detail, fix: "Scale the video down, or start the server with a higher limit." });
  }
}

/** The server's limits by the units that the page needs; those that it does not say are undefined. */
export function readLimits(said = {}) {
  return { bytes: said.max_upload_mb && 1e6 * said.max_upload_mb, seconds: said.max_seconds, pixels: said.max_pixels };
}

/** The limits, in one sentence. */
export function describeLimits(limits) {
  const parts = [
    limits.bytes && bytes(limits.bytes),
    limits.seconds && span(limits.seconds),
    limits.pixels && `${Number((limits.pixels / 1e6).toPrecision(3)).toLocaleString("en-US")} megapixels a frame`,
  ].filter(Boolean);
  return parts.length ? `Up to ${parts.join(", ")}.` : "";
}
