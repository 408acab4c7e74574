/** The model card. */

import { hasToken } from "./api.js";
import { $, el, percent, plural } from "./dom.js";
import { describeLimits } from "./source.js";

const METRICS = { val_accuracy: "Validation accuracy", val_top5_accuracy: "Validation accuracy, top 5" };

export function showCard(model, limits) {
  $("model-line").textContent = [model.name, plural(model.num_classes, "class", "classes")].filter(Boolean).join(" · ");
  document.title = [model.name, "timesformer"].filter(Boolean).join(" · ");
  $("result-hint").textContent = introduction(model);
  const rows = Object.entries(facts(model, limits)).filter(([, value]) => value !== null && value !== undefined && value !== "");
  $("card").replaceChildren(...rows.flatMap(([name, value]) => [el("dt", { textContent: name }), el("dd", {}, value)]));
  const labels = model.labels ?? [];
  $("labels").hidden = labels.length === 0;
  $("labels-title").textContent = `The ${labels.length} classes`;
  $("label-list").replaceChildren(...labels.map((label) => el("li", { textContent: label })));
  const url = new URL("v1/predict", document.baseURI);
  const token = hasToken() ? "-H 'Authorization: Bearer TOKEN' " : "";
  $("curl").textContent = `curl --data-binary @clip.mp4 -H 'Content-Type: video/mp4' ${token}${url}`;
  if (token) $("openapi").removeAttribute("href"); // a link sends no token
}

function introduction({ num_classes, labels }) {
  const told = `This model tells ${plural(num_classes, "class", "classes")} apart`;
  return labels?.length > 3 ? `${told}, such as ${labels.slice(0, 3).join(", ")}.` : `${told}.`;
}

function facts(model, limits) {
  const size = [model.image_size].flat();
  const [height, width] = [size[0], size.at(-1)];
  return {
    Name: model.name,
    Scheme: model.scheme && el("code", { textContent: model.scheme }),
    "What it sees": `${plural(model.num_frames, "frame")} of ${width} × ${height} pixels, ${spread(model)}`,
    Parameters: model.parameters && `${Number((model.parameters / 1e6).toPrecision(3))} million`,
    License: !model.license || model.license === "unspecified" ? "not stated" : model.license,
    ...metrics(model.metrics),
    Limits: describeLimits(limits),
    "SHA-256 of the weights": model.weights_sha256 && el("code", { className: "hash", textContent: model.weights_sha256 }),
  };
}

function metrics(values) {
  const entries = Object.entries(values ?? {}).filter(([, value]) => typeof value === "number");
  return Object.fromEntries(entries.map(([name, value]) => [METRICS[name] ?? name, percent(value)]));
}

function spread({ sampling, frame_stride }) {
  if (sampling !== "dense") return "spread over the whole video";
  return frame_stride === 1 ? "one after the other" : `one in ${frame_stride}`;
}
