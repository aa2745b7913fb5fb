// The keys of what is handed to the engine. One that it does not know, a misspelt one or that of another engine, would be left out in
// silence: it is refused, with the nearest that there is.
import { didYouMean } from "../config/nearest.js";
import type { BatchBound, GenerateBound, Workload } from "./memory.js";
import type {
  EngineOptions,
  GenerateRequest,
  HeadInit,
  LogprobsRequest,
  LoraOptions,
  LossSpec,
  OptimStep,
  SamplingParams,
  TrainBatch,
  ValuesRequest,
} from "./types.js";
import { fail } from "./validate.js";

/** Every key of a type, which the compiler sees to. */
type Keys<T> = { readonly [key in keyof Required<T>]: true };

const ENGINE: Keys<EngineOptions> = {
  device: true,
  threads: true,
  microBatchTokens: true,
  kvBytes: true,
  dtype: true,
  moments: true,
  recompute: true,
  isa: true,
  trainable: true,
  reference: true,
  lora: true,
  base: true,
  head: true,
  headInit: true,
};
const HEAD_INIT: Keys<HeadInit> = { seed: true, std: true, padTokenId: true };
const LORA: Keys<LoraOptions> = {
  rank: true,
  alpha: true,
  targets: true,
  rsLora: true,
  modulesToSave: true,
  seed: true,
};
const GENERATE: Keys<GenerateRequest> = {
  prompts: true,
  samplesPerPrompt: true,
  sampling: true,
  seed: true,
  step: true,
  problemIds: true,
  signal: true,
  onProgress: true,
};
const SAMPLING: Keys<SamplingParams> = {
  temperature: true,
  topK: true,
  topP: true,
  minP: true,
  repetitionPenalty: true,
  presencePenalty: true,
  frequencyPenalty: true,
  maxTokens: true,
  stopTokenIds: true,
  stopStrings: true,
  constraint: true,
  bannedTokenIds: true,
};
const TRAIN: Keys<TrainBatch> = {
  ids: true,
  cuSeqlens: true,
  weights: true,
  advantages: true,
  oldLogprobs: true,
  refLogprobs: true,
  samplerLogprobs: true,
  importance: true,
  returns: true,
  oldValues: true,
  margins: true,
  pairWeights: true,
  signal: true,
};
/** A training batch may be scored as it is. */
const LOGPROBS: Keys<LogprobsRequest & TrainBatch> = { ...TRAIN, temperature: true, top: true, reference: true };
const VALUES: Keys<ValuesRequest & TrainBatch> = TRAIN;
/** By the kind of loss. */
const LOSSES: { readonly [kind in LossSpec["kind"]]: Keys<Extract<LossSpec, { kind: kind }>> } = {
  sft: { kind: true },
  policy: {
    kind: true,
    temperature: true,
    ratio: true,
    objective: true,
    clipLow: true,
    clipHigh: true,
    dualClip: true,
    klCoefficient: true,
    klEstimator: true,
    klMaxLogRatio: true,
    klMax: true,
    entropyCoefficient: true,
  },
  dpo: { kind: true, beta: true, labelSmoothing: true },
  value: { kind: true, clip: true },
  "bradley-terry": { kind: true, centerCoefficient: true },
};
const OPTIM: Keys<OptimStep> = {
  learningRate: true,
  beta1: true,
  beta2: true,
  eps: true,
  weightDecay: true,
  maxGradNorm: true,
};
const WORKLOAD: Keys<Workload> = { train: true, score: true, generate: true };
const BATCH_BOUND: Keys<BatchBound> = { tokens: true, longest: true, sequences: true, together: true };
const GENERATE_BOUND: Keys<GenerateBound> = {
  prompts: true,
  promptTokens: true,
  samplesPerPrompt: true,
  maxTokens: true,
};

export const KEYS = {
  engine: ENGINE,
  create: { seed: true, std: true },
  headInit: HEAD_INIT,
  lora: LORA,
  generate: GENERATE,
  sampling: SAMPLING,
  logprobs: LOGPROBS,
  values: VALUES,
  losses: LOSSES,
  train: TRAIN,
  optim: OPTIM,
  workload: WORKLOAD,
  batchBound: BATCH_BOUND,
  generateBound: GENERATE_BOUND,
} as const;

/** Throws InputError BAD_ARGUMENT for what is no object, and for a key that is not among `keys`. */
export function checkKeys(where: string, value: object, keys: object): void {
  if (typeof value !== "object" || value === null) fail("BAD_ARGUMENT", where, "an object", JSON.stringify(value));
  const known = Object.keys(keys);
  const unknown = Object.keys(value).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  const advice = didYouMean(unknown, known) || "; leave it out";
  fail("BAD_ARGUMENT", where, `no other keys than ${known.join(", ")}`, `"${unknown}"${advice}`);
}
