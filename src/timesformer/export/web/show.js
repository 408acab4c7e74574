// What the page shows.

const TOP = 5;

/** The element with an id. */
export function byId(id) {
  return document.getElementById(id);
}

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** A stage and how much of it is done, from 0 to 1; null if that is unknown, and an empty stage if all is done. */
export function showProgress(stage, value) {
  byId("stage").textContent = stage || "Ready";
  const bar = byId("progress");
  bar.hidden = !stage;
  if (value === null) bar.removeAttribute("value");
  else bar.value = value;
}

export function showError(message) {
  byId("error").hidden = !message;
  byId("error").textContent = message;
}

export function showNote(message) {
  byId("note").hidden = !message;
  byId("note").textContent = message;
}

/** The most probable classes as bars, and how they came about. */
export function showAnswer(answer, { labels }, { source, name }) {
  const order = answer.probabilities.map((_, i) => i)
    .sort((a, b) => answer.probabilities[b] - answer.probabilities[a] || a - b).slice(0, TOP);
  byId("classes").replaceChildren(...order.map((i) => bar(labels[i], answer.probabilities[i])));
  byId("answer").setAttribute("aria-live", source === "camera" ? "off" : "polite");
  byId("classes").dataset.answer = JSON.stringify({ probabilities: answer.probabilities, read: answer.read });
  byId("details").textContent = source === "camera" ? `answered in ${seconds(answer.ms)}` : detailsOf(answer, name);
}

function bar(label, probability) {
  const item = document.createElement("li");
  const fill = element("div", "fill");
  fill.style.width = `${100 * probability}%`;
  const track = element("div", "track");
  track.append(fill);
  item.append(element("span", "name", label), element("span", "value", `${(100 * probability).toFixed(1)} %`), track);
  return item;
}

function seconds(ms) {
  return `${(ms / 1000).toFixed(ms < 9950 ? 1 : 0)} s`;
}

function detailsOf({ numFrames, fps, codec, container, views, ms, isExact }, name) {
  const video = numFrames ? `${codec} in ${container}, ${numFrames} frames at ${Number(fps.toFixed(2))} a second` : "";
  const read = numFrames ? (isExact ? "exact frames" : "exact frames, colors within a few levels") : "";
  const work = `${views} ${views === 1 ? "view" : "views"} in ${seconds(ms)}`;
  return [name, video, read, work].filter(Boolean).join(" · ");
}

/** The description of the model. */
export function showModel({ sidecar, threads }) {
  document.documentElement.dataset.threads = threads;
  const { num_frames: frames, image_size: [height, width], labels, web } = sidecar;
  byId("about").textContent = `${web.title}: ${labels.length} classes, clips of ${frames} frames of ${width} × ${height}`;
  const sampled = sidecar.sampling.num_frames === frames ? "" : `, ${sidecar.sampling.num_frames} frames read`;
  const facts = {
    Scheme: sidecar.model.config.scheme,
    Weights: `${sidecar.model.precision}, ${(sidecar.model.bytes / 1e6).toFixed(1)} MB`,
    Sampling: `${sidecar.sampling.mode}${sampled}, ${sidecar.crop.num_crops} crop${sidecar.crop.num_crops > 1 ? "s" : ""}`,
    License: sidecar.license,
    Source: sidecar.source,
    Runtime: `onnxruntime-web ${web.runtime_version}, ${threads} thread${threads > 1 ? "s" : ""}`,
    Labels: labels.join(", "),
  };
  byId("model").replaceChildren(...Object.entries(facts).filter(([, value]) => value)
    .flatMap(([key, value]) => [element("dt", "", key), element("dd", "", value)]));
}
