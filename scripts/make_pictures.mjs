// The picture that the README shows: the report of a run beside the page that its model was exported to, with images in it.
//
//   TL_PLAYWRIGHT=build/browser node scripts/make_pictures.mjs RUN/report.html PAGE.html OUT.png IMAGE...
//
// Needs Chromium and `make browser`.

import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(`${resolve(process.env.TL_PLAYWRIGHT)}/`);
const { chromium } = require("playwright-core");
const [report, pagePath, out, ...images] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: process.env.TL_CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });

async function shot(path, width, prepare) {
  const page = await (await browser.newContext({ viewport: { width, height: 900 } })).newPage();
  await page.goto(pathToFileURL(path).href);
  await prepare(page);
  return (await page.screenshot()).toString("base64");
}

const left = await shot(report, 960, async () => {});
const right = await shot(pagePath, 560, async (page) => {
  await page.waitForSelector("body[data-ready]", { timeout: 90_000 });
  await page.setInputFiles("#files", images);
  await page.waitForFunction((count) => document.querySelectorAll("#results > li").length === count, images.length);
  await page.check("#heat");
});
const both = await (await browser.newContext({ viewport: { width: 1540, height: 900 } })).newPage();
await both.setContent(`<body style="margin:0;background:#888;display:flex;gap:20px">
  <img src="data:image/png;base64,${left}"><img src="data:image/png;base64,${right}">`);
await both.waitForFunction(() => [...document.images].every((image) => image.complete));
await mkdir(dirname(out), { recursive: true });
await writeFile(out, await both.screenshot());
await browser.close();
