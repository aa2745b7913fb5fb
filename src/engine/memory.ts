// The memory plan: what an engine needs, counted by the native code that lays it out; whether it fits; and settings with which it would.
import { InputError } from "../errors.js";
import { addon, toZazenError } from "./addon.js";
import { checkKeys, KEYS } from "./known.js";
import { type MemoryRoom, memoryRoom } from "./memory-limit.js";
import { DEFAULT_KV_BYTES, DEFAULT_MICRO_BATCH_TOKENS, type EngineOptions } from "./types.js";
import { checkNumber } from "./validate.js";

/** Calls of forwardBackward or logprobs at most: tokens of a call, of a sequence, and sequences of a call where that is known. */
export interface BatchBound {
  readonly tokens: number;
  readonly longest: number;
  readonly sequences?: number;
  /** Sequences that a loss does not cut apart: 2 of a loss of pairs. Default 1. */
  readonly together?: number;
}

/** Calls of generate at most. */
export interface GenerateBound {
  readonly prompts: number;
  readonly promptTokens: number;
  readonly samplesPerPrompt: number;
  readonly maxTokens: number;
}

/** What an engine will be asked for; what is left out, never. */
export interface Workload {
  readonly train?: BatchBound;
  readonly score?: BatchBound;
  readonly generate?: readonly GenerateBound[];
}

/** Bytes of each part. An engine keeps what a call needed for the next, so their sum is the peak. */
export interface MemoryParts {
  readonly weights: number;
  /** float32 masters of bfloat16 weights that are trained. */
  readonly masters: number;
  readonly reference: number;
  readonly gradients: number;
  readonly moments: number;
  /** Of the largest micro-batches of training and scoring, and of generation. */
  readonly activations: number;
  /** Logits and hidden rows of one chunk. */
  readonly head: number;
  /** Of sequences being generated. */
  readonly keysAndValues: number;
  /** Gradients between kernels, transposed weights, tables of angles. */
  readonly workspace: number;
}

export interface MemoryPlan {
  readonly parts: MemoryParts;
  readonly bytes: number;
}

/** What the native side of an engine holds. */
export interface MemoryUse {
  readonly bytes: number;
  readonly peakBytes: number;
  /** Blocks allocated so far. A step like one before it allocates none. */
  readonly allocations: number;
}

/** What an error may propose where a plan does not fit. */
export interface Proposals {
  /** Adapters in the place of training every weight. Default true. */
  readonly adapters?: boolean;
}

/** What a plan has to fit beside, and what is proposed where it does not. */
export interface PlanTerms extends Proposals {
  /** Bytes that other parts of the run will take beyond what they hold. Default 0. */
  readonly beside?: number;
}

/** The plan of options on a workload. */
export type Planner = (options: EngineOptions, workload: Workload) => MemoryPlan;

const MOST = 2 ** 31 - 1;
const GiB = 2 ** 30;
/** Share of what is available that a plan may take; the rest is for the system. */
const USABLE = 0.95;
const LEAST_MICRO_BATCH = 64;
/** Adapters that are offered in the place of training every weight. */
const LORA = { rank: 16, alpha: 32, targets: "all-linear" } as const;

const NAMES: { readonly [part in keyof MemoryParts]: string } = {
  weights: "weights",
  masters: "masters",
  reference: "reference",
  gradients: "gradients",
  moments: "moments",
  activations: "activations",
  head: "head",
  keysAndValues: "keys and values",
  workspace: "workspace",
};

/** `native`: spec and options, complete. Throws InputError BAD_ARGUMENT, KV_TOO_SMALL, TOO_LARGE. */
export function nativePlan(native: object, workload: Workload): MemoryPlan {
  const args = { ...native, memoryLimit: Number.MAX_SAFE_INTEGER, workload: nativeWorkload(workload) };
  try {
    const parts = addon().planMemory(args);
    return { parts, bytes: Object.values(parts).reduce((sum, bytes) => sum + bytes, 0) };
  } catch (error) {
    throw toZazenError(error);
  }
}

/** Complete. Throws InputError BAD_ARGUMENT. */
export function nativeWorkload(workload: Workload) {
  checkKeys("memory workload", workload, KEYS.workload);
  const { train, score, generate = [] } = workload;
  const batch = (where: string, bound: BatchBound = { tokens: 0, longest: 0 }) => {
    checkKeys(`memory ${where}`, bound, KEYS.batchBound);
    const filled = { sequences: 0, together: 1, ...bound };
    for (const [name, value] of Object.entries(filled)) checkNumber(`memory ${where} ${name}`, value, 0, MOST, true);
    return filled;
  };
  for (const call of generate) {
    checkKeys("memory generate", call, KEYS.generateBound);
    for (const name of Object.keys(KEYS.generateBound) as (keyof GenerateBound)[])
      checkNumber(`memory generate ${name}`, call[name], 1, MOST, true);
  }
  return { train: batch("train", train), score: batch("score", score), generate };
}

/** Bytes that a plan may come to beside `held`, which the engine has already. */
export function usableBytes(room: MemoryRoom, held: number): number {
  return Math.floor(USABLE * room.available) + held;
}

/** Bytes that others will take beyond what they hold. */
export function stillToTake(others: readonly OtherMemory[]): number {
  return others.reduce((sum, { bytes, held }) => sum + bytes - held, 0);
}

/**
 * The plan, when it fits beside what else runs on this machine. `held`: bytes that are allocated already.
 * Throws InputError MEMORY_PLAN with settings that fit.
 */
export function requireMemory(
  where: string,
  plan: Planner,
  options: EngineOptions,
  workload: Workload,
  {
    held = 0,
    room = memoryRoom(),
    beside = 0,
    ...proposals
  }: PlanTerms & { readonly held?: number; readonly room?: MemoryRoom } = {},
): MemoryPlan {
  const wanted = plan(options, workload);
  const usable = Math.max(0, usableBytes(room, held) - beside);
  if (wanted.bytes <= usable) return wanted;
  const fitting = (changed: Change) => plan({ ...options, ...changed }, workload).bytes <= usable;
  const fits = fittingSettings(fitting, options, proposals);
  const remedy =
    fits.length > 0
      ? `it fits with ${fits.join(", or ")}`
      : "no settings make it fit; take a smaller model or more memory";
  throw new InputError(
    "MEMORY_PLAN",
    `[${where}] expected a plan of at most ${gib(usable)} of memory, got ${gib(wanted.bytes)} (${partsLine(wanted)}); ${remedy}`,
  );
}

type Change = Partial<Pick<EngineOptions, "microBatchTokens" | "kvBytes" | "recompute" | "moments" | "dtype" | "lora">>;

/** Single changes of the options that fit; where there is none, the first of growing sets of them that does. Results as text. */
export function fittingSettings(
  fits: (change: Change) => boolean,
  options: EngineOptions,
  { adapters = true }: Proposals = {},
): string[] {
  const works = (change: Change) => {
    try {
      return fits(change);
    } catch (error) {
      if (error instanceof InputError) return false; // too little room for the keys and values of one sample
      throw error;
    }
  };
  const { trainable = true } = options;
  const fixed: Change[] = [
    ...(trainable && options.recompute !== true ? [{ recompute: true }] : []),
    ...(trainable && options.moments !== "bfloat16" ? [{ moments: "bfloat16" as const }] : []),
    ...(options.dtype !== "bfloat16" ? [{ dtype: "bfloat16" as const }] : []),
    ...(trainable && adapters && !options.lora ? [{ lora: LORA }] : []),
  ];
  const { microBatchTokens = DEFAULT_MICRO_BATCH_TOKENS, kvBytes = DEFAULT_KV_BYTES } = options;
  const halved = (name: "microBatchTokens" | "kvBytes", from: number, least: number) => (base: Change) => {
    for (let value = Math.floor(from / 2); value >= least; value = Math.floor(value / 2)) {
      if (works({ ...base, [name]: value })) return { ...base, [name]: value };
    }
    return undefined;
  };
  const micro = halved("microBatchTokens", microBatchTokens, LEAST_MICRO_BATCH);
  const keys = halved("kvBytes", kvBytes, 1);
  const single = [micro({}), keys({}), ...fixed.map((change) => (works(change) ? change : undefined))];
  const found = single.filter((change) => change !== undefined);
  if (found.length > 0) return found.map(showChange);
  let all: Change = {};
  for (const change of fixed) {
    all = { ...all, ...change };
    const enough = works(all) ? all : (micro(all) ?? keys(all));
    if (enough) return [showChange(enough)];
  }
  return [];
}

function showChange({ lora, ...rest }: Change): string {
  const shown = Object.entries(rest).map(([name, value]) => `${name}: ${value}`);
  return [...shown, ...(lora ? [`lora.rank: ${lora.rank}`] : [])].join(" and ");
}

/** "weights 1.84 GiB, gradients 1.84 GiB, ...": parts that there are. */
export function partsLine({ parts }: MemoryPlan): string {
  const there = Object.entries(parts).filter(([, bytes]) => bytes > 0);
  return there.map(([name, bytes]) => `${NAMES[name as keyof MemoryParts]} ${gib(bytes)}`).join(", ");
}

/** What another part of a run takes beside the engine of a plan, such as a reward model. */
export interface OtherMemory {
  readonly name: string;
  readonly bytes: number;
  /** Of these, taken already. */
  readonly held: number;
  /** It lies in processes of its own. Default false. */
  readonly apart?: boolean;
}

/** "memory: 7.42 GiB of 9.80 GiB that may be used (weights ...); 2.38 GiB are left", or that it does not fit. */
export function memoryLine(
  plan: MemoryPlan,
  held = 0,
  room = memoryRoom(),
  others: readonly OtherMemory[] = [],
): string {
  const taken = others.reduce((sum, other) => sum + other.held, held);
  const bytes = others.reduce((sum, other) => sum + other.bytes, plan.bytes);
  const rest = usableBytes(room, taken) - bytes;
  const verdict = rest >= 0 ? `${gib(rest)} are left` : `${gib(-rest)} too much`;
  const limit = `${gib(room.available + taken)} available of ${gib(room.limit)}${room.constrained ? " (container limit)" : ""}`;
  const parts = [partsLine(plan), ...others.map((other) => `${other.name} ${gib(other.bytes)}`)].filter(Boolean);
  return `memory: ${gib(bytes)} (${parts.join(", ")}); ${limit}; ${verdict}`;
}

const gib = (bytes: number): string => {
  const digits = bytes < GiB / 10 ? 4 : bytes < GiB ? 3 : 2;
  return `${(bytes / GiB).toFixed(digits)} GiB`;
};
