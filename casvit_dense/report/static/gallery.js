// Pictures with truth and predictions, toggled together; a click opens one. A gallery of data
// (`truth_only`) has truth alone.

const LAYOUTS = {
  over: "over one another",
  beside: "side by side",
  differences: "differences",
};

/** Fills a box with a model's gallery. */
function setUpGallery(box, gallery) {
  if (!gallery) return;
  const maps = gallery.kind === "maps";
  const state = {
    truth: true,
    predictions: !gallery.truth_only,
    names: true,
    threshold: gallery.threshold,
    layout: maps && !gallery.truth_only ? "beside" : "over",
    why: "",
  };
  const shown = []; // {image, figure, stages}
  const grid = el("div", { class: "pictures" });
  const update = () => shown.forEach((one) => one.stages.forEach((stage) => stage.update(state)));
  const newControls = () => galleryControls(gallery, state, refresh, true);
  let controls = newControls();
  const view = { gallery, state, follow };

  function refresh(rebuild) {
    if (rebuild) build();
    else update();
  }
  function build() {
    shown.length = 0;
    grid.dataset.layout = state.layout;
    const images = gallery.images.filter((image) => !state.why || image.why.includes(state.why));
    grid.replaceChildren(...images.map((image) => figureOf(view, image, images, shown)));
  }
  /** Shows what was set in the dialog, and goes to the picture that was looked at last. */
  function follow(at) {
    const old = controls;
    controls = newControls();
    old.replaceWith(controls);
    if (grid.dataset.layout === state.layout) update();
    else build();
    grid.children[at].querySelector("button").focus();
  }
  box.append(
    ...(gallery.truth_only ? [] : [el("h4", {}, "Pictures")]),
    ...gallery.notes.map((note) => el("p", { class: "made" }, note)),
    controls,
    keyOf(gallery) ?? "",
    grid,
  );
  build();
}

/** Toggles for the layers; with `choosing` also which pictures are shown. */
function galleryControls(gallery, state, refresh, choosing = false) {
  const maps = gallery.kind === "maps";
  const toggle = (label, name) =>
    check(label, state[name], (checked) => {
      state[name] = checked;
      refresh(false);
    });
  const layouts = Object.entries(LAYOUTS).filter(([key]) => maps || key !== "differences");
  const whys = [...new Set(gallery.images.flatMap((image) => image.why))];
  return el(
    "div",
    { class: "tools control" },
    choosing && whys.length > 1
      ? choice("Pictures", [["", "all"], ...whys.map((why) => [why, why])], state.why, (why) => {
          state.why = why;
          refresh(true);
        })
      : null,
    gallery.truth_only ? null : choice("Layers", layouts, state.layout, (layout) => {
      state.layout = layout;
      refresh(true);
    }),
    toggle("Truth", "truth"),
    gallery.truth_only ? null : toggle("Predictions", "predictions"),
    maps && !gallery.truth_only ? null : toggle("Names", "names"),
    maps || gallery.truth_only ? null : thresholdOf(state, refresh),
  );
}

function thresholdOf(state, refresh) {
  const id = newId();
  const value = el("output", { for: id }, state.threshold.toFixed(2));
  const slider = el("input", {
    id,
    type: "range",
    min: 0.05,
    max: 0.95,
    step: 0.05,
    value: state.threshold,
    oninput: () => {
      state.threshold = Number(slider.value);
      value.textContent = state.threshold.toFixed(2);
      refresh(false);
    },
  });
  return el("span", { class: "threshold" }, el("label", { for: id }, "Least score"), slider, value);
}

/** What the colours mean. */
function keyOf({ kind, classes, palette, truth_only }) {
  if (kind !== "maps" && !truth_only) {
    return el("p", { class: "key" }, el("span", { class: "swatch truth" }), "truth, dashed ",
      el("span", { class: "swatch predicted" }), "prediction, with its score");
  }
  if (classes.length > 12) return null;
  return el("p", { class: "key" }, classes.map((name, i) => [swatch(palette[i]), `${name} `]).flat());
}

const swatch = (rgb) => el("span", { class: "swatch", style: `background: rgb(${rgb.join(" ")})` });

function figureOf(view, image, images, shown) {
  const open = button("", () => openViewer(view, images, images.indexOf(image)), {
    class: "open",
    "aria-label": `Open ${image.name}: ${image.why.join(", ")}, ${image.score}`,
  });
  const figure = el(
    "figure",
    {},
    open,
    el("figcaption", {}, el("span", { class: "file" }, image.name), " ",
      el("small", {}, [image.why.join(", "), image.score].filter(Boolean).join(" · "))),
    image.findings.length ? el("ul", { class: "found" }, image.findings.map(foundIn)) : null,
  );
  open.append(el("div", { class: "stage", style: `aspect-ratio: ${image.width} / ${image.height}` }));
  whenNear(figure, () => {
    const stages = stagesOf(view, image);
    shown.push({ image, stages });
    open.replaceChildren(...stages.map((stage) => stage.node));
  });
  return figure;
}

const foundIn = ([severity, text]) => el("li", { "data-mark": severity }, text);

/** One stage, or two beside each other, as the layout wants. */
function stagesOf({ gallery, state }, image) {
  const wanted = {
    over: [{ truth: true, predictions: true }],
    beside: [{ truth: true, tag: "truth" }, { predictions: true, tag: "prediction" }],
    differences: [{ differences: true }],
  }[state.layout];
  return wanted.map((layers) => {
    const stage = stageOf(gallery, image, layers);
    stage.update(state);
    return stage;
  });
}
