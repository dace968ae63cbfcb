// Truth and predictions over a picture: boxes and outlines as SVG, maps of classes on a canvas.
//
// Truth rows: [class, x, y, width, height, outline, crowd]; prediction rows: [class, score, x, y,
// width, height, outline]; lengths in pixels of the original image, outlines as SVG path data.

const TINT = 0.6; // share of the class colour over the picture

/** A picture's stage: {node, update(state)}; `layers` limits what it shows. */
function stageOf(gallery, image, layers) {
  const node = el("div", { class: "stage", style: `aspect-ratio: ${image.width} / ${image.height}` });
  node.append(pictureOf(image));
  const layer = gallery.kind === "maps" ? mapLayer(gallery, image) : boxLayer(gallery, image);
  if (layer) node.append(layer.node);
  const named = image.names.length ? nameLayer(gallery, image) : null;
  if (named) node.append(named);
  if (layers.tag) node.append(el("span", { class: "tag" }, layers.tag));
  return {
    node,
    update(state) {
      layer?.update(state, layers);
      named?.classList.toggle("unnamed", !state.names || !state.truth);
    },
  };
}

/** The names of regions of a map. */
function nameLayer({ classes }, image) {
  const texts = image.names.map(([label, x, y]) => svg("text", { x, y }, classes[label]));
  const viewBox = `0 0 ${image.width} ${image.height}`;
  const node = svg("svg", { viewBox, class: "objects regions", "aria-hidden": "true" }, texts);
  onWidth(node, (width) => node.style.setProperty("--unit", image.width / width));
  return node;
}

/** Base64 of an embedded picture. */
const embedded = (index) => document.getElementById(`picture-${index}`).textContent;

function pictureOf(image) {
  if (image.picture == null) return el("p", { class: "gone" }, image.missing);
  return el("img", { src: `data:image/webp;base64,${embedded(image.picture)}`, alt: "",
    width: image.width, height: image.height, decoding: "async" });
}

function boxLayer({ classes, palette, truth_only }, image) {
  const truth = image.truth.map(([label, x, y, w, h, outline, crowd]) =>
    objectOf(crowd ? "truth crowd" : "truth", classes[label], [x, y, w, h], outline, image,
      palette[label]));
  const predictions = image.predictions.map(([label, score, x, y, w, h, outline]) =>
    objectOf("predicted", `${classes[label]} ${score.toFixed(2)}`, [x, y, w, h], outline, image));
  const node = svg(
    "svg",
    { viewBox: `0 0 ${image.width} ${image.height}`, class: "objects", "aria-hidden": "true" },
    truth,
    predictions.toReversed(), // the surest come last, over the others
  );
  // Texts keep their size on the screen, whatever the picture's is.
  onWidth(node, (width) => {
    const unit = image.width / width;
    node.style.setProperty("--unit", unit);
    if (truth_only) truth.forEach((one, i) => nameIfRoom(one, image.truth[i][3] / unit));
  });
  return {
    node,
    update(state, layers) {
      const showing = (on) => (on ? "" : "none");
      node.classList.toggle("unnamed", !state.names);
      for (const one of truth) one.style.display = showing(state.truth && layers.truth);
      predictions.forEach((one, i) => {
        const sure = image.predictions[i][1] >= state.threshold;
        one.style.display = showing(state.predictions && layers.predictions && sure);
      });
    },
  };
}

/** Leaves out a name that is far wider than its box on the screen: zooming in brings it back. */
function nameIfRoom(object, width) {
  const text = object.querySelector("text");
  text.style.display = width < 4 * text.textContent.length ? "none" : "";
}

function objectOf(kind, name, [x, y, width, height], outline, image, rgb) {
  const below = y < image.height * 0.06; // no room above the box
  return svg(
    "g",
    { class: `object ${kind}`, style: rgb ? `--stroke: rgb(${rgb.join(" ")})` : null },
    outline ? svg("path", { class: "outline", d: outline }) : null,
    svg("rect", { class: "halo", x, y, width, height }),
    svg("rect", { class: "box", x, y, width, height }),
    svg("text", { x, y, dy: below ? "1.1em" : "-0.3em" }, name),
  );
}

function mapLayer({ palette }, image) {
  if (image.truth == null || image.predictions == null) return null;
  const node = el("canvas", { class: "map" });
  let last = null;
  readMaps(image).then(() => last && paint(...last));
  function paint(state, layers) {
    last = [state, layers];
    if (!image.maps) return;
    const { truth, predicted, width, height } = image.maps;
    if (node.width !== width) [node.width, node.height] = [width, height];
    const pixels = new ImageData(width, height);
    const [hasTruth, hasPredicted] = [state.truth && layers.truth, state.predictions && layers.predictions];
    if (layers.differences) paintDifferences(pixels.data, truth, predicted);
    else if (hasPredicted) paintMap(pixels.data, predicted, palette);
    else if (hasTruth) paintMap(pixels.data, truth, palette);
    if (hasPredicted && hasTruth && !layers.differences) paintEdges(pixels.data, truth, width);
    node.getContext("2d").putImageData(pixels, 0, 0);
  }
  return { node, update: paint };
}

const IGNORED = 255;

/** Decodes both maps of an image, once. */
async function readMaps(image) {
  if (image.maps) return;
  const [truth, predicted] = await Promise.all([decoded(image.truth), decoded(image.predictions)]);
  image.maps = { truth: truth.values, predicted: predicted.values, width: truth.width, height: truth.height };
}

/** Class indices of an embedded grey PNG. */
async function decoded(index) {
  const picture = new Image();
  picture.src = `data:image/png;base64,${embedded(index)}`;
  await picture.decode();
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  const context = el("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  const values = new Uint8Array(width * height);
  for (let i = 0; i < values.length; i++) values[i] = data[4 * i];
  return { values, width, height };
}

function paintMap(data, values, palette) {
  for (let i = 0; i < values.length; i++) {
    const rgb = palette[values[i]];
    if (rgb) data.set([...rgb, 255 * TINT], 4 * i);
  }
}

function paintDifferences(data, truth, predicted) {
  for (let i = 0; i < truth.length; i++) {
    if (truth[i] === IGNORED) continue;
    data.set(truth[i] === predicted[i] ? [0, 0, 0, 110] : [230, 97, 0, 235], 4 * i);
  }
}

/** Borders between the classes of the truth, white beside black. */
function paintEdges(data, values, width) {
  for (let i = 0; i < values.length; i++) {
    const right = (i + 1) % width !== 0 && values[i] !== values[i + 1];
    const down = i + width < values.length && values[i] !== values[i + width];
    if (!right && !down) continue;
    data.set([255, 255, 255, 255], 4 * i);
    const other = 4 * (right ? i + 1 : i + width);
    data.set([0, 0, 0, 255], other);
  }
}
