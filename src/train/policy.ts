// Policy optimisation: sample groups, turn rewards into advantages, step the policy loss. Shao et al., "DeepSeekMath", 2024 (GRPO), and
// its relatives by settings. Leaves out what a problem is and how it is graded: `collect` brings graded groups.
import {
  type Aggregate,
  type LossSettings,
  loss as lossGroup,
  type OptimizerSettings,
  type ReferenceSettings,
} from "../config/fragments.js";
import { resolveArgument } from "../config/resolve.js";
import { type Resumable, resumables } from "../data/resumable.js";
import type { EngineLike } from "../engine/like.js";
import type { PolicyLoss, TrainBatch } from "../engine/types.js";
import { highEntropyMask } from "../objective/entropy-mask.js";
import { truncatedImportance } from "../objective/kl.js";
import { learningRate } from "../objective/schedule.js";
import { packGroups, scatter } from "../rollout/batch.js";
import type { Group, Sample } from "../rollout/types.js";
import { Diagnosis, type DiagnosisSettings } from "./diagnosis.js";
import { finiteGradients, optimizerStep } from "./guard.js";
import type { HeldOut } from "./held-out.js";
import { type PolicyUpdate, policyMetrics, throughput } from "./metrics.js";
import { type PrepareSettings, prepareRollout, type TrainedGroup } from "./prepare.js";
import type { Metrics, Run } from "./run.js";
import { Tally, type TrainCost, trainingSteps } from "./steps.js";
import { type SampleReader, watchMetrics } from "./watch.js";

/** The groups of one step and what it took to get them. */
export interface Collected<P> {
  /** Those to train on. */
  readonly groups: readonly Group<P>[];
  /** All that were sampled, where some were dropped. */
  readonly sampled?: readonly Group<P>[];
  readonly seconds: number;
  /** Fields of the method's own for metrics.jsonl. */
  readonly metrics: Metrics;
}

/** What an optimizer step of the policy goes by. */
export interface UpdateSettings {
  readonly temperature: number;
  readonly loss: LossSettings;
  readonly aggregate: Aggregate;
  /** Tokens a sequence is divided by under the aggregate "constant". */
  readonly constantLength: number;
  readonly optimizer: OptimizerSettings;
}

export interface PolicyPlan<P> extends UpdateSettings, PrepareSettings, Omit<DiagnosisSettings, "overlong" | "loss"> {
  readonly steps: number;
  readonly reference: ReferenceSettings;
  /** Times each rollout is gone through. */
  readonly epochs: number;
  /** Optimizer steps an epoch; groups are cut evenly, in order. */
  readonly miniBatches: number;
  /** What `collect` draws from, where that has a place that moves from step to step. */
  readonly source?: Resumable | undefined;
  /** What is measured between steps. */
  readonly heldOut?: HeldOut | undefined;
  collect(step: number): Promise<Collected<P>>;
  /** What a sample's text says, where it has any: for the figures of watch.ts. */
  readonly read?: SampleReader<P> | undefined;
  /** Called after each step with its groups. */
  report(step: number, groups: readonly Group<P>[]): void;
}

/**
 * Trains the policy as the part of the run that has begun, to its last step or its last second. Throws TrainError when a loss or a gradient
 * is not finite; the batch is then in the run folder.
 */
export async function trainPolicy<P>(run: Run, engine: EngineLike, plan: PolicyPlan<P>): Promise<TrainCost> {
  const tally = new Tally();
  const diagnosis = new Diagnosis(plan);
  const state = resumables({ tally, diagnosis, ...(plan.source && { source: plan.source }) });
  for await (const step of trainingSteps(run, { engine, steps: plan.steps, state, heldOut: plan.heldOut, tally })) {
    const rollout = await plan.collect(step);
    const { trained, metrics } = await prepareRollout(engine, plan, rollout.groups, run.signal);
    const lr = learningRate(plan.optimizer, step, plan.steps);
    const updates: PolicyUpdate[] = [];
    for (let epoch = 0; epoch < plan.epochs; epoch++) {
      for (const part of split(trained, plan.miniBatches)) {
        updates.push(await updatePolicy(run, engine, plan, part, lr, step));
      }
    }
    const { every, mix } = plan.reference.sync;
    if (every > 0 && step % every === 0) await engine.syncReference(mix);
    warnOfMismatch(run, step, updates[0]);
    tally.add(updates.reduce((sum, one) => sum + one.sequenceTokens, 0));
    const sampled = rollout.sampled ?? rollout.groups;
    const figures = { ...policyMetrics(sampled, updates), ...watchMetrics(sampled, plan.read), ...metrics };
    const speed = throughput(sampled, rollout.seconds, updates);
    run.step(step, { ...figures, ...speed, lr, ...rollout.metrics });
    plan.report(step, rollout.groups);
    for (const text of diagnosis.see(step, { ...rollout.metrics, ...figures }, updates.length))
      run.note("warning", text);
  }
  const nothing = diagnosis.verdict(tally.steps);
  if (nothing !== null) run.note("warning", nothing);
  return tally.cost(run.seconds);
}

/** The policy loss at a temperature; settings that are left out have their defaults. Throws InputError BAD_ARGUMENT. */
export function policyLoss(temperature: number, settings: Partial<LossSettings> = {}): PolicyLoss {
  return lossOf(temperature, resolveArgument("policyLoss", lossGroup(), settings));
}

/** The part of the settings that the engine computes: a KL in the reward is none of it. */
function lossOf(temperature: number, settings: LossSettings): PolicyLoss {
  const { ratio, objective, clipLow, clipHigh, dualClip, klEstimator, entropyCoefficient } = settings;
  const klCoefficient = settings.klIn === "loss" ? settings.klCoefficient : 0;
  const { klMaxLogRatio, klMax } = settings;
  const bounds = { clipLow, clipHigh, dualClip, klMaxLogRatio, klMax };
  return { kind: "policy", temperature, ratio, objective, ...bounds, klCoefficient, klEstimator, entropyCoefficient };
}

/** A group that the policy is updated on, with an advantage for each sample [S] or for each token of its completion [S][C]. */
export type UpdateGroup<P> = Omit<TrainedGroup<P>, "advantages"> & {
  readonly advantages: Float32Array | readonly Float32Array[];
};

/** One optimizer step on some groups. */
export async function updatePolicy<P>(
  run: Run,
  engine: EngineLike,
  plan: UpdateSettings,
  part: readonly UpdateGroup<P>[],
  lr: number,
  step: number,
): Promise<PolicyUpdate> {
  const began = performance.now();
  const loss = lossOf(plan.temperature, plan.loss);
  const { batch, metrics: own } = await batchOf(run, engine, plan, part, loss);
  const attempt = { engine, folder: run.folder.path, where: `policy step ${step}`, batch, loss };
  const metrics = await finiteGradients(attempt, run.signal);
  const { gradNorm } = await optimizerStep(attempt, plan.optimizer, lr);
  const sequenceTokens = batch.ids.length;
  const kl = loss.klCoefficient > 0 ? metrics.kl : Number.NaN; // no reference, no KL
  return {
    loss: { ...metrics, kl },
    gradNorm,
    sequenceTokens,
    metrics: own,
    seconds: (performance.now() - began) / 1000,
  };
}

/** The packed batch with all that the loss asks for, and what is worth logging of it. */
async function batchOf<P>(
  run: Run,
  engine: EngineLike,
  plan: UpdateSettings,
  part: readonly UpdateGroup<P>[],
  loss: PolicyLoss,
): Promise<{ readonly batch: TrainBatch; readonly metrics: Metrics }> {
  const groups = part.map(({ group }) => group);
  const advantages = part.map((each) => each.advantages);
  const packed = packGroups(groups, advantages, plan.aggregate, plan.constantLength);
  const samples = groups.flatMap((group) => [...group.samples]); // [S]
  const spread = (values: (sample: Sample, s: number) => Float32Array) =>
    scatter(samples, packed.cuSeqlens, (s) => values(samples[s]!, s));
  const reference = part.flatMap((each) => [...(each.reference ?? [])]);
  const { oldPolicy, importanceCap, highEntropyShare } = plan.loss;
  const weighed = importanceCap > 0 && spread((s) => truncatedImportance(s.logprobs, s.samplerLogprobs, importanceCap));
  const high = highEntropyShare < 1 && (await highEntropy(run, engine, packed, loss.temperature, highEntropyShare));
  const importance = high ? high.mask.map((value, t) => value * (weighed ? weighed[t]! : 1)) : weighed;
  const batch: TrainBatch = {
    ...packed,
    ...(loss.klCoefficient > 0 && { refLogprobs: spread((_, s) => reference[s]!) }),
    ...(oldPolicy === "sampler" && { samplerLogprobs: spread((sample) => sample.samplerLogprobs) }),
    ...(importance && { importance }),
  };
  const metrics = {
    ...(weighed && { "importance_sampling_ratio/mean": meanWhere(weighed, packed.weights) }),
    ...(high && { "high_entropy/threshold": high.threshold }),
  };
  return { batch, metrics };
}

/** A pass for the entropies of the policy as it is: the threshold is the whole batch's, known before its first micro-batch. */
async function highEntropy(run: Run, engine: EngineLike, batch: TrainBatch, temperature: number, share: number) {
  const { ids, cuSeqlens, weights } = batch;
  const { entropy } = await engine.logprobs({ ids, cuSeqlens, temperature, signal: run.signal });
  const { threshold, mask } = highEntropyMask(entropy, weights, share);
  return { threshold, mask: Float32Array.from(mask) };
}

/** Mean of the values whose weight is not 0. */
function meanWhere(values: Float32Array, weights: Float32Array): number {
  const counted = values.filter((_, t) => weights[t] !== 0);
  return counted.reduce((sum, value) => sum + value, 0) / counted.length;
}

/** Cuts `items` into at most `parts` runs of like length; none when there are no items. */
export function split<T>(items: readonly T[], parts: number): T[][] {
  const count = Math.min(parts, items.length);
  const edge = (part: number) => Math.round((part * items.length) / count);
  return Array.from({ length: count }, (_, part) => items.slice(edge(part), edge(part + 1)));
}

/** The first update of a rollout is on the policy that sampled it, so its log-probs are the recorded ones, bit for bit. */
export function warnOfMismatch(run: Run, step: number, first: PolicyUpdate | undefined): void {
  const mismatch = first?.loss.mismatchMaxAbs ?? 0;
  if (mismatch === 0) return;
  run.note(
    "warning",
    `step ${step}: log-probs of the rollout and of training differ by up to ${mismatch}, expected 0; this run is not on-policy`,
  );
}
