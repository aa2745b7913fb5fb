// The kernels Zazen is named for and the losses of pairs and of critics, on plain typed arrays: for embedding in other programs, tests and benchmarks.
// The engine runs the same native code on its own memory. `device` has the three named ones on arrays in the memory of a GPU.
import { addon, defaultThreads, type NativePolicySums, toZazenError } from "./engine/addon.js";
import { type NativeDeviceArray, onCuda } from "./engine/cuda.js";
import { DeviceArray, deviceFloats } from "./engine/device-array.js";
import { valueMetrics } from "./engine/loss-metrics.js";
import { pairMetrics } from "./engine/pairs.js";
import type { KlEstimator, PairMetrics, PolicyObjective, RatioLevel, ValueMetrics } from "./engine/types.js";
import { checkLoss, checkNumber, checkPairs, checkTemperature, fail } from "./engine/validate.js";

export { DeviceArray };

/** Group-relative advantages: r - mean(group), divided by the group's standard deviation when `scaleByStd`. */
export interface AdvantageNormalizeOptions {
  /** Divide by the unbiased standard deviation plus eps (Shao et al. 2024, "DeepSeekMath", section 4.1). Default true. */
  readonly scaleByStd?: boolean;
  /** Added to the standard deviation. Default 1e-6. */
  readonly eps?: number;
}

/**
 * @param rewards [n] float32
 * @param cuGroups [G + 1] int32: group g is rewards[cuGroups[g] .. cuGroups[g + 1])
 * @returns [n] float32; zeros for a group without spread or of one sample
 * @throws InputError BAD_ARGUMENT when shapes disagree
 */
export function advantageNormalize(
  rewards: Float32Array,
  cuGroups: Int32Array,
  options: AdvantageNormalizeOptions = {},
): Float32Array {
  floats("advantageNormalize rewards", rewards);
  const settings = advantageSettings(rewards.length, cuGroups, options);
  return native(() => addon().advantageNormalize({ rewards, ...settings }));
}

function advantageSettings(length: number, cuGroups: Int32Array, options: AdvantageNormalizeOptions) {
  const { scaleByStd = true, eps = 1e-6 } = options;
  checkNumber("advantageNormalize eps", eps, 0, 1e6);
  checkOffsets("advantageNormalize cuGroups", cuGroups, length);
  return { cuGroups, scaleByStd, eps };
}

export interface LogprobGatherOptions {
  /** The distribution is softmax(logits / temperature). Default 1. */
  readonly temperature?: number;
  /** Default: the cores this process may use. The result does not depend on it. */
  readonly threads?: number;
}

export interface LogprobGatherResult<A = Float32Array> {
  /** log softmax(logits[t] / temperature)[ids[t]] */
  readonly logprobs: A; // [T]
  /** Entropy of each row, nats. */
  readonly entropy: A; // [T]
}

/**
 * Log-probabilities of chosen tokens and the entropies of their rows, without a [T, V] array of log-probs.
 * @param logits [T, V] float32, row-major; not changed
 * @param ids [T] int32 in 0 .. V - 1
 * @throws InputError BAD_ARGUMENT, TOKEN_OUT_OF_RANGE
 */
export function logprobGather(
  logits: Float32Array,
  ids: Int32Array,
  options: LogprobGatherOptions = {},
): LogprobGatherResult {
  const { temperature = 1, threads = defaultThreads() } = options;
  floats("logprobGather logits", logits);
  checkNumber("logprobGather threads", threads, 1, 1024, true);
  const vocabSize = checkRows(logits.length, ids, temperature);
  if (ids.length === 0) return { logprobs: new Float32Array(0), entropy: new Float32Array(0) };
  return native(() => addon().logprobGather({ logits, ids, vocabSize, temperature, threads }));
}

/** The size of the vocabulary: logits are a row for each id. 0 when there are no ids. */
function checkRows(logits: number, ids: Int32Array, temperature: number): number {
  if (!(ids instanceof Int32Array)) fail("BAD_ARGUMENT", "logprobGather ids", "an Int32Array", typeof ids);
  checkTemperature("logprobGather temperature", temperature);
  if (ids.length === 0) return 0;
  const vocabSize = logits / ids.length;
  if (!Number.isInteger(vocabSize) || vocabSize === 0)
    fail("BAD_ARGUMENT", "logprobGather logits", `rows for ${ids.length} ids`, `${logits} elements`);
  const wrong = ids.findIndex((id) => id < 0 || id >= vocabSize);
  if (wrong >= 0)
    fail("TOKEN_OUT_OF_RANGE", "logprobGather ids", `ids in 0 .. ${vocabSize - 1}`, `${ids[wrong]} at place ${wrong}`);
  return vocabSize;
}

export interface PolicyLossInput<A = Float32Array> {
  readonly logprobs: A; // [T] under the policy being trained
  readonly oldLogprobs: A; // [T] recorded when the tokens were sampled
  /** Needed when klCoefficient is not 0. */
  readonly refLogprobs?: A; // [T]
  /** Log-probs that the ratio is to, where they are not the old ones. */
  readonly samplerLogprobs?: A; // [T]
  /** Factor of each token's surrogate; default 1. */
  readonly importance?: A; // [T]
  /** Needed when entropyCoefficient is not 0. */
  readonly entropy?: A; // [T]
  readonly advantages: A; // [T]
  /** What each token counts, the normaliser included; 0 leaves it out. */
  readonly weights: A; // [T]
  /** Needed for the ratio of sequences: sequence s is tokens cuSeqlens[s] .. cuSeqlens[s + 1] - 1. */
  readonly cuSeqlens?: Int32Array; // [S + 1]
}

/** The fields of PolicyLoss, without kind and temperature; each has a default. */
export interface PolicyLossOptions {
  readonly ratio?: RatioLevel; // "token"
  readonly objective?: PolicyObjective; // "clip"
  readonly clipLow?: number; // 0.2
  readonly clipHigh?: number; // 0.2
  /** > 1 bounds the clip surrogate of negative advantages; 0 is off. Default 0. */
  readonly dualClip?: number;
  /** Coefficient of the KL(policy || reference). Default 0. */
  readonly klCoefficient?: number;
  readonly klEstimator?: KlEstimator; // "k3"
  /** Bounds of |ref - logp| and of a token's KL, beyond which it has no pull; 0, the default, is off. */
  readonly klMaxLogRatio?: number;
  readonly klMax?: number;
  /** Default 0. */
  readonly entropyCoefficient?: number;
}

export interface PolicyLossResult<A = Float32Array> {
  readonly loss: number;
  /** Means over tokens with weight != 0. */
  readonly kl: number;
  readonly ratio: number;
  /** Tokens whose surrogate a bound decided; of these, below 1 - clipLow and above 1 + clipHigh. */
  readonly clipFraction: number;
  readonly clipLowFraction: number;
  readonly clipHighFraction: number;
  readonly tokens: number;
  readonly dLogprobs: A; // [T] d loss / d logprobs
  readonly dEntropy: A; // [T] d loss / d entropy
}

/**
 * The policy loss and its gradient, as PolicyLoss defines it: clipped or CISPO, the ratio of tokens or of sequences, a KL to a reference,
 * an entropy bonus.
 * @throws InputError BAD_ARGUMENT when shapes disagree, a setting is out of range or an array that a setting needs is missing
 */
export function policyLoss(input: PolicyLossInput, options: PolicyLossOptions = {}): PolicyLossResult {
  const args = policyArguments(input, options, floats);
  const sums = native(() => addon().policyLoss(args));
  return { ...policyMeans(sums), dLogprobs: sums.dLogprobs, dEntropy: sums.dEntropy };
}

/** What the native side takes: settings filled in, and arrays as `check` returns them. */
function policyArguments<A extends { readonly length: number }>(
  input: PolicyLossInput<A>,
  options: PolicyLossOptions,
  check: (where: string, array: unknown, length: number) => object,
): object {
  const { clipLow = 0.2, clipHigh = 0.2, dualClip = 0, klCoefficient = 0, entropyCoefficient = 0 } = options;
  const { ratio = "token", objective = "clip", klEstimator = "k3", klMaxLogRatio = 0, klMax = 0 } = options;
  const bounds = { clipLow, clipHigh, dualClip, klCoefficient, klMaxLogRatio, klMax, entropyCoefficient };
  const settings = { ...bounds, ratio, objective, klEstimator };
  checkLoss({ kind: "policy", temperature: 1, ...settings });
  const { logprobs, oldLogprobs, refLogprobs, samplerLogprobs, importance, entropy, advantages, weights } = input;
  const { cuSeqlens } = input;
  if (klCoefficient !== 0 && !refLogprobs)
    fail("BAD_ARGUMENT", "policyLoss refLogprobs", "an array, since klCoefficient is not 0", "none");
  if (entropyCoefficient !== 0 && !entropy)
    fail("BAD_ARGUMENT", "policyLoss entropy", "an array, since entropyCoefficient is not 0", "none");
  if (ratio === "sequence") checkOffsets("policyLoss cuSeqlens", cuSeqlens, logprobs.length);
  const given = Object.entries({ refLogprobs, samplerLogprobs, importance, entropy }).filter(([, array]) => array);
  const arrays = Object.entries({ logprobs, oldLogprobs, advantages, weights, ...Object.fromEntries(given) });
  const checked = arrays.map(([name, array]) => [name, check(`policyLoss ${name}`, array, logprobs.length)]);
  return { ...settings, ...Object.fromEntries(checked), ...(ratio === "sequence" && { cuSeqlens }) };
}

function policyMeans(sums: NativePolicySums): Omit<PolicyLossResult, "dLogprobs" | "dEntropy"> {
  const { loss, tokens } = sums;
  const mean = (sum: number) => sum / tokens;
  return {
    loss,
    tokens,
    kl: mean(sums.kl),
    ratio: mean(sums.ratio),
    clipFraction: mean(sums.clipped),
    clipLowFraction: mean(sums.clippedLow),
    clipHighFraction: mean(sums.clippedHigh),
  };
}

/**
 * The three named kernels on arrays in device memory: the same arguments, but DeviceArrays in the place of Float32Arrays; results are new
 * DeviceArrays, which the caller disposes. Sums within a row or a group have another order than on the CPU, so the last bits differ.
 * @throws as on the CPU; ZazenError CUDA_ADDON_MISSING, NO_DEVICE, CUDA, OUT_OF_MEMORY, DEVICE_ARRAY_DISPOSED
 */
export const device = {
  advantageNormalize(rewards: DeviceArray, cuGroups: Int32Array, options: AdvantageNormalizeOptions = {}): DeviceArray {
    const from = deviceFloats("advantageNormalize rewards", rewards);
    const settings = advantageSettings(rewards.length, cuGroups, options);
    const [advantages] = fillArrays([rewards.length], ([to]) =>
      onCuda((addon) => addon.advantageNormalize({ rewards: from, advantages: to, ...settings })),
    );
    return advantages!;
  },

  logprobGather(
    logits: DeviceArray,
    ids: Int32Array,
    { temperature = 1 }: Pick<LogprobGatherOptions, "temperature"> = {},
  ): LogprobGatherResult<DeviceArray> {
    const from = deviceFloats("logprobGather logits", logits);
    const vocabSize = checkRows(logits.length, ids, temperature);
    const [logprobs, entropy] = fillArrays([ids.length, ids.length], ([to, entropyTo]) =>
      onCuda((addon) =>
        addon.logprobGather({ logits: from, ids, vocabSize, temperature, logprobs: to, entropy: entropyTo }),
      ),
    );
    return { logprobs: logprobs!, entropy: entropy! };
  },

  policyLoss(input: PolicyLossInput<DeviceArray>, options: PolicyLossOptions = {}): PolicyLossResult<DeviceArray> {
    const args = policyArguments(input, options, deviceFloats);
    const { length } = input.logprobs;
    let sums: NativePolicySums | undefined;
    const [dLogprobs, dEntropy] = fillArrays([length, length], ([to, entropyTo]) => {
      sums = onCuda((addon) => addon.policyLoss({ ...args, length, dLogprobs: to, dEntropy: entropyTo }));
    });
    return { ...policyMeans(sums!), dLogprobs: dLogprobs!, dEntropy: dEntropy! };
  },
};

/** New arrays of these lengths that `fill` writes; they are disposed when it fails. */
function fillArrays(lengths: readonly number[], fill: (natives: NativeDeviceArray[]) => void): DeviceArray[] {
  const arrays: DeviceArray[] = [];
  try {
    for (const length of lengths) arrays.push(new DeviceArray(length));
    fill(arrays.map((array) => array.native()));
    return arrays;
  } catch (error) {
    for (const array of arrays) array.dispose();
    throw error;
  }
}

export interface DpoLossInput {
  readonly logprobs: Float32Array; // [T] under the policy being trained
  readonly refLogprobs: Float32Array; // [T]
  /** Not 0 where a token belongs to a completion. */
  readonly weights: Float32Array; // [T]
  /** Sequence s is tokens cuSeqlens[s] .. cuSeqlens[s + 1] - 1: chosen and rejected in turn. */
  readonly cuSeqlens: Int32Array; // [2 P + 1]
  /** What each pair counts, the normaliser included; 0 leaves it out. */
  readonly pairWeights: Float32Array; // [P]
}

export interface DpoLossOptions {
  /** Default 0.1. */
  readonly beta?: number;
  /** In 0 .. 0.5. Default 0. */
  readonly labelSmoothing?: number;
}

export interface DpoLossResult {
  readonly loss: number;
  readonly pairs: PairMetrics;
  readonly dLogprobs: Float32Array; // [T] d loss / d logprobs
}

/**
 * The loss of direct preference optimisation and its gradient, as DpoLoss defines it.
 * @throws InputError BAD_ARGUMENT when shapes disagree or a setting is out of range
 */
export function dpoLoss(input: DpoLossInput, options: DpoLossOptions = {}): DpoLossResult {
  const { beta = 0.1, labelSmoothing = 0 } = options;
  checkLoss({ kind: "dpo", beta, labelSmoothing });
  const { logprobs, refLogprobs, weights, cuSeqlens, pairWeights } = input;
  floats("dpoLoss logprobs", logprobs);
  checkOffsets("dpoLoss cuSeqlens", cuSeqlens, logprobs.length);
  checkPairs("dpoLoss", cuSeqlens, pairWeights);
  const arrays = { logprobs, refLogprobs, weights };
  for (const [name, array] of Object.entries(arrays)) floats(`dpoLoss ${name}`, array, logprobs.length);
  const result = native(() => addon().dpoLoss({ ...arrays, cuSeqlens, pairWeights, beta, labelSmoothing }));
  return { loss: result.loss, pairs: pairMetrics("dpo", result.pairs), dLogprobs: result.dLogprobs };
}

export interface BradleyTerryLossInput {
  /** Chosen and rejected in turn. */
  readonly scores: Float32Array; // [2 P]
  /** What each pair counts, the normaliser included; 0 leaves it out. */
  readonly pairWeights: Float32Array; // [P]
  /** By how much each chosen score is to lead. Default 0. */
  readonly margins?: Float32Array; // [P]
}

export interface BradleyTerryLossResult {
  readonly loss: number;
  readonly pairs: PairMetrics;
  readonly dScores: Float32Array; // [2 P] d loss / d scores
}

/**
 * The loss of a reward model and its gradient, as BradleyTerryLoss defines it.
 * @throws InputError BAD_ARGUMENT when shapes disagree or a setting is out of range
 */
export function bradleyTerryLoss(
  { scores, pairWeights, margins }: BradleyTerryLossInput,
  { centerCoefficient = 0 }: { readonly centerCoefficient?: number } = {},
): BradleyTerryLossResult {
  const kind = "bradley-terry";
  checkLoss({ kind, centerCoefficient });
  floats("bradleyTerryLoss pairWeights", pairWeights);
  floats("bradleyTerryLoss scores", scores, 2 * pairWeights.length);
  if (margins !== undefined) floats("bradleyTerryLoss margins", margins, pairWeights.length);
  const result = native(() => addon().bradleyTerryLoss({ scores, pairWeights, margins, centerCoefficient }));
  return { loss: result.loss, pairs: pairMetrics(kind, result.pairs), dScores: result.dScores };
}

export interface ValueLossInput {
  readonly values: Float32Array; // [T]
  readonly returns: Float32Array; // [T]
  readonly weights: Float32Array; // [T]
  /** Values as they were recorded; needed for a clip. */
  readonly oldValues?: Float32Array; // [T]
}

export interface ValueLossResult {
  readonly loss: number;
  readonly value: ValueMetrics;
  /** Tokens with weight != 0 whose clipped square is the larger one. */
  readonly clipFraction: number;
  readonly dValues: Float32Array; // [T] d loss / d values
}

/**
 * The clipped loss of a critic and its gradient, as ValueLoss defines it; here a token's value stands at its own place. `clip` 0 is off.
 * @throws InputError BAD_ARGUMENT when shapes disagree or a setting is out of range
 */
export function valueLoss(
  { oldValues, ...arrays }: ValueLossInput,
  { clip = 0 }: { readonly clip?: number } = {},
): ValueLossResult {
  checkLoss({ kind: "value", clip });
  const length = arrays.values.length;
  for (const [name, array] of Object.entries(arrays)) floats(`valueLoss ${name}`, array, length);
  if (oldValues !== undefined || clip > 0) floats("valueLoss oldValues", oldValues, length);
  const { loss, value, dValues } = native(() => addon().valueLoss({ ...arrays, oldValues, clip }));
  return { loss, value: valueMetrics(value), clipFraction: value.clipped / value.tokens, dValues };
}

function native<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw toZazenError(error);
  }
}

function floats(where: string, array: unknown, length?: number): Float32Array {
  if (!(array instanceof Float32Array)) fail("BAD_ARGUMENT", where, "a Float32Array", typeof array);
  if (length !== undefined && array.length !== length) fail("BAD_ARGUMENT", where, `${length} elements`, array.length);
  return array;
}

function checkOffsets(where: string, offsets: Int32Array | undefined, end: number): void {
  if (!(offsets instanceof Int32Array)) fail("BAD_ARGUMENT", where, "an Int32Array", typeof offsets);
  if (offsets[0] !== 0 || offsets.at(-1) !== end)
    fail("BAD_ARGUMENT", where, `offsets from 0 to ${end}`, `${offsets[0]} .. ${offsets.at(-1)}`);
  for (let g = 1; g < offsets.length; g++)
    if ((offsets[g] ?? 0) < (offsets[g - 1] ?? 0))
      fail("BAD_ARGUMENT", where, "ascending offsets", `${offsets[g - 1]} then ${offsets[g]}`);
}
