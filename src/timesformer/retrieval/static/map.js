"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const plot = document.getElementById("plot");
const svg = plot.querySelector("svg");
const card = document.getElementById("card");
const legend = document.getElementById("legend");
const said = document.getElementById("said");
const controls = document.getElementById("controls");
const NS = "http://www.w3.org/2000/svg";
const NUM_COLORS = 8;
const SHAPES = [
  "M-5 0A5 5 0 1 0 5 0A5 5 0 1 0 -5 0Z",
  "M-4.6 -4.6H4.6V4.6H-4.6Z",
  "M0 -6L5.8 4.4H-5.8Z",
  "M0 -6.4L6.4 0L0 6.4L-6.4 0Z",
];
const WIDTH = 1000, HEIGHT = 760, SCALE = 475;

let layout = "tsne";
let field = data.fields[0] || { title: "", names: [], of: data.paths.map(() => -1) };
let shown = new Set();
let chosen = -1;

function marker(number) {
  const path = document.createElementNS(NS, "path");
  const shape = number < 0 ? 0 : Math.floor(number / NUM_COLORS) % SHAPES.length;
  path.setAttribute("d", SHAPES[shape]);
  path.setAttribute("class", number < 0 ? "point none" : "point");
  if (number >= 0) path.style.fill = `var(--c${number % NUM_COLORS})`;
  return path;
}

function place(index) {
  const [x, y] = data.layouts[layout][index];
  return [WIDTH / 2 + SCALE * x, HEIGHT / 2 - SCALE * y];
}

function isShown(index) {
  return shown.has(field.of[index]);
}

const points = data.paths.map((_, index) => {
  const point = document.createElementNS(NS, "path");
  point.dataset.index = index;
  svg.append(point);
  return point;
});

function paint() {
  points.forEach((point, index) => {
    const drawn = marker(field.of[index]);
    point.setAttribute("d", drawn.getAttribute("d"));
    point.setAttribute("class", drawn.getAttribute("class"));
    point.style.fill = drawn.style.fill;
    point.classList.toggle("chosen", index === chosen);
    point.style.display = isShown(index) ? "" : "none";
  });
}

function move() {
  points.forEach((point, index) => {
    const [x, y] = place(index);
    point.style.transform = `translate(${x}px, ${y}px)`;
  });
}

function listClasses() {
  const present = new Set(field.of);
  const numbers = [...field.names.keys(), ...(present.has(-1) ? [-1] : [])];
  shown = new Set(numbers);
  legend.replaceChildren(...numbers.map((number) => {
    const item = document.createElement("li"), label = document.createElement("label");
    const box = document.createElement("input"), picture = document.createElementNS(NS, "svg");
    box.type = "checkbox";
    box.checked = true;
    box.value = number;
    picture.setAttribute("viewBox", "-8 -8 16 16");
    picture.setAttribute("aria-hidden", "true");
    picture.append(marker(number));
    const name = document.createElement("span"), count = document.createElement("small");
    name.textContent = number < 0 ? "none" : field.names[number];
    count.textContent = field.of.filter((each) => each === number).length;
    label.append(box, picture, name, count);
    item.append(label);
    return item;
  }));
}

function lines(index) {
  const all = data.fields.filter((each) => each.of[index] >= 0).map((each) => `${each.title}: ${each.names[each.of[index]]}`);
  const score = data.scores[index];
  return score === null ? all : all.map((text) => text.startsWith("predicted") ? `${text}, ${Math.round(100 * score)} %` : text);
}

function choose(index) {
  if (chosen >= 0) points[chosen].classList.remove("chosen");
  chosen = index;
  card.hidden = index < 0;
  if (index < 0) return;
  points[index].classList.add("chosen");
  svg.append(points[index]);
  const parts = [];
  if (data.pictures[index]) {
    const image = document.createElement("img");
    image.src = data.pictures[index];
    image.alt = "";
    parts.push(image);
  }
  lines(index).forEach((text, number) => {
    const line = document.createElement(number ? "span" : "b");
    line.textContent = text;
    parts.push(line);
  });
  const path = document.createElement("span");
  path.className = "soft";
  path.textContent = data.paths[index];
  card.replaceChildren(...parts, path);
  const [x, y] = place(index), ratio = plot.clientWidth / WIDTH;
  card.style.left = `${Math.max(0, Math.min(plot.clientWidth - card.offsetWidth, x * ratio + 14))}px`;
  const above = y * ratio - card.offsetHeight - 14;
  card.style.top = `${above >= 0 ? above : y * ratio + 14}px`;
  said.textContent = [...lines(index), data.paths[index]].join(", ");
}

function next(dx, dy) {
  if (chosen < 0 || !isShown(chosen)) return points.findIndex((_, index) => isShown(index));
  const [x, y] = place(chosen);
  let best = chosen, least = Infinity;
  points.forEach((_, index) => {
    if (index === chosen || !isShown(index)) return;
    const [x2, y2] = place(index), along = (x2 - x) * dx + (y2 - y) * dy, across = Math.abs((x2 - x) * dy + (y2 - y) * dx);
    if (along <= 0 || across > along) return;
    const cost = along + 2 * across;
    if (cost < least) [best, least] = [index, cost];
  });
  return best;
}

function follow(step) {
  for (let count = 1; count <= points.length; count++) {
    const index = (chosen + step * count + points.length * 2) % points.length;
    if (isShown(index)) return index;
  }
  return -1;
}

const PAGES = { PageDown: 1, PageUp: -1 };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

plot.addEventListener("keydown", (event) => {
  if (event.key === "Escape") choose(-1);
  const arrow = ARROWS[event.key], page = PAGES[event.key];
  if (!arrow && !page) return;
  event.preventDefault();
  choose(arrow ? next(...arrow) : follow(page));
});
plot.addEventListener("focus", () => { if (chosen < 0 && plot.matches(":focus-visible")) choose(next(1, 0)); });
svg.addEventListener("pointerover", (event) => {
  if (event.target.dataset.index) choose(Number(event.target.dataset.index));
});
svg.addEventListener("pointerleave", () => choose(-1));

controls.addEventListener("change", (event) => {
  if (event.target.name === "layout") {
    layout = event.target.value;
    move();
  } else {
    field = data.fields[Number(event.target.value)];
    listClasses();
    paint();
  }
  choose(-1);
});
legend.addEventListener("change", (event) => {
  const number = Number(event.target.value);
  if (event.target.checked) shown.add(number);
  else shown.delete(number);
  choose(-1);
  paint();
});
document.getElementById("buttons").addEventListener("click", (event) => {
  if (!event.target.dataset || event.target.dataset.all === undefined) return;
  const all = Boolean(event.target.dataset.all);
  for (const box of legend.querySelectorAll("input")) {
    box.checked = all;
    if (all) shown.add(Number(box.value));
    else shown.delete(Number(box.value));
  }
  choose(-1);
  paint();
});
controls.addEventListener("submit", (event) => event.preventDefault());

data.fields.forEach((each, number) => controls.field.append(new Option(each.title, number)));
document.getElementById("by").hidden = data.fields.length < 2;
listClasses();
paint();
move();
