// Line charts: curves of training, precision over recall, calibration.

/**
 * Draws lines into a box, anew whenever its width changes.
 * Options: label; x, y {label, domain?, log?}; series [{name, xs, ys, index}]; height; diagonal.
 * Pointing, or arrow keys on the chart, reads single values.
 */
function lineChart(box, options) {
  const plot = el("div", { class: "plot" });
  const live = el("p", { class: "unseen", role: "status" });
  box.append(plot, live);
  onWidth(plot, (width) => {
    plot.replaceChildren();
    drawLines(plot, live, width, options);
  });
}

function drawLines(plot, live, width, { label, x, y, series, height = 300, diagonal }) {
  const usable = (value, log) => Number.isFinite(value) && (!log || value > 0);
  const points = series.flatMap(({ name, xs, ys }, s) =>
    xs.map((value, i) => ({ s, name, x: value, y: ys[i] }))
      .filter((point) => usable(point.x, x.log) && usable(point.y, y.log)),
  );
  const chart = frame({
    width,
    height,
    x: { ...x, domain: x.domain ?? domainOf(points.map((point) => point.x), x.log, 0.02) },
    y: { ...y, domain: y.domain ?? domainOf(points.map((point) => point.y), y.log) },
  });
  const { root, marks, sx, sy } = chart;
  if (diagonal) {
    const ends = { x1: sx.at(0), y1: sy.at(0), x2: sx.at(1), y2: sy.at(1) };
    marks.append(svg("line", { class: "diagonal", ...ends }));
  }
  series.forEach((one, s) => {
    const mine = points.filter((point) => point.s === s);
    const path = mine.map((p) => `${sx.at(p.x).toFixed(1)} ${sy.at(p.y).toFixed(1)}`).join("L");
    const index = one.index ?? s;
    const dash = DASHES[Math.floor(index / COLOURS) % DASHES.length];
    marks.append(
      svg("path", {
        class: "line",
        d: mine.length ? `M${path}` : "",
        style: colour(index),
        "stroke-dasharray": dash || null,
      }),
    );
    if (mine.length <= 40) {
      const shape = SHAPES[SHAPE_NAMES[index % SHAPE_NAMES.length]](3);
      for (const point of mine) {
        const place = `translate(${sx.at(point.x).toFixed(1)} ${sy.at(point.y).toFixed(1)})`;
        marks.append(svg("path", { class: "dot", d: shape, transform: place, style: colour(index) }));
      }
    }
  });
  furnish(root, { role: "img", tabindex: 0, "aria-label": `${label}. Arrow keys read values.` }, []);
  plot.append(root);
  if (points.length) readValues({ plot, live, root, chart, points, series, x, y });
}

/** Marks the value nearest to the pointer, or the next one along a line by keys. */
function readValues({ plot, live, root, chart, points, series, x, y }) {
  const tip = tooltipOf(plot);
  const ring = svg("circle", { class: "ring", r: 6, hidden: true });
  root.append(ring);
  let current = points[0];
  const show = (point, aloud) => {
    current = point;
    const [px, py] = [chart.sx.at(point.x), chart.sy.at(point.y)];
    furnish(ring, { cx: px, cy: py }, []);
    ring.removeAttribute("hidden");
    const values = [`${x.label}: ${short(point.x)}`, `${y.label}: ${short(point.y)}`];
    tip.show(px, py, [point.name, ...values]);
    if (aloud) live.textContent = [point.name, ...values].join(", ");
  };
  const hide = () => {
    ring.setAttribute("hidden", "");
    tip.hide();
  };
  root.addEventListener("pointermove", (event) => {
    const at = root.getBoundingClientRect();
    const [px, py] = [event.clientX - at.left, event.clientY - at.top];
    const far = (point) => Math.hypot(chart.sx.at(point.x) - px, chart.sy.at(point.y) - py);
    let [best, least] = [null, 60];
    for (const point of points) {
      const distance = far(point);
      if (distance < least) [best, least] = [point, distance];
    }
    if (best) show(best, false);
    else hide();
  });
  root.addEventListener("pointerleave", hide);
  root.addEventListener("blur", hide);
  root.addEventListener("focus", () => show(current, true));
  root.addEventListener("keydown", (event) => {
    const along = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    const across = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!along && !across) return;
    event.preventDefault();
    const s = across ? (current.s + across + series.length) % series.length : current.s;
    const mine = points.filter((point) => point.s === s);
    if (!mine.length) return;
    const place = along ? mine.indexOf(current) + along : 0;
    show(mine[Math.min(Math.max(place, 0), mine.length - 1)], true);
  });
}

/** Buttons that show and hide lines; a line's sample beside each name. */
function legendOf(series, hidden, onchange) {
  return el(
    "div",
    { class: "legend", role: "group", "aria-label": "Shown" },
    series.map(({ name, index }) => {
      const dash = DASHES[Math.floor(index / COLOURS) % DASHES.length];
      const shape = SHAPES[SHAPE_NAMES[index % SHAPE_NAMES.length]](3.2);
      const line = { class: "line", d: "M0 7H22", "stroke-dasharray": dash || null };
      const sample = svg(
        "svg",
        { width: 22, height: 14, "aria-hidden": "true", style: colour(index) },
        svg("path", line),
        svg("path", { class: "dot", d: shape, transform: "translate(11 7)" }),
      );
      const toggle = button(sample, () => {
        if (!hidden.delete(name)) hidden.add(name);
        toggle.setAttribute("aria-pressed", String(!hidden.has(name)));
        onchange();
      }, { class: "quiet", "aria-pressed": String(!hidden.has(name)) });
      toggle.append(name);
      return toggle;
    }),
  );
}
