// The files of a comparison's page: uPlot's own, which are put into it, and the page itself.
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { InputError } from "../errors.js";
import type { PlotAssets } from "../report/compare-page.js";

/** uPlot as it is installed. */
export async function plotAssets(): Promise<PlotAssets> {
  const folder = dirname(createRequire(import.meta.url).resolve("uplot"));
  const [script, style] = await Promise.all(
    ["uPlot.iife.min.js", "uPlot.min.css"].map((name) => readFile(join(folder, name), "utf8")),
  );
  return { script: script!, style: style! };
}

/** Throws InputError FILE_IO where it cannot be written. */
export async function writePageFile(path: string, text: string): Promise<void> {
  try {
    await writeFile(path, text);
  } catch (error) {
    const message = `[compare --out] expected a place to write, got ${path} (${(error as Error).message}); choose another`;
    throw new InputError("FILE_IO", message, { cause: error });
  }
}
