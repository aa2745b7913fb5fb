// Folders of peft: adapter_config.json beside adapter_model.safetensors, over a base model in a folder of its own. What this engine does
// not compute is refused by name. Leaves out the tensors, which the native side reads and writes.
import { join, resolve } from "node:path";
import { exists, type JsonObject, readJsonObject, writeJsonObject } from "../config/files.js";
import { InputError } from "../errors.js";
import { ALL_LINEAR, type FilledLora, fillLora, MOST_ALPHA, MOST_RANK, nativeLora, targetNames } from "./lora.js";
import { shown } from "./spec-fault.js";
import type { Head, LoraOptions, ModelSpec } from "./types.js";

export const ADAPTER_WEIGHTS = "adapter_model.safetensors";
const ADAPTER_CONFIG = "adapter_config.json";

/** What an adapter's model is for, as peft names it. */
const TASKS: { readonly [head in Head]: string } = { language: "CAUSAL_LM", scalar: "SEQ_CLS" };
/** peft names the heads of other families beside `score`, which have no module of that name here. */
const OTHER_CLASSIFIER = "classifier";

/** Where a model's parts lie: one folder, or an adapter's and its base's. */
export interface ModelFolders {
  /** With config.json and the weights of the base. */
  readonly base: string;
  /** Null of a model that is no adapter. */
  readonly adapter: { readonly folder: string; readonly lora: LoraOptions; readonly head: Head } | null;
  /** With tokenizer.json: the adapter's folder if it has one, else the base's. */
  readonly tokenizer: string;
}

/** Fields that must have a value that changes nothing, or be absent; in words and as a check. */
const NEUTRAL: readonly (readonly [string, string, (value: unknown) => boolean])[] = [
  ["bias", '"none"', (value) => value === "none"],
  ["fan_in_fan_out", "false", (value) => value === false],
  ["use_dora", "false", (value) => value === false],
  ["lora_bias", "false", (value) => value === false],
  ["use_qalora", "false", (value) => value === false],
  ["init_lora_weights", "an initialisation that leaves the base as it is", leavesBase],
];
/** Fields that say nothing about what a trained adapter computes, beside those that are read. */
const HARMLESS = new Set([
  "auto_mapping",
  "base_model_name_or_path",
  "inference_mode",
  "lora_alpha",
  "lora_dropout",
  "megatron_core",
  "modules_to_save",
  "peft_type",
  "peft_version",
  "qalora_group_size",
  "r",
  "revision",
  "target_modules",
  "task_type",
  "use_rslora",
  ...NEUTRAL.map(([field]) => field),
]);

/**
 * Follows an adapter to its base: `base`, or what adapter_config.json names, from the working folder or beside the adapter.
 * Throws InputError: ADAPTER_INVALID, UNSUPPORTED_FEATURE, BASE_MISSING, BAD_ARGUMENT (a base for a model that is no adapter), FILE_IO.
 */
export async function modelFolders(folder: string, base?: string): Promise<ModelFolders> {
  const path = join(folder, ADAPTER_CONFIG);
  const config = await readJsonObject(path, { code: "ADAPTER_INVALID" });
  if (!config) {
    if (base === undefined) return { base: folder, adapter: null, tokenizer: folder };
    const expected = `[${folder}] expected an adapter's folder for base ${base}, got none with ${ADAPTER_CONFIG}`;
    throw new InputError("BAD_ARGUMENT", `${expected}; leave out base`);
  }
  const head = config.task_type === TASKS.scalar ? "scalar" : "language";
  const lora = readLora(path, config, head);
  const found = await findBase(folder, path, base ?? config.base_model_name_or_path);
  const own = await exists(join(folder, "tokenizer.json"));
  return { base: found, adapter: { folder, lora, head }, tokenizer: own ? folder : found };
}

/** Throws InputError LORA_TARGET, which names the file, for modules that the base does not have. */
export function checkModules(folder: string, spec: ModelSpec, lora: LoraOptions): void {
  try {
    nativeLora(spec, fillLora(lora, spec), "");
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(error.code, `[${join(folder, ADAPTER_CONFIG)}] ${error.message}`, { cause: error });
  }
}

/** Writes adapter_config.json into an existing folder. A base that is in memory only has no path. Throws FILE_IO. */
export async function writeAdapterConfig(
  folder: string,
  lora: FilledLora,
  { base, head }: { readonly base: string | null; readonly head: Head },
): Promise<void> {
  await writeJsonObject(join(folder, ADAPTER_CONFIG), {
    peft_type: "LORA",
    task_type: TASKS[head],
    base_model_name_or_path: base === null ? null : resolve(base),
    r: lora.rank,
    lora_alpha: lora.alpha,
    lora_dropout: 0,
    use_rslora: lora.rsLora,
    target_modules: targetNames(lora),
    modules_to_save: lora.modulesToSave.length > 0 ? lora.modulesToSave : null,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
  });
}

function readLora(path: string, config: JsonObject, head: Head): LoraOptions {
  if (config.peft_type !== "LORA") throw unsupported(path, "peft_type", '"LORA"', config.peft_type);
  for (const [field, supported, accepts] of NEUTRAL) {
    const value = config[field] ?? undefined;
    if (value !== undefined && !accepts(value)) throw unsupported(path, field, supported, value);
  }
  for (const [field, value] of Object.entries(config)) {
    if (!HARMLESS.has(field) && !isNothing(value)) throw unsupported(path, field, "nothing", value);
  }
  const { r, lora_alpha: alpha, lora_dropout: dropout = 0, use_rslora: rsLora = false } = config;
  if (!Number.isInteger(r) || (r as number) < 1 || (r as number) > MOST_RANK)
    throw invalid(path, `r: expected a whole number in 1 .. ${MOST_RANK}`, r);
  if (typeof alpha !== "number" || !(alpha > 0 && alpha <= MOST_ALPHA))
    throw invalid(path, `lora_alpha: expected a number above 0, at most ${MOST_ALPHA}`, alpha);
  if (typeof rsLora !== "boolean") throw invalid(path, "use_rslora: expected true or false", rsLora);
  if (typeof dropout !== "number") throw invalid(path, "lora_dropout: expected a number", dropout);
  if (dropout > 0) sayNoDropout(path, dropout);
  const modulesToSave = config.modules_to_save ?? [];
  if (!isNames(modulesToSave)) throw invalid(path, "modules_to_save: expected a list of names", modulesToSave);
  const saved = head === "scalar" ? modulesToSave.filter((name) => name !== OTHER_CLASSIFIER) : modulesToSave;
  return {
    rank: r as number,
    alpha,
    rsLora,
    modulesToSave: saved,
    targets: readTargets(path, config.target_modules),
  };
}

/** A string is a regular expression there, which is not run on a stranger's word. */
function readTargets(path: string, targets: unknown): LoraOptions["targets"] {
  if (targets === ALL_LINEAR) return targets;
  if (isNames(targets) && targets.length > 0) return targets;
  if (typeof targets === "string")
    throw unsupported(path, "target_modules", `a list of names or "${ALL_LINEAR}"`, targets);
  throw invalid(path, "target_modules: expected a list of names", targets);
}

async function findBase(folder: string, path: string, stated: unknown): Promise<string> {
  const named = typeof stated === "string" && stated !== "";
  for (const place of named ? [stated, join(folder, stated)] : []) {
    if (await exists(join(place, "config.json"))) return place;
  }
  const got = named ? `${shown(stated)}, which is no such folder here` : "none";
  throw new InputError(
    "BASE_MISSING",
    `[${path}] expected the folder of the base model in base_model_name_or_path, got ${got}; give the folder as base (--base)`,
  );
}

function sayNoDropout(path: string, dropout: number): void {
  const message = `[${path}] lora_dropout ${dropout}: read as 0, since sampling and training must compute the same`;
  process.emitWarning(message, { code: "LORA_DROPOUT" });
}

/** Others, such as "pissa", take a part out of the base. */
function leavesBase(init: unknown): boolean {
  return typeof init === "boolean" || init === "gaussian" || init === "orthogonal" || init === "eva";
}

/** What peft writes for a feature that is off. */
function isNothing(value: unknown): boolean {
  if (value === null || value === false) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

function isNames(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((name) => typeof name === "string" && name !== "");
}

function unsupported(path: string, field: string, supported: string, got: unknown): InputError {
  return new InputError(
    "UNSUPPORTED_FEATURE",
    `[${path}] ${field}: expected ${supported}, got ${shown(got)}; this is not supported, choose an adapter without it`,
  );
}

function invalid(path: string, expected: string, got: unknown): InputError {
  return new InputError("ADAPTER_INVALID", `[${path}] ${expected}, got ${shown(got)}; copy the file again or mend it`);
}
