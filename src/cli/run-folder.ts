// Where a run writes: a folder that is empty when the run begins. Leaves out what goes into it.
import { existsSync } from "node:fs";
import { mkdir, readdir, rmdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { InputError, type ZazenError } from "../errors.js";

/** Where runs are whose folder is not named. */
export const RUNS = "runs";

/**
 * Refuses a folder that holds anything.
 * @throws InputError RUN_FOLDER_NOT_EMPTY, or RUN_FOLDER when the path is no folder or cannot be read.
 */
export async function requireEmpty(path: string): Promise<void> {
  const names = await list(path);
  if (names.length === 0) return;
  const message = `[train --out] expected an empty or a new folder, got ${path} with ${names.length} entries; choose another${
    names.includes("recipe.json") ? `, or go on with the run in it: --resume ${path}` : ""
  }`;
  throw new InputError("RUN_FOLDER_NOT_EMPTY", message);
}

/** The empty folder that a run may use, made if need be: `out`, or a new `<parent>/<recipe>-<time>`. */
export async function makeRunFolder(
  out: string | undefined,
  recipe: string,
  now: Date,
  parent = RUNS,
): Promise<string> {
  if (out !== undefined) {
    await requireEmpty(out);
    await make(out);
    return out;
  }
  await make(parent);
  return claim(join(parent, `${recipe}-${timestamp(now)}`));
}

/**
 * Removes the folder of a run that was refused, and those above it that were made for it, `made` being the uppermost; one with anything in it
 * stays, as does one that cannot be removed.
 */
export async function removeEmpty(path: string, made: string = path): Promise<void> {
  const [last, first] = [resolve(path), resolve(made)];
  for (let folder = last; ; folder = dirname(folder)) {
    const removed = await rmdir(folder).then(
      () => true,
      () => false,
    );
    if (!removed || folder === first) return;
  }
}

/** The uppermost folder that `path` lacks, itself where the others are there; null where it is there too. */
export function firstMissing(path: string): string | null {
  const folder = resolve(path);
  if (existsSync(folder)) return null;
  return firstMissing(dirname(folder)) ?? folder;
}

/** 20260131-235959, local time. */
export function timestamp(now: Date): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const date = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  return `${date}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
}

/** Runs that start in the same second get numbers. */
async function claim(path: string): Promise<string> {
  for (let n = 1; ; n++) {
    const name = n === 1 ? path : `${path}-${n}`;
    try {
      await mkdir(name);
      return name;
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw notWritable(name, error);
    }
  }
}

async function list(path: string): Promise<readonly string[]> {
  try {
    return await readdir(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    const message = `[train --out] expected a folder, got ${path} (${codeOf(error)}); choose another`;
    throw new InputError("RUN_FOLDER", message, { cause: error });
  }
}

async function make(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    throw notWritable(path, error);
  }
}

function notWritable(path: string, error: unknown): ZazenError {
  const message = `[train --out] expected a place to write, got ${path} (${codeOf(error)}); choose another with --out`;
  return new InputError("RUN_FOLDER", message, { cause: error });
}

const codeOf = (error: unknown): string => String((error as NodeJS.ErrnoException).code ?? error);
