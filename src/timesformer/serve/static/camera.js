/** A few seconds from the camera. */

import { Problem } from "./api.js";
import { $, announce } from "./dom.js";
import { showFace } from "./source.js";

const TYPES = ["video/webm;codecs=vp8", "video/webm;codecs=vp9", "video/webm", "video/mp4"];
let stream = null;

/** Show the live picture. Throws a Problem if there is none. */
export async function openCamera() {
  if (!navigator.mediaDevices?.getUserMedia || typeof MediaRecorder === "undefined") throw unavailable();
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
  } catch (error) {
    throw refused(error);
  }
  $("live").srcObject = stream;
  showFace("camera");
  $("record").focus();
  announce("The camera is on");
}

export function closeCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  $("live").srcObject = null;
}

/** Record for some seconds. Resolves with a file, or with null if the camera was closed before. */
export function record(seconds) {
  const type = TYPES.find((each) => MediaRecorder.isTypeSupported(each)) ?? "";
  const recorder = new MediaRecorder(stream, type ? { mimeType: type } : {});
  const pieces = [];
  const bar = $("recording");
  const started = performance.now();
  const tick = setInterval(() => (bar.value = (performance.now() - started) / 1000 / seconds), 100);
  bar.hidden = false;
  announce(`Recording for ${seconds} seconds`);
  const end = setTimeout(() => recorder.stop(), 1000 * seconds);
  return new Promise((resolve) => {
    recorder.ondataavailable = (event) => pieces.push(event.data);
    recorder.onstop = () => {
      clearInterval(tick);
      clearTimeout(end);
      bar.hidden = true;
      const plain = recorder.mimeType.split(";")[0] || "video/webm";
      const name = `recording.${plain.endsWith("mp4") ? "mp4" : "webm"}`;
      resolve(stream === null ? null : new File(pieces, name, { type: plain }));
    };
    recorder.start();
  });
}

function unavailable() {
  if (!isSecureContext) {
    const detail = "Browsers give the camera only to pages on this machine (localhost) or with https.";
    return new Problem({ title: "The camera is not available here", detail, fix: "Open the page by https, or choose a file." });
  }
  return new Problem({ title: "This browser cannot record", detail: "It has no camera interface.", fix: "Choose a file instead." });
}

function refused(error) {
  const texts = {
    NotFoundError: ["There is no camera", "The browser found no camera.", "Connect one, or choose a file."],
    NotAllowedError: ["The camera was not allowed", "The browser or the user refused it.", "Allow the camera in the address bar, or choose a file."],
    NotReadableError: ["The camera is in use", "Another program holds it.", "Close that program, or choose a file."],
  };
  const [title, detail, fix] = texts[error.name] ?? ["The camera did not start", String(error.message), "Choose a file instead."];
  return new Problem({ title, detail, fix });
}
