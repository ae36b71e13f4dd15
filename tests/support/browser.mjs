// node browser.mjs PAGE PLAN.json: opens the page in Chromium, does what the plan says, and prints what was seen as JSON.
//
// PLAN: { images: [path], screenshots: [{ path, width, height, scheme, heat }], address: URL or nothing for file: }

import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const require = createRequire(`${process.env.TL_PLAYWRIGHT}/`);
const { chromium } = require("playwright-core");
const [pagePath, planPath] = process.argv.slice(2);
const plan = JSON.parse(await readFile(planPath, "utf8"));

const browser = await chromium.launch({ executablePath: process.env.TL_CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
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
for (const { path, width, height, scheme, heat, full } of plan.screenshots ?? []) {
  await page.emulateMedia({ colorScheme: scheme });
  await page.setViewportSize({ width, height });
  await page.setChecked("#heat", Boolean(heat));
  await page.screenshot({ path, fullPage: Boolean(full) });
}
seen.overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
await browser.close();
console.log(JSON.stringify(seen));
