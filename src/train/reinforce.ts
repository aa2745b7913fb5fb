// A policy part for any task with a reward: which problems, their prompts, how samples are graded and shown. Joins rollout, reward and
// the policy loop; a method that needs other groups writes its own `collect`.
import type { SamplingSettings } from "../config/fragments.js";
import type { Resumable } from "../data/resumable.js";
import type { EngineLike } from "../engine/like.js";
import { type RewardFunction, scoreDefaults, scoreSamples } from "../reward/score.js";
import { makeGroups } from "../rollout/group.js";
import { sampleCompletions } from "../rollout/sample.js";
import type { Group, Sample } from "../rollout/types.js";
import type { HeldOut } from "./held-out.js";
import { type Collected, type PolicyPlan, trainPolicy } from "./policy.js";
import { logRollouts, type Numbered, type RolloutLog } from "./rollout-log.js";
import type { Metrics, Run } from "./run.js";
import type { TrainCost } from "./steps.js";

export interface PolicyTask<P extends Numbered> {
  /** The `count` problems of a step, counted from 1. */
  problems(step: number, count: number): readonly P[];
  /** What `problems` draws from, where that has a place that moves from step to step. */
  readonly source?: Resumable | undefined;
  promptOf(problem: P): Int32Array; // ids
  readonly reward: RewardFunction<P, Sample>;
  readonly describe: RolloutLog<P>["describe"];
  /** Fields of the task's own for metrics.jsonl. */
  metrics(groups: readonly Group<P>[]): Metrics;
}

export interface ReinforceSettings
  extends Omit<PolicyPlan<Numbered>, "steps" | "temperature" | "source" | "heldOut" | "collect" | "report"> {
  readonly prompts: number;
  readonly samplesPerPrompt: number;
  readonly sampling: SamplingSettings;
  readonly maxErrorShare: number;
}

export interface ReinforcePart {
  readonly phase: string;
  readonly steps: number;
  readonly seed: number;
  readonly logging: { readonly rolloutGroups: number; readonly showEvery: number };
  readonly heldOut?: HeldOut | undefined;
}

/** Improves the policy on a task as the part of the run that has begun. */
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
    source: task.source,
    heldOut: part.heldOut,
    collect: (step) => collect(run, engine, task, settings, part.seed, step),
    report: (step, rollout) =>
      logRollouts(run, part.phase, step, rollout, { groups, showEvery, describe: task.describe }),
  });
}

async function collect<P extends Numbered>(
  run: Run,
  engine: EngineLike,
  task: PolicyTask<P>,
  settings: ReinforceSettings,
  seed: number,
  step: number,
): Promise<Collected<P>> {
  const began = performance.now();
  const { samplesPerPrompt, sampling, maxErrorShare } = settings;
  const { signal } = run;
  const problems = task.problems(step, settings.prompts);
  const prompts = problems.map((problem) => task.promptOf(problem));
  const { samples } = await sampleCompletions(engine, { prompts, samplesPerPrompt, sampling, seed, step, signal });
  const options = { ...scoreDefaults, maxErrorShare, signal };
  const { rewards, failures } = await scoreSamples(problems, samples, task.reward, options);
  const groups = makeGroups(problems, samples, rewards);
  if (failures.length > 0) run.note("warning", failureText(step, failures.length, failures[0]!.error));
  const metrics = { ...task.metrics(groups), "reward/errors": failures.length };
  return { groups, seconds: (performance.now() - began) / 1000, metrics };
}

function failureText(step: number, count: number, first: Error): string {
  return `step ${step}: ${count} rewards failed and their samples are left out; the first: ${first.message}`;
}
