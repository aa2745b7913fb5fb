// Groups of settings that several recipes share. Ranges, defaults and help live here or in config/fragments.ts, nowhere else.
import { z } from "zod";
import {
  advantage,
  aggregate,
  dynamicSampling,
  group,
  type LossSettings,
  loss,
  type OptimizerSettings,
  onDisk,
  onResume,
  optimizer,
  overlong,
  reference,
  type SamplingSettings,
  sampling,
} from "../config/fragments.js";
import { resolveArgument } from "../config/resolve.js";
import { compileConstraint } from "../engine/constraint/compile.js";
import { ALL_LINEAR } from "../engine/lora.js";
import { NO_CUDA_ENGINE } from "../engine/options.js";
import {
  DEFAULT_KV_BYTES,
  DEFAULT_MICRO_BATCH_TOKENS,
  DEVICES,
  type Device,
  DTYPES,
  type DType,
  type EngineOptions,
  type ModelSpec,
} from "../engine/types.js";

export const seed = () =>
  z
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .default(0)
    .describe("Same seed, same run.");

const device = () =>
  z
    .enum(DEVICES)
    .default("cpu")
    .refine((chosen) => chosen === "cpu", `cpu, since ${NO_CUDA_ENGINE}`)
    .describe("Where the model computes; cuda is refused until there is training on GPUs.");

const threads = () =>
  z
    .int()
    .min(0)
    .max(1024)
    .default(0)
    .describe("Threads of the CPU engine; 0 takes the cores this process may use.")
    .meta(onResume("free"));

const dtype = () =>
  z
    .enum(DTYPES)
    .default("float32")
    .describe("Type of weights and activations in memory, and of saved weights; sums and masters are float32.");

const moments = () =>
  z.enum(DTYPES).default("float32").describe("Type of the optimizer's moments; bfloat16 halves their memory.");

const recompute = () =>
  z
    .boolean()
    .default(false)
    .describe("Compute activations again in the backward pass instead of keeping them: less memory, slower, same bits.")
    .meta(onResume("free"));

const microBatchTokens = () =>
  z
    .int()
    .min(1)
    .max(2 ** 31 - 1)
    .default(DEFAULT_MICRO_BATCH_TOKENS)
    .describe("Most tokens computed at once: fewer take less memory, with the same results.")
    .meta(onResume("free"));

const kvBytes = () =>
  z
    .int()
    .min(1)
    .default(DEFAULT_KV_BYTES)
    .describe("Most bytes for keys and values of samples being generated; results do not depend on it.")
    .meta(onResume("free"));

/** Settings of the engine that every recipe has. */
export const engineSettings = {
  device: device(),
  threads: threads(),
  dtype: dtype(),
  moments: moments(),
  recompute: recompute(),
  microBatchTokens: microBatchTokens(),
  kvBytes: kvBytes(),
};

export interface EngineSettings {
  readonly device: Device;
  readonly threads: number;
  readonly dtype: DType;
  readonly moments: DType;
  readonly recompute: boolean;
  readonly microBatchTokens: number;
  readonly kvBytes: number;
}

/** Adapters in the place of weights. */
export function loraPart() {
  return group({
    rank: z.int().min(0).max(65_536).default(0).describe("Rank of the adapters; 0 trains every weight."),
    alpha: z.number().gt(0).max(1e6).default(32).describe("The adapters' share is scaled by alpha / rank."),
    rsLora: z.boolean().default(false).describe("Scale by alpha / sqrt(rank), which suits high ranks."),
    targets: z
      .array(z.string().min(1))
      .min(1)
      .default([ALL_LINEAR])
      .describe(`Linear layers with an adapter, such as q_proj or lm_head; ${ALL_LINEAR} is all but lm_head.`),
    modulesToSave: z
      .array(z.string().min(1))
      .default([])
      .describe("Modules of which a copy is trained whole: embed_tokens, lm_head, norm (every norm)."),
    base: z
      .string()
      .default("")
      .describe("Base of a model folder with adapters; empty is the one that it names.")
      .meta(onDisk("folder")),
  });
}

export type LoraSettings = z.output<ReturnType<typeof loraPart>>;

/** What the settings `lora` add to the options of an engine. */
export function loraOptions({ base, targets, ...lora }: LoraSettings, seed: number): EngineOptions {
  const adapters = { ...lora, targets: targets.includes(ALL_LINEAR) ? ALL_LINEAR : targets, seed } as const;
  return { ...(lora.rank === 0 ? {} : { lora: adapters }), ...(base === "" ? {} : { base }) };
}

export const engineOptions = ({
  device,
  threads,
  dtype,
  moments,
  recompute,
  microBatchTokens,
  kvBytes,
}: EngineSettings): EngineOptions => ({
  device,
  dtype,
  moments,
  recompute,
  microBatchTokens,
  kvBytes,
  ...(threads === 0 ? {} : { threads }),
});

/** A Llama-form model made from scratch; its vocabulary comes from the tokenizer. */
export function scratchModel() {
  return group({
    width: z.int().min(8).max(16_384).default(96).describe("Hidden size."),
    layers: z.int().min(1).max(256).default(3).describe("Transformer blocks."),
    heads: z.int().min(1).max(256).default(3).describe("Attention heads; divides the width."),
    mlp: z.int().min(8).max(65_536).default(256).describe("Width of the MLP."),
    maxPositions: z.int().min(16).max(1_048_576).default(256).describe("Longest sequence."),
    ropeTheta: z.number().gt(1).default(10_000).describe("Base of the rotary frequencies."),
  }).refine((model) => model.width % (2 * model.heads) === 0, "a width that the heads divide into even parts");
}

const rmsNormEps = 1e-5; // as Llama 3

export interface LlamaShape extends Partial<z.output<ReturnType<typeof scratchModel>>> {
  readonly vocabSize: number;
  readonly bosTokenId?: number | null;
  readonly eosTokenId?: number | null;
}

/**
 * Spec of a model of Llama form with an untied head; sizes that are left out are those of the built-in trial. Throws InputError
 * BAD_ARGUMENT.
 */
export function llamaSpec({ vocabSize, bosTokenId = null, eosTokenId = null, ...shape }: LlamaShape): ModelSpec {
  const model = resolveArgument("llamaSpec", scratchModel(), shape);
  return {
    vocabSize,
    hiddenSize: model.width,
    intermediateSize: model.mlp,
    layers: model.layers,
    heads: model.heads,
    kvHeads: model.heads,
    headDim: model.width / model.heads,
    maxPositions: model.maxPositions,
    ropeTheta: model.ropeTheta,
    rmsNormEps,
    tieWordEmbeddings: false,
    bosTokenId,
    eosTokenIds: eosTokenId === null ? [] : [eosTokenId],
  };
}

export interface SftDefaults {
  readonly steps: number;
  readonly tokensPerStep: number;
  readonly optimizer: Partial<OptimizerSettings>;
}

/** A supervised part. */
export function sftPart(defaults: SftDefaults) {
  return group({
    steps: z.int().min(1).max(10_000_000).default(defaults.steps).describe("Optimizer steps.").meta(onResume("raise")),
    tokensPerStep: z.int().min(1).default(defaults.tokensPerStep).describe("Tokens a step, prompts included."),
    optimizer: optimizer(defaults.optimizer),
  });
}

export interface EpochDefaults {
  readonly epochs: number;
  readonly batch: number;
  readonly warmupShare: number;
  readonly optimizer: Partial<OptimizerSettings>;
}

/** A supervised part over all of the data, so many times. */
export function epochsPart(defaults: EpochDefaults) {
  return group({
    epochs: z
      .number()
      .gt(0)
      .max(10_000)
      .default(defaults.epochs)
      .describe("Times that all demonstrations are gone through."),
    batch: z
      .int()
      .min(1)
      .max(65_536)
      .default(defaults.batch)
      .describe("Demonstrations a step; the last step has what is left."),
    warmupShare: z
      .number()
      .min(0)
      .max(1)
      .default(defaults.warmupShare)
      .describe("Share of the steps in which the learning rate rises, where optimizer.warmupSteps is 0."),
    optimizer: optimizer(defaults.optimizer),
  });
}

export type EpochSettings = z.output<ReturnType<typeof epochsPart>>;

/** Steps of epochs over `demonstrations`, and their optimizer with its warm-up in steps. */
export function epochSteps({ epochs, batch, warmupShare, optimizer }: EpochSettings, demonstrations: number) {
  const total = Math.ceil(epochs * demonstrations);
  const steps = Math.ceil(total / batch);
  const warmupSteps = optimizer.warmupSteps > 0 ? optimizer.warmupSteps : Math.ceil(warmupShare * steps);
  return { steps, sequences: { perStep: batch, total }, optimizer: { ...optimizer, warmupSteps } };
}

export interface GrpoDefaults {
  readonly steps: number;
  readonly prompts: number;
  readonly samplesPerPrompt: number;
  readonly sampling: Partial<SamplingSettings>;
  readonly optimizer: Partial<OptimizerSettings>;
  /** Behind the help of the learning rate. */
  readonly rateHelp?: string;
  readonly loss?: Partial<LossSettings>;
}

/** Sampling whose samples differ, since a group of equal ones teaches nothing. */
function trainingSampling(defaults: Partial<SamplingSettings>) {
  return sampling(defaults)
    .refine((s) => s.temperature > 0, "a temperature > 0 to train at")
    .refine((s) => s.topK !== 1, "a topK of 0, or of 2 and more, to train at")
    .refine((s) => s.minP !== 1, "a minP < 1 to train at")
    .refine((s) => s.choices.length !== 1, "no choices, or at least two to learn between")
    .superRefine(({ regex }, context) => {
      const fault = regex === "" ? null : patternFault(regex);
      if (fault !== null) context.addIssue({ code: "custom", path: ["regex"], message: fault });
    });
}

/** Why a constraint cannot be made of a regular expression; null where it can. */
function patternFault(pattern: string): string | null {
  try {
    compileConstraint({ kind: "regex", pattern });
    return null;
  } catch (error) {
    return `a pattern that constrains (${(error as Error).message})`;
  }
}

const rewardWeights = () =>
  z.record(z.string(), z.number()).default({}).describe("Weights of rewards that have names; 1 where none is given.");

const maxErrorShare = () =>
  z.number().min(0).max(1).default(0.05).describe("Share of rewards that may fail before the run stops.");

/** A part of group-relative policy optimisation: Shao et al. 2024. */
export function grpoPart(defaults: GrpoDefaults) {
  return group({
    steps: z.int().min(1).max(10_000_000).default(defaults.steps).describe("Rollouts.").meta(onResume("raise")),
    prompts: z.int().min(1).max(65_536).default(defaults.prompts).describe("Problems, and so groups, a step."),
    samplesPerPrompt: z.int().min(2).max(4096).default(defaults.samplesPerPrompt).describe("Samples a group."),
    sampling: trainingSampling(defaults.sampling),
    advantage: advantage(),
    aggregate: aggregate(),
    constantLength: z.int().min(1).default(1024).describe("Tokens that a sequence counts as under aggregate constant."),
    loss: loss(defaults.loss),
    dynamicSampling: dynamicSampling(),
    overlong: overlong(),
    reference: reference(),
    rewardWeights: rewardWeights(),
    optimizer: optimizer(defaults.optimizer, defaults.rateHelp),
    epochs: z.int().min(1).max(64).default(1).describe("Times each rollout is gone through."),
    miniBatches: z.int().min(1).max(4096).default(1).describe("Optimizer steps an epoch."),
    maxErrorShare: maxErrorShare(),
  }).refine(
    ({ reference, loss }) => reference.sync.every === 0 || loss.klCoefficient > 0,
    "loss.klCoefficient > 0 with reference.sync, since nothing else reads the reference",
  );
}

export interface DpoDefaults {
  /** Default 0. */
  readonly rollouts?: number;
  readonly prompts: number;
  readonly sampling: Partial<SamplingSettings>;
  readonly optimizer: Partial<OptimizerSettings>;
}

/** A part of on-policy direct preference optimisation: Rafailov et al. 2023, on pairs of the policy's own samples. */
export function dpoPart(defaults: DpoDefaults) {
  return group({
    rounds: z
      .int()
      .min(1)
      .max(100_000)
      .default(1)
      .describe("Times that pairs are sampled and trained on; 1: once, from the initial policy."),
    rollouts: z
      .int()
      .min(0)
      .max(1_000_000)
      .default(defaults.rollouts ?? 0)
      .describe("Steps of a round that sample; 0: as many as go through the training prompts once."),
    prompts: z.int().min(1).max(65_536).default(defaults.prompts).describe("Problems that such a step samples."),
    samplesPerPrompt: z.int().min(2).max(4096).default(8).describe("Samples a problem, of which two make a pair."),
    sampling: trainingSampling(defaults.sampling),
    minValid: z
      .int()
      .min(2)
      .max(4096)
      .default(4)
      .describe("Samples of a problem that must be parsed and graded for it to give a pair."),
    maxPairTokens: z
      .int()
      .min(1)
      .default(8192)
      .describe("Pairs with more tokens in either sequence are left out and counted."),
    heldOutShare: z
      .number()
      .min(0)
      .max(0.9)
      .default(0.03)
      .describe("Share of a round's pairs that is measured only, whole prompts."),
    splitSeed: seed().default(42).describe("Which pairs are held out."),
    reference: z
      .enum(["initial", "round"])
      .default("initial")
      .describe("The reference: the policy that the run began with, or that which sampled the round."),
    beta: z.number().gt(0).max(1e6).default(0.1).describe("How hard the policy is held to the reference."),
    labelSmoothing: z.number().min(0).max(0.5).default(0).describe("Share of pairs that may be the wrong way round."),
    epochs: z.int().min(1).max(1000).default(2).describe("Times that a round's pairs are gone through."),
    pairsPerStep: z.int().min(1).max(65_536).default(128).describe("Pairs of an optimizer step."),
    rewardWeights: rewardWeights(),
    optimizer: optimizer({
      learningRate: 3e-7,
      schedule: "cosine",
      weightDecay: 1e-4,
      beta1: 0.9,
      beta2: 0.95,
      ...defaults.optimizer,
    }),
    warmupShare: z
      .number()
      .min(0)
      .max(1)
      .default(0.05)
      .describe("Share of the training steps in which the learning rate rises, where optimizer.warmupSteps is 0."),
    maxErrorShare: maxErrorShare(),
  }).refine((it) => it.minValid <= it.samplesPerPrompt, "minValid of at most samplesPerPrompt");
}

export interface PpoDefaults {
  readonly steps: number;
  readonly prompts: number;
  readonly samplesPerPrompt?: number;
  readonly sampling: Partial<SamplingSettings>;
  readonly loss?: Partial<LossSettings>;
  readonly optimizer?: Partial<OptimizerSettings>;
  readonly criticOptimizer?: Partial<OptimizerSettings>;
}

const share = (value: number) => z.number().min(0).max(1).default(value);

/** A part of proximal policy optimisation with a critic: Schulman et al. 2017. */
export function ppoPart(defaults: PpoDefaults) {
  return group({
    steps: z.int().min(1).max(10_000_000).default(defaults.steps).describe("Rollouts.").meta(onResume("raise")),
    prompts: z.int().min(1).max(65_536).default(defaults.prompts).describe("Problems a step."),
    samplesPerPrompt: z
      .int()
      .min(1)
      .max(4096)
      .default(defaults.samplesPerPrompt ?? 1)
      .describe("Samples a problem; the critic is the baseline, so one is enough."),
    sampling: trainingSampling(defaults.sampling),
    gamma: share(1).describe("Discount of the next token's worth."),
    lambda: share(1).describe("1: advantages are whole returns, 0: one step and the critic's word for the rest."),
    whitenRewards: z.boolean().default(false).describe("Scale the rewards of tokens to variance 1, their mean kept."),
    whitenAdvantages: z.boolean().default(true).describe("Advantages of mean 0 and variance 1 over a rollout."),
    aggregate: aggregate(),
    constantLength: z.int().min(1).default(1024).describe("Tokens that a sequence counts as under aggregate constant."),
    loss: loss({ klCoefficient: 1e-3, klEstimator: "k1", klIn: "reward", entropyCoefficient: 1e-3, ...defaults.loss }),
    rewardWeights: rewardWeights(),
    optimizer: optimizer({ learningRate: 1e-6, ...defaults.optimizer }),
    critic: group({
      model: z
        .string()
        .default("")
        .describe("Folder of the model that the critic begins as, such as the reward model; empty: the policy's.")
        .meta(onDisk("folder")),
      valueClip: z
        .number()
        .min(0)
        .max(1e6)
        .default(0.5)
        .describe("How far a value may move from the rollout's before its loss is clipped; 0 is off."),
      coefficient: z
        .number()
        .gt(0)
        .max(1e6)
        .default(1)
        .describe(
          "Weight of the critic's loss, which is half the squared error, as verl's: the paper's factor of 0.5 is that half.",
        ),
      optimizer: optimizer({ learningRate: 1e-5, ...defaults.criticOptimizer }),
    }),
    epochs: z.int().min(1).max(64).default(1).describe("Times each rollout is gone through."),
    miniBatches: z.int().min(1).max(4096).default(1).describe("Optimizer steps an epoch, of policy and critic each."),
    maxErrorShare: maxErrorShare(),
  });
}

export type PpoPartSettings = z.output<ReturnType<typeof ppoPart>>;
export type DpoPartSettings = z.output<ReturnType<typeof dpoPart>>;
export type SftSettings = z.output<ReturnType<typeof sftPart>>;
export type GrpoSettings = z.output<ReturnType<typeof grpoPart>>;
export type ScratchModel = z.output<ReturnType<typeof scratchModel>>;

/** How much of what a run does is shown and written. */
export function logging() {
  return group({
    rolloutGroups: z.int().min(0).default(2).describe("Groups of each step written to rollouts.jsonl."),
    showEvery: z.int().min(1).default(10).describe("Steps between rollouts on the screen."),
  }).meta(onResume("free"));
}

/** What a run can be resumed from. */
export function checkpoints(defaults: { readonly every: number; readonly seconds?: number }) {
  return group({
    every: z.int().min(0).default(defaults.every).describe("Steps of a part between checkpoints; 0 is off."),
    seconds: z
      .number()
      .min(0)
      .default(defaults.seconds ?? 0)
      .describe("Seconds between checkpoints; 0 is off."),
    keep: z.int().min(1).max(10_000).default(2).describe("Checkpoints kept, the best one aside."),
  }).meta(onResume("free"));
}

/** Evaluation between the steps of a part. */
export const heldOutSettings = {
  every: z.int().min(0).default(0).describe("Steps between evaluations while training; 0 is none."),
  patience: z
    .int()
    .min(0)
    .default(0)
    .describe(
      "Evaluations in a row without a better figure that end the training; the run then ends with the weights of its best step, stopped early or not. 0 is off: all steps, and the last weights.",
    ),
};
