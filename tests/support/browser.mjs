// node browser.mjs PAGE PLAN.json: opens the page in Chromium, does what the plan says, and prints what was seen as JSON.
//
// PLAN: { images: [path], heat: whether to return the canvases with heatmaps, other: whether to drop, paste and use the
// camera (a fake one) too, screenshots: [{ path, width, height, scheme, heat, full }] }

import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.TL_PLAYWRIGHT}/`);
const { chromium } = require("playwright-core");
const [pagePath, planPath] = process.argv.slice(2);
const plan = JSON.parse(await readFile(planPath, "utf8"));

const browser = await chromium.launch({ executablePath: process.env.TL_CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"] });
const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
const page = await context.newPage();
const seen = { requests: [], errors: [] };
page.on("request", (request) => seen.requests.push(request.url().slice(0, 60)));
page.on("pageerror", (error) => seen.errors.push(String(error)));
page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));

const opened = performance.now();
await page.goto(pathToFileURL(pagePath).href);
await page.waitForSelector("body[data-ready]", { timeout: 90_000 });
seen.openMs = performance.now() - opened;
seen.status = await page.textContent("#status");
if (plan.images?.length) {
  const begun = performance.now();
  await page.setInputFiles("#files", plan.images);
  await page.waitForFunction((count) => document.querySelectorAll("#results > li").length === count, plan.images.length, { timeout: 240_000 });
  seen.imagesMs = performance.now() - begun;
  await page.waitForSelector("#csv:enabled");
  const [download] = await Promise.all([page.waitForEvent("download"), page.click("#csv")]);
  seen.csv = await readFile(await download.path(), "utf8");
  seen.headings = await page.locator("#results h2").allTextContents();
  seen.notes = await page.locator("#results .note").allTextContents();
}
if (plan.heat) {
  await page.check("#heat");
  seen.canvases = await page.$$eval("#results canvas", (all) => all.map((canvas) => canvas.toDataURL("image/png")));
}
if (plan.other) {
  const bytes = [...(await readFile(plan.images[0]))];
  for (const kind of ["drop", "paste"]) {
    await page.evaluate(([kind, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], `${kind}.png`));
      const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
        : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
      document.body.dispatchEvent(event);
    }, [kind, bytes]);
  }
  await page.click("#camera");
  await page.waitForFunction(() => document.getElementById("video").videoWidth > 0);
  await page.click("#shoot");
  await page.waitForFunction((count) => document.querySelectorAll("#results > li").length === count, plan.images.length + 3);
  seen.cameraIsOff = await page.evaluate(() => document.getElementById("video").srcObject === null);
  seen.names = await page.locator("#results .name").allTextContents();
  // By keyboard alone: remove the first result, then all.
  await page.locator(".remove").first().focus();
  await page.keyboard.press("Enter");
  seen.afterRemoving = await page.locator("#results > li").count();
  seen.focused = await page.evaluate(() => document.activeElement.className);
  await page.locator("#clear").focus();
  await page.keyboard.press("Enter");
  seen.afterClearing = await page.locator("#results > li").count();
}
for (const { path, width, height, scheme, heat, full } of plan.screenshots ?? []) {
  await page.emulateMedia({ colorScheme: scheme });
  await page.setViewportSize({ width, height });
  await page.setChecked("#heat", Boolean(heat));
  await page.screenshot({ path, fullPage: Boolean(full) });
}
seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
await browser.close();
console.log(JSON.stringify(seen));
