// The model spec: read from a Hugging Face folder (config.json, generation_config.json), checked, and written back as those two
// files. Names of transformers 4 and 5 are read; what is written loads in both. Weights are not looked at here.
import { join } from "node:path";
import { type JsonObject, readJsonObject, requireModelFolder, writeJsonObject } from "../config/files.js";
import { InputError } from "../errors.js";
import type { Carried } from "./carried.js";
import { FAMILIES, FAMILY_NAMES } from "./families.js";
import { checkRopeScaling, readRopeScaling, readRopeTheta, ropeToConfig } from "./rope.js";
import { fault, type Voice } from "./spec-fault.js";
import type { DType, Head, ModelFamily, ModelSpec } from "./types.js";
import { readArchitecture, rejectUnsupported } from "./unsupported.js";

type SizeField =
  | "vocabSize"
  | "hiddenSize"
  | "intermediateSize"
  | "layers"
  | "heads"
  | "kvHeads"
  | "headDim"
  | "maxPositions";

/** Name in config.json and largest value: far above any model, and no count of bytes loses a digit. */
const SIZES: { readonly [field in SizeField]: { readonly name: string; readonly max: number } } = {
  vocabSize: { name: "vocab_size", max: 2 ** 24 },
  hiddenSize: { name: "hidden_size", max: 2 ** 20 },
  intermediateSize: { name: "intermediate_size", max: 2 ** 20 },
  layers: { name: "num_hidden_layers", max: 4096 },
  heads: { name: "num_attention_heads", max: 2 ** 16 },
  kvHeads: { name: "num_key_value_heads", max: 2 ** 16 },
  headDim: { name: "head_dim", max: 256 },
  maxPositions: { name: "max_position_embeddings", max: 2 ** 22 },
};

const CONFIG_FILE = { code: "CONFIG_INVALID" };

const DEFAULT_EPS = 1e-6;

const CONFIG_NAMES: { readonly [field in Exclude<keyof ModelSpec, SizeField>]: string } = {
  family: "model_type",
  ropeTheta: "rope_theta",
  ropeScaling: "rope_parameters",
  windows: "sliding_window",
  rmsNormEps: "rms_norm_eps",
  tieWordEmbeddings: "tie_word_embeddings",
  bosTokenId: "bos_token_id",
  eosTokenIds: "eos_token_id",
  head: "architectures",
  padTokenId: "pad_token_id",
};

/** As transformers names the one label of a classifier that was given none. */
const LABEL = "LABEL_0";

/**
 * Reads and checks the spec of a model folder. eosTokenIds is the union of both files' ids, ascending.
 * Throws InputError: MODEL_MISSING, CONFIG_MISSING, CONFIG_INVALID, UNSUPPORTED_ARCHITECTURE, UNSUPPORTED_FEATURE, FILE_IO.
 */
export async function readModelSpec(folder: string): Promise<ModelSpec> {
  await requireModelFolder(folder);
  const path = join(folder, "config.json");
  const config = await readJsonObject(path, CONFIG_FILE);
  if (!config) {
    throw new InputError(
      "CONFIG_MISSING",
      `[${path}] expected the model's config.json, got nothing there; give the folder of a Hugging Face checkpoint`,
    );
  }
  const architecture = readArchitecture(path, config);
  rejectUnsupported(path, config, architecture.family);
  const generation = await readJsonObject(join(folder, "generation_config.json"), CONFIG_FILE);
  return specFrom(path, config, generation ?? {}, architecture);
}

/** The same body with a scalar head; a spec that has one as it is. */
export function scalarSpec(spec: ModelSpec, padTokenId: number | null = null): ModelSpec {
  if (spec.head === "scalar") return spec;
  return checkSpec({ ...spec, head: "scalar", tieWordEmbeddings: false, padTokenId });
}

/** Returns the spec when it can be computed. Throws InputError SPEC_INVALID with the field's name. */
export function checkSpec(spec: ModelSpec): ModelSpec {
  return check(spec, { code: "SPEC_INVALID", where: "model spec", remedy: "change the field", name: (field) => field });
}

/** The two JSON files of a checkpoint with this spec and weights of this type. `carried` is what the files that it comes from say. */
export function specToConfig(
  spec: ModelSpec,
  dtype: DType = "float32",
  carried: Carried | null = null,
): { config: JsonObject; generationConfig: JsonObject } {
  const eos = spec.eosTokenIds.length > 1 ? spec.eosTokenIds : (spec.eosTokenIds[0] ?? null);
  const tokens = carried?.tokens ?? { bos_token_id: spec.bosTokenId, eos_token_id: eos };
  const sizes = Object.entries(SIZES).map(([field, { name }]) => [name, spec[field as SizeField]]);
  const family = spec.family ?? "llama";
  const { architecture, classifier } = FAMILIES[family];
  const scalar = spec.head === "scalar";
  const config = {
    architectures: [scalar ? classifier : architecture],
    model_type: family,
    ...Object.fromEntries(sizes),
    rms_norm_eps: spec.rmsNormEps,
    ...ropeToConfig(spec),
    ...windowsToConfig(spec),
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: spec.tieWordEmbeddings,
    ...tokens,
    ...(scalar && { pad_token_id: spec.padTokenId ?? null, id2label: { "0": LABEL }, label2id: { [LABEL]: 0 } }),
    dtype,
  };
  return { config, generationConfig: carried?.generation ?? tokens };
}

/** Writes config.json and generation_config.json into an existing folder. Throws FILE_IO. */
export async function writeModelConfig(
  folder: string,
  spec: ModelSpec,
  dtype: DType = "float32",
  carried: Carried | null = null,
): Promise<void> {
  const { config, generationConfig } = specToConfig(spec, dtype, carried);
  await writeJsonObject(join(folder, "config.json"), config);
  await writeJsonObject(join(folder, "generation_config.json"), generationConfig);
}

/** Windows that a config.json can state: one size, in layers that it names. */
function windowsToConfig({ family = "llama", layers, windows }: ModelSpec): JsonObject {
  const size = windows?.find((window) => window > 0) ?? null;
  if (family === "mistral") return { sliding_window: size };
  if (family === "llama") return {};
  const types = Array.from({ length: layers }, (_, i) => (windows?.[i] ? "sliding_attention" : "full_attention"));
  const first = types.indexOf("sliding_attention");
  return {
    use_sliding_window: size !== null,
    sliding_window: size,
    max_window_layers: first < 0 ? layers : first,
    layer_types: types,
  };
}

function specFrom(
  path: string,
  config: JsonObject,
  generation: JsonObject,
  { family, head }: { readonly family: ModelFamily; readonly head: Head },
): ModelSpec {
  const voice: Voice = {
    code: "CONFIG_INVALID",
    where: path,
    remedy: "mend the file or choose another model",
    name: (field) =>
      field in SIZES ? SIZES[field as SizeField].name : CONFIG_NAMES[field as keyof typeof CONFIG_NAMES],
  };
  // Values are what the file holds, of any type, until check() has seen them.
  const size = (field: SizeField) => config[SIZES[field].name] as number;
  const heads = size("heads");
  const defaults = FAMILIES[family];
  const maxPositions = size("maxPositions") ?? defaults.maxPositions;
  const ropeScaling = readRopeScaling(config, maxPositions);
  const windows = readWindows(config, family, size("layers"), voice);
  const spec = {
    family,
    vocabSize: size("vocabSize"),
    hiddenSize: size("hiddenSize"),
    intermediateSize: size("intermediateSize"),
    layers: size("layers"),
    heads,
    kvHeads: size("kvHeads") ?? defaults.kvHeads ?? heads,
    headDim: size("headDim") ?? defaults.headDim ?? defaultHeadDim(size("hiddenSize"), heads, voice),
    maxPositions,
    ropeTheta: readRopeTheta(config, voice),
    ...(ropeScaling && { ropeScaling }),
    ...(windows && { windows }),
    rmsNormEps: (config.rms_norm_eps ?? DEFAULT_EPS) as number,
    // A classifier made of a tied model still says so, of a head that it does not have.
    tieWordEmbeddings: head === "scalar" ? false : ((config.tie_word_embeddings ?? false) as boolean),
    bosTokenId: (config.bos_token_id ?? generation.bos_token_id ?? null) as number | null,
    eosTokenIds: endTokens(config.eos_token_id, generation.eos_token_id),
    ...(head === "scalar" && { head, padTokenId: (config.pad_token_id ?? null) as number | null }),
  };
  return check(spec, voice);
}

function defaultHeadDim(hidden: number, heads: number, voice: Voice): number {
  // Ill-typed sizes are reported by check(), under their own names.
  if (!Number.isSafeInteger(hidden) || !Number.isSafeInteger(heads) || heads <= 0) return 2;
  if (hidden % heads !== 0) {
    throw fault(voice, "hiddenSize", `a multiple of the ${heads} heads (there is no head_dim)`, hidden);
  }
  return hidden / heads;
}

/** undefined where no layer has a window. */
function readWindows(config: JsonObject, family: ModelFamily, layers: number, voice: Voice): number[] | undefined {
  const window = FAMILIES[family].window(config);
  // An ill-typed number of layers is reported by check(), under its own name.
  if (!window || !Number.isSafeInteger(layers) || layers < 1 || layers > SIZES.layers.max) return undefined;
  const windows = Array.from({ length: layers }, (_, i) => window.has(i));
  if (!windows.includes(true)) return undefined;
  if (window.size === 0) throw fault(voice, "windows", "windows that see something, or null", 0);
  return windows.map((has) => (has ? (window.size as number) : 0));
}

/** One id, a list of ids, or none, from both files. */
function endTokens(...values: unknown[]): number[] {
  const ids = values.flatMap((value) => (value === undefined || value === null ? [] : value)) as number[];
  return [...new Set(ids)].sort((a, b) => a - b);
}

function check(spec: ModelSpec, voice: Voice): ModelSpec {
  for (const [field, { max }] of Object.entries(SIZES) as [SizeField, { max: number }][]) {
    const value = spec[field];
    if (!Number.isInteger(value) || value < 1 || value > max) {
      throw fault(voice, field, `a whole number from 1 to ${max}`, value);
    }
  }
  if (spec.headDim % 2 !== 0) throw fault(voice, "headDim", "an even number", spec.headDim);
  if (spec.heads % spec.kvHeads !== 0) {
    throw fault(voice, "kvHeads", `a divisor of the ${spec.heads} attention heads`, spec.kvHeads);
  }
  if (!FAMILY_NAMES.includes(spec.family ?? "llama")) {
    throw fault(voice, "family", FAMILY_NAMES.join(", "), spec.family);
  }
  checkNumber(spec.ropeTheta, "ropeTheta", 1e12, voice);
  if (spec.ropeScaling) checkRopeScaling(spec.ropeScaling, voice);
  checkWindows(spec, voice);
  checkNumber(spec.rmsNormEps, "rmsNormEps", 1, voice);
  if (typeof spec.tieWordEmbeddings !== "boolean") {
    throw fault(voice, "tieWordEmbeddings", "true or false", spec.tieWordEmbeddings);
  }
  if (spec.bosTokenId !== null) checkToken(spec.bosTokenId, "bosTokenId", spec.vocabSize, voice);
  for (const id of spec.eosTokenIds) checkToken(id, "eosTokenIds", spec.vocabSize, voice);
  checkHead(spec, voice);
  return spec;
}

function checkHead(
  { head = "language", tieWordEmbeddings, padTokenId = null, vocabSize }: ModelSpec,
  voice: Voice,
): void {
  if (head !== "language" && head !== "scalar") throw fault(voice, "head", "language or scalar", head);
  if (head === "scalar" && tieWordEmbeddings)
    throw fault(voice, "tieWordEmbeddings", "false, since a scalar head is its own", tieWordEmbeddings);
  if (padTokenId !== null) checkToken(padTokenId, "padTokenId", vocabSize, voice);
}

/** What can be computed, and what the config.json of the family can state. */
function checkWindows({ family = "llama", layers, windows }: ModelSpec, voice: Voice): void {
  if (!windows) return;
  if (windows.length !== layers) throw fault(voice, "windows", `one for each of the ${layers} layers`, windows);
  const sizes = new Set(windows.filter((window) => window !== 0));
  for (const size of sizes) {
    if (!Number.isInteger(size) || size < 1 || size >= 2 ** 31) {
      throw fault(voice, "windows", "a whole number from 1 to 2147483647", size);
    }
  }
  if (sizes.size > 1) throw fault(voice, "windows", "the same size in all layers that have one", windows);
  const everywhere = windows.every((window) => window !== 0);
  if (sizes.size > 0 && (family === "llama" || (family === "mistral" && !everywhere))) {
    throw fault(
      voice,
      "windows",
      `what a ${family} model has (${family === "llama" ? "none" : "all layers"})`,
      windows,
    );
  }
}

function checkNumber(value: number, field: keyof ModelSpec, max: number, voice: Voice): void {
  if (typeof value === "number" && value > 0 && value <= max) return;
  throw fault(voice, field, `a number above 0, at most ${max}`, value);
}

function checkToken(id: number, field: keyof ModelSpec, vocabSize: number, voice: Voice): void {
  if (Number.isInteger(id) && id >= 0 && id < vocabSize) return;
  throw fault(voice, field, `token ids from 0 to ${vocabSize - 1}`, id);
}
