// What a recipe's settings name on this machine: whether it is there, before anything is begun. Asks the hub for nothing, reads nothing.
import { stat } from "node:fs/promises";
import { type DataSettings, sourcesOf } from "../config/data.js";
import { describeSettings, type Setting } from "../config/describe.js";
import { isObject } from "../config/files.js";
import { hubReference } from "../data/hub.js";
import { InputError } from "../errors.js";
import type { RecipeRun } from "./find-recipe.js";

/** A path that a setting names. */
interface Named {
  readonly key: string;
  readonly path: string;
  readonly isFolder: boolean;
}

/** Throws InputError RECIPE_VALUE with every file and folder of the settings that is not there, and HUB_* for a bad reference. */
export async function requireNamedFiles({ recipe, config }: RecipeRun): Promise<void> {
  const where = `recipe ${recipe.name}`;
  const named = describeSettings(recipe.schema).flatMap((setting) => namedBy(setting, config));
  const faults = (await Promise.all(named.map((each) => faultOf(where, each)))).flatMap((fault) => fault ?? []);
  if (faults.length > 0) throw new InputError("RECIPE_VALUE", faults.join("\n"));
}

/** Empty settings name nothing; a default may be a name of the recipe's own. */
function namedBy({ key, disk, default: usual }: Setting, config: unknown): readonly Named[] {
  if (disk === undefined) return [];
  const values = valuesAt(config, key.split(".")).filter((value) => value !== "" && value !== usual);
  if (disk === "data") return values.flatMap((value) => localSources(key, value as DataSettings));
  return values.map((value) => ({ key, path: String(value), isFolder: disk === "folder" }));
}

const localSources = (key: string, data: DataSettings): readonly Named[] =>
  sourcesOf(data)
    .filter((source) => hubReference(source) === null)
    .map(({ source }) => ({ key, path: source, isFolder: false }));

/** The values of a key such as "rewards[].module": those of every entry that has it. */
function valuesAt(value: unknown, [first, ...rest]: readonly string[]): readonly unknown[] {
  if (first === undefined) return value === undefined ? [] : [value];
  if (!isObject(value)) return [];
  if (!first.endsWith("[]")) return valuesAt(value[first], rest);
  const list = value[first.slice(0, -2)];
  return Array.isArray(list) ? list.flatMap((each) => valuesAt(each, rest)) : [];
}

async function faultOf(where: string, { key, path, isFolder }: Named): Promise<string | null> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => error);
  const got = found instanceof Error ? gotOf(found) : found.isDirectory() ? "a folder" : "a file";
  const expected = isFolder ? "a folder" : "a file";
  return got === expected ? null : `[${where}] ${key}: expected ${expected}, got ${got} at ${path}; correct the path`;
}

const gotOf = ({ code, message }: NodeJS.ErrnoException): string =>
  code === "ENOENT" || code === "ENOTDIR" ? "nothing" : `${code ?? message}`;
