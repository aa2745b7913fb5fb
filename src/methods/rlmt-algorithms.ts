// The algorithms of recipe `rlmt`: GRPO, DPO on the policy's own samples, PPO with a critic; their settings, with the paper's defaults, and
// the engines that each needs. They sample, earn and are evaluated alike. Leaves out the task.
import { z } from "zod";
import { counted } from "../config/counted.js";
import type { SamplingSettings } from "../config/fragments.js";
import { planMemory } from "../engine/engine.js";
import type { EngineLike, EngineSource } from "../engine/like.js";
import type { OtherMemory, Workload } from "../engine/memory.js";
import type { EngineOptions, ModelSpec } from "../engine/types.js";
import { heldOutSampling } from "../rollout/sampling.js";
import { criticOptions } from "../train/critic.js";
import { trainDpo } from "../train/dpo.js";
import { openPolicy } from "../train/open-policy.js";
import { dpoSteps } from "../train/pair-course.js";
import { trainPpo } from "../train/ppo.js";
import { type ReinforcePart, reinforce } from "../train/reinforce.js";
import type { Run } from "../train/run.js";
import type { TrainCost } from "../train/steps.js";
import { type CriticStart, criticSpec, openCriticBeside } from "./critic-start.js";
import { type LearnerSettings, learnerOptions, type ReferenceMove } from "./learner-settings.js";
import { dpoWorkload, grpoWorkload, type HeldOutBound, mostTokens, ppoWorkloads, takeMemory } from "./memory.js";
import { grpoMove, referenceOf } from "./policy-start.js";
import type { RunContext } from "./recipe.js";
import type { RlmtTask } from "./rlmt-task.js";
import { dpoPart, grpoPart, ppoPart } from "./settings.js";
import { groupSteps, groupsOf, samplingLines } from "./words.js";

const STEPS = 120; // about one epoch over the paper's 7,500 prompts
const PROMPTS = 64;
const CRITIC_RATE = 1e-5;
const sampling = { temperature: 0.7, maxTokens: 4096 };
const optimizer = { learningRate: 1e-6, weightDecay: 0.01, beta2: 0.999 };
const loss = { dualClip: 3, klCoefficient: 0.001, entropyCoefficient: 0.001 };
const bounds = { klMaxLogRatio: 20, klMax: 10 }; // of k3

export const algorithmSettings = {
  algorithm: z
    .enum(["grpo", "dpo", "ppo"])
    .default("grpo")
    .describe("What trains the policy, by the group of its name; the groups of the others are not read."),
  grpo: grpoPart({
    ...{
      steps: STEPS,
      prompts: PROMPTS,
      samplesPerPrompt: 8,
      sampling,
      optimizer,
      rateHelp: "the paper takes 3e-7 for instruct models",
    },
    loss: { ...loss, ...bounds },
  }),
  dpo: dpoPart({ prompts: PROMPTS, sampling, optimizer: {} }),
  ppo: ppoPart({
    ...{ steps: STEPS, prompts: PROMPTS, sampling, optimizer, loss },
    criticOptimizer: { ...optimizer, learningRate: CRITIC_RATE },
  }),
};

type Settings = { readonly [Name in keyof typeof algorithmSettings]: z.output<(typeof algorithmSettings)[Name]> };

export interface AlgorithmConfig extends LearnerSettings, Settings {
  readonly model: string;
}

/** How the reference of the algorithm follows the policy; null where it does not. */
export function moveOf(config: Pick<AlgorithmConfig, "algorithm" | "grpo" | "dpo">): ReferenceMove | null {
  const { algorithm, dpo } = config;
  if (algorithm === "grpo") return grpoMove(config);
  const follows = algorithm === "dpo" && dpo.reference !== "initial";
  return follows ? { key: "dpo.reference", still: "initial", got: dpo.reference } : null;
}

/** What a run has to know of the algorithm before there are engines. */
export interface Algorithm {
  readonly name: Settings["algorithm"];
  readonly sampling: SamplingSettings;
  readonly maxErrorShare: number;
  readonly steps: number;
  /** How many of them there are depends on what is sampled. */
  readonly atMost?: boolean;
  /** Prompts asked for in the whole training, those that come again included; NaN where that is settled by the data. */
  readonly asked: number;
  /** Samples of each. */
  readonly samplesPerPrompt: number;
  /** For a plan. */
  readonly lines: readonly string[];
  /** Options of the policy's engine. */
  readonly options: EngineOptions;
  /** What the policy's engine is asked for at most. */
  workload(spec: ModelSpec, promptTokens: number, heldOut: HeldOutBound): Workload;
  /** What engines beside the policy's will take, on prompts of up to `maxPromptTokens`, 0 being no limit. */
  beside(maxPromptTokens: number): Promise<readonly OtherMemory[]>;
  open(engines: EngineSource, context: RunContext): Promise<Learner>;
}

/** A policy and what trains it. */
export interface Learner extends AsyncDisposable {
  readonly policy: EngineLike;
  /** Takes the memory of the run. */
  reserve(run: Run, task: RlmtTask, heldOut: HeldOutBound): Promise<void>;
  train(run: Run, task: RlmtTask, part: Omit<ReinforcePart, "steps" | "phase">): Promise<TrainCost>;
}

/** What is known when the data are read. */
export interface AlgorithmData {
  /** Tokens that samples also end at. */
  readonly endIds: readonly number[];
  /** Prompts to train on. */
  readonly prompts: number;
}

/** The algorithm of the settings; before the data are read for what it needs alone. */
export function algorithmOf(config: AlgorithmConfig, data: AlgorithmData | null = null): Algorithm {
  const make = { grpo, dpo, ppo }[config.algorithm];
  return make(config, data);
}

/** How often the training samples each of its prompts, which settings of their own may not say. */
export function timesLine({ asked, samplesPerPrompt }: Algorithm, prompts: number): string {
  const of = `${counted(prompts, "prompt")} to train on, ${counted(samplesPerPrompt, "sample")} of each at a time`;
  if (asked < prompts) return `${of}: ${counted(asked, "prompt")} of them come once, ${prompts - asked} never`;
  const times = asked / prompts;
  return `${of}: each comes ${times === 1 ? "once" : `${Number.isInteger(times) ? times : `about ${times.toFixed(1)}`} times`}`;
}

function grpo(config: AlgorithmConfig, data: AlgorithmData | null): Algorithm {
  const settings = { ...config.grpo, sampling: ending(config.grpo.sampling, data) };
  const { steps, prompts, samplesPerPrompt, maxErrorShare } = settings;
  const line = `GRPO: ${groupSteps(settings)}${rate(settings)}`;
  return alone(config, {
    ...{ name: "grpo", sampling: settings.sampling, maxErrorShare, steps },
    ...{ asked: steps * prompts, samplesPerPrompt },
    lines: [line, ...samplingLines(settings)],
    options: policyOptions(config, referenceOf(settings)),
    workload: (spec, longest, heldOut) => grpoWorkload(settings, spec, longest, heldOut),
    train: (run, policy, task, part) => reinforce(run, policy, task, settings, { ...part, phase: "grpo", steps }),
  });
}

function dpo(config: AlgorithmConfig, data: AlgorithmData | null): Algorithm {
  const settings = { ...config.dpo, ...courseOf(config.dpo, data), sampling: ending(config.dpo.sampling, data) };
  const { rounds, problems, samplesPerPrompt, maxErrorShare } = settings;
  const asked = rounds * problems;
  const turns = rounds > 1 ? ` in ${rounds} rounds` : "";
  const groups = Number.isNaN(asked)
    ? `every prompt x ${counted(samplesPerPrompt, "sample")}`
    : groupsOf(asked, samplesPerPrompt);
  return alone(config, {
    ...{ name: "dpo", sampling: settings.sampling, maxErrorShare, steps: dpoSteps(settings), atMost: true },
    ...{ asked, samplesPerPrompt },
    lines: [`DPO: pairs of ${groups}${turns}${rate(settings)}`, ...samplingLines(settings)],
    options: policyOptions(config, true),
    workload: (spec, longest, heldOut) =>
      withHeldOut(dpoWorkload(settings, spec, longest), settings.sampling, longest, heldOut),
    train: (run, policy, task, part) => trainDpo(run, policy, task, settings, { ...part, phase: "dpo" }),
  });
}

function ppo(config: AlgorithmConfig, data: AlgorithmData | null): Algorithm {
  const settings = { ...config.ppo, sampling: ending(config.ppo.sampling, data) };
  const { steps, prompts, samplesPerPrompt, maxErrorShare, loss, critic } = settings;
  const { model, lora, seed } = config;
  const options = policyOptions(config, loss.klCoefficient > 0);
  const own = critic.model === "" ? options : learnerOptions({ ...config, lora: { ...lora, base: "" } });
  const start: CriticStart = { policy: model, critic: critic.model || model, lora, options: own, seed };
  const line = `PPO: ${groupSteps(settings)}${rate(settings)}`;
  const begun = `critic: from ${start.critic}${rate(critic)}`;
  return {
    ...{ name: "ppo", sampling: settings.sampling, maxErrorShare, steps, options },
    ...{ asked: steps * prompts, samplesPerPrompt },
    lines: [line, begun, ...samplingLines(settings)],
    workload: (spec, longest, heldOut) =>
      withHeldOut(ppoWorkloads(settings, spec, longest).policy, settings.sampling, longest, heldOut),
    beside: async (maxPromptTokens) => {
      const { spec, lora } = await criticSpec(start);
      const longest = mostTokens(maxPromptTokens, spec.maxPositions - 1);
      const workload = ppoWorkloads(settings, spec, longest).critic;
      const { bytes } = planMemory(spec, { ...own, ...(lora && { lora }), ...criticOptions }, workload);
      return [{ name: "critic", bytes, held: 0 }];
    },
    open: async (engines, context) => {
      const policy = await openPolicy(context, "ppo", { engines, from: model, options });
      const value = await beside(policy, () => openCriticBeside(engines, context, start, policy.spec));
      return {
        policy,
        reserve: async (run, task, heldOut) => {
          const { policy: asked, critic: said } = ppoWorkloads(settings, policy.spec, task.longestPrompt);
          const workload = withHeldOut(asked, settings.sampling, task.longestPrompt, heldOut);
          const critics = { name: "critic", bytes: value.planMemory(said).bytes, held: value.memory().bytes };
          await takeMemory(run, policy, workload, [...task.memory, critics]);
          await value.reserve(said);
        },
        train: (run, task, part) =>
          trainPpo(run, { policy, critic: value }, task, settings, { ...part, phase: "ppo", steps }),
        [Symbol.asyncDispose]: async () => {
          await policy.dispose();
          await value.dispose();
        },
      };
    },
  };
}

/** What an algorithm with one engine leaves to be said. */
interface Alone extends Omit<Algorithm, "beside" | "open"> {
  train(run: Run, policy: EngineLike, task: RlmtTask, part: Omit<ReinforcePart, "steps" | "phase">): Promise<TrainCost>;
}

function alone({ model }: AlgorithmConfig, { train, ...own }: Alone): Algorithm {
  const { name, options, workload } = own;
  return {
    ...own,
    beside: async () => [],
    open: async (engines, context) => {
      const policy = await openPolicy(context, name, { engines, from: model, options });
      return {
        policy,
        reserve: (run, task, heldOut) =>
          takeMemory(run, policy, workload(policy.spec, task.longestPrompt, heldOut), task.memory),
        train: (run, task, part) => train(run, policy, task, part),
        [Symbol.asyncDispose]: () => policy.dispose(),
      };
    },
  };
}

/** The calls of a round and its prompts; NaN where the data settle them, which are not read yet. */
function courseOf({ rollouts, prompts }: Settings["dpo"], data: AlgorithmData | null) {
  const problems = rollouts === 0 ? (data?.prompts ?? Number.NaN) : rollouts * prompts;
  return { problems, rollouts: Math.ceil(problems / prompts) };
}

/** A second engine; the first is disposed where it cannot be opened. */
async function beside(first: EngineLike, open: () => Promise<EngineLike>): Promise<EngineLike> {
  try {
    return await open();
  } catch (error) {
    await first.dispose();
    throw error;
  }
}

const rate = ({ optimizer }: { readonly optimizer: { readonly learningRate: number } }): string =>
  `, learning rate ${optimizer.learningRate}`;

const policyOptions = (config: AlgorithmConfig, reference: boolean | "moving"): EngineOptions => ({
  ...learnerOptions(config),
  reference,
});

/** The sampling with the end of the assistant's turn among the tokens that end a sample. */
function ending<S extends { readonly eosTokenIds: number[] }>(sampling: S, data: AlgorithmData | null) {
  return { ...sampling, eosTokenIds: [...new Set([...sampling.eosTokenIds, ...(data?.endIds ?? [])])] };
}

/** A workload with one sample of each held-out problem. */
function withHeldOut(
  workload: Workload,
  sampling: SamplingSettings,
  promptTokens: number,
  { problems, sampling: own }: HeldOutBound,
): Workload {
  if (problems === 0) return workload;
  const { maxTokens } = heldOutSampling(sampling, own);
  const judged = { prompts: problems, promptTokens, samplesPerPrompt: 1, maxTokens };
  return { ...workload, generate: [...(workload.generate ?? []), judged] };
}
