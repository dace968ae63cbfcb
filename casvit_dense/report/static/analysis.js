// What went right and wrong: bars, lines, matrices and tables, each from its own description.

const BARS = 20; // before the reader asks for all

const WIDGETS = {
  bars: barsWidget,
  lines: linesWidget,
  matrix: matrixWidget,
  table: tableWidget,
  histogram: histogramWidget,
};

function setUpAnalysis(box, widgets) {
  for (const widget of widgets) {
    const part = el("div", { class: "widget" }, el("h4", {}, widget.title));
    if (widget.note) part.append(el("p", {}, widget.note));
    box.append(part);
    whenNear(part, () => WIDGETS[widget.kind](part, widget));
  }
}

/** {caption, most, rows: [[label, value, text, more], …]}: lengths are shares of `most`. */
function barsWidget(box, { caption, rows, most }) {
  const longest = most ?? Math.max(...rows.map(([, value]) => value ?? 0), 1e-9);
  const lines = rows.map(([label, value, text, more]) =>
    el("tr", {},
      el("th", { scope: "row" }, label),
      el("td", { class: "bar-cell" }, value == null ? null : el("div", { class: "track" },
        el("div", { class: "bar", style: `width: ${Math.max(0, (100 * value) / longest)}%` }))),
      el("td", { class: "number" }, text),
      el("td", { class: "number" }, more)));
  lines.forEach((line, i) => line.classList.toggle("beyond", i >= BARS));
  box.append(el("table", { class: "bars" }, el("caption", { class: "unseen" }, caption),
    el("tbody", {}, lines)));
  if (lines.length <= BARS) return;
  const more = button(`Show all ${lines.length}`, () => {
    lines.forEach((line) => line.classList.remove("beyond"));
    more.remove();
  }, { class: "more control" });
  box.append(more);
}

/** {x, y, xs?, series, shown?, diagonal?}: of many series only the first ones at first. */
function linesWidget(box, widget) {
  const series = widget.series.map((one, index) => ({ xs: widget.xs, ...one, index }));
  const few = 8;
  const hidden = new Set(series.slice(widget.shown ?? few).map((one) => one.name));
  const chart = el("div");
  const draw = () => {
    chart.replaceChildren();
    const shown = series.filter((one) => !hidden.has(one.name));
    lineChart(chart, { ...widget, label: widget.title, series: shown, height: 280 });
  };
  const legend = el("div", {}, legendOf(series.slice(0, few), hidden, draw));
  if (series.length > few) legend.append(oneMore(series.slice(few), hidden, draw));
  box.append(chart, legend);
  draw();
}

function oneMore(rest, hidden, draw) {
  const options = [["", "none"], ...rest.map(({ name }) => [name, name])];
  const choose = choice("Also show", options, "", (chosen) => {
    for (const { name } of rest) hidden.add(name);
    hidden.delete(chosen);
    draw();
  });
  return el("div", { class: "tools control" }, choose);
}

function tableWidget(box, { caption, columns, rows }) {
  const numeric = columns.map((_, i) => rows.every((row) => typeof row[i] === "number"));
  const cell = (value, i) => el("td", { class: numeric[i] ? "number" : null }, String(value));
  box.append(
    el("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": caption },
      el("table", {}, el("caption", {}, caption),
        el("thead", {}, el("tr", {}, columns.map((name, i) =>
          el("th", { scope: "col", class: numeric[i] ? "number" : null }, name)))),
        el("tbody", {}, rows.map((row) => el("tr", {},
          el("th", { scope: "row" }, String(row[0])),
          row.slice(1).map((value, i) => cell(value, i + 1))))))),
  );
}
