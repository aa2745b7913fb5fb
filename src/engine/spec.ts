// The model spec: read from a Hugging Face folder (config.json, generation_config.json), checked, and written back as those two
// files. Names of transformers 4 and 5 are read; what is written loads in both. Weights are not looked at here.
import { join } from "node:path";
import {
  exists,
  isObject,
  type JsonObject,
  readJsonObject,
  requireModelFolder,
  writeJsonObject,
} from "../config/files.js";
import { InputError } from "../errors.js";
import type { ModelSpec } from "./types.js";
import { rejectUnsupported, shown } from "./unsupported.js";

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

// What transformers' LlamaConfig takes for fields that a config.json leaves out.
const DEFAULTS = { maxPositions: 2048, ropeTheta: 10_000, rmsNormEps: 1e-6 };

/** Who is at fault in a message: a file with its names, or a spec in code with ours. */
interface Voice {
  readonly code: "CONFIG_INVALID" | "SPEC_INVALID";
  readonly where: string;
  /** What to do about it; ends every message. */
  readonly remedy: string;
  readonly name: (field: keyof ModelSpec) => string;
}

const CONFIG_NAMES: { readonly [field in Exclude<keyof ModelSpec, SizeField>]: string } = {
  ropeTheta: "rope_theta",
  rmsNormEps: "rms_norm_eps",
  tieWordEmbeddings: "tie_word_embeddings",
  bosTokenId: "bos_token_id",
  eosTokenIds: "eos_token_id",
};

/**
 * Reads and checks the spec of a model folder. eosTokenIds is the union of both files' ids, ascending.
 * Throws InputError: MODEL_MISSING, CONFIG_MISSING, CONFIG_INVALID, UNSUPPORTED_ARCHITECTURE, UNSUPPORTED_FEATURE,
 * UNSUPPORTED_CHECKPOINT (weights in several files, or none of them safetensors), FILE_IO.
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
  rejectUnsupported(path, config);
  await rejectOtherWeights(folder);
  const generation = await readJsonObject(join(folder, "generation_config.json"), CONFIG_FILE);
  return specFrom(path, config, generation ?? {});
}

/** Returns the spec when it can be computed. Throws InputError SPEC_INVALID with the field's name. */
export function checkSpec(spec: ModelSpec): ModelSpec {
  return check(spec, { code: "SPEC_INVALID", where: "model spec", remedy: "change the field", name: (field) => field });
}

/** The two JSON files of a checkpoint with this spec and F32 weights. */
export function specToConfig(spec: ModelSpec): { config: JsonObject; generationConfig: JsonObject } {
  const eos = spec.eosTokenIds.length > 1 ? spec.eosTokenIds : (spec.eosTokenIds[0] ?? null);
  const tokens = { bos_token_id: spec.bosTokenId, eos_token_id: eos };
  const sizes = Object.entries(SIZES).map(([field, { name }]) => [name, spec[field as SizeField]]);
  const config = {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    ...Object.fromEntries(sizes),
    rms_norm_eps: spec.rmsNormEps,
    rope_theta: spec.ropeTheta,
    rope_parameters: { rope_type: "default", rope_theta: spec.ropeTheta },
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: spec.tieWordEmbeddings,
    ...tokens,
    dtype: "float32",
  };
  return { config, generationConfig: tokens };
}

/** Writes config.json and generation_config.json into an existing folder. Throws FILE_IO. */
export async function writeModelConfig(folder: string, spec: ModelSpec): Promise<void> {
  const { config, generationConfig } = specToConfig(spec);
  await writeJsonObject(join(folder, "config.json"), config);
  await writeJsonObject(join(folder, "generation_config.json"), generationConfig);
}

async function rejectOtherWeights(folder: string): Promise<void> {
  if (await exists(join(folder, "model.safetensors"))) return;
  const others: [file: string, meaning: string][] = [
    ["model.safetensors.index.json", "a checkpoint in several files (sharded), which is not supported yet"],
    ["pytorch_model.bin", "pickled weights, which can run code and are not read"],
    ["pytorch_model.bin.index.json", "pickled weights, which can run code and are not read"],
  ];
  for (const [file, meaning] of others) {
    if (!(await exists(join(folder, file)))) continue;
    throw new InputError(
      "UNSUPPORTED_CHECKPOINT",
      `[${join(folder, file)}] expected one model.safetensors, got ${meaning}; save the model again as one safetensors file`,
    );
  }
}

function specFrom(path: string, config: JsonObject, generation: JsonObject): ModelSpec {
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
  const spec = {
    vocabSize: size("vocabSize"),
    hiddenSize: size("hiddenSize"),
    intermediateSize: size("intermediateSize"),
    layers: size("layers"),
    heads,
    kvHeads: size("kvHeads") ?? heads,
    headDim: size("headDim") ?? defaultHeadDim(size("hiddenSize"), heads, voice),
    maxPositions: size("maxPositions") ?? DEFAULTS.maxPositions,
    ropeTheta: ropeTheta(config, voice),
    rmsNormEps: (config.rms_norm_eps ?? DEFAULTS.rmsNormEps) as number,
    tieWordEmbeddings: (config.tie_word_embeddings ?? false) as boolean,
    bosTokenId: (config.bos_token_id ?? generation.bos_token_id ?? null) as number | null,
    eosTokenIds: endTokens(config.eos_token_id, generation.eos_token_id),
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

function ropeTheta(config: JsonObject, voice: Voice): number {
  const inner = isObject(config.rope_parameters) ? config.rope_parameters.rope_theta : undefined;
  const outer = config.rope_theta;
  if (typeof inner === "number" && typeof outer === "number" && inner !== outer) {
    throw fault(voice, "ropeTheta", `the ${inner} of rope_parameters`, outer);
  }
  return (inner ?? outer ?? DEFAULTS.ropeTheta) as number;
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
  checkNumber(spec.ropeTheta, "ropeTheta", 1e12, voice);
  checkNumber(spec.rmsNormEps, "rmsNormEps", 1, voice);
  if (typeof spec.tieWordEmbeddings !== "boolean") {
    throw fault(voice, "tieWordEmbeddings", "true or false", spec.tieWordEmbeddings);
  }
  if (spec.bosTokenId !== null) checkToken(spec.bosTokenId, "bosTokenId", spec.vocabSize, voice);
  for (const id of spec.eosTokenIds) checkToken(id, "eosTokenIds", spec.vocabSize, voice);
  return spec;
}

function checkNumber(value: number, field: keyof ModelSpec, max: number, voice: Voice): void {
  if (typeof value === "number" && value > 0 && value <= max) return;
  throw fault(voice, field, `a number above 0, at most ${max}`, value);
}

function checkToken(id: number, field: keyof ModelSpec, vocabSize: number, voice: Voice): void {
  if (Number.isInteger(id) && id >= 0 && id < vocabSize) return;
  throw fault(voice, field, `token ids from 0 to ${vocabSize - 1}`, id);
}

function fault(voice: Voice, field: keyof ModelSpec, expected: string, got: unknown): InputError {
  return new InputError(
    voice.code,
    `[${voice.where}] ${voice.name(field)}: expected ${expected}, got ${shown(got)}; ${voice.remedy}`,
  );
}
