/** The most probable classes, as bars. */

import { $, announce, el, percent, plural, span } from "./dom.js";

export function clearResult() {
  $("bars").hidden = true;
  $("bars").replaceChildren();
  $("result-facts").textContent = "";
  $("top-k-field").hidden = true;
}

export function showResult(prediction) {
  const { labels, indices, probabilities } = prediction;
  const rows = labels.map((label, rank) => bar(label, indices[rank], probabilities[rank]));
  $("result-hint").hidden = true;
  $("bars").replaceChildren(...rows);
  $("bars").hidden = false;
  $("top-k-field").hidden = false;
  $("result-facts").textContent = facts(prediction);
  announce(`Most probable: ${labels[0]}, ${percent(probabilities[0])}`);
}

/** Numbers of classes to choose from. */
export function offerTopK(numClasses) {
  const counts = [1, 3, 5, 10, 20].filter((count) => count < numClasses);
  const all = Math.min(numClasses, 50);
  const options = [...counts, ...(counts.includes(all) ? [] : [all])];
  $("top-k").replaceChildren(...options.map((count) => el("option", { value: count, textContent: count })));
  $("top-k").value = String(options.includes(5) ? 5 : options.at(-1));
}

function bar(label, index, probability) {
  const fill = el("span", { className: "fill" });
  fill.style.width = `${100 * probability}%`;
  return el(
    "li",
    { data: { index, probability } },
    el("span", { className: "bar-label", textContent: label }),
    el("span", { className: "bar-value", textContent: percent(probability) }),
    el("span", { className: "track", aria: { hidden: "true" } }, fill),
  );
}

function facts({ num_views, num_frames, fps, duration_s, timing }) {
  const views = num_views === 1 ? "One view of the video" : `Mean of ${plural(num_views, "view")} of the video`;
  const length = duration_s ? ` in ${span(duration_s)}` : "";
  const rate = fps ? `, ${Number(fps.toFixed(2))} a second` : "";
  return `${views}, which has ${plural(num_frames, "frame")}${length}${rate}.${timing ? ` ${timing}` : ""}`;
}
