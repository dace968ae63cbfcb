// Histograms: how often a value occurs, in bins of equal width or equal ratio.

/** {title, label, log, edges, counts, unit}: bin i lies between edges i and i + 1. */
function histogramWidget(box, { title, label, log, edges, counts, unit }) {
  const plot = el("div", { class: "plot" });
  box.append(plot);
  const total = counts.reduce((sum, count) => sum + count, 0);
  onWidth(plot, (width) => {
    const { root, marks, sx, sy, bottom } = frame({
      width,
      height: 230,
      x: { label, domain: [edges[0], edges[edges.length - 1]], log },
      y: { label: unit, domain: [0, Math.max(...counts, 1) * 1.05] },
    });
    plot.replaceChildren(root);
    const tip = tooltipOf(plot);
    furnish(root, { role: "img", "aria-label": `${title}: ${total} ${unit}` }, []);
    counts.forEach((count, i) => {
      const [left, right] = [sx.at(edges[i]), sx.at(edges[i + 1])];
      const lines = [`${short(edges[i])} to ${short(edges[i + 1])}`, `${count} ${unit}`];
      const middle = (left + right) / 2;
      const act = {
        onpointerenter: () => tip.show(middle, sy.at(count), lines),
        onpointerleave: () => tip.hide(),
      };
      const gap = Math.min(1, (right - left) / 4);
      const place = { x: left + gap / 2, width: right - left - gap };
      marks.append(
        svg("rect", { class: "column", ...place, y: sy.at(count), height: bottom - sy.at(count) }),
        svg("rect", { class: "bin", ...place, y: MARGIN.top, height: bottom - MARGIN.top, ...act }),
      );
    });
  });
}
