// The page that classifies: opens the model in it, proves it on its golden samples, and then answers for images.
// docs/model-file.md is the specification of the file; nothing is fetched and nothing is sent.

const MAX_FILE_BYTES = 200_000_000;
const MAX_PIXELS = 50_000_000;
const MAX_SIDE_PX = 65_535;
const PREVIEW_PX = 640;
const SHOWN_LABELS = 5;
const HEAT_STRENGTH = 0.6; // how much of the image the strongest place hides

const $ = (id) => document.getElementById(id);
const results = [];
let model;
let queue = Promise.resolve();
let waiting = 0;
let shots = 0;

// ---------------------------------------------------------------- what is in the page

function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

async function embedded(id) {
  const element = $(id);
  const packed = fromBase64(element.textContent);
  element.remove(); // the text would stay in memory
  const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

// The metadata of an ONNX file: field 14 of ModelProto, an entry with the fields 1, key, and 2, value.
function metadata(file) {
  const text = new TextDecoder();
  const found = {};
  for (const [number, entry] of fields(file)) {
    if (number !== 14) continue;
    const parts = Object.fromEntries(fields(entry));
    found[text.decode(parts[1])] = text.decode(parts[2]);
  }
  return found;
}

// The number and bytes of every field that has a length; the others are skipped.
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale; // not <<, which is cut at 32 bits
      if (!(byte >= 128)) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const wire = key % 8;
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else {
      const length = varint();
      yield [Math.floor(key / 8), bytes.subarray(at, at + length)];
      at += length;
    }
  }
}

async function openModel() {
  const loader = new Blob([await embedded("runtime-loader")], { type: "text/javascript" });
  const address = URL.createObjectURL(loader);
  const ort = await import(address);
  URL.revokeObjectURL(address);
  ort.env.wasm.numThreads = 1; // more need headers that only a server can send
  ort.env.wasm.wasmBinary = await embedded("runtime-wasm");
  const file = await embedded("model");
  const found = metadata(file);
  const spec = parsed(found["tl.spec"], "tl.spec", [1, 2]);
  const golden = parsed(found["tl.golden"], "tl.golden", [1, 2]);
  const session = await ort.InferenceSession.create(file, { executionProviders: ["wasm"] });
  const wanted = ["probabilities", "heatmap", "familiarity"].filter((name) => session.outputNames.includes(name));
  return {
    spec,
    golden,
    bitDepth: found["tl.bit_depth"],
    hasHeatmap: wanted.includes("heatmap"),
    async run({ pixels, width, height }) {
      const image = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
      return session.run({ image }, wanted);
    },
  };
}

function parsed(text, key, versions) {
  const document = JSON.parse(text ?? "{}");
  if (!versions.includes(document.version)) throw new Error(`${key}: version ${document.version}, expected ${versions.join(" or ")}`);
  return document;
}

// The largest difference of a probability on the golden samples; an error if one is off by more than the tolerance.
async function selfTest() {
  let largest = 0;
  for (const sample of model.golden.samples) {
    const image = await decode(new Blob([fromBase64(sample.png)]));
    const { probabilities, familiarity } = await model.run(image);
    const difference = Math.max(...sample.probabilities.map((p, i) => Math.abs(p - probabilities.data[i])));
    if (!(difference <= model.golden.tolerance)) {
      throw new Error(`golden sample “${sample.name}” differs by ${difference.toPrecision(2)}`);
    }
    largest = Math.max(largest, difference);
    const apart = model.spec.familiarity ? Math.abs(familiarity.data[0] - sample.familiarity) : 0;
    if (!(apart <= (model.golden.familiarity_tolerance ?? 0))) {
      throw new Error(`golden sample “${sample.name}” differs by ${apart.toPrecision(2)} in its familiarity`);
    }
  }
  return largest;
}

// ---------------------------------------------------------------- image files

const ascii = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));

// [width, height] as the file declares them, so that what is too large is refused before it is decoded.
const FORMATS = [
  { is: (b) => b[0] === 0xff && b[1] === 0xd8, size: jpegSize, whole: jpegIsWhole },
  { name: "PNG", is: (b) => ascii(b, 1, 4) === "PNG", size: (b, v) => [v.getUint32(16), v.getUint32(20)], whole: pngIsWhole },
  { is: (b) => ascii(b, 0, 4) === "GIF8", size: (b, v) => [v.getUint16(6, true), v.getUint16(8, true)], whole: gifIsWhole },
  { is: (b) => ascii(b, 0, 4) === "RIFF" && ascii(b, 8, 12) === "WEBP", size: webpSize, whole: riffIsWhole },
  { is: (b) => ascii(b, 0, 2) === "BM", size: bmpSize, whole: bmpIsWhole },
];

// Where the first segment of a JPEG lies whose marker is wanted; beyond the end if there is none.
function jpegSegment(bytes, view, wanted) {
  for (let at = 2; at + 9 < bytes.length && bytes[at] === 0xff; ) {
    const marker = bytes[at + 1];
    if (wanted(marker)) return at;
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
  }
  return bytes.length;
}

function jpegSize(bytes, view) {
  const at = jpegSegment(bytes, view, (marker) => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker));
  return [view.getUint16(at + 7), view.getUint16(at + 5)];
}

function webpSize(bytes, view) {
  const kind = ascii(bytes, 12, 16);
  if (kind === "VP8X") return [24, 27].map((at) => 1 + bytes[at] + 256 * bytes[at + 1] + 65536 * bytes[at + 2]);
  if (kind === "VP8L") return [1 + (view.getUint32(21, true) & 0x3fff), 1 + ((view.getUint32(21, true) >> 14) & 0x3fff)];
  return [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
}

// Negative heights run from the top down; the oldest headers, of 12 bytes, have 16 bits a side.
function bmpSize(bytes, view) {
  if (view.getUint32(14, true) === 12) return [view.getUint16(18, true), view.getUint16(20, true)];
  return [view.getInt32(18, true), Math.abs(view.getInt32(22, true))];
}

// Browsers draw what there is of a truncated file; half an image is not the image.
function jpegIsWhole(bytes, view) {
  const coded = jpegSegment(bytes, view, (marker) => marker === 0xda); // before it a thumbnail may have an end of its own
  for (let at = bytes.length - 2; at > coded; at--) if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return true;
  return false;
}

function pngIsWhole(bytes, view) {
  for (let at = 8; at + 12 <= bytes.length; at += 12 + view.getUint32(at)) {
    if (ascii(bytes, at + 4, at + 8) === "IEND") return true;
  }
  return false;
}

function riffIsWhole(bytes, view) {
  return view.getUint32(4, true) + 8 <= bytes.length;
}

// Up to the end of the first image, which is the one that is drawn.
function gifIsWhole(bytes) {
  const colors = (packed) => (packed & 0x80 ? 3 << ((packed & 7) + 1) : 0);
  const behindBlocks = (at) => {
    while (bytes[at] > 0) at += 1 + bytes[at];
    return at + 1;
  };
  let at = 13 + colors(bytes[10]);
  while (bytes[at] === 0x21) at = behindBlocks(at + 2); // extensions, as the time of an image in an animation
  return bytes[at] === 0x2c && behindBlocks(at + 11 + colors(bytes[at + 9])) <= bytes.length;
}

function bmpIsWhole(bytes, view) {
  const [width, height] = bmpSize(bytes, view);
  const oldest = view.getUint32(14, true) === 12;
  const packed = !oldest && [1, 2].includes(view.getUint32(30, true)); // run lengths; then the header has their size
  const bits = view.getUint16(oldest ? 24 : 28, true);
  const size = packed ? view.getUint32(34, true) : 4 * Math.ceil((width * bits) / 32) * height;
  return view.getUint32(10, true) + size <= bytes.length;
}

function checkFile(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const format = bytes.length > 30 && FORMATS.find(({ is }) => is(bytes));
  if (!format) throw new Error("not a JPEG, PNG, WebP, GIF or BMP image");
  let [width, height] = [NaN, NaN];
  try {
    [width, height] = format.size(bytes, view);
  } catch {} // a header beyond the end
  if (!(width >= 1 && height >= 1)) throw new Error("damaged: the file does not say its size");
  if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE_PX) {
    throw new Error(`${width} × ${height} pixels; the limit is ${MAX_PIXELS / 1e6} million in all and ${MAX_SIDE_PX} a side`);
  }
  if (model.bitDepth && format.name === "PNG" && bytes[24] === 16) {
    throw new Error(`16 bits a channel, of which this model takes ${model.bitDepth}: a browser gives 8; use tl-infer`);
  }
  if (format.whole && !format.whole(bytes, view)) throw new Error("truncated");
}

// An image file -> upright RGB: stored values, EXIF orientation applied, transparency over white.
async function decode(blob) {
  if (blob.size > MAX_FILE_BYTES) throw new Error(`${blob.size} bytes; the limit is ${MAX_FILE_BYTES}`);
  checkFile(new Uint8Array(await blob.arrayBuffer()));
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new Error("damaged, or of a kind that this browser cannot read");
  }
  const { width, height } = bitmap;
  const context = canvasOf(width, height, { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  // Beyond their own limits browsers draw nothing, without an error.
  if (context.getImageData(width - 1, height - 1, 1, 1).data[0] !== 255) throw new Error(tooLarge(width, height));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < pixels.length; from += 4, to += 3) {
    pixels[to] = rgba[from];
    pixels[to + 1] = rgba[from + 1];
    pixels[to + 2] = rgba[from + 2];
  }
  return { pixels, width, height, preview: previewOf(context.canvas) };
}

function canvasOf(width, height, options) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { alpha: false, ...options });
  if (!context) throw new Error(tooLarge(width, height));
  return context;
}

const tooLarge = (width, height) => `${width} × ${height} pixels are more than this browser can draw`;

function previewOf(canvas) {
  const scale = Math.min(1, PREVIEW_PX / Math.max(canvas.width, canvas.height));
  const sides = [canvas.width, canvas.height].map((side) => Math.max(1, Math.round(side * scale)));
  const context = canvasOf(...sides);
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, 0, 0, ...sides);
  return context.canvas;
}

// ---------------------------------------------------------------- answers

async function answer(file, name) {
  const image = await decode(file);
  const outputs = await model.run(image);
  const { spec } = model;
  const probabilities = Array.from(outputs.probabilities.data);
  if (!probabilities.every(Number.isFinite)) throw new Error("the model failed on this image");
  const best = probabilities.indexOf(Math.max(...probabilities));
  const familiarity = outputs.familiarity?.data[0];
  const unfamiliar = Boolean(spec.familiarity && familiarity < spec.familiarity.unfamiliar_below);
  const unsure = spec.abstain_below !== null && probabilities[best] < spec.abstain_below;
  return {
    name, probabilities, best, familiarity, unsure, unfamiliar,
    preview: image.preview,
    shape: [image.height, image.width],
    heat: outputs.heatmap && heatOf(outputs.heatmap, best),
  };
}

function heatOf(heatmap, label) {
  const [, , rows, columns] = heatmap.dims;
  const from = label * rows * columns;
  return { rows, columns, values: Float32Array.from(heatmap.data.slice(from, from + rows * columns)) };
}

// Where the centre of each of `count` pixels along a side lies in the network's input, 0..1; outside, it was not seen.
function seenAt(axis, shape, count) {
  const { size, fit, anchor, resize_px } = model.spec.preprocess;
  let scale = Math.min(size[0] / shape[0], size[1] / shape[1]);
  if (fit === "pad") scale = Math.min(1, scale);
  if (fit === "crop") scale = resize_px / Math.min(...shape);
  const placed = fit === "squash" ? size[axis] : shape[axis] * scale;
  const [first, last] = axis === 0 ? ["top", "bottom"] : ["left", "right"];
  const share = fit === "crop" || anchor === "center" ? 0.5 : anchor.includes(first) ? 0 : anchor.includes(last) ? 1 : 0.5;
  const start = (size[axis] - placed) * share;
  return Array.from({ length: count }, (_, i) => (start + ((i + 0.5) * placed) / count) / size[axis]);
}

function cells(positions, count) {
  return positions.map((position) => {
    const place = Math.min(Math.max(position * count - 0.5, 0), count - 1);
    const low = Math.min(Math.floor(place), Math.max(count - 2, 0));
    return { low, high: Math.min(low + 1, count - 1), part: place - low, seen: position >= 0 && position <= 1 };
  });
}

// The preview with the heatmap over it, from red to yellow; what speaks against the answer stays as it is.
function drawHeat(context, { heat, shape }) {
  const { width, height } = context.canvas;
  const down = cells(seenAt(0, shape, height), heat.rows);
  const across = cells(seenAt(1, shape, width), heat.columns);
  const at = (row, column) => heat.values[row * heat.columns + column];
  const between = (row, { low, high, part }) => at(row, low) * (1 - part) + at(row, high) * part;
  const levels = new Float32Array(width * height);
  let peak = 0;
  down.forEach((y, row) => across.forEach((x, column) => {
    if (!x.seen || !y.seen) return;
    const level = between(y.low, x) * (1 - y.part) + between(y.high, x) * y.part;
    levels[row * width + column] = level;
    peak = Math.max(peak, level);
  }));
  if (peak <= 0) return;
  const image = context.getImageData(0, 0, width, height);
  levels.forEach((value, i) => {
    const level = Math.max(0, value / peak);
    const alpha = HEAT_STRENGTH * level;
    [255, 255 * level, 0].forEach((color, channel) => {
      image.data[4 * i + channel] = image.data[4 * i + channel] * (1 - alpha) + color * alpha;
    });
  });
  context.putImageData(image, 0, 0);
}

// ---------------------------------------------------------------- the list

const percent = (value) => `${(100 * value).toFixed(1)} %`;

function show(result) {
  const row = $("result").content.firstElementChild.cloneNode(true);
  result.row = row;
  row.querySelector(".name").textContent = result.name;
  const remove = row.querySelector(".remove");
  remove.setAttribute("aria-label", `Remove ${result.name}`);
  remove.addEventListener("click", () => {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    results.splice(results.indexOf(result), 1);
    row.remove();
    (next?.querySelector(".remove") ?? $("files")).focus();
    showProgress();
  });
  if (result.error) showError(row, result);
  else showAnswer(row, result);
  $("results").append(row);
}

function showError(row, { error }) {
  row.querySelector("canvas").hidden = true;
  row.querySelector("h2").textContent = "Not read";
  row.querySelector(".note").textContent = error;
  row.querySelector(".note").classList.add("bad");
}

function showAnswer(row, result) {
  const { labels } = model.spec;
  const best = labels[result.best];
  const [heading, note] = result.unfamiliar
    ? ["Unfamiliar", `Unlike the images that the model knows. The nearest label would be ${best}.`]
    : result.unsure
      ? ["Unsure", `Below ${percent(model.spec.abstain_below)}, the model gives no label. The likeliest is ${best}.`]
      : [best, ""];
  row.querySelector("h2").textContent = heading;
  row.querySelector(".note").textContent = note;
  const order = labels.map((_, i) => i).sort((a, b) => result.probabilities[b] - result.probabilities[a]);
  row.querySelector(".bars").append(...order.slice(0, SHOWN_LABELS).map((i) => bar(labels[i], result.probabilities[i])));
  draw(result);
}

function bar(label, probability) {
  const item = document.createElement("li");
  const [name, value, track, filled] = ["span", "span", "div", "i"].map((tag) => document.createElement(tag));
  name.textContent = label;
  value.textContent = percent(probability);
  track.className = "track";
  track.setAttribute("aria-hidden", "true");
  filled.style.width = `${100 * probability}%`;
  track.append(filled);
  item.append(name, value, track);
  return item;
}

function draw(result) {
  const canvas = result.row.querySelector("canvas");
  canvas.width = result.preview.width;
  canvas.height = result.preview.height;
  const context = canvas.getContext("2d");
  context.drawImage(result.preview, 0, 0);
  const heated = $("heat").checked && result.heat;
  if (heated) drawHeat(context, result);
  const label = model.spec.labels[result.best];
  canvas.setAttribute("aria-label", heated ? `${result.name}, with what led to ${label} highlighted` : result.name);
}

function showProgress() {
  $("tools").hidden = results.length === 0 && waiting === 0;
  const failed = results.filter(({ error }) => error).length;
  const images = (count) => `${count} image${count === 1 ? "" : "s"}`;
  $("progress").textContent = waiting
    ? `${results.length} of ${results.length + waiting} done…`
    : images(results.length) + (failed ? `, ${failed} not read` : "");
  $("csv").disabled = waiting > 0 || results.length === 0;
}

function take(files) {
  for (const file of files) {
    waiting += 1;
    queue = queue.then(() => classify(file));
  }
  showProgress();
}

async function classify(file) {
  await new Promise((resolve) => setTimeout(resolve)); // lets the page be drawn between two images
  const name = file.name || "pasted image";
  const result = await answer(file, name).catch((error) => ({ name, error: String(error.message ?? error).split("\n")[0] }));
  waiting -= 1;
  results.push(result);
  show(result);
  showProgress();
}

// ---------------------------------------------------------------- CSV, as `tl-infer --top-k all` names its columns

// An apostrophe before what a spreadsheet would take for a formula, and one more before what has one already.
const safe = (text) => text.replace(/[\u0000-\u001f\u007f]/g, "�").replace(/((?:^|;)\s*)(?='*[=+\-@＝＋－＠])/g, "$1'");
const quoted = (text) => `"${safe(text).replaceAll('"', '""')}"`;

function csvText() {
  const { labels, familiarity } = model.spec;
  const why = familiarity ? ["abstained", "reason", "familiarity"] : ["abstained"];
  const header = ["path", "label", "probability", ...labels.map((label) => `p(${label})`), ...why, "error"];
  const rows = results.map((result) => {
    const { name, error, probabilities, best, unsure, unfamiliar } = result;
    if (error) return [quoted(name), '""', "", ...labels.map(() => ""), '"false"', ...(familiarity ? ['""', ""] : []), quoted(error)];
    const reason = unfamiliar ? "unfamiliar" : unsure ? "unsure" : "";
    const numbers = probabilities.map((p) => p.toFixed(6));
    const told = familiarity ? [quoted(reason), result.familiarity.toFixed(6)] : [];
    return [quoted(name), quoted(reason ? "" : labels[best]), numbers[best], ...numbers, `"${reason !== ""}"`, ...told, '""'];
  });
  return [header.map(quoted), ...rows].map((row) => `${row.join(",")}\n`).join("");
}

function saveCsv() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csvText()], { type: "text/csv;charset=utf-8" }));
  link.download = "results.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

// ---------------------------------------------------------------- the camera

async function openCamera() {
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    take([]);
    $("status").textContent = `No camera: ${error.message}`;
    return;
  }
  $("viewfinder").showModal();
  await $("video").play();
}

function shoot() {
  const video = $("video");
  const context = canvasOf(video.videoWidth, video.videoHeight);
  context.drawImage(video, 0, 0);
  shots += 1;
  const name = `camera-${shots}.png`;
  context.canvas.toBlob((blob) => take([new File([blob], name, { type: "image/png" })]), "image/png");
  $("viewfinder").close();
}

function stopCamera() {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("video").srcObject = null;
}

// ---------------------------------------------------------------- begin

function describe() {
  const { spec } = model;
  const { labels } = spec;
  $("classes").textContent = labels.length > 12 ? `${labels.length} classes` : labels.join(" · ");
  // An int8 network has an accuracy of its own, measured on the images that were held out, of whatever part.
  const { test_accuracy, int8_accuracy } = spec.metrics;
  const facts = {
    Labels: labels.length > 100 ? `${labels.slice(0, 100).join(", ")}, …` : labels.join(", "),
    Network: spec.architecture,
    "Accuracy on test images": test_accuracy === undefined || int8_accuracy !== undefined ? undefined : percent(test_accuracy),
    "Accuracy on held-out images": int8_accuracy === undefined ? undefined : percent(int8_accuracy),
    "Gives no label below": spec.abstain_below === null ? undefined : percent(spec.abstain_below),
    "Made with": Object.entries(spec.versions).map((entry) => entry.join(" ")).join(", "),
  };
  for (const [name, value] of Object.entries(facts)) {
    if (value === undefined) continue;
    const [term, text] = ["dt", "dd"].map((tag) => document.createElement(tag));
    [term.textContent, text.textContent] = [name, value];
    $("about").append(term, text);
  }
  $("heat-choice").hidden = !model.hasHeatmap;
}

function listen() {
  $("files").addEventListener("change", (event) => {
    take([...event.target.files]);
    event.target.value = ""; // the same file can be chosen again
  });
  document.addEventListener("paste", (event) => take([...event.clipboardData.files]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("dragging");
    take([...event.dataTransfer.files]);
  });
  $("heat").addEventListener("change", () => results.filter(({ error }) => !error).forEach(draw));
  $("csv").addEventListener("click", saveCsv);
  $("clear").addEventListener("click", () => {
    results.splice(0);
    $("results").replaceChildren();
    showProgress();
    $("files").focus();
  });
  $("camera").addEventListener("click", openCamera);
  $("shoot").addEventListener("click", shoot);
  $("close").addEventListener("click", () => $("viewfinder").close());
  $("viewfinder").addEventListener("close", stopCamera);
  $("camera").hidden = !navigator.mediaDevices?.getUserMedia;
  $("files").disabled = $("camera").disabled = false;
}

async function begin() {
  const status = $("status");
  try {
    model = await openModel();
    describe();
    status.textContent = "Checking the model on its golden samples…";
    const largest = await selfTest();
    const count = model.golden.samples.length;
    status.textContent = `Ready. All ${count} golden samples come out as in training (largest difference ${largest.toExponential(0)}).`;
    status.className = "good";
    listen();
  } catch (error) {
    status.className = "bad";
    status.textContent = `This browser does not compute what the model should: ${error.message ?? error}. Nothing is classified.`;
    document.body.classList.add("closed");
  }
}

await begin();
document.body.dataset.ready = "true";
