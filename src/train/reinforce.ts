// A policy part for any task with a reward: which problems, their prompts, how samples are graded and shown. Joins rollout, reward and
// the policy loop; a method that needs other groups writes its own `collect`.
import type { DynamicSamplingSettings, SamplingSettings } from "../config/fragments.js";
import type { Resumable } from "../data/resumable.js";
import { endTokens } from "../engine/generation-config.js";
import type { EngineLike } from "../engine/like.js";
import type { GenerateStats, SamplingParams } from "../engine/types.js";
import { hasSpread } from "../objective/advantage.js";
import { failureText, type RewardFailure } from "../reward/combine.js";
import { type RewardFunction, type RewardScorer, scoreDefaults, scoreSamples } from "../reward/score.js";
import { makeGroups } from "../rollout/group.js";
import { sampleCompletions } from "../rollout/sample.js";
import { isFiltered, samplingParams } from "../rollout/sampling.js";
import type { Group, Sample } from "../rollout/types.js";
import type { HeldOut } from "./held-out.js";
import { roomMetrics, samplerMetrics } from "./metrics.js";
import { type Collected, type PolicyPlan, trainPolicy } from "./policy.js";
import { logRollouts, type Numbered, type RolloutLog } from "./rollout-log.js";
import type { Metrics, Run } from "./run.js";
import type { TrainCost } from "./steps.js";
import type { SampleReader } from "./watch.js";

export interface PolicyTask<P extends Numbered> {
  /** `count` problems of a step, counted from 1, after the `first` that it has been given. */
  problems(step: number, count: number, first: number): readonly P[];
  /** What `problems` draws from, where that has a place that moves from step to step. */
  readonly source?: Resumable | undefined;
  promptOf(problem: P): Int32Array; // ids
  /** The tokenizer's end token, which ends samples beside the model's. */
  readonly eosId?: number | null;
  readonly reward: RewardFunction<P, Sample> | RewardScorer<P, Sample>;
  /** Whether a sample can be parsed: pairs are made of those that can. Absent: all of them. */
  isValid?(problem: P, sample: Sample): boolean;
  readonly describe: RolloutLog<P>["describe"];
  /** What a sample's text says, where it has any. */
  readonly read?: SampleReader<P>;
  /** Fields of the task's own for metrics.jsonl. */
  metrics(groups: readonly Group<P>[]): Metrics;
}

/** How groups are sampled and graded. */
export interface RoundSettings {
  readonly samplesPerPrompt: number;
  readonly sampling: SamplingSettings;
  /** Weights of the rewards that a reward function gives by name; default 1 each. */
  readonly rewardWeights: Readonly<Record<string, number>>;
  readonly maxErrorShare: number;
}

export interface ReinforceSettings
  extends RoundSettings,
    Omit<
      PolicyPlan<Numbered>,
      "steps" | "temperature" | "maxTokens" | "source" | "heldOut" | "collect" | "read" | "report"
    > {
  readonly prompts: number;
  readonly dynamicSampling: DynamicSamplingSettings;
}

export interface ReinforcePart {
  readonly phase: string;
  readonly steps: number;
  readonly seed: number;
  readonly logging: { readonly rolloutGroups: number; readonly showEvery: number };
  readonly heldOut?: HeldOut | undefined;
}

/**
 * Improves the policy on a task as the part of the run that has begun. Stop strings and constraints need an engine that knows its
 * vocabulary. Throws InputError TOKEN_OUT_OF_RANGE for an end token of the settings that the model does not have.
 */
export function reinforce<P extends Numbered>(
  run: Run,
  engine: EngineLike,
  task: PolicyTask<P>,
  settings: ReinforceSettings,
  part: ReinforcePart,
): Promise<TrainCost> {
  const { rolloutGroups: groups, showEvery } = part.logging;
  return trainPolicy<P>(run, engine, {
    ...settings,
    steps: part.steps,
    temperature: settings.sampling.temperature,
    maxTokens: settings.sampling.maxTokens,
    source: task.source,
    heldOut: part.heldOut,
    read: task.read,
    collect: (step) => collect({ run, engine, task, settings, seed: part.seed, step }),
    report: (step, rollout) =>
      logRollouts(run, part.phase, step, rollout, { groups, showEvery, describe: task.describe }),
  });
}

/** A step of the part: who samples which task, and how. */
export interface Step<P extends Numbered, Settings extends RoundSettings = ReinforceSettings> {
  readonly run: Run;
  readonly engine: EngineLike;
  readonly task: PolicyTask<P>;
  readonly settings: Settings;
  readonly seed: number;
  /** Counted from 1. */
  readonly step: number;
}

/** Groups sampled at once. */
export interface Round<P> {
  readonly groups: readonly Group<P>[];
  /** Rewards that failed: their samples are in no group. */
  readonly errors: number;
  /** What was counted while grading, by the metric's name. */
  readonly counts: Readonly<Record<string, number>>;
  readonly stats: GenerateStats;
}

/**
 * The groups of a step. With dynamic sampling those without spread are dropped and as many of the next problems sampled in their place, in
 * their order, until the step is full or has had its refills.
 */
async function collect<P extends Numbered>(step: Step<P>): Promise<Collected<P>> {
  const began = performance.now();
  const { task, settings } = step;
  const { prompts, sampling, dynamicSampling } = settings;
  const { maxRefills } = dynamicSampling;
  const keeps = (group: Group<P>) => maxRefills === 0 || differs(group);
  const groups: Group<P>[] = [];
  const sampled: Group<P>[] = [];
  const rounds: Round<P>[] = [];
  do {
    const round = await sampleRound(step, prompts - groups.length, sampled.length);
    sampled.push(...round.groups);
    groups.push(...round.groups.filter(keeps));
    rounds.push(round);
  } while (groups.length < prompts && rounds.length <= maxRefills);
  const dynamic = {
    "dynamic_sampling/refills": rounds.length - 1,
    "dynamic_sampling/dropped": sampled.length - groups.length,
    "dynamic_sampling/missing": prompts - groups.length,
  };
  const metrics = {
    ...task.metrics(sampled),
    "reward/errors": rounds.reduce((sum, { errors }) => sum + errors, 0),
    ...sumOf(rounds.map(({ counts }) => counts)),
    ...roomMetrics(rounds.map(({ stats }) => stats)),
    ...(isFiltered(sampling) && samplerMetrics(sampled)),
    ...(maxRefills > 0 && dynamic),
  };
  return { groups, sampled, seconds: (performance.now() - began) / 1000, metrics };
}

/** Sums by name; every record has the same names. */
function sumOf(records: readonly Readonly<Record<string, number>>[]): Metrics {
  const names = Object.keys(records[0] ?? {});
  return Object.fromEntries(names.map((name) => [name, records.reduce((sum, one) => sum + one[name]!, 0)]));
}

/** Whether any of a group's rewards differ: of several, the paper's condition holds for each. */
function differs({ rewards, parts }: Group<unknown>): boolean {
  return (parts ?? [{ rewards }]).some((part) => hasSpread(part.rewards));
}

/** Samples and grades `count` problems of the step, after the `first` that it has had. */
export async function sampleRound<P extends Numbered>(
  step: Step<P, RoundSettings>,
  count: number,
  first: number,
): Promise<Round<P>> {
  const { run, engine, task, settings } = step;
  const { samplesPerPrompt, maxErrorShare, rewardWeights: weights } = settings;
  const { signal } = run;
  const problems = task.problems(step.step, count, first);
  const { samples, stats } = await sampleCompletions(engine, {
    prompts: problems.map((problem) => task.promptOf(problem)),
    samplesPerPrompt,
    sampling: taskSampling(engine, task, settings.sampling),
    seed: step.seed,
    step: step.step,
    problemIds: Int32Array.from(problems, (_, i) => first + i),
    signal,
  });
  const options = { ...scoreDefaults, maxErrorShare, weights, signal };
  const { reward } = task;
  const {
    rewards,
    failures,
    parts,
    counts = {},
  } = await (typeof reward === "function"
    ? scoreSamples(problems, samples, reward, options)
    : reward.score(problems, samples, options));
  if (failures.length > 0) run.note("warning", failuresText(step.step, failures));
  return { groups: makeGroups(problems, samples, rewards, parts), errors: failures.length, counts, stats };
}

/** How a task's samples are drawn and end: by the settings, at the end tokens of the model, the tokenizer and the settings. */
export function taskSampling(
  { spec }: Pick<EngineLike, "spec">,
  { eosId = null }: Pick<PolicyTask<never>, "eosId">,
  settings: SamplingSettings,
): SamplingParams {
  return samplingParams(settings, endTokens(spec, eosId, settings.eosTokenIds));
}

function failuresText(step: number, failures: readonly RewardFailure[]): string {
  return `step ${step}: ${failures.length} rewards failed and their samples are left out; the first, ${failureText(failures[0]!)}`;
}
