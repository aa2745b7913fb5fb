// Rotary position embeddings (Su et al. 2021): the frequencies of a model, plain or scaled for longer contexts, and the two ways in which
// config.json states them: rope_theta with rope_scaling (transformers 4), or rope_parameters (5).
import { isObject, type JsonObject } from "../config/files.js";
import { fault, type Voice } from "./spec-fault.js";
import type { ModelSpec, RopeScaling } from "./types.js";

const DEFAULT_THETA = 10_000;
const DEFAULT_BETA_FAST = 32;
const DEFAULT_BETA_SLOW = 1;
const TWO_PI = 2 * Math.PI;

/** Names of the numbers of each scaling in config.json. */
const NAMES = {
  factor: "factor",
  lowFreqFactor: "low_freq_factor",
  highFreqFactor: "high_freq_factor",
  originalMaxPositions: "original_max_position_embeddings",
  attentionFactor: "attention_factor",
  betaFast: "beta_fast",
  betaSlow: "beta_slow",
  truncate: "truncate",
} as const;

export function readRopeTheta(config: JsonObject, voice: Voice): number {
  const inner = isObject(config.rope_parameters) ? config.rope_parameters.rope_theta : undefined;
  const outer = config.rope_theta;
  if (typeof inner === "number" && typeof outer === "number" && inner !== outer) {
    throw fault(voice, "ropeTheta", `the ${inner} of rope_parameters`, outer);
  }
  return (inner ?? outer ?? DEFAULT_THETA) as number;
}

/** undefined for plain frequencies. rope_parameters goes before rope_scaling, as in transformers. */
export function readRopeScaling(config: JsonObject, maxPositions: number): RopeScaling | undefined {
  const [, stated] = statedRope(config);
  return stated && scalingFrom(stated, maxPositions);
}

/** The object that states the scaling, with the field it stands in. `type` is the older name of `rope_type`. */
export function statedRope(config: JsonObject): [field: string, stated: JsonObject | undefined] {
  for (const field of ["rope_parameters", "rope_scaling"]) {
    const stated = config[field];
    if (isObject(stated) && ropeType(stated) !== "default") return [field, stated];
  }
  return ["rope_scaling", undefined];
}

export function ropeType(stated: JsonObject): unknown {
  return stated.rope_type ?? stated.type ?? "default";
}

// Values are what the file holds, of any type, until checkRopeScaling() has seen them.
function scalingFrom(stated: JsonObject, maxPositions: number): RopeScaling {
  const type = ropeType(stated) as RopeScaling["type"];
  const factor = stated.factor as number;
  const originalMaxPositions = (stated.original_max_position_embeddings ?? maxPositions) as number;
  if (type === "linear") return { type, factor };
  if (type === "llama3") {
    const { low_freq_factor: lowFreqFactor, high_freq_factor: highFreqFactor } = stated as Record<string, number>;
    return { type, factor, lowFreqFactor: lowFreqFactor!, highFreqFactor: highFreqFactor!, originalMaxPositions };
  }
  return {
    type: "yarn",
    factor,
    originalMaxPositions,
    attentionFactor: (stated.attention_factor ?? yarnAttention(factor, stated)) as number,
    betaFast: (stated.beta_fast ?? DEFAULT_BETA_FAST) as number,
    betaSlow: (stated.beta_slow ?? DEFAULT_BETA_SLOW) as number,
    truncate: (stated.truncate ?? true) as boolean,
  };
}

/** Peng et al. 2023 (YaRN), eq. 22; DeepSeek's mscale and mscale_all_dim make it a ratio of two. */
function yarnAttention(factor: number, stated: JsonObject): number {
  const scale = (mscale: number) => (factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1);
  const { mscale, mscale_all_dim: all } = stated;
  return typeof mscale === "number" && typeof all === "number" && mscale && all ? scale(mscale) / scale(all) : scale(1);
}

/** Throws the voice's error for a number out of range. */
export function checkRopeScaling(scaling: RopeScaling, voice: Voice): void {
  const isPositive = (value: unknown) => typeof value === "number" && value > 0 && value <= 1e9;
  const { type, ...values } = scaling;
  for (const [key, value] of Object.entries(values)) {
    const detail = `.${NAMES[key as keyof typeof NAMES]}`;
    if (key === "truncate") {
      if (typeof value !== "boolean") throw fault(voice, "ropeScaling", "true or false", value, detail);
    } else if (!isPositive(value)) {
      throw fault(voice, "ropeScaling", "a number above 0, at most 1e9", value, detail);
    }
  }
  if (scaling.factor < 1) throw fault(voice, "ropeScaling", "a number of at least 1", scaling.factor, ".factor");
  if (type === "llama3" && scaling.highFreqFactor <= scaling.lowFreqFactor) {
    const expected = `more than the low_freq_factor ${scaling.lowFreqFactor}`;
    throw fault(voice, "ropeScaling", expected, scaling.highFreqFactor, ".high_freq_factor");
  }
}

/** The fields of config.json, for both versions of transformers. */
export function ropeToConfig({ ropeTheta, ropeScaling }: ModelSpec): JsonObject {
  if (!ropeScaling) {
    return { rope_theta: ropeTheta, rope_parameters: { rope_type: "default", rope_theta: ropeTheta } };
  }
  const { type, ...values } = ropeScaling;
  const named = Object.fromEntries(
    Object.entries(values).map(([key, value]) => [NAMES[key as keyof typeof NAMES], value]),
  );
  const scaling = { rope_type: type, ...named };
  return { rope_theta: ropeTheta, rope_scaling: scaling, rope_parameters: { ...scaling, rope_theta: ropeTheta } };
}

/** Radians a position [headDim / 2], in float32 as transformers has them, and what cosine and sine are multiplied by. */
export function ropeFrequencies(spec: ModelSpec): { frequencies: Float32Array; scale: number } {
  const { headDim, ropeTheta, ropeScaling } = spec;
  const plain = Float64Array.from({ length: headDim / 2 }, (_, i) => ropeTheta ** (-(2 * i) / headDim));
  const scale = ropeScaling?.type === "yarn" ? ropeScaling.attentionFactor : 1;
  if (!ropeScaling) return { frequencies: Float32Array.from(plain), scale };
  return { frequencies: Float32Array.from(scaled(plain, ropeScaling, spec)), scale };
}

function scaled(plain: Float64Array, scaling: RopeScaling, spec: ModelSpec): Float64Array {
  if (scaling.type === "linear") return plain.map((frequency) => frequency / scaling.factor);
  if (scaling.type === "llama3") return plain.map((frequency) => llama3(frequency, scaling));
  const ramp = yarnRamp(scaling, spec);
  return plain.map((frequency, i) => frequency * (1 - ramp(i)) + (frequency / scaling.factor) * ramp(i));
}

/** Short waves stay, long ones are stretched, and those between are mixed (Grattafiori et al. 2024, Llama 3.1). */
function llama3(frequency: number, scaling: RopeScaling & { type: "llama3" }): number {
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = scaling;
  const turns = (originalMaxPositions * frequency) / TWO_PI;
  const kept = Math.min(1, Math.max(0, (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor)));
  return frequency * kept + (frequency / factor) * (1 - kept);
}

/** How far dimension i is stretched, from 0 (turns often) to 1 (turns rarely). Peng et al. 2023, section 3.2. */
function yarnRamp(scaling: RopeScaling & { type: "yarn" }, { headDim, ropeTheta }: ModelSpec): (i: number) => number {
  const dimension = (turns: number) =>
    (headDim * Math.log(scaling.originalMaxPositions / (turns * TWO_PI))) / (2 * Math.log(ropeTheta));
  const round = (value: number, to: (value: number) => number) => (scaling.truncate ? to(value) : value);
  const low = Math.max(round(dimension(scaling.betaFast), Math.floor), 0);
  const high = Math.min(round(dimension(scaling.betaSlow), Math.ceil), headDim - 1);
  const width = high === low ? 1e-3 : high - low;
  return (i) => Math.min(1, Math.max(0, (i - low) / width));
}
