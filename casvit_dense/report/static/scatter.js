// Accuracy against cost: published figures hollow, ours filled, peers beside.

const SERIES = [
  { name: "CAS-ViT, measured here", shape: "circle", colour: 0, filled: true },
  { name: "CAS-ViT, published", shape: "circle", colour: 0, filled: false },
  { name: "others, measured here", shape: "diamond", colour: 1, filled: true },
  { name: "others, published", shape: "diamond", colour: 1, filled: false },
];

const seriesOf = (point) => (point.ours ? 0 : 2) + (point.measured ? 0 : 1);

function setUpScatter(box) {
  const data = dataOf(`${box.id}-data`);
  const groups = [...new Set(data.cost.map((axis) => axis.group))];
  const heads = [...new Set(data.points.map((point) => point.head))];
  const state = { quality: firstQuality(), cost: "", head: "", log: true, hidden: new Set() };
  const byPoints = (a, b) => weight(b.key) - weight(a.key);
  state.cost = data.cost.toSorted(byPoints)[0].key;
  const condition = el("span");
  const plot = el("div", { class: "plot" });
  const legend = el("div");
  const table = el("div", { class: "scroll values", role: "region", tabindex: 0,
    "aria-label": "The values of the chart" });
  const said = el("p", { class: "said", role: "status" });

  /** The accuracy of most points, one that was measured and published if there is any. */
  function firstQuality() {
    const size = ({ key }) => {
      const having = data.points.filter((point) => key in point.quality);
      return having.length + 1000 * (new Set(having.map((point) => point.measured)).size === 2);
    };
    return data.quality.toSorted((a, b) => size(b) - size(a))[0].key;
  }
  function sharing(key) {
    return data.points.filter((p) => key in p.cost && state.quality in p.quality);
  }
  /** What was measured here comes first: a chart opens on a cost that these models have. */
  function weight(key) {
    const having = sharing(key);
    return having.length + 1000 * having.filter((point) => point.measured).length;
  }

  const qualities = data.quality.map((axis) => [axis.key, axis.label, axis.group]);
  const first = axisOf(data.cost, state.cost).group;
  box.append(
    el(
      "div",
      { class: "tools control" },
      choice("Accuracy", qualities, state.quality, (key) => {
        state.quality = key;
        showConditions(axisOf(data.cost, state.cost).group);
      }),
      choice("Cost", groups.map((group) => [group, group]), first, showConditions),
      condition,
      heads.length > 1 ? choice("Head", [["", "all"], ...heads.map((head) => [head, head || "other"])], "",
        (head) => {
          state.head = head;
          draw();
        }) : null,
      check("Logarithmic cost", true, (checked) => {
        state.log = checked;
        draw();
      }),
    ),
    plot,
    legend,
    said,
    table,
  );
  legend.replaceChildren(scatterLegend(data.points, state.hidden, draw));
  let width = 0;
  onWidth(plot, (now) => {
    width = now;
    draw();
  });
  showConditions(first);

  /** The second choice of the cost axis, those with most points first. */
  function showConditions(group) {
    const options = data.cost
      .filter((axis) => axis.group === group)
      .toSorted(byPoints);
    if (!options.some((axis) => axis.key === state.cost)) state.cost = options[0].key;
    const texts = options.map((a) => [a.key, `${sharing(a.key).length}: ${a.label}`]);
    condition.replaceChildren(
      choice("Models that have it, and of what", texts, state.cost, (key) => {
        state.cost = key;
        draw();
      }),
    );
    draw();
  }

  function draw() {
    if (!width) return;
    const [quality, cost] = [axisOf(data.quality, state.quality), axisOf(data.cost, state.cost)];
    const all = data.points
      .filter((point) => quality.key in point.quality && cost.key in point.cost)
      .filter((point) => !state.hidden.has(seriesOf(point)))
      .filter((point) => !state.head || point.head === state.head)
      .map((point) => {
        const [value, from] = point.cost[cost.key];
        const told = heads.length > 1 && !state.head && point.head;
        const name = told ? `${point.name}, ${point.head}` : point.name;
        return { ...point, name, x: value, y: point.quality[quality.key], from };
      })
      .sort((a, b) => a.x - b.x || a.y - b.y || a.measured - b.measured); // ours above
    said.textContent = `${all.length} points: ${quality.group}, ${quality.label}, against ${cost.group.toLowerCase()} (${cost.label}).`;
    const labels = {
      x: `${cost.group} (${cost.unit})`,
      y: `${quality.label} (${quality.unit})`,
    };
    plot.replaceChildren();
    const link = drawScatter(plot, width, all, labels, state.log);
    table.replaceChildren(scatterTable(all, labels, link));
  }
}

const axisOf = (axes, key) => axes.find((axis) => axis.key === key);

/** Draws the points; returns what ties each to its row of the table. */
function drawScatter(plot, width, points, labels, log) {
  const { root, marks, sx, sy, right } = frame({
    width,
    height: Math.round(Math.min(460, Math.max(320, width * 0.55))),
    x: { label: labels.x, log, domain: domainOf(points.map((point) => point.x), log, 0.04) },
    y: { label: labels.y, domain: domainOf(points.map((point) => point.y)) },
  });
  furnish(root, { role: "group", "aria-label":
    `${labels.y} against ${labels.x}. Arrow keys move from point to point.` }, []);
  const link = { choose: () => {}, nodes: [] };
  const tip = tooltipOf(plot);
  const families = Map.groupBy(points.filter((point) => point.ours),
    (point) => `${point.head}/${point.measured}`);
  for (const family of families.values()) {
    if (family.length < 2) continue;
    const path = family.map((point) => `${sx.at(point.x)} ${sy.at(point.y)}`).join("L");
    marks.append(svg("path", { class: "family", d: `M${path}`, style: colour(0) }));
  }
  link.nodes = points.map((point, i) => {
    const [x, y, series] = [sx.at(point.x), sy.at(point.y), SERIES[seriesOf(point)]];
    const texts = [
      point.name,
      series.name,
      `${labels.y}: ${short(point.y)}`,
      `${labels.x}: ${short(point.x)}, ${point.from}`,
    ];
    if (!point.measured) texts.push(point.source);
    const show = () => tip.show(x, y, texts);
    const node = svg(
      "g",
      {
        class: `point ${series.filled ? "filled" : "hollow"}`,
        transform: `translate(${x} ${y})`,
        style: colour(series.colour),
        role: "button",
        tabindex: i === 0 ? 0 : -1,
        "aria-label": texts.join(", "),
        onpointerenter: show,
        onpointerleave: tip.hide,
        onfocus: show,
        onblur: tip.hide,
        onclick: () => link.choose(i),
        onkeydown: (event) => moveAmong(event, link, i),
      },
      svg("circle", { class: "reach", r: 12 }),
      svg("path", { class: "mark", d: SHAPES[series.shape](5.5) }),
    );
    marks.append(node);
    return node;
  });
  placeNames(marks, points, sx, sy, right);
  plot.prepend(root);
  return link;
}

function moveAmong(event, link, i) {
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    link.choose(i);
    return;
  }
  const last = link.nodes.length - 1;
  const to = {
    ArrowRight: Math.min(i + 1, last),
    ArrowUp: Math.min(i + 1, last),
    ArrowLeft: Math.max(i - 1, 0),
    ArrowDown: Math.max(i - 1, 0),
    Home: 0,
    End: last,
  }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  link.nodes[i].setAttribute("tabindex", -1);
  link.nodes[to].setAttribute("tabindex", 0);
  link.nodes[to].focus();
}

/** Writes names beside marks where they hide neither marks nor other names; ours come first. */
function placeNames(marks, points, sx, sy, right) {
  const taken = points.map((p) => boxAround(sx.at(p.x) - 7, sy.at(p.y) - 7, 14, 14));
  const free = (box) =>
    taken.every((o) => box.x > o.x + o.w || o.x > box.x + box.w || box.y > o.y + o.h || o.y > box.y + box.h);
  for (const point of points.toSorted((a, b) => seriesOf(a) - seriesOf(b))) {
    const [x, y, w] = [sx.at(point.x), sy.at(point.y), textWidth(point.name)];
    const places = [
      boxAround(x + 10, y - 7, w, 13),
      boxAround(x - w - 10, y - 7, w, 13),
      boxAround(x - w / 2, y - 23, w, 13),
      boxAround(x - w / 2, y + 10, w, 13),
    ];
    const box = places.find((b) => b.x >= MARGIN.left && b.x + b.w <= right + 10 && b.y > 2 && free(b));
    if (!box) continue;
    taken.push(box);
    const className = point.ours ? "name ours" : "name";
    marks.append(
      svg("text", { class: className, x: box.x, y: box.y + 11, "aria-hidden": "true" }, point.name),
    );
  }
}

const ruler = document.createElement("canvas").getContext("2d");

/** Pixels that a name takes, in the bolder of its two faces. */
function textWidth(name) {
  ruler.font = `600 11px ${getComputedStyle(document.body).fontFamily}`;
  return ruler.measureText(name).width;
}

const boxAround = (x, y, w, h) => ({ x, y, w, h });

/** The chart's values; choosing a row marks its point and the other way round. */
function scatterTable(points, labels, link) {
  const heads = ["Model", "From", labels.y, labels.x, "Cost from", "Source"];
  const head = el("tr", {}, heads.map((text, i) =>
    el("th", { scope: "col", class: i === 2 || i === 3 ? "number" : null }, text)));
  const rows = points.map((point, i) =>
    el(
      "tr",
      { onclick: () => link.choose(i) },
      el("th", { scope: "row" }, point.name),
      el("td", {}, SERIES[seriesOf(point)].name),
      el("td", { class: "number" }, short(point.y)),
      el("td", { class: "number" }, short(point.x)),
      el("td", {}, point.from),
      el("td", {}, el("small", {}, point.source)),
    ),
  );
  link.choose = (i) => {
    rows.forEach((row, j) => {
      row.classList.toggle("chosen", i === j);
      link.nodes[j].classList.toggle("chosen", i === j);
    });
    const box = rows[i].closest(".scroll");
    box.scrollTop = rows[i].offsetTop - box.clientHeight / 2;
  };
  return el("table", {}, el("caption", {}, "The values of the chart"), el("thead", {}, head),
    el("tbody", {}, rows));
}

function scatterLegend(points, hidden, onchange) {
  const used = new Set(points.map(seriesOf));
  return el(
    "div",
    { class: "legend", role: "group", "aria-label": "Shown" },
    SERIES.map((series, s) => {
      if (!used.has(s)) return null;
      const sample = svg(
        "svg",
        { width: 16, height: 16, "aria-hidden": "true", style: colour(series.colour),
          class: `point ${series.filled ? "filled" : "hollow"}` },
        svg("path", { class: "mark", d: SHAPES[series.shape](5.5), transform: "translate(8 8)" }),
      );
      const toggle = button(sample, () => {
        if (!hidden.delete(s)) hidden.add(s);
        toggle.setAttribute("aria-pressed", String(!hidden.has(s)));
        onchange();
      }, { class: "quiet", "aria-pressed": "true" });
      toggle.append(series.name);
      return toggle;
    }),
  );
}
