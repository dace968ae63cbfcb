// Confusion matrices: a table of tinted cells while they are small, a canvas when they are not.

const READABLE = 14; // classes that fit a table
const MOST = 15; // confusions that are listed

/** Draws {caption, names, cells: [[truth, predicted, count], …]} into a box. */
function matrixWidget(box, widget) {
  const small = widget.names.length <= READABLE;
  const totals = new Array(widget.names.length).fill(0);
  for (const [row, , count] of widget.cells) totals[row] += count;
  if (small) box.append(heatTable(widget, totals));
  else box.append(heatCanvas(widget, totals));
  const others = widget.cells.filter(([row, column]) => row !== column);
  others.sort((a, b) => b[2] - a[2]);
  if (small || !others.length) return;
  const lines = others.slice(0, MOST).map(([row, column, count]) => [
    widget.names[row], widget.names[column], count, share(count, totals[row]),
  ]);
  tableWidget(box, {
    caption: `The ${lines.length} most frequent of ${others.length} confusions`,
    columns: ["Truth", "Predicted", "Count", "Share of truth"],
    rows: lines,
  });
}

const share = (count, total) => `${total ? ((100 * count) / total).toFixed(1) : 0} %`;

function heatTable({ names, cells, caption }, totals) {
  const counts = names.map(() => new Array(names.length).fill(0));
  for (const [row, column, count] of cells) counts[row][column] = count;
  const axis = el("tr", {}, el("td", { colspan: 2 }),
    el("th", { scope: "colgroup", colspan: names.length, class: "axis" }, "Predicted"));
  const head = el("tr", {}, el("td", { colspan: 2 }),
    names.map((name) => el("th", { scope: "col", class: "number" }, name)));
  const truth = el("th", { scope: "rowgroup", rowspan: names.length, class: "axis down" },
    el("span", {}, "Truth"));
  const body = names.map((name, row) =>
    el("tr", {}, row === 0 ? truth : null, el("th", { scope: "row" }, name), counts[row].map((count, column) => {
      const part = totals[row] ? count / totals[row] : 0;
      return el("td", {
        style: `--share: ${part.toFixed(3)}`,
        title: `${name} taken for ${names[column]}: ${count} (${share(count, totals[row])})`,
      }, amount(count));
    })));
  return el("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": caption },
    el("table", { class: "heat" }, el("caption", {}, caption), el("thead", {}, axis, head),
      el("tbody", {}, body)));
}

const amount = (count) => (count >= 1e6 ? `${(count / 1e6).toPrecision(3)} M` : String(count));

function heatCanvas({ names, cells, caption }, totals) {
  const canvas = el("canvas", { width: names.length, height: names.length, tabindex: 0, role: "img",
    "aria-label": `${caption}. Arrow keys move from cell to cell.` });
  const status = el("p", { role: "status" }, "Rows are the truth, columns what was predicted. Point at a cell to read it.");
  const counts = new Map(cells.map(([row, column, count]) => [row * names.length + column, count]));
  const at = { row: 0, column: 0 };
  const scale = Math.max(1, Math.floor(440 / names.length));
  canvas.style.width = `${names.length * scale}px`;

  function paint() {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.fillStyle = getComputedStyle(canvas).color;
    for (const [row, column, count] of cells) {
      // The root lets rare confusions be seen beside a strong diagonal.
      context.globalAlpha = Math.sqrt(count / totals[row]);
      context.fillRect(column, row, 1, 1);
    }
  }
  function read() {
    const count = counts.get(at.row * names.length + at.column) ?? 0;
    status.textContent = `${names[at.row]} taken for ${names[at.column]}: ${count} (${share(count, totals[at.row])})`;
  }
  canvas.addEventListener("pointermove", (event) => {
    const box = canvas.getBoundingClientRect();
    const inside = (value, size) => Math.min(Math.max(Math.floor(value), 0), size - 1);
    at.column = inside(((event.clientX - box.left) / box.width) * names.length, names.length);
    at.row = inside(((event.clientY - box.top) / box.height) * names.length, names.length);
    read();
  });
  canvas.addEventListener("keydown", (event) => {
    const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1],
      ArrowRight: [0, 1] }[event.key] ?? [0, 0];
    if (!down && !right) return;
    event.preventDefault();
    at.row = Math.min(Math.max(at.row + down, 0), names.length - 1);
    at.column = Math.min(Math.max(at.column + right, 0), names.length - 1);
    read();
  });
  document.addEventListener("themechange", paint);
  requestAnimationFrame(paint); // once it is in the page and has a colour
  const drawn = el("div", { class: "axes" }, el("span", { class: "axis" }, "Predicted"),
    el("span", { class: "axis down" }, "Truth"), canvas);
  return el("div", { class: "matrix" }, drawn, status);
}
