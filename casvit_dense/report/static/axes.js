// Scales, axes and the drawing area that all charts share.

const MARGIN = { top: 14, right: 18, bottom: 46, left: 58 };

/** A scale from a range of values to one of pixels, with its round values. */
function scaleOf([low, high], [from, to], logarithmic) {
  const turn = logarithmic ? Math.log10 : (value) => value;
  const span = turn(high) - turn(low) || 1;
  const count = Math.max(2, Math.abs(to - from) / 70);
  return {
    at: (value) => from + ((turn(value) - turn(low)) / span) * (to - from),
    ticks: logarithmic ? logTicks(low, high, count) : linearTicks(low, high, count),
  };
}

function linearTicks(low, high, count) {
  const raw = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) {
    ticks.push(Number((i * step).toPrecision(12)));
  }
  return ticks;
}

function logTicks(low, high, count) {
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    for (const factor of [1, 2, 5]) ticks.push(Number((factor * 10 ** power).toPrecision(6)));
  }
  const inside = ticks.filter((tick) => tick >= low * 0.999 && tick <= high * 1.001);
  const decades = inside.filter((tick) => Number.isInteger(Number(Math.log10(tick).toFixed(9))));
  if (inside.length <= count * 1.5 || decades.length < 2) return inside;
  const every = Math.ceil(decades.length / count);
  return decades.filter((_, i) => i % every === 0);
}

/** The least and the greatest value, with some room around them. */
function domainOf(values, logarithmic, room = 0.06) {
  if (values.length === 0) return logarithmic ? [1, 10] : [0, 1];
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (logarithmic) {
    const factor = (high / low || 1) ** room * 1.05;
    return [low / factor, high * factor];
  }
  const margin = (high - low) * room || Math.abs(high) * 0.1 || 1;
  return [low - margin, high + margin];
}

/**
 * An empty chart: SVG, scales and the group that takes the marks.
 * Options: width, height, x and y as {label, domain, log}.
 */
function frame({ width, height, x, y }) {
  const right = width - MARGIN.right;
  const bottom = height - MARGIN.bottom;
  const sx = scaleOf(x.domain, [MARGIN.left, right], x.log);
  const sy = scaleOf(y.domain, [bottom, MARGIN.top], y.log);
  const text = (content, attributes) => svg("text", attributes, content);
  const axes = svg(
    "g",
    { class: "axes", "aria-hidden": "true" },
    sy.ticks.map((tick) => [
      svg("line", { class: "rule", x1: MARGIN.left, x2: right, y1: sy.at(tick), y2: sy.at(tick) }),
      text(short(tick), { class: "tick y", x: MARGIN.left - 8, y: sy.at(tick) + 4 }),
    ]).flat(),
    sx.ticks.map((tick) => [
      svg("line", { class: "stub", x1: sx.at(tick), x2: sx.at(tick), y1: bottom, y2: bottom + 5 }),
      text(short(tick), { class: "tick x", x: sx.at(tick), y: bottom + 19 }),
    ]).flat(),
    svg("line", { class: "base", x1: MARGIN.left, x2: right, y1: bottom, y2: bottom }),
    text(x.label, { class: "label", x: (MARGIN.left + right) / 2, y: height - 8 }),
    text(y.label, {
      class: "label",
      transform: `translate(13 ${(MARGIN.top + bottom) / 2}) rotate(-90)`,
    }),
  );
  const marks = svg("g", { class: "marks" });
  const root = svg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart" },
    axes,
    marks,
  );
  return { root, marks, sx, sy, right, bottom };
}

/** Outlines of marks around the origin, told apart without colour. */
const SHAPES = {
  circle: (r) => `M${-r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
  square: (r) => `M${-0.9 * r} ${-0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`,
  diamond: (r) => `M0 ${-1.25 * r}L${1.25 * r} 0L0 ${1.25 * r}L${-1.25 * r} 0z`,
  triangle: (r) => `M0 ${-1.15 * r}L${1.1 * r} ${0.85 * r}H${-1.1 * r}z`,
};
const SHAPE_NAMES = Object.keys(SHAPES);
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
const COLOURS = 8;

const colour = (i) => `--c: var(--c${i % COLOURS})`;

/** A small box of lines beside a mark; for the eye alone, as marks have names of their own. */
function tooltipOf(box) {
  const tip = el("div", { class: "tip", "aria-hidden": "true", hidden: true });
  box.append(tip);
  return {
    show(x, y, lines) {
      tip.replaceChildren(...lines.map((line, i) => el(i ? "div" : "strong", {}, line)));
      tip.hidden = false;
      const left = Math.min(Math.max(x - tip.offsetWidth / 2, 0), box.clientWidth - tip.offsetWidth);
      const above = y - tip.offsetHeight - 12;
      tip.style.left = `${Math.max(0, left)}px`;
      tip.style.top = `${above >= 0 ? above : y + 14}px`;
    },
    hide: () => (tip.hidden = true),
  };
}
