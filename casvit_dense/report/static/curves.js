// Training curves: several runs over one another, one scalar at a time.

const FIRST_RUNS = 8; // shown before the reader chooses

function setUpCurves(box) {
  const runs = dataOf("curves-data");
  const count = new Map();
  for (const run of runs) {
    for (const name of Object.keys(run.curves)) count.set(name, (count.get(name) ?? 0) + 1);
  }
  const names = [...count.keys()];
  const state = { scalar: names.includes("loss") ? "loss" : names[0], log: false };
  const hidden = new Set(runs.slice(FIRST_RUNS).map((run) => run.name));
  const chart = el("div");
  const legend = el("div");
  const options = names.map((name) => [name, `${name} (${count.get(name)})`, kindOf(name)]);
  box.append(
    el(
      "div",
      { class: "tools control" },
      choice("Scalar (runs that have it)", options, state.scalar, (value) => {
        state.scalar = value;
        draw();
      }),
      check("Logarithmic", false, (checked) => {
        state.log = checked;
        draw();
      }),
    ),
    chart,
    legend,
  );
  draw();

  function draw() {
    const having = runs.map((run, index) => ({ ...run, index })).filter(
      (run) => state.scalar in run.curves,
    );
    const series = having.filter((run) => !hidden.has(run.name)).map(({ name, index, curves }) => {
      const [xs, ys] = curves[state.scalar];
      return { name, index, xs, ys };
    });
    chart.replaceChildren();
    lineChart(chart, {
      label: `${state.scalar} over iterations, ${series.length} runs`,
      x: { label: "iteration" },
      y: { label: state.scalar, log: state.log },
      series,
    });
    legend.replaceChildren(legendOf(having, hidden, draw));
  }
}

function kindOf(name) {
  if (/loss/.test(name)) return "Losses";
  return /(^coco\/|^m?(IoU|Acc)$|^aAcc$|AP|AR@)/.test(name) ? "Validation" : "Other";
}
