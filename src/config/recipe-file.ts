// Recipe files and `--set`: what a user writes, read as plain data. Nothing is validated against a schema here.
// A recipe file is YAML or JSON: the key `recipe` names the recipe, all other keys are its settings.
import { readFile, stat } from "node:fs/promises";
import { parse, stringify } from "yaml";
import { InputError } from "../errors.js";
import { isTooDeep, SHALLOW } from "./depth.js";
import { decodeText } from "./files.js";
import type { Settings } from "./resolve.js";

export interface RecipeFile {
  readonly recipe: string;
  readonly settings: Settings;
}

const mostBytes = 1 << 20;
const extensions = [".yaml", ".yml", ".json"];

/** Whether a command's argument means a file: it has a recipe file's ending, or a folder in it. */
export function looksLikeFile(target: string): boolean {
  return target.includes("/") || extensions.some((extension) => target.endsWith(extension));
}

/** @throws InputError RECIPE_FILE when the file is missing, too large, not YAML or JSON, or names no recipe. */
export async function readRecipeFile(path: string): Promise<RecipeFile> {
  const content = parseRecipe(path, await readText(path));
  if (!isMap(content)) throw fileError(path, "keys and values", "another kind of YAML", "write `recipe: NAME` first");
  const { recipe, ...settings } = content;
  if (typeof recipe === "string" && recipe !== "") return { recipe, settings };
  const got = recipe === undefined ? "no such key" : JSON.stringify(recipe);
  throw fileError(path, "`recipe: NAME`", got, "`zazen recipes` lists the names");
}

/** A recipe file that gives these settings again. */
export function formatRecipe(recipe: string, settings: Settings): string {
  return stringify({ recipe, ...settings });
}

/**
 * `settings` with each `key=value` put in its place; values are YAML, keys dotted: `optimizer.learningRate=1e-3`.
 * @throws InputError RECIPE_SET
 */
export function applySets(settings: Settings, sets: readonly string[]): Settings {
  const result = structuredClone(settings) as Record<string, unknown>;
  for (const set of sets) {
    const [key, value] = parseSet(set);
    put(result, key, value);
  }
  return result;
}

function parseSet(text: string): readonly [string, unknown] {
  const at = text.indexOf("=");
  const key = text.slice(0, Math.max(at, 0)).trim();
  const parts = key.split(".");
  if (at < 0 || parts.includes("") || parts.includes("__proto__")) {
    throw setError(`key=value with a dotted key`, `"${text}"`, "write `--set optimizer.learningRate=1e-3`");
  }
  let value: unknown;
  try {
    value = parse(text.slice(at + 1), { logLevel: "error" });
  } catch (error) {
    throw setError(`a YAML value for ${key}`, `"${text.slice(at + 1)}"`, firstLine(error), error);
  }
  if (isTooDeep(value)) throw setError(`${SHALLOW} for ${key}`, "deeper ones", "correct the value");
  return [key, value];
}

function put(settings: Record<string, unknown>, key: string, value: unknown): void {
  const parts = key.split(".");
  let group = settings;
  for (const [index, part] of parts.slice(0, -1).entries()) {
    if (!Object.hasOwn(group, part)) group[part] = {};
    const inner = group[part];
    if (!isMap(inner)) {
      const place = parts.slice(0, index + 1).join(".");
      throw setError(
        `${place} to be a group of settings`,
        JSON.stringify(inner),
        `set ${place} as a whole instead of ${key}`,
      );
    }
    group = inner;
  }
  group[parts.at(-1) ?? key] = value;
}

async function readText(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > mostBytes)
      throw fileError(path, `at most ${mostBytes} bytes`, `${size}`, "a recipe holds settings, no data");
    const text = decodeText(await readFile(path));
    if (text === null) throw fileError(path, "UTF-8 text", "bytes that are not UTF-8", "save the file as UTF-8");
    return text;
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw fileError(path, "a file to read", firstLine(error), "check the path", error);
  }
}

function parseRecipe(path: string, text: string): unknown {
  let content: unknown;
  try {
    content = path.endsWith(".json") ? JSON.parse(text) : parse(text, { logLevel: "error" });
  } catch (error) {
    throw fileError(path, path.endsWith(".json") ? "JSON" : "YAML", firstLine(error), "correct the file", error);
  }
  if (isTooDeep(content)) throw fileError(path, SHALLOW, "deeper ones", "correct the file");
  return content;
}

const isMap = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n")[0] ?? "";

function fileError(path: string, expected: string, got: string, advice: string, cause?: unknown): InputError {
  return new InputError("RECIPE_FILE", `[recipe file ${path}] expected ${expected}, got ${got}; ${advice}`, { cause });
}

function setError(expected: string, got: string, advice: string, cause?: unknown): InputError {
  return new InputError("RECIPE_SET", `[--set] expected ${expected}, got ${got}; ${advice}`, { cause });
}
