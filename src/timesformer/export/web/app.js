// The page: files, camera, progress and results. All heavy work is done by `worker.js`.

import { Camera } from "./camera.js";
import { frameAt, openPlayer } from "./player.js";
import { evalClips } from "./sampling.js";
import { byId, showAnswer, showError, showModel, showNote, showProgress } from "./show.js";

const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const usesPlayer = new URLSearchParams(location.search).has("player");

let sidecar = null;
let job = 0;
let file = null;
let source = "";
let url = null;

const camera = new Camera({ video: byId("preview"), worker, nextJob, onFail: fail });

function nextJob() {
  job += 1;
  return job;
}

function fail(message) {
  showProgress("", 0);
  showError(message);
}

function clear() {
  camera.stop();
  byId("camera").textContent = "Use the camera";
  byId("window-label").hidden = true;
  showError("");
  showNote("");
  byId("classes").replaceChildren();
  delete byId("classes").dataset.answer;
  byId("details").textContent = "";
  if (url) URL.revokeObjectURL(url);
  url = null;
}

function open(chosen) {
  if (!sidecar || !chosen) return;
  clear();
  file = chosen;
  source = "file";
  url = URL.createObjectURL(file);
  const preview = byId("preview");
  preview.srcObject = null;
  preview.src = url;
  preview.hidden = false;
  preview.controls = true;
  if (usesPlayer) playInstead(nextJob(), "the player was asked for");
  else worker.postMessage({ type: "file", job: nextJob(), file });
}

/** Read the frames through the browser's player, which may choose a neighbor of the right frame. */
async function playInstead(started, reason) {
  try {
    worker.postMessage({ type: "begin", job: started });
    const player = await openPlayer(url);
    const clips = evalClips(player, sidecar.sampling, sidecar.num_frames);
    const wanted = [...new Set(clips.flat())].sort((a, b) => a - b);
    for (const [i, number] of wanted.entries()) {
      if (started !== job) return;
      const picture = await frameAt(player, number);
      worker.postMessage({ type: "picture", number, ...picture, oldest: 0 }, [picture.pixels.buffer]);
      showProgress("Reading the video", (i + 1) / wanted.length);
    }
    const rate = player.isMeasured ? `${player.fps.toFixed(2)} frames a second` : "an assumed 30 frames a second";
    showNote(`Frames come from the browser's player, because ${reason}. At ${rate}, they may be neighbors of the ` +
      "frames that `timesformer predict` reads, and colors may differ a little.");
    worker.postMessage({ type: "pictures", job: started, clips });
  } catch (error) {
    if (started === job) fail(`${file.name} cannot be read: ${reason}; ${error.message}.`);
  }
}

async function toggleCamera() {
  if (camera.isOn) {
    nextJob();
    clear();
    byId("preview").hidden = true;
    showProgress("", 0);
    return;
  }
  clear();
  nextJob();
  source = "camera";
  byId("preview").hidden = false;
  byId("preview").controls = false;
  if (await camera.start(sidecar, Number(byId("window").value))) {
    byId("camera").textContent = "Stop the camera";
    byId("window-label").hidden = false;
  } else {
    byId("preview").hidden = true;
  }
}

function setUpCamera() {
  const { mode, frame_stride: stride, target_fps: rate } = sidecar.sampling;
  const span = ["segment", "uniform"].includes(mode) ? 2 : (sidecar.num_frames * stride) / rate;
  const slider = byId("window");
  slider.max = Math.max(10, Math.ceil(span));
  slider.value = Math.round(span * 2) / 2;
  const show = () => {
    byId("window-value").textContent = slider.value;
    camera.seconds = Number(slider.value);
  };
  slider.addEventListener("input", show);
  show();
}

const handlers = {
  ready(message) {
    ({ sidecar } = message);
    showModel(message);
    setUpCamera();
    byId("file").disabled = false;
    byId("camera").disabled = !navigator.mediaDevices?.getUserMedia;
    showProgress("", 0);
  },
  progress({ stage, value, job: of }) {
    if (of === 0 || of === job) showProgress(stage, value);
  },
  answer(message) {
    if (message.job !== job) return;
    camera.answered();
    if (!camera.isOn) showProgress("", 0);
    else showProgress(`Watching the camera: the last ${camera.seconds} s`, null);
    showAnswer(message, sidecar, { source, name: file?.name });
  },
  failed({ job: of, message, isInexact }) {
    if (of !== 0 && of !== job) return;
    if (isInexact && source === "file") playInstead(of, message);
    else fail(sidecar ? message : `The model cannot be loaded: ${message}`);
  },
};

worker.onmessage = ({ data }) => handlers[data.type](data);
worker.onerror = (event) => fail(`The page cannot start: ${event.message || "its worker was not loaded"}`);

byId("setup").hidden = true;
byId("file").addEventListener("change", ({ target }) => { open(target.files[0]); target.value = ""; });
byId("camera").addEventListener("click", toggleCamera);
for (const name of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    byId("drop").classList.toggle("over", name === "dragover");
    if (name === "drop") open(event.dataTransfer.files[0]);
  });
}
document.addEventListener("keydown", ({ key }) => {
  if (key !== "Escape" || !sidecar) return;
  if (camera.isOn) toggleCamera();
  else if (job > 0) {
    worker.postMessage({ type: "stop", job: nextJob() });
    showProgress("", 0);
  }
});
worker.postMessage({ type: "load" });
