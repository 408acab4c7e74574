/** Where the model looks: the heat map over the clip, and its relevance over time. */

import { $, announce, el, percent, svg } from "./dom.js";

const METHODS = {
  contribution: "What each patch adds to the logit of the class.",
  class: "Attention times its gradient for the class.",
  rollout: "Attention alone, through all blocks; explains no class in particular.",
  occlusion: "How far the probability drops when a part is hidden. Takes hundreds of passes of the model.",
};
const [MOST_WIDTH, HEIGHT, PAD] = [480, 150, { left: 8, right: 8, top: 10, bottom: 24 }];
let follow = null;

/** Offer the methods that the model supports, and its classes. */
export function offerMethods(model) {
  const methods = model.explain_methods ?? Object.keys(METHODS);
  $("method").replaceChildren(...methods.map((method) => el("option", { value: method, textContent: method })));
  const labels = model.labels?.length ? model.labels : Array.from({ length: model.num_classes }, (_, index) => String(index));
  const options = labels.map((label) => el("option", { value: label, textContent: label }));
  $("class").replaceChildren(el("option", { value: "", textContent: "The most probable" }), ...options);
  $("method").addEventListener("change", describeMethod);
  describeMethod();
  return methods.length > 0;
}

function describeMethod() {
  const method = $("method").value;
  $("method-text").textContent = METHODS[method] ?? "";
  $("class").disabled = method === "rollout";
}

export function clearExplanation() {
  follow?.abort();
  $("explain-result").hidden = true;
  const overlay = $("overlay");
  if (overlay.src) URL.revokeObjectURL(overlay.src);
  overlay.removeAttribute("src");
  overlay.load();
}

export function showExplanation(explanation, clip) {
  clearExplanation();
  const overlay = $("overlay");
  $("overlay-note").hidden = true;
  overlay.hidden = false;
  overlay.onerror = () => {
    overlay.hidden = true;
    $("overlay-note").textContent = "This browser cannot play H.264 video.";
    $("overlay-note").hidden = false;
  };
  overlay.src = URL.createObjectURL(clip);
  const text = summary(explanation);
  $("explain-text").textContent = text;
  $("explain-result").hidden = false;
  const width = Math.min(MOST_WIDTH, $("curve").clientWidth);
  const { chart, head, toX } = drawCurve(explanation, { text, overlay, width });
  $("curve").replaceChildren(chart);
  followOverlay(overlay, head, toX, explanation.seconds[0]);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) overlay.play().catch(() => {});
  announce(text);
}

function summary({ method, label, probability, curve, frames, peak_seconds, cls_fraction }) {
  const [from, to] = peak_seconds.map((value) => value.toFixed(2));
  const place = from === to ? `at ${from} s` : `between ${from} and ${to} s`;
  const what = method === "rollout" ? `Prediction: ${label}, ${percent(probability)}.` : `Explained: ${label}, ${percent(probability)}.`;
  const cls = cls_fraction === null || cls_fraction === undefined ? "" : ` ${percent(cls_fraction)} stays in the class token.`;
  return `${what} Half of the relevance lies ${place}, in a clip of ${frames.length} frames.${cls}`;
}

/** Area chart of relevance over seconds; a click seeks the overlay. */
function drawCurve({ curve, seconds }, { text, overlay, width }) {
  const [first, last] = [seconds[0], Math.max(seconds.at(-1), seconds[0] + 1e-3)];
  const most = Math.max(...curve, 1e-9);
  const inner = width - PAD.left - PAD.right;
  const toX = (second) => PAD.left + (inner * Math.min(last, Math.max(first, second)) - inner * first) / (last - first);
  const floor = HEIGHT - PAD.bottom;
  const points = curve.map((value, index) => [toX(seconds[index]), floor - (value / most) * (floor - PAD.top)]);
  const line = points.map(([x, y]) => `${x.toFixed(1)},${y.toFixed(1)}`).join(" ");
  const chart = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": text, class: "curve" });
  const head = svg("line", { class: "head", x1: toX(first), x2: toX(first), y1: PAD.top, y2: floor });
  chart.append(
    svg("polygon", { class: "area", points: `${points[0][0]},${floor} ${line} ${points.at(-1)[0]},${floor}` }),
    svg("polyline", { class: "line", points: line }),
    ...points.map(([cx, cy]) => svg("circle", { class: "dot", cx, cy, r: 3 })),
    svg("line", { class: "base", x1: PAD.left, x2: width - PAD.right, y1: floor, y2: floor }),
    label(PAD.left, "start", `${first.toFixed(2)} s`),
    label(width - PAD.right, "end", `${seconds.at(-1).toFixed(2)} s`),
    head,
  );
  chart.addEventListener("click", (event) => {
    const shown = chart.getBoundingClientRect();
    const share = (((event.clientX - shown.left) / shown.width) * width - PAD.left) / inner;
    overlay.currentTime = Math.max(0, Math.min(1, share)) * (last - first);
  });
  return { chart, head, toX };
}

function label(x, anchor, text) {
  const element = svg("text", { x, y: HEIGHT - 6, "text-anchor": anchor });
  element.textContent = text;
  return element;
}

/** Frame 0 of the overlay is the first frame of the clip. */
function followOverlay(overlay, head, toX, first) {
  follow = new AbortController();
  const move = () => {
    const x = toX(first + overlay.currentTime);
    head.setAttribute("x1", x);
    head.setAttribute("x2", x);
  };
  for (const event of ["timeupdate", "seeked"]) overlay.addEventListener(event, move, { signal: follow.signal });
}
