// The settings of the trial of RLMT: what it makes, and how much of each recipe it runs. Its defaults fit in minutes on two cores.
import { z } from "zod";
import { evaluationSampling, group, onResume, optimizer } from "../config/fragments.js";
import { EVALUATION_PROBLEMS, PREFERENCE_WEIGHTS } from "../tasks/countdown-trial.js";
import { checkpoints, engineSettings, epochsPart, grpoPart, logging, scratchModel, seed } from "./settings.js";
import { demonstrationPart } from "./trial.js";

const count = (value: number, what: string) => z.int().min(2).max(1_000_000).default(value).describe(what);

export const trialSettings = z.strictObject({
  seed: seed(),
  ...engineSettings,
  model: scratchModel(),
  rows: group({
    demonstrations: count(20_000, "Demonstrations that both arms learn from."),
    preferences: count(60_000, "Pairs that the reward model learns from."),
    heldOutPreferences: count(2000, "Pairs that say how good the reward model is."),
    preferenceWeights: z
      .array(z.number().min(0))
      .length(PREFERENCE_WEIGHTS.length)
      .refine((weights) => weights.some((weight) => weight > 0), "at least one weight > 0")
      .default([...PREFERENCE_WEIGHTS])
      .describe("Weights of pairs right against wrong, near against far, by the rules against not."),
  }),
  demonstrations: demonstrationPart(),
  sft: epochsPart({
    epochs: 3,
    batch: 32,
    warmupShare: 0.03,
    optimizer: { learningRate: 3e-3, schedule: "cosine", floor: 0.05 },
  }),
  rewardModel: group({
    start: z
      .enum(["policy", "scratch"])
      .default("policy")
      .describe("It begins as the thinking policy after its warm start, with a new head, or from random weights."),
    steps: z.int().min(1).max(10_000_000).default(1500).describe("Optimizer steps.").meta(onResume("raise")),
    pairsPerStep: z.int().min(1).max(65_536).default(128).describe("Pairs a step."),
    centerCoefficient: z.number().min(0).max(1e6).default(0.01).describe("Holds the scores around zero; 0 is off."),
    optimizer: optimizer({ learningRate: 2e-3, schedule: "cosine", floor: 0.05, warmupSteps: 50 }),
  }),
  grpo: grpoPart({
    steps: 100,
    prompts: 24,
    samplesPerPrompt: 16,
    sampling: { temperature: 1, maxTokens: 144 },
    loss: { dualClip: 3, klCoefficient: 0.001, entropyCoefficient: 0.001 },
    optimizer: { learningRate: 3e-4, warmupSteps: 5 },
  }),
  evaluation: group({
    problems: z.int().min(2).max(EVALUATION_PROBLEMS).default(512).describe("Held-out prompts."),
    every: z.int().min(0).default(20).describe("Steps of GRPO between evaluations on them; 0 is none."),
    sampling: evaluationSampling({ topP: 0.95 }),
  }),
  checkpoint: checkpoints({ every: 0, seconds: 20 }),
  logging: logging(),
});

export type TryRlmtConfig = z.output<typeof trialSettings>;
