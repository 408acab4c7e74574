/** Elements, and numbers as people read them. Text always goes in as text, never as HTML. */

export const $ = (id) => document.getElementById(id);

/** An element with properties, `data` attributes, `aria` attributes and children. */
export function el(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const element = document.createElement(tag);
  Object.assign(element, properties);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** An SVG element with attributes and children. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Tell screen readers what happened. */
export function announce(text) {
  $("status").textContent = text;
}

export function percent(probability) {
  return probability > 0 && probability < 0.0005 ? "<0.1%" : `${(100 * probability).toFixed(1)}%`;
}

/** Seconds as `2.40 s`, or as `1:05` where minutes count. */
export function clock(seconds, { precise = false } = {}) {
  const whole = Math.floor(seconds + 1e-9);
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const pad = (number) => String(number).padStart(2, "0");
  const rest = precise ? pad(whole % 60) + (seconds - whole).toFixed(1).slice(1).padEnd(2, "0") : pad(whole % 60);
  return hours ? `${hours}:${pad(minutes)}:${rest}` : `${minutes}:${rest}`;
}

export function bytes(count) {
  if (count < 1000) return plural(count, "byte");
  const power = Math.min(3, Math.floor(Math.log10(count) / 3));
  const value = count / 1000 ** power;
  return `${value >= 100 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ${["", "kB", "MB", "GB"][power]}`;
}

export function span(seconds) {
  if (seconds < 120) return plural(Number(seconds.toFixed(2)), "second");
  return seconds < 7200 ? plural(Number((seconds / 60).toFixed(1)), "minute") : plural(Number((seconds / 3600).toFixed(1)), "hour");
}

export function plural(count, word, several = `${word}s`) {
  return `${count.toLocaleString("en-US")} ${count === 1 ? word : several}`;
}
