// Classify images with a model file of tl-export, using onnxruntime-node and sharp.
//
// docs/model-file.md is the specification. The file is a program: run only model files that you trust.
//
//     npm ci --ignore-scripts
//     node classify.mjs MODEL.onnx IMAGE...
//
// Prints a JSON object per image. Exit code 0; 1 if the model is refused; 3 if an image could not be read.
// sharp does not read BMP; floating point images are refused, and an orientation that only XMP has is not applied.

import { readFile } from "node:fs/promises";
import ort from "onnxruntime-node";
import sharp from "sharp";

const FORMATS = ["jpeg", "png", "webp", "gif", "tiff"]; // sharp would also draw SVG

// onnxruntime-node does not give the metadata, so they are read from the file: field 14 of ModelProto, an entry with the
// fields 1, key, and 2, value. Source: onnx.proto3 and the wire format of protocol buffers.
function metadata(file) {
  const found = {};
  for (const [number, entry] of fields(file)) {
    if (number !== 14) continue;
    const parts = Object.fromEntries(fields(entry));
    found[parts[1].toString("utf8")] = parts[2].toString("utf8");
  }
  return found;
}

// The number and bytes of every field that has a length; the others are skipped.
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      if (at >= bytes.length) throw new Error("damaged, or not an ONNX model");
      const byte = bytes[at++];
      value += (byte & 127) * scale; // not <<, which is cut at 32 bits
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const wire = key % 8;
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = varint();
      if (at + length > bytes.length) throw new Error("damaged, or not an ONNX model");
      yield [Math.floor(key / 8), bytes.subarray(at, at + length)];
      at += length;
    } else throw new Error("damaged, or not an ONNX model");
  }
}

// An image file (path or bytes) -> upright RGB, { pixels: Uint8Array, width, height }.
async function decode(source) {
  // Stored values: `ignoreIcc` leaves the colour profile out. Only the first frame is read.
  const image = sharp(source, { ignoreIcc: true, failOn: "warning" });
  const { format, space, depth, hasAlpha } = await image.metadata();
  if (!FORMATS.includes(format)) throw new Error(`an image in ${format}, expected ${FORMATS.join(", ")}`);
  image.autoOrient();
  const sixteenBitGrey = space === "grey16" && !hasAlpha;
  if (sixteenBitGrey) {
    image.toColourspace("rgb16").raw({ depth: "ushort" }); // else sharp takes the high byte
  } else if (space === "cmyk") {
    image.pipelineColourspace("cmyk").toColourspace("cmyk").raw(); // else a profile of sharp's own is applied
  } else if (depth === "uchar" || depth === "ushort") {
    image.raw();
  } else {
    throw new Error(`values of type ${depth}, expected 8 or 16 bits`);
  }
  const { data, info } = await image.toBuffer({ resolveWithObject: true });
  const { width, height, channels } = info;
  const values = sixteenBitGrey ? new Uint16Array(data.buffer, data.byteOffset, data.length / 2) : data;
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; to < pixels.length; from += channels, to += 3) {
    for (let c = 0; c < 3; c++) {
      const v = values[from + c];
      if (sixteenBitGrey) pixels[to + c] = Math.floor((v * 255 + 32767) / 65535);
      else if (space === "cmyk") pixels[to + c] = Math.floor(((255 - v) * (255 - values[from + 3]) + 127) / 255);
      else if (channels === 3) pixels[to + c] = v;
      else pixels[to + c] = Math.floor((v * values[from + 3] + 255 * (255 - values[from + 3]) + 127) / 255); // on white
    }
  }
  return { pixels, width, height };
}

function parsed(text, key) {
  const document = JSON.parse(text ?? "{}");
  if (![1, 2].includes(document.version)) throw new Error(`${key}: version ${document.version}, expected 1 or 2`);
  return document;
}

// A model that has shown, on its golden samples, that this machine computes what it should.
async function openModel(path) {
  const file = await readFile(path);
  const found = metadata(file);
  if ("tl.bit_depth" in found) {
    // tl_infer scales 16-bit images by it; taken for 16 bits they are nearly black.
    throw new Error(`tl.bit_depth ${found["tl.bit_depth"]}: this caller does not scale 16-bit images by it`);
  }
  const spec = parsed(found["tl.spec"], "tl.spec");
  const golden = parsed(found["tl.golden"], "tl.golden");
  const session = await ort.InferenceSession.create(file);
  const outputs = "familiarity" in spec ? ["probabilities", "familiarity"] : ["probabilities"];
  const run = async ({ pixels, width, height }) => {
    const image = new ort.Tensor("uint8", pixels, [1, height, width, 3]);
    const found = await session.run({ image }, outputs);
    return { probabilities: found.probabilities.data, familiarity: found.familiarity?.data[0] ?? null };
  };
  const compare = (sample, difference, tolerance) => {
    // So written, NaN is refused too.
    if (!(difference <= tolerance)) {
      throw new Error(`golden sample '${sample.name}' differs by ${difference.toPrecision(2)}, tolerance ${tolerance}`);
    }
  };
  for (const sample of golden.samples) {
    const { probabilities, familiarity } = await run(await decode(Buffer.from(sample.png, "base64")));
    const differences = sample.probabilities.map((expected, i) => Math.abs(expected - probabilities[i]));
    compare(sample, Math.max(...differences), golden.tolerance);
    if (familiarity !== null) compare(sample, Math.abs(familiarity - sample.familiarity), golden.familiarity_tolerance);
  }
  return { spec, run };
}

async function answer(model, path) {
  let found, familiarity;
  try {
    const outputs = await model.run(await decode(path));
    found = Array.from(outputs.probabilities);
    familiarity = outputs.familiarity;
  } catch (error) {
    return { path, error: error.message.split("\n")[0] };
  }
  const best = found.indexOf(Math.max(...found));
  const { labels, abstain_below } = model.spec;
  let reason = null;
  if (abstain_below !== null && found[best] < abstain_below) reason = "unsure";
  if (familiarity !== null && familiarity < model.spec.familiarity.unfamiliar_below) reason = "unfamiliar";
  return {
    path,
    label: reason ? null : labels[best], // null: the model abstains
    reason,
    familiarity,
    probability: found[best],
    probabilities: Object.fromEntries(labels.map((label, i) => [label, found[i]])),
  };
}

async function main([path, ...images]) {
  if (images.length === 0) {
    console.error("usage: node classify.mjs MODEL.onnx IMAGE...");
    return 2;
  }
  let model;
  try {
    model = await openModel(path);
  } catch (error) {
    console.error(`${path}: ${error.message.split("\n")[0]}`);
    return 1;
  }
  let failed = false;
  for (const image of images) {
    const row = await answer(model, image);
    failed ||= "error" in row;
    console.log(JSON.stringify(row));
  }
  return failed ? 3 : 0;
}

process.exitCode = await main(process.argv.slice(2));
