// What recipes ask of an engine at most, and the line that says what it takes: before the first step, and in a dry run, which reads a
// model's config.json and no data.
import type { EvaluationSamplingSettings } from "../config/fragments.js";
import { planMemory } from "../engine/engine.js";
import { loadedSpec, requireHead } from "../engine/head.js";
import type { EngineLike } from "../engine/like.js";
import {
  memoryLine,
  type OtherMemory,
  type Planner,
  type Proposals,
  requireMemory,
  stillToTake,
  type Workload,
} from "../engine/memory.js";
import { memoryRoom } from "../engine/memory-limit.js";
import { processMemory } from "../engine/process-memory.js";
import { readModelSpec } from "../engine/spec.js";
import type { EngineOptions, LoraOptions, ModelSpec } from "../engine/types.js";
import { InputError } from "../errors.js";
import { heldOutSampling } from "../rollout/sampling.js";
import type { DpoSettings } from "../train/dpo.js";
import type { PpoSettings } from "../train/ppo.js";
import type { Run } from "../train/run.js";
import type { Demonstration } from "../train/sft.js";
import { foldersOf } from "./model-folders.js";
import type { GrpoSettings, SftSettings } from "./settings.js";

/** Offsets into tokens are int32. */
const MOST_TOKENS = 2 ** 31 - 1;
/** Tokens of the shortest sequence that anything is learnt from: one, and the one that follows it. */
const SHORTEST = 2;

/** Says what the run takes. Throws InputError MEMORY_PLAN, with settings that fit, where it does not fit. */
export function sayMemory(run: Run, engine: EngineLike, workload: Workload, proposals: Proposals = {}): void {
  const { held, room, beside } = surroundings(engine, workload, []);
  const plan = engine.planMemory(workload, { ...proposals, beside: stillToTake(beside) });
  run.note("info", memoryLine(plan, held, room, beside));
}

/** The same, and takes it; `others` is what other parts of the run hold, such as reward models. */
export async function takeMemory(
  run: Pick<Run, "note">,
  engine: EngineLike,
  workload: Workload,
  others: readonly OtherMemory[] = [],
): Promise<void> {
  const { held, room, beside } = surroundings(engine, workload, others);
  const plan = await engine.reserve(workload, { beside: stillToTake(beside) });
  run.note("info", memoryLine(plan, held, room, beside));
}

/** What an engine holds before it takes the memory of a workload, what is left, and what there is beside the engine. */
function surroundings(engine: EngineLike, workload: Workload, others: readonly OtherMemory[]) {
  const held = engine.memory().bytes;
  const inside = others.reduce((sum, { held, apart = false }) => (apart ? sum : sum + held), held);
  return { held, room: memoryRoom(), beside: [...others, processMemory(inside, engine.spec, workload)] };
}

/** A policy before there is an engine of it; `lora` is what a folder of adapters brings. */
export interface PolicyModel {
  readonly spec: ModelSpec;
  readonly lora?: LoraOptions;
}

/** Of a model's folder, or one of adapters on the base that it names or on `lora.base`. Throws InputError as Engine.load, WRONG_HEAD. */
export async function policyModel(folder: string, lora: { readonly base: string }): Promise<PolicyModel> {
  const folders = await foldersOf(folder, lora);
  const spec = loadedSpec(await readModelSpec(folders.base), folders, {});
  requireHead(`model ${folder}`, spec, "language");
  return { spec, ...(folders.adapter && { lora: folders.adapter.lora }) };
}

/** A length that settings bound, 0 being no bound, within what the model has. */
export const mostTokens = (bound: number, most: number): number => (bound === 0 ? most : Math.min(bound, most));

export interface MemoryQuestion {
  readonly model: () => Promise<PolicyModel> | PolicyModel;
  readonly options: EngineOptions;
  readonly workload: (spec: ModelSpec) => Workload;
  /** What others will take, such as reward models. */
  readonly beside?: () => Promise<readonly OtherMemory[]>;
  readonly proposals?: Proposals;
  /** Sequences are as long as settings and model allow, since no data are read. */
  readonly bounded: boolean;
}

/**
 * The plan of a run that is not made. Throws what the run would throw for its settings: InputError MEMORY_PLAN where it does not fit,
 * KV_TOO_SMALL, LORA_TARGET and others. With `bounded` only where no data would help: the shortest sequences do not fit either.
 */
export async function foreseeMemory(question: MemoryQuestion): Promise<string> {
  const { model, options, workload, beside, proposals = {}, bounded } = question;
  const { spec, lora } = await model();
  const own = (await beside?.()) ?? [];
  const others = (asked: Workload) => [...own, processMemory(0, spec, asked)];
  const policy = { ...options, ...(lora && { lora }) };
  const plan: Planner = (changed, asked) => planMemory(spec, changed, asked);
  const line = (asked: Workload) => memoryLine(plan(policy, asked), undefined, undefined, others(asked));
  const least = workload(bounded ? { ...spec, maxPositions: SHORTEST } : spec);
  // The model by itself first, as where an engine is opened.
  for (const work of [{}, least]) {
    requireMemory("engine", plan, policy, work, { ...proposals, beside: stillToTake(others(work)) });
  }
  if (!bounded) return line(least);
  return `${lineOrFault(() => line(workload(spec)))}; for sequences as long as settings and model allow, no data were read`;
}

/** What stands in the way of the longest sequences may not be in the way of the data's. */
function lineOrFault(line: () => string): string {
  try {
    return line();
  } catch (error) {
    if (error instanceof InputError) return `memory: unknown, ${error.message}`;
    throw error;
  }
}

export const demonstrationLength = ({ prompt, completion }: Demonstration): number => prompt.length + completion.length;

/** Steps of so many tokens on demonstrations of up to `longest`, and the loss on held-out ones. */
export function sftWorkload(
  { tokensPerStep }: Pick<SftSettings, "tokensPerStep">,
  longest: number,
  heldOut: readonly Demonstration[] = [],
): Workload {
  const train = { tokens: Math.min(MOST_TOKENS, Math.max(tokensPerStep, longest)), longest };
  const lengths = heldOut.map(demonstrationLength);
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  if (tokens === 0) return { train };
  return { train, score: { tokens, longest: lengths.reduce((a, b) => Math.max(a, b)), sequences: lengths.length } };
}

/** Held-out problems of an evaluation, and how they are answered. */
export interface HeldOutBound {
  readonly problems: number;
  readonly sampling: EvaluationSamplingSettings;
}

/** Rollouts and their training on prompts of up to `promptTokens`, and one sample of each of so many held-out problems. */
export function grpoWorkload(
  { prompts, samplesPerPrompt, sampling, loss }: GrpoSettings,
  { maxPositions }: ModelSpec,
  promptTokens: number,
  heldOut?: HeldOutBound,
): Workload {
  const { maxTokens } = sampling;
  const longest = Math.min(promptTokens + maxTokens, maxPositions);
  const sequences = prompts * samplesPerPrompt;
  const batch = { tokens: Math.min(MOST_TOKENS, sequences * longest), longest, sequences };
  const rollout = { prompts, promptTokens, samplesPerPrompt, maxTokens };
  const judged = (heldOut && heldOut.problems > 0 ? [heldOut] : []).map(({ problems, sampling: own }) => {
    const { maxTokens } = heldOutSampling(sampling, own);
    return { prompts: problems, promptTokens, samplesPerPrompt: 1, maxTokens };
  });
  return {
    train: batch,
    ...(loss.klCoefficient > 0 && { score: batch }),
    generate: [rollout, ...judged],
  };
}

/** Rollouts on prompts of up to `promptTokens`, what the reference says of them, and training on their pairs. */
export function dpoWorkload(
  { prompts, samplesPerPrompt, sampling, maxPairTokens, pairsPerStep }: DpoSettings,
  { maxPositions }: ModelSpec,
  promptTokens: number,
): Workload {
  const { maxTokens } = sampling;
  const sampled = Math.min(promptTokens + maxTokens, maxPositions);
  const longest = Math.min(sampled, maxPairTokens);
  const sequences = { pairs: 2 * pairsPerStep, rollout: prompts * samplesPerPrompt };
  const tokens = { pairs: sequences.pairs * longest, rollout: sequences.rollout * sampled };
  const within = (count: number) => Math.min(MOST_TOKENS, count);
  return {
    train: { tokens: within(tokens.pairs), longest, sequences: sequences.pairs, together: 2 },
    score: {
      tokens: within(Math.max(tokens.pairs, tokens.rollout)),
      longest: sampled,
      sequences: Math.max(sequences.pairs, sequences.rollout),
    },
    generate: [{ prompts, promptTokens, samplesPerPrompt, maxTokens }],
  };
}

/** What policy and critic of PPO are asked for. */
export function ppoWorkloads(
  { prompts, samplesPerPrompt, sampling, loss }: PpoSettings,
  { maxPositions }: ModelSpec,
  promptTokens: number,
): { readonly policy: Workload; readonly critic: Workload } {
  const { maxTokens } = sampling;
  const longest = Math.min(promptTokens + maxTokens, maxPositions);
  const sequences = prompts * samplesPerPrompt;
  const batch = { tokens: Math.min(MOST_TOKENS, sequences * longest), longest, sequences };
  return {
    policy: {
      train: batch,
      ...(loss.klCoefficient > 0 && { score: batch }),
      generate: [{ prompts, promptTokens, samplesPerPrompt, maxTokens }],
    },
    critic: { train: batch, score: batch },
  };
}
