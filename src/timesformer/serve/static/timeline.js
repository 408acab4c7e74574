/** The timeline of a video: a strip of labeled segments that seek the player. */

import { $, announce, clock, el, percent, plural } from "./dom.js";

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
/** Browsers keep positions in microseconds. */
const ROUNDING = 1e-3;
const TICK_WIDTH = 72;
let follow = null;

/** Say the model's own window; a model that sees whole videos may have none, and needs one. */
export function offerWindow({ sampling, clip_seconds }) {
  const needsWindow = !clip_seconds && ["segment", "uniform"].includes(sampling);
  $("window").required = needsWindow;
  $("window").placeholder = clip_seconds ? `${Number(clip_seconds.toFixed(2))}` : needsWindow ? "such as 2" : "of the model";
}

export function clearTimeline() {
  follow?.abort();
  $("timeline-result").hidden = true;
  $("timeline-result").replaceChildren();
}

export function showTimeline(timeline, name) {
  clearTimeline();
  const { segments, source } = timeline;
  const player = $("preview");
  const seek = (seconds) => {
    player.currentTime = seconds;
    announce(`At ${clock(seconds, { precise: true })}`);
  };
  const buttons = segments.map((segment) => segmentButton(segment, source.duration, seek));
  const strip = makeStrip(buttons, source.duration, seek, name);
  const rows = segments.map((segment) => segmentRow(segment, seek));
  $("timeline-result").replaceChildren(
    strip.element,
    axis(source.duration),
    el("p", { textContent: summary(timeline) }),
    segments.length ? table(rows) : "",
    download(timeline, name),
  );
  $("timeline-result").hidden = false;
  followPlayer(player, segments, buttons, rows, strip.head, source.duration);
  announce(`Timeline: ${plural(segments.length, "segment")}`);
}

function summary({ segments, window, stride, source, gaps }) {
  const missing = gaps.length ? ` ${plural(gaps.length, "gap")} without frames.` : "";
  const unit = (value) => `${Number(value.toFixed(2))} s`;
  const found = segments.length ? plural(segments.length, "segment") : "No segment was found";
  return `${found} in ${clock(source.duration, { precise: true })}; windows of ${unit(window)}, one every ${unit(stride)}.${missing}`;
}

function segmentButton(segment, duration, seek) {
  const { label, index, start, end, score } = segment;
  const name = `${label}, ${clock(start, { precise: true })} to ${clock(end, { precise: true })}, ${percent(score)}`;
  const button = el("button", { type: "button", title: name, tabIndex: -1, aria: { label: name }, data: { start, end, color: index % 8 } });
  button.className = "segment";
  button.append(el("span", { textContent: label }));
  button.style.left = `${(100 * start) / duration}%`;
  button.style.width = `${(100 * (end - start)) / duration}%`;
  button.addEventListener("click", (event) => (event.stopPropagation(), seek(start)));
  return button;
}

/** The strip is one stop of the Tab key; arrows, Home and End go from segment to segment. */
function makeStrip(buttons, duration, seek, name) {
  const head = el("span", { className: "playhead", aria: { hidden: "true" } });
  const element = el("div", { className: "strip", role: "group", aria: { label: `Timeline of ${name}; arrow keys move, Enter seeks` } }, ...buttons, head);
  if (buttons.length) buttons[0].tabIndex = 0;
  element.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const last = buttons.length - 1;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: last }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const next = buttons[Math.min(last, Math.max(0, to))];
    for (const button of buttons) button.tabIndex = button === next ? 0 : -1;
    next.focus();
  });
  element.addEventListener("click", (event) => {
    const { left, width } = element.getBoundingClientRect();
    seek(Math.max(0, Math.min(1, (event.clientX - left) / width)) * duration);
  });
  return { element, head };
}

function axis(duration) {
  const most = $("timeline-section").clientWidth / TICK_WIDTH;
  const step = STEPS.find((each) => duration / each <= most) ?? 7200;
  const ticks = [];
  for (let number = 0; number * step <= duration * 1.0001; number += 1) {
    const seconds = number * step;
    const tick = el("span", { textContent: clock(seconds, { precise: step < 1 }) });
    tick.style.left = `${(100 * seconds) / duration}%`;
    if (seconds / duration > 0.94) tick.className = "last";
    ticks.push(tick);
  }
  return el("div", { className: "axis", aria: { hidden: "true" } }, ...ticks);
}

function segmentRow(segment, seek) {
  const { label, index, start, end, score } = segment;
  const times = `${clock(start, { precise: true })} – ${clock(end, { precise: true })}`;
  const button = el("button", { type: "button", className: "link", textContent: times, onclick: () => seek(start) });
  button.setAttribute("aria-label", `Go to ${label} at ${clock(start, { precise: true })}`);
  return el(
    "tr",
    {},
    el("td", {}, button),
    el("td", { className: "class", data: { color: index % 8 } }, label),
    el("td", { className: "number", textContent: percent(score) }),
  );
}

function table(rows) {
  const heads = ["Time", "Class", "Probability"].map((text) => el("th", { scope: "col", textContent: text }));
  const content = el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
  return el("div", { className: "scroll", tabIndex: 0, role: "region", aria: { label: "Segments" } }, content);
}

function download(timeline, name) {
  const text = JSON.stringify(timeline, null, 2);
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  return el("p", {}, el("a", { href: url, download: `${name.replace(/\.[^.]+$/, "")}.timeline.json`, textContent: "Download as JSON" }));
}

/** Mark the segment that the player is in, and move the playhead. */
function followPlayer(player, segments, buttons, rows, head, duration) {
  follow = new AbortController();
  const mark = () => {
    const now = player.currentTime + ROUNDING;
    head.style.left = `${Math.min(100, (100 * player.currentTime) / duration)}%`;
    segments.forEach(({ start, end }, index) => {
      const isNow = start <= now && now < end;
      for (const each of [buttons[index], rows[index]]) {
        if (isNow) each.setAttribute("aria-current", "true");
        else each.removeAttribute("aria-current");
      }
    });
  };
  for (const event of ["timeupdate", "seeked", "seeking"]) player.addEventListener(event, mark, { signal: follow.signal });
  mark();
}
