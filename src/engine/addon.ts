// Finds and loads the native addon. The only file that knows where it lies.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { InputError, ZazenError } from "../errors.js";
import type { MemoryParts, MemoryUse } from "./memory.js";
import type { GenerateStats } from "./types.js";

/** The addon's engine: plain structs in, promises out. JavaScript has validated everything before. */
export interface NativeEngine {
  open(args: object): Promise<{ parameters: number; trained: number }>;
  reserve(args: object): Promise<void>;
  useVocabulary(args: object): Promise<void>;
  generate(args: object, onProgress?: (progress: never) => void, onTokens?: () => void): Promise<NativeSamples>;
  takeTokens(): NativeTokens;
  logprobs(args: object): Promise<NativeScores>;
  values(args: object): Promise<Float32Array>;
  forwardBackward(args: object): Promise<NativeSums>;
  optimStep(args: object): Promise<{ gradNorm: number; step: number }>;
  syncReference(args: object): Promise<void>;
  save(args: object): Promise<void>;
  load(args: object): Promise<void>;
  saveState(args: object): Promise<void>;
  loadState(args: object): Promise<void>;
  gradient(args: object): Promise<Float32Array>;
  memory(): MemoryUse;
  abort(): void;
  dispose(): void;
}

export interface NativeSamples {
  tokens: Int32Array;
  cuSeqlens: Int32Array;
  finish: Int32Array;
  logprobs: Float32Array;
  samplerLogprobs: Float32Array;
  /** Into the stop strings of the sample's prompt; -1: none. */
  stopStrings: Int32Array;
  stats: GenerateStats;
}

/** Tokens in the order in which they were drawn. */
export interface NativeTokens {
  samples: Int32Array;
  tokens: Int32Array;
  logprobs: Float32Array;
  samplerLogprobs: Float32Array;
  finish: Int32Array;
  stopStrings: Int32Array;
}

export interface NativeScores {
  logprobs: Float32Array;
  entropy: Float32Array;
  topIds: Int32Array;
  topLogprobs: Float32Array;
}

/** Of the policy loss, as a kernel and in training. */
export interface NativePolicySums {
  loss: number;
  kl: number;
  ratio: number;
  clipped: number;
  clippedLow: number;
  clippedHigh: number;
  entropy: number;
  maxAbsDrift: number;
  tokens: number;
}

/** Of any loss. */
export interface NativeSums extends NativePolicySums {
  pairs: NativePairSums;
  value: NativeValueSums;
}

export interface NativeValueSums {
  tokens: number;
  clipped: number;
  values: number;
  returns: number;
  squaredReturns: number;
  errors: number;
  squaredErrors: number;
  maxAbsDrift: number;
}

export interface NativePairSums {
  count: number;
  chosen: number;
  rejected: number;
  chosenLogprob: number;
  rejectedLogprob: number;
  accurate: number;
}

export interface NativeAddon {
  Engine: new () => NativeEngine;
  advantageNormalize(args: object): Float32Array;
  logprobGather(args: object): { logprobs: Float32Array; entropy: Float32Array };
  policyLoss(args: object): NativePolicySums & { dLogprobs: Float32Array; dEntropy: Float32Array };
  dpoLoss(args: object): { loss: number; pairs: NativePairSums; dLogprobs: Float32Array };
  bradleyTerryLoss(args: object): { loss: number; pairs: NativePairSums; dScores: Float32Array };
  valueLoss(args: object): { loss: number; value: NativeValueSums; dValues: Float32Array };
  measureReads(args: object): number;
  measurePeak(args: object): { gflops: number; rows: number; outputs: number; inputs: number };
  planMemory(args: object): MemoryParts;
  isas(): { best: string; available: string[] };
  libc(): string;
}

const FILES = ["build/Release/zazen.node", "build/zazen.node"];

/** Where the addon of this build lies, or where it was looked for in vain. ZAZEN_ADDON names another build, and none is taken in its place. */
export function addonFile(): { readonly file: string | undefined; readonly tried: readonly string[] } {
  const root = new URL("../../", import.meta.url);
  const { ZAZEN_ADDON } = process.env;
  const tried = ZAZEN_ADDON ? [resolve(ZAZEN_ADDON)] : FILES.map((name) => fileURLToPath(new URL(name, root)));
  return { file: tried.find(existsSync), tried };
}

let loaded: NativeAddon | undefined;

/** The addon of this build; throws ADDON_MISSING with how to build it. */
export function addon(): NativeAddon {
  loaded ??= load();
  return loaded;
}

function load(): NativeAddon {
  const { file, tried } = addonFile();
  if (!file) {
    throw new ZazenError(
      "ADDON_MISSING",
      `[engine] expected the native addon, got none at ${tried.join(", ")}; run: npm run build`,
    );
  }
  try {
    return createRequire(import.meta.url)(file) as NativeAddon;
  } catch (error) {
    const reason = (error as Error).message;
    throw new ZazenError(
      "ADDON_BROKEN",
      `[engine] expected ${file} to load, got: ${reason}; build it again: npm run build`,
      {
        cause: error,
      },
    );
  }
}

/** Cores that this process may use. */
export function defaultThreads(): number {
  return availableParallelism();
}

// What the native side says about files, arguments and options that came from the user. ENGINE_* is about the engine's state.
const INPUT_CODES =
  /^(FILE_|SAFETENSORS_|TENSOR_|BAD_|UNSUPPORTED|TOO_LARGE$|KV_TOO_SMALL$|NO_VOCABULARY$|CONSTRAINT_|PARAMETER_|NO_REFERENCE$|NOT_TRAINABLE$|THREADS$|WRONG_HEAD$)/;

/** A native error as one of ours; anything else as it is. */
export function toZazenError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof ZazenError) return error;
  const { code } = error as Error & { code?: unknown };
  if (typeof code !== "string") return error;
  const Type = INPUT_CODES.test(code) ? InputError : ZazenError;
  return new Type(code, error.message, { cause: error });
}
