// `zazen train --resume`: from a run folder to the recipe, its settings and the checkpoint that it goes on from. Reads only.
import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { checkChanges } from "../config/changes.js";
import { exists, isObject, readJsonObject } from "../config/files.js";
import { applySets } from "../config/recipe-file.js";
import { resolveSettings, type Settings } from "../config/resolve.js";
import { differences, fingerprint } from "../engine/fingerprint.js";
import { InputError } from "../errors.js";
import type { Recipe, RunSummary } from "../methods/recipe.js";
import { type Checkpoint, findCheckpoint } from "../train/checkpoint.js";
import { recipeFile, summaryFile } from "../train/run-folder.js";
import { findRecipe, type RecipeRun } from "./find-recipe.js";
import { RUNS } from "./run-folder.js";
import { requireFree } from "./run-lock.js";

export interface ResumeOptions {
  readonly set?: readonly string[];
  readonly allowInexactResume?: boolean;
}

/** A run that can go on. */
export interface Resumed extends RecipeRun {
  readonly out: string;
  /** Null: from the beginning, since none was written yet. */
  readonly checkpoint: Checkpoint | null;
  /** The final figures of a run that is finished; null where it has more to do. */
  readonly summary: RunSummary | null;
  /** What a user should know of before it goes on. */
  readonly remarks: readonly string[];
}

/**
 * The run in `folder`, or in the newest run folder under runs/. Not one that is being worked on: its checkpoints come and go.
 * @throws InputError RESUME_FOLDER, RUN_IN_USE, RESUME_DAMAGED, RESUME_SETTING, RESUME_INEXACT, and those of a recipe's settings
 */
export async function findRun(
  recipes: readonly Recipe[],
  folder: string | true,
  options: ResumeOptions,
): Promise<Resumed> {
  const out = folder === true ? await newestRun(RUNS) : folder;
  const { recipe, begun } = await readRun(recipes, out);
  requireFree(out);
  const { checkpoint, damaged } = await findCheckpoint(out);
  if (checkpoint === null && damaged.length > 0) throw allDamaged(out, damaged);
  const config = resolveSettings(recipe.name, recipe.schema, applySets(begun, options.set ?? []));
  const part = checkpoint?.state.part ?? null;
  checkChanges(recipe.schema, checkpoint?.state.config ?? begun, config as Settings, part);
  const inexact = checkpoint === null ? [] : differences(fingerprint(), checkpoint.state.fingerprint);
  if (inexact.length > 0 && options.allowInexactResume !== true) throw notExact(checkpoint!.path, inexact);
  const grown = checkpoint !== null && grows(recipe, checkpoint.state.config, config as Settings);
  return {
    recipe,
    config,
    out,
    checkpoint,
    summary: grown ? null : await summaryOf(out),
    remarks: [...damaged.map((reason) => `not used: ${reason}`), ...inexact.map((what) => `not exact: ${what}`)],
  };
}

async function readRun(recipes: readonly Recipe[], out: string): Promise<{ recipe: Recipe; begun: Settings }> {
  const path = join(out, recipeFile);
  const stated = await readJsonObject(path, { code: "RESUME_FOLDER" });
  if (stated === undefined)
    throw folderError(out, `a run folder with ${recipeFile}`, "none", "name the folder of a run");
  const { recipe: name, config } = stated;
  if (typeof name === "string" && isObject(config)) return { recipe: findRecipe(recipes, name), begun: config };
  throw folderError(path, "{recipe, config}", "something else", "put the file back as the run wrote it");
}

async function summaryOf(out: string): Promise<RunSummary | null> {
  return (await readJsonObject(join(out, summaryFile), { code: "RESUME_FOLDER" })) ?? null;
}

/** The run folder whose metrics were written last. */
async function newestRun(parent: string): Promise<string> {
  const names = await readdir(parent).catch(() => []);
  const times = names.map(async (name) => {
    const path = join(parent, name);
    const written = await stat(join(path, "metrics.jsonl")).catch(() => null);
    return written === null || !(await exists(join(path, recipeFile))) ? [] : [{ path, time: written.mtimeMs }];
  });
  const runs = (await Promise.all(times)).flat().sort((a, b) => b.time - a.time);
  if (runs[0] !== undefined) return runs[0].path;
  throw folderError(parent, "a run folder to resume", "none", "name it: --resume DIR");
}

/** Settings that may only be raised were: a finished run has more to do. */
function grows({ schema }: Recipe, before: Settings, after: Settings): boolean {
  try {
    checkChanges(schema, before, after, null);
    return false;
  } catch {
    return true;
  }
}

function folderError(place: string, expected: string, got: string, advice: string): InputError {
  return new InputError("RESUME_FOLDER", `[train --resume] ${place}: expected ${expected}, got ${got}; ${advice}`);
}

function allDamaged(out: string, damaged: readonly string[]): InputError {
  const lines = [
    `[train --resume] ${out}: expected a whole checkpoint, got none:`,
    ...damaged.map((reason) => `  ${reason}`),
    `Put the files back, or remove ${join(out, "checkpoints")} to start this run from its beginning.`,
  ];
  return new InputError("RESUME_DAMAGED", lines.join("\n"));
}

function notExact(path: string, inexact: readonly string[]): InputError {
  return new InputError(
    "RESUME_INEXACT",
    `[train --resume] ${path}: expected the numerics that it was written with, got ${inexact.join(", ")}; ` +
      "go back to them, or go on with other bits: --allow-inexact-resume",
  );
}
