// One picture in a dialog: zoom by wheel, buttons, keys or two fingers; scrolling moves it.

const ZOOM_STEP = 1.4;
const MOST_ZOOM = 24;

function openViewer(view, images, start) {
  const dialog = document.getElementById("viewer");
  dialog.classList.toggle("data", Boolean(view.gallery.truth_only));
  const state = { at: start, zoom: 1, stages: [] };
  const title = el("h2", { id: "viewer-title" });
  const room = el("div", { class: "room", tabindex: 0, role: "region", "aria-label": "Picture" });
  const reading = el("p", { class: "reading", role: "status" });
  const list = el("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": "Objects" });
  const level = el("output", {});

  const controls = galleryControls(view.gallery, view.state, (rebuild) => {
    if (rebuild) show();
    state.stages.forEach((stage) => stage.update(view.state));
  });
  const previous = button("← Previous", () => step(-1));
  const next = button("Next →", () => step(1));
  dialog.replaceChildren(
    el("div", { class: "bar" }, title, button("Close", () => dialog.close(), { class: "close" })),
    el(
      "div",
      { class: "bar" },
      previous,
      next,
      el("span", { class: "zoom", role: "group", "aria-label": "Zoom" },
        button("−", () => zoomBy(1 / ZOOM_STEP), { "aria-label": "Zoom out" }),
        level,
        button("+", () => zoomBy(ZOOM_STEP), { "aria-label": "Zoom in" }),
        button("Fit", () => zoomTo(1))),
      controls,
    ),
    room,
    reading,
    el("details", {}, el("summary", {}, "What is in this picture"), list),
    el("p", { class: "hint" }, `Keys: + and − zoom, 0 fits, ← and → go on, T ${view.gallery.truth_only ? "toggles" : "and P toggle"}, Escape closes.`),
  );

  function show() {
    const image = images[state.at];
    title.textContent = `${image.name} (${state.at + 1} of ${images.length})`;
    [previous.disabled, next.disabled] = [state.at === 0, state.at === images.length - 1];
    state.stages = stagesOf(view, image);
    room.replaceChildren(...state.stages.map((stage) => stage.node));
    const found = image.findings.map(([, text]) => text);
    reading.textContent = [image.why.join(", "), image.score, ...found].filter(Boolean).join(" · ");
    contentsOf(view.gallery, image).then((table) => list.replaceChildren(table));
    zoomTo(1);
  }
  function step(by) {
    const to = state.at + by;
    if (to < 0 || to >= images.length) return;
    state.at = to;
    show();
  }
  /** Zooms; the picture's point under `anchor` (of the window) stays where it is. */
  function zoomTo(zoom, anchor) {
    const image = images[state.at];
    const box = room.getBoundingClientRect();
    const [ax, ay] = anchor ? [anchor.x - box.left, anchor.y - box.top] : [box.width / 2, box.height / 2];
    const old = state.zoom;
    state.zoom = Math.min(Math.max(zoom, 1), MOST_ZOOM);
    const columns = state.stages.length;
    const fit = Math.min(room.clientWidth / columns - 8, (room.clientHeight - 4) * (image.width / image.height));
    for (const { node } of state.stages) node.style.width = `${Math.floor(fit * state.zoom)}px`;
    room.scrollLeft = (room.scrollLeft + ax) * (state.zoom / old) - ax;
    room.scrollTop = (room.scrollTop + ay) * (state.zoom / old) - ay;
    level.textContent = `${Math.round(state.zoom * 100)} %`;
  }
  const zoomBy = (factor, anchor) => zoomTo(state.zoom * factor, anchor);

  const listening = new AbortController();
  const on = (node, type, act, options = {}) =>
    node.addEventListener(type, act, { ...options, signal: listening.signal });
  on(room, "wheel", (event) => {
    event.preventDefault();
    zoomBy(Math.exp(-event.deltaY / 400), { x: event.clientX, y: event.clientY });
  }, { passive: false });
  on(dialog, "keydown", (event) => {
    if (event.target.matches("select, input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const toggleOf = (name) => controls.querySelectorAll("label.check input")[name].click();
    const acts = {
      "+": () => zoomBy(ZOOM_STEP),
      "=": () => zoomBy(ZOOM_STEP),
      "-": () => zoomBy(1 / ZOOM_STEP),
      0: () => zoomTo(1),
      t: () => toggleOf(0),
    };
    if (!view.gallery.truth_only) acts.p = () => toggleOf(1);
    if (state.zoom === 1) Object.assign(acts, { ArrowLeft: () => step(-1), ArrowRight: () => step(1) });
    const act = acts[event.key.toLowerCase()] ?? acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  on(window, "resize", () => zoomTo(state.zoom));
  on(dialog, "close", () => {
    listening.abort();
    dialog.replaceChildren();
    view.follow(state.at);
  });
  pinch(room, on, () => state.zoom, zoomTo);
  if (view.gallery.kind === "maps") readUnderPointer(view.gallery, room, on, reading, () => images[state.at]);
  dialog.showModal();
  show();
  room.focus();
}

/** Two fingers: their distance zooms. */
function pinch(room, on, zoomNow, zoomTo) {
  const fingers = new Map();
  let start = null;
  const spread = () => {
    const [a, b] = [...fingers.values()];
    return { size: Math.hypot(a.x - b.x, a.y - b.y), x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  };
  on(room, "pointerdown", (event) => {
    if (event.pointerType !== "touch") return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    start = fingers.size === 2 ? { ...spread(), zoom: zoomNow() } : null;
  });
  on(room, "pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (!start) return;
    const now = spread();
    zoomTo((start.zoom * now.size) / start.size, now);
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
    on(room, end, (event) => {
      fingers.delete(event.pointerId);
      start = null;
    });
  }
}

/** Says which classes are under the pointer. */
function readUnderPointer({ classes, truth_only }, room, on, reading, imageNow) {
  on(room, "pointermove", (event) => {
    const canvas = event.target.closest(".stage")?.querySelector("canvas");
    const maps = imageNow().maps;
    if (!canvas || !maps) return;
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * maps.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * maps.height);
    const at = y * maps.width + x;
    if (!(at in maps.truth)) return;
    const name = (value) => classes[value] ?? "unlabelled";
    const predicted = truth_only ? "" : ` Predicted: ${name(maps.predicted[at])}.`;
    reading.textContent = `Truth: ${name(maps.truth[at])}.${predicted}`;
  });
}

/** The picture's content as a table. */
async function contentsOf(gallery, image) {
  if (gallery.kind === "maps") return mapContents(gallery, image);
  const { classes } = gallery;
  const place = (x, y, w, h) => `${Math.round(w)}×${Math.round(h)} at ${Math.round(x)}, ${Math.round(y)}`;
  const truth = image.truth.map(([label, x, y, w, h, , crowd]) =>
    [crowd ? "truth, crowd" : "truth", classes[label], "", place(x, y, w, h)]);
  const predicted = image.predictions.map(([label, score, x, y, w, h]) =>
    ["prediction", classes[label], score.toFixed(2), place(x, y, w, h)]);
  return plainTable(["", "Class", "Score", "Box, pixels"], [...truth, ...predicted]);
}

async function mapContents({ classes, palette, truth_only }, image) {
  if (image.truth == null || image.predictions == null) return el("p", {}, image.missing ?? "");
  await readMaps(image);
  const { truth, predicted } = image.maps;
  const areas = classes.map(() => ({ truth: 0, predicted: 0, both: 0 }));
  let labelled = 0;
  for (let i = 0; i < truth.length; i++) {
    if (truth[i] === IGNORED) continue;
    labelled += 1;
    if (areas[truth[i]]) areas[truth[i]].truth += 1;
    if (!areas[predicted[i]]) continue;
    areas[predicted[i]].predicted += 1;
    if (truth[i] === predicted[i]) areas[truth[i]].both += 1;
  }
  const part = (count, whole) => (whole ? `${((100 * count) / whole).toFixed(1)} %` : "–");
  const rows = classes
    .map((name, i) => ({ name, i, ...areas[i] }))
    .filter((area) => area.truth || area.predicted)
    .sort((a, b) => b.truth - a.truth)
    .map((area) => [
      el("span", {}, swatch(palette[area.i]), area.name),
      part(area.truth, labelled),
      part(area.predicted, labelled),
      part(area.both, area.truth + area.predicted - area.both),
    ]);
  const columns = truth_only ? 2 : 4;
  const heads = ["Class", "Truth", "Predicted", "IoU here"].slice(0, columns);
  return plainTable(heads, rows.map((row) => row.slice(0, columns)));
}

const plainTable = (heads, rows) =>
  el("table", {}, el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell))))));
