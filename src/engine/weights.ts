// Which files of a model folder hold its weights: one model.safetensors, or several that an index names. The files themselves are read
// by the native side.
import { join } from "node:path";
import { exists, isObject, readJsonObject } from "../config/files.js";
import { InputError } from "../errors.js";
import { shown } from "./spec-fault.js";

export const WEIGHTS_FILE = "model.safetensors";
/** What training keeps beside the weights. */
export const OPTIMIZER_FILE = "optimizer.safetensors";
export const REFERENCE_FILE = "reference.safetensors";
const INDEX_FILE = "model.safetensors.index.json";
const PICKLED = ["pytorch_model.bin", "pytorch_model.bin.index.json"];

/**
 * Paths of the safetensors files. Throws InputError INDEX_INVALID, UNSUPPORTED_CHECKPOINT (pickled weights only), FILE_IO. A folder
 * with no weights at all gives the name that is missed when it is opened.
 */
export async function weightFiles(folder: string): Promise<string[]> {
  const whole = join(folder, WEIGHTS_FILE);
  if (await exists(whole)) return [whole];
  const index = join(folder, INDEX_FILE);
  const stated = await readJsonObject(index, { code: "INDEX_INVALID" });
  if (stated) return shards(index, stated.weight_map).map((name) => join(folder, name));
  for (const name of PICKLED) await rejectPickled(join(folder, name));
  return [whole];
}

/** The files of a weight_map, a name each: it must not lead out of the folder. */
function shards(path: string, map: unknown): string[] {
  const names = isObject(map) ? [...new Set(Object.values(map))] : [];
  if (names.length === 0) throw invalid(path, "weight_map with the file of every tensor", map);
  for (const name of names) {
    if (typeof name === "string" && /^[^/\\]+\.safetensors$/.test(name)) continue;
    throw invalid(path, "weight_map with names of safetensors files in this folder", name);
  }
  return (names as string[]).sort();
}

async function rejectPickled(path: string): Promise<void> {
  if (!(await exists(path))) return;
  throw new InputError(
    "UNSUPPORTED_CHECKPOINT",
    `[${path}] expected safetensors, got pickled weights, which can run code and are not read; save the model again as safetensors`,
  );
}

function invalid(path: string, expected: string, got: unknown): InputError {
  return new InputError(
    "INDEX_INVALID",
    `[${path}] expected ${expected}, got ${shown(got)}; copy the file again or mend it`,
  );
}
