/** The page of `timesformer serve`: what the user does, and which request it makes. */

import { sendForJson, send, setToken, upload, waitForJob } from "./api.js";
import { closeCamera, openCamera, record } from "./camera.js";
import { showCard } from "./card.js";
import { $ } from "./dom.js";
import { clearExplanation, offerMethods, showExplanation } from "./explain.js";
import { clearResult, offerTopK, showResult } from "./result.js";
import { acceptFiles, checkFile, checkVideo, closePreview, describeLimits, preview, readLimits, showFace } from "./source.js";
import { clearTimeline, offerWindow, showTimeline } from "./timeline.js";
import { Work, uploading, whenTokenIsNeeded } from "./work.js";

const works = Object.fromEntries(
  ["notice", "video-work", "result-work", "timeline-work", "explain-work"].map((id) => [id, new Work($(id))]),
);
let file = null;
let limits = {};
let canExplain = false;
let afterToken = [];

start();

function start() {
  acceptFiles(useFile);
  for (const button of document.querySelectorAll("[data-camera]")) button.addEventListener("click", useCamera);
  $("record").addEventListener("click", useRecording);
  $("close-camera").addEventListener("click", leaveCamera);
  $("top-k").addEventListener("change", classify);
  $("timeline-form").addEventListener("submit", (event) => (event.preventDefault(), makeTimeline()));
  $("explain-form").addEventListener("submit", (event) => (event.preventDefault(), explain()));
  $("token-form").addEventListener("submit", giveToken);
  whenTokenIsNeeded(wantToken);
  readModel();
}

function readModel() {
  works.notice.run("Asking the server for its model", async ({ signal }) => {
    const { value: model } = await sendForJson("GET", "v1/model", { signal });
    limits = readLimits(model.limits);
    $("limits").textContent = describeLimits(limits);
    canExplain = offerMethods(model);
    offerWindow(model);
    showParts({ isRead: !$("bars").hidden }); // the answer may have come before
    offerTopK(model.num_classes);
    showCard(model, limits);
  });
}

async function useFile(given) {
  clear();
  file = given;
  try {
    checkFile(given, limits);
    const known = await preview(given);
    if (file !== given) return; // another one came meanwhile
    if (known) checkVideo(known, limits);
  } catch (problem) {
    file = null;
    if (!$("preview").src) showFace("drop");
    works["video-work"].fail(problem);
    return;
  }
  classify();
}

function clear() {
  closeCamera();
  for (const [id, work] of Object.entries(works)) if (id !== "notice") work.stop();
  clearResult();
  clearTimeline();
  clearExplanation();
  closePreview();
  showParts({ isRead: false });
}

/** Timelines and heat maps are offered for a video that the server could read. */
function showParts({ isRead }) {
  $("timeline-section").hidden = !isRead;
  $("explain-section").hidden = !isRead || !canExplain;
}

function classify() {
  works["result-work"].run(`Uploading ${file.name}`, async (work) => {
    const query = { top_k: $("top-k").value };
    const onUpload = uploading(work, "Classifying");
    const { value } = await sendForJson("POST", "v1/predict", { ...upload(file), query, signal: work.signal, onUpload });
    showResult(value);
    showParts({ isRead: true });
  });
}

function makeTimeline() {
  clearTimeline();
  works["timeline-work"].run(`Uploading ${file.name}`, async (work) => {
    const query = { window: $("window").value, stride: $("stride").value };
    const onUpload = uploading(work, "Looking through the video");
    const answer = await sendForJson("POST", "v1/timeline", { ...upload(file), query, signal: work.signal, onUpload });
    showTimeline(answer.status === 202 ? await followJob(answer.value.id, work) : answer.value, file.name);
  });
}

function followJob(id, { signal, report, title }) {
  const onProgress = (fraction, status) => {
    title(status === "queued" ? "Waiting for other videos" : "Looking through the video");
    report(fraction);
  };
  return waitForJob(id, { signal, onProgress });
}

function explain() {
  clearExplanation();
  works["explain-work"].run(`Uploading ${file.name}`, async (work) => {
    const method = $("method").value;
    const query = { method, class: method === "rollout" ? "" : $("class").value };
    const request = (to) => ({ ...upload(file), query: { ...query, to }, signal: work.signal });
    const onUpload = uploading(work, "Explaining");
    const { value } = await sendForJson("POST", "v1/explain", { ...request("json"), onUpload });
    work.title("Drawing the heat map");
    const { blob } = await send("POST", "v1/explain", request("mp4"));
    showExplanation(value, blob);
  });
}

async function useCamera() {
  works["video-work"].stop();
  try {
    await openCamera();
  } catch (problem) {
    works["video-work"].fail(problem);
  }
}

async function useRecording() {
  const controls = [$("record"), $("record-length")];
  for (const control of controls) control.disabled = true;
  const recording = await record(Number($("record-length").value));
  for (const control of controls) control.disabled = false;
  if (recording) useFile(recording);
}

function leaveCamera() {
  closeCamera();
  showFace(file ? "stage" : "drop");
}

function wantToken(retry, refusal) {
  afterToken.push(retry);
  $("token-form").hidden = false;
  if (refusal) works.notice.fail(refusal);
  $("token").focus();
}

function giveToken(event) {
  event.preventDefault();
  setToken($("token").value);
  $("token").value = "";
  $("token-form").hidden = true;
  works.notice.stop();
  const retries = afterToken;
  afterToken = [];
  for (const retry of retries) retry();
}
