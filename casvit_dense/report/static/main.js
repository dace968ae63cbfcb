// Brings the page to life; without it the tables are plain and complete.

setUpTheme();
document.querySelectorAll(".grid").forEach(setUpGrid);
setUpCopying();
document.body.append(el("dialog", { id: "viewer", "aria-labelledby": "viewer-title" }));
for (const box of document.querySelectorAll(".scatter")) whenNear(box, () => setUpScatter(box));
withBox("curves", setUpCurves);
withBox("data-gallery", (box) => setUpGallery(box, dataOf("data-gallery-data")));
withBox("data-analysis", (box) => setUpAnalysis(box, dataOf("data-analysis-data")));
for (const model of document.querySelectorAll("details.model")) {
  if (model.open) setUpModel(model);
  else model.addEventListener("toggle", () => setUpModel(model), { once: true });
}

// What is printed is drawn first, and every model is open on paper.
const printing = matchMedia("print");
const openForPrint = [];
window.addEventListener("beforeprint", prepare);
window.addEventListener("afterprint", restore);
printing.addEventListener("change", () => (printing.matches ? prepare() : restore()));

function prepare() {
  for (const model of document.querySelectorAll("details.model:not([open])")) {
    setUpModel(model);
    model.open = true;
    openForPrint.push(model);
  }
  drawAll();
}

function restore() {
  for (const model of openForPrint.splice(0)) model.open = false;
}

function withBox(id, setUp) {
  const box = document.getElementById(id);
  if (box) whenNear(box, () => setUp(box));
}

/** A model's part is read and drawn when it is first opened. */
function setUpModel(model) {
  if ("drawn" in model.dataset) return;
  model.dataset.drawn = "";
  const { analysis, gallery } = dataOf(`${model.id}-data`);
  setUpAnalysis(model.querySelector(".analysis"), analysis);
  setUpGallery(model.querySelector(".gallery"), gallery);
}
