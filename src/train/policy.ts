// Group-relative policy optimisation: sample groups, subtract each group's mean reward, step the clipped policy loss.
// Shao et al., "DeepSeekMath", 2024. Leaves out what a problem is and how it is graded: `collect` brings graded groups.
import {
  type AdvantageSettings,
  type Aggregate,
  type LossSettings,
  loss as lossGroup,
  type OptimizerSettings,
} from "../config/fragments.js";
import { type Resumable, resumables } from "../data/resumable.js";
import type { EngineLike } from "../engine/like.js";
import type { PolicyLoss, TrainBatch } from "../engine/types.js";
import { groupAdvantages, hasSpread } from "../objective/advantage.js";
import { learningRate } from "../objective/schedule.js";
import { packGroups } from "../rollout/batch.js";
import type { Group } from "../rollout/types.js";
import { finiteLoss, optimizerStep } from "./guard.js";
import type { HeldOut } from "./held-out.js";
import { type PolicyUpdate, policyMetrics, throughput } from "./metrics.js";
import type { Metrics, Run } from "./run.js";
import { Tally, type TrainCost, trainingSteps } from "./steps.js";

/** The groups of one step and what it took to get them. */
export interface Collected<P> {
  readonly groups: readonly Group<P>[];
  readonly seconds: number;
  /** Fields of the method's own for metrics.jsonl. */
  readonly metrics: Metrics;
}

export interface PolicyPlan<P> {
  readonly steps: number;
  readonly temperature: number;
  readonly advantage: AdvantageSettings;
  readonly aggregate: Aggregate;
  /** Tokens a sequence is divided by under the aggregate "constant". */
  readonly constantLength: number;
  readonly loss: LossSettings;
  readonly optimizer: OptimizerSettings;
  /** Times each rollout is gone through. */
  readonly epochs: number;
  /** Optimizer steps an epoch; groups are cut evenly, in order. */
  readonly miniBatches: number;
  /** What `collect` draws from, where that has a place that moves from step to step. */
  readonly source?: Resumable | undefined;
  /** What is measured between steps. */
  readonly heldOut?: HeldOut | undefined;
  collect(step: number): Promise<Collected<P>>;
  /** Called after each step with its groups. */
  report(step: number, groups: readonly Group<P>[]): void;
}

/** Trains the policy as the part of the run that has begun, to its last step or its last second. Throws TrainError when a loss is not finite. */
export async function trainPolicy<P>(run: Run, engine: EngineLike, plan: PolicyPlan<P>): Promise<TrainCost> {
  const tally = new Tally();
  const state = resumables({ tally, ...(plan.source && { source: plan.source }) });
  for await (const step of trainingSteps(run, { engine, steps: plan.steps, state, heldOut: plan.heldOut })) {
    const rollout = await plan.collect(step);
    const kept = rollout.groups.filter((group) => teaches(group, plan.loss));
    const lr = learningRate(plan.optimizer, step, plan.steps);
    const updates: PolicyUpdate[] = [];
    for (let epoch = 0; epoch < plan.epochs; epoch++) {
      for (const part of split(kept, plan.miniBatches)) updates.push(await update(run, engine, plan, part, lr, step));
    }
    warnOfMismatch(run, step, updates[0]);
    tally.add(updates.reduce((sum, one) => sum + one.sequenceTokens, 0));
    const speed = throughput(rollout.groups, rollout.seconds, updates);
    run.step(step, { ...policyMetrics(rollout.groups, updates), ...speed, lr, ...rollout.metrics });
    plan.report(step, rollout.groups);
  }
  return tally.cost(run.seconds);
}

/**
 * Whether a group has a gradient. Without spread its advantages are 0, so only the pull to the reference and the entropy bonus are
 * left. Groups that teach nothing are not trained on and do not count in the normaliser of the loss.
 */
function teaches({ rewards }: Group<unknown>, { klCoefficient, entropyCoefficient }: LossSettings): boolean {
  if (klCoefficient === 0 && entropyCoefficient === 0) return hasSpread(rewards);
  return rewards.length > 0;
}

/** The clipped policy loss at a temperature; settings that are left out have their defaults. */
export function policyLoss(temperature: number, settings: Partial<LossSettings> = {}): PolicyLoss {
  return { kind: "policy", temperature, ...lossGroup().parse(settings) };
}

/** One optimizer step on some groups. */
async function update<P>(
  run: Run,
  engine: EngineLike,
  plan: PolicyPlan<P>,
  groups: readonly Group<P>[],
  lr: number,
  step: number,
): Promise<PolicyUpdate> {
  const began = performance.now();
  const advantages = groups.map((group) => groupAdvantages(group.rewards, plan.advantage));
  const packed = packGroups(groups, advantages, plan.aggregate, plan.constantLength);
  const { temperature } = plan;
  const batch = plan.loss.klCoefficient > 0 ? await withReference(engine, packed, temperature, run.signal) : packed;
  const settings: PolicyLoss = { ...plan.loss, kind: "policy", temperature };
  const metrics = await engine.forwardBackward({ ...batch, signal: run.signal }, settings);
  const finite = finiteLoss(`policy step ${step}`, metrics);
  const loss = plan.loss.klCoefficient > 0 ? finite : { ...finite, kl: Number.NaN }; // no reference, no KL
  const { gradNorm } = await optimizerStep(engine, plan.optimizer, lr);
  return { loss, gradNorm, sequenceTokens: packed.ids.length, seconds: (performance.now() - began) / 1000 };
}

async function withReference(engine: EngineLike, batch: TrainBatch, temperature: number, signal: AbortSignal) {
  const { ids, cuSeqlens } = batch;
  const { logprobs } = await engine.logprobs({ ids, cuSeqlens, temperature, reference: true, signal });
  return { ...batch, refLogprobs: logprobs.map((value) => (Number.isNaN(value) ? 0 : value)) }; // first tokens have weight 0
}

/** Cuts `items` into at most `parts` runs of like length; none when there are no items. */
function split<T>(items: readonly T[], parts: number): T[][] {
  const count = Math.min(parts, items.length);
  const edge = (part: number) => Math.round((part * items.length) / count);
  return Array.from({ length: count }, (_, part) => items.slice(edge(part), edge(part + 1)));
}

/** The first update of a rollout is on the policy that sampled it, so its log-probs are the recorded ones, bit for bit. */
function warnOfMismatch(run: Run, step: number, first: PolicyUpdate | undefined): void {
  const mismatch = first?.loss.mismatchMaxAbs ?? 0;
  if (mismatch === 0) return;
  run.note(
    "warning",
    `step ${step}: log-probs of the rollout and of training differ by up to ${mismatch}, expected 0; this run is not on-policy`,
  );
}
