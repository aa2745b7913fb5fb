// Groups of settings that several recipes share: each field's range, default and help text live here and nowhere else. A recipe
// calls a group with the defaults that differ: `optimizer({ learningRate: 3e-3, schedule: "cosine" })`. No recipe is defined here.
import { z } from "zod";

/** A group of settings: an absent one is an empty one, so the defaults of its fields apply. */
export const group = <Shape extends z.ZodRawShape>(shape: Shape) =>
  z.strictObject(shape).prefault({} as z.input<z.ZodObject<Shape, z.core.$strict>>);

/** Whether a setting, or every setting of a group, may change when a run is resumed; one that does not say may not. */
export type OnResume = "free" | "raise";

/** Metadata of a setting: "free" to change, or "raise": to a larger number, where the schedule does not depend on it. */
export const onResume = (resume: OnResume): { readonly resume: OnResume } => ({ resume });

/** What a setting names on this machine; an empty one names nothing. */
export type OnDisk = "folder" | "file" | "data";

/** Metadata of a setting that names a folder, a file, or data, which may be elsewhere. */
export const onDisk = (disk: OnDisk): { readonly disk: OnDisk } => ({ disk });

/** A help text, and what a recipe adds to it. */
const withHelp = (what: string, more: string): string => (more === "" ? `${what}.` : `${what}; ${more}.`);

export interface OptimizerSettings {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly maxGradNorm: number;
  readonly schedule: "constant" | "cosine" | "linear";
  readonly warmupSteps: number;
  readonly floor: number;
}

/** AdamW (Loshchilov & Hutter 2019) and its learning-rate schedule; `rateHelp` goes behind the help of the learning rate. */
export function optimizer(defaults: Partial<OptimizerSettings> = {}, rateHelp: string = "") {
  const { learningRate = 3e-4, beta1 = 0.9, beta2 = 0.95, eps = 1e-8, weightDecay = 0, maxGradNorm = 1 } = defaults;
  const { schedule = "constant", warmupSteps = 0, floor = 0 } = defaults;
  return group({
    learningRate: z.number().gt(0).max(1).default(learningRate).describe(withHelp("Peak learning rate", rateHelp)),
    beta1: z.number().min(0).lt(1).default(beta1).describe("Decay of the gradient's mean."),
    beta2: z.number().min(0).lt(1).default(beta2).describe("Decay of the gradient's square."),
    eps: z.number().min(1e-30).max(1).default(eps).describe("Added to the root of the second moment."),
    weightDecay: z
      .number()
      .min(0)
      .max(1)
      .default(weightDecay)
      .describe("Decoupled decay of matrices; norms have none."),
    maxGradNorm: z.number().min(0).max(1e9).default(maxGradNorm).describe("Clip the gradient to this norm; 0 is off."),
    schedule: z.enum(["constant", "cosine", "linear"]).default(schedule).describe("Learning rate after the warm-up."),
    warmupSteps: z.int().min(0).default(warmupSteps).describe("Steps in which the learning rate rises linearly."),
    floor: z.number().min(0).max(1).default(floor).describe("Learning rate at the end, as a fraction of the peak."),
  });
}

export interface SamplingSettings {
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly presencePenalty: number;
  readonly frequencyPenalty: number;
  readonly maxTokens: number;
  readonly stopStrings: readonly string[];
  readonly eosTokenIds: readonly number[];
  readonly choices: readonly string[];
  readonly regex: string;
}

/** Ranges of how a token is drawn, within those of the engine. */
const drawing = {
  temperature: z
    .number()
    .min(0)
    .max(10)
    .refine((value) => value === 0 || value >= 1e-6, "0 or a number >= 1e-6"),
  topK: z
    .int()
    .min(0)
    .max(2 ** 31 - 1),
  topP: z.number().gt(0).max(1),
  minP: z.number().min(0).max(1),
  repetitionPenalty: z.number().min(0.01).max(100),
  presencePenalty: z.number().min(-100).max(100),
  frequencyPenalty: z.number().min(-100).max(100),
  maxTokens: z.int().min(1).max(1_048_576),
};

/** Half a surrogate pair has no bytes. */
const wholeCharacters = (text: string) => !/\p{Surrogate}/u.test(text);
const texts = (each: z.ZodString) => z.array(each.refine(wholeCharacters, "whole characters")).default([]);

/** A YAML list of choices has 1 where the text "1" is meant. */
const numbersAsText = (list: unknown): unknown =>
  Array.isArray(list) ? list.map((each: unknown) => (typeof each === "number" ? String(each) : each)) : list;

/**
 * How completions are drawn and how they end. All but temperature, stopStrings and eosTokenIds make the sampler another distribution than
 * the policy, softmax(logits / temperature): both log-probs are kept, and `loss.oldPolicy` says which one the ratio is to.
 */
export function sampling(defaults: Partial<SamplingSettings> = {}) {
  const { temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1, maxTokens = 256 } = defaults;
  const { presencePenalty = 0, frequencyPenalty = 0 } = defaults;
  return group({
    temperature: drawing.temperature.default(temperature).describe("Divides the logits; 0 is greedy."),
    topK: drawing.topK.default(topK).describe("Sample among the k likeliest tokens; 0 is off."),
    topP: drawing.topP.default(topP).describe("Sample among the tokens that hold this mass; 1 is off."),
    minP: drawing.minP.default(minP).describe("Least share of the likeliest token's probability; 0 is off."),
    repetitionPenalty: drawing.repetitionPenalty
      .default(repetitionPenalty)
      .describe("Divides the logits of tokens of prompt and completion; 1 is off."),
    presencePenalty: drawing.presencePenalty
      .default(presencePenalty)
      .describe("Taken from the logits of tokens that the completion has; 0 is off."),
    frequencyPenalty: drawing.frequencyPenalty
      .default(frequencyPenalty)
      .describe("Taken from the logits of tokens for each time in the completion; 0 is off."),
    maxTokens: drawing.maxTokens.default(maxTokens).describe("New tokens a sample at most."),
    stopStrings: texts(z.string().min(1)).describe("Texts that end a sample; what is graded ends before them."),
    eosTokenIds: z
      .array(
        z
          .int()
          .min(0)
          .max(2 ** 31 - 1),
      )
      .default([])
      .describe("Ids that end a sample beside those of config.json, generation_config.json and the tokenizer."),
    choices: z
      .preprocess(numbersAsText, texts(z.string()))
      .default([])
      .describe("A completion is one of these texts; none: any text."),
    regex: z.string().default("").describe("A completion matches this regular expression as a whole; empty: any text."),
  }).refine((it) => it.choices.length === 0 || it.regex === "", "choices or a regex, one of the two");
}

export type EvaluationSamplingSettings = {
  readonly [name in keyof typeof drawing]: SamplingSettings[name] | null;
};

/** How held-out problems are answered where not as in training: null is what training has; `help` goes behind a setting's own. How an answer may end and look is the same. */
export function evaluationSampling(
  { topP = null }: Partial<EvaluationSamplingSettings> = {},
  help: { readonly maxTokens?: string } = {},
) {
  const asTraining = (range: z.ZodNumber, what: string, value: number | null = null, more: string = "") =>
    range
      .nullable()
      .default(value)
      .describe(withHelp(`${what} of held-out samples; null is what training takes`, more));
  return group({
    temperature: asTraining(drawing.temperature, "Temperature"),
    topK: asTraining(drawing.topK, "Top-k"),
    topP: asTraining(drawing.topP, "Top-p", topP),
    minP: asTraining(drawing.minP, "Min-p"),
    repetitionPenalty: asTraining(drawing.repetitionPenalty, "Repetition penalty"),
    presencePenalty: asTraining(drawing.presencePenalty, "Presence penalty"),
    frequencyPenalty: asTraining(drawing.frequencyPenalty, "Frequency penalty"),
    maxTokens: asTraining(drawing.maxTokens, "Most new tokens", null, help.maxTokens),
  });
}

export interface LossSettings {
  readonly ratio: "token" | "sequence";
  readonly objective: "clip" | "cispo";
  readonly clipLow: number;
  readonly clipHigh: number;
  readonly dualClip: number;
  readonly klCoefficient: number;
  readonly klEstimator: "k1" | "k2" | "k3";
  readonly klIn: "loss" | "reward";
  readonly klMaxLogRatio: number;
  readonly klMax: number;
  readonly entropyCoefficient: number;
  readonly highEntropyShare: number;
  readonly oldPolicy: "policy" | "sampler";
  readonly importanceCap: number;
}

const coefficient = (value: number) => z.number().min(0).max(1e6).default(value);

/**
 * The policy loss. Clip: Schulman et al. 2017, eq. 7; ratio of sequences: GSPO, Zheng et al. 2025; CISPO: MiniMax-M1 2025; dual clip: Ye et
 * al. 2020, eq. 5; KL estimators: Schulman 2020; tokens of high entropy: Wang et al. 2025; importance weights: Yao et al. 2025.
 */
export function loss(defaults: Partial<LossSettings> = {}) {
  const { clipLow = 0.2, clipHigh = 0.2, dualClip = 0, klCoefficient = 0, entropyCoefficient = 0 } = defaults;
  const { ratio = "token", objective = "clip", klEstimator = "k3", klIn = "loss" } = defaults;
  const { highEntropyShare = 1, oldPolicy = "policy", importanceCap = 0, klMaxLogRatio = 0, klMax = 0 } = defaults;
  const dual = z
    .number()
    .max(1e6)
    .refine((bound) => bound === 0 || bound > 1, "0 or a number > 1");
  return group({
    ratio: z.enum(["token", "sequence"]).default(ratio).describe("Ratio of each token, or of whole sequences (GSPO)."),
    objective: z.enum(["clip", "cispo"]).default(objective).describe("Clipped surrogate, or CISPO's clipped weight."),
    clipLow: z.number().min(0).max(1).default(clipLow).describe("The ratio is clipped below 1 - clipLow."),
    clipHigh: z.number().min(0).max(100).default(clipHigh).describe("The ratio is clipped above 1 + clipHigh."),
    dualClip: dual.default(dualClip).describe("Bound of the surrogate for negative advantages, > 1; 0 is off."),
    klCoefficient: coefficient(klCoefficient).describe("Weight of the KL to the reference; 0 is off."),
    klEstimator: z
      .enum(["k1", "k2", "k3"])
      .default(klEstimator)
      .describe("Estimator of the KL; k1 belongs in the reward, in the loss its mean gradient is 0."),
    klIn: z
      .enum(["loss", "reward"])
      .default(klIn)
      .describe("Where the KL goes: each token's loss, or a sample's reward, summed over its tokens."),
    klMaxLogRatio: coefficient(klMaxLogRatio).describe(
      "Bound of the log-ratio to the reference in the KL; beyond it a token of the loss has no pull. 0 is off.",
    ),
    klMax: coefficient(klMax).describe("Bound of a token's KL, likewise; 0 is off."),
    entropyCoefficient: coefficient(entropyCoefficient).describe("Weight of the entropy bonus; 0 is off."),
    highEntropyShare: z
      .number()
      .gt(0)
      .max(1)
      .default(highEntropyShare)
      .describe("Train on this share of tokens, those of highest entropy; 1 is all."),
    oldPolicy: z
      .enum(["policy", "sampler"])
      .default(oldPolicy)
      .describe(
        "What the ratio is to where the sampler is filtered, penalised or constrained: the policy, or that sampler.",
      ),
    importanceCap: z
      .number()
      .min(0)
      .max(1e6)
      .default(importanceCap)
      .describe("Weigh tokens by policy / sampler, at most this much, with oldPolicy policy; 0 is off."),
  })
    .refine((it) => it.objective === "clip" || it.dualClip === 0, "dualClip 0 with the objective cispo")
    .refine((it) => it.oldPolicy === "policy" || it.importanceCap === 0, "importanceCap 0 with oldPolicy sampler");
}

export type Estimator = "grpo" | "rloo" | "reinforce" | "reinforce++" | "reinforce++-baseline" | "gdpo";

export interface AdvantageSettings {
  readonly estimator: Estimator;
  readonly scaleByStd: boolean;
  readonly whiten: "tokens" | "samples";
  readonly eps: number;
}

/** Advantages: the estimators of objective/estimators.ts, with their sources. */
export function advantage(defaults: Partial<AdvantageSettings> = {}) {
  const { estimator = "grpo", scaleByStd = true, whiten = "tokens", eps = 1e-6 } = defaults;
  return group({
    estimator: z
      .enum(["grpo", "rloo", "reinforce", "reinforce++", "reinforce++-baseline", "gdpo"])
      .default(estimator)
      .describe("How rewards become advantages; Dr. GRPO is grpo without scaleByStd, aggregate constant."),
    scaleByStd: z.boolean().default(scaleByStd).describe("Divide by the group's standard deviation (grpo)."),
    whiten: z
      .enum(["tokens", "samples"])
      .default(whiten)
      .describe(
        "What counts in the batch's mean and deviation (reinforce++): a sample by its tokens, as in verl, or once.",
      ),
    eps: z.number().min(0).max(1).default(eps).describe("Added to standard deviations."),
  }).refine((it) => it.estimator !== "gdpo" || it.eps > 0, "eps > 0 with the estimator gdpo");
}

export interface DynamicSamplingSettings {
  readonly maxRefills: number;
}

/** Dynamic sampling: Yu et al., "DAPO", 2025, eq. 11. */
export function dynamicSampling({ maxRefills = 0 }: Partial<DynamicSamplingSettings> = {}) {
  return group({
    maxRefills: z
      .int()
      .min(0)
      .max(1000)
      .default(maxRefills)
      .describe("Times a step replaces groups without spread by further problems; 0 keeps them."),
  });
}

export interface OverlongSettings {
  readonly cacheLength: number;
  readonly penalty: number;
  readonly maskTruncated: boolean;
}

/** Completions that run out of room: Yu et al., "DAPO", 2025, section 3.4. */
export function overlong(defaults: Partial<OverlongSettings> = {}) {
  const { cacheLength = 0, penalty = 1, maskTruncated = false } = defaults;
  return group({
    cacheLength: z
      .int()
      .min(0)
      .default(cacheLength)
      .describe("Last tokens of maxTokens over which a penalty on the reward grows; 0 is off."),
    penalty: z.number().min(0).max(1e6).default(penalty).describe("Penalty of a completion of maxTokens tokens."),
    maskTruncated: z.boolean().default(maskTruncated).describe("No loss on completions that were cut off."),
  });
}

export interface ReferenceSettings {
  readonly sync: { readonly every: number; readonly mix: number };
}

/** A reference that follows the policy: Gorbatovski et al., "Learn your reference model", 2024. */
export function reference({ sync: { every = 0, mix = 1 } = {} }: { sync?: Partial<ReferenceSettings["sync"]> } = {}) {
  return group({
    sync: group({
      every: z.int().min(0).default(every).describe("Steps between moves of the reference; 0 keeps it as it was."),
      mix: z.number().gt(0).max(1).default(mix).describe("How far it moves towards the policy; 1 copies."),
    }),
  });
}

export type Aggregate = "token-mean" | "sequence-mean" | "constant";

/**
 * How token losses become one number: over all tokens, over sequences of token means, or over a fixed length. Tokens and sequences are
 * those of the groups that are trained on.
 */
export function aggregate(value: Aggregate = "token-mean") {
  return z
    .enum(["token-mean", "sequence-mean", "constant"])
    .default(value)
    .describe("Normaliser of the loss, over trained groups: all tokens, each sequence's tokens, or a fixed length.");
}
