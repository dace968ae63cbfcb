// Making elements. Texts from data become text nodes and attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

const el = (tag, attributes = {}, ...children) =>
  furnish(document.createElement(tag), attributes, children);

const svg = (tag, attributes = {}, ...children) =>
  furnish(document.createElementNS(SVG, tag), attributes, children);

/** Sets attributes ("onclick" and the like: listeners) and appends children. */
function furnish(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child != null));
  return node;
}

/** The JSON of a script block of the page. */
const dataOf = (id) => JSON.parse(document.getElementById(id).textContent);

let ids = 0;
const newId = () => `control-${(ids += 1)}`;

/** A labelled select; options are [value, text] or [value, text, group]. */
function choice(label, options, value, onchange) {
  const id = newId();
  const select = el("select", { id, onchange: () => onchange(select.value) });
  const groups = new Map();
  for (const [key, text, group] of options) {
    const option = el("option", { value: key, selected: key === value }, text);
    if (group === undefined) {
      select.append(option);
      continue;
    }
    if (!groups.has(group)) {
      groups.set(group, el("optgroup", { label: group }));
      select.append(groups.get(group));
    }
    groups.get(group).append(option);
  }
  return el("span", { class: "choice" }, el("label", { for: id }, label), select);
}

function check(label, checked, onchange) {
  const input = el("input", { type: "checkbox", checked, onchange: () => onchange(input.checked) });
  return el("label", { class: "check" }, input, label);
}

const button = (label, onclick, attributes = {}) =>
  el("button", { type: "button", onclick, ...attributes }, label);

/** A number as short as three or so significant digits allow. */
function short(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replace(".0e", "e");
  return String(Number(value.toPrecision(size >= 100 ? 4 : 3)));
}

// What is far from the screen is drawn when it comes near, or when the page is printed.
const waiting = new Map();
const near = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) if (entry.isIntersecting) drawNow(entry.target);
  },
  { rootMargin: "300px" },
);

function whenNear(node, draw) {
  waiting.set(node, draw);
  near.observe(node);
}

function drawNow(node) {
  const draw = waiting.get(node);
  waiting.delete(node);
  near.unobserve(node);
  if (draw) draw();
}

/** All at once; what was taken out of the page meanwhile is forgotten. */
function drawAll() {
  for (const node of [...waiting.keys()]) {
    if (node.isConnected) drawNow(node);
    else waiting.delete(node);
  }
}

/** Calls back with the width of a box, now and whenever it changes. */
function onWidth(box, draw) {
  let last = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width > 0 && width !== last) draw((last = width));
  }).observe(box);
}
