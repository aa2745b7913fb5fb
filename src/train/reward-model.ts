// Training of a reward model on pairs of answers, of which one was chosen: the Bradley-Terry loss, the mean over a step's pairs (Bradley and
// Terry 1952; Ouyang et al. 2022, eq. 1). And how many held-out pairs it puts in the right order. Leaves out where pairs come from.
import type { OptimizerSettings } from "../config/fragments.js";
import { type Resumable, resumables } from "../data/resumable.js";
import type { EngineLike } from "../engine/like.js";
import type { BradleyTerryLoss, TrainBatch } from "../engine/types.js";
import { type Share, wilson } from "../objective/intervals.js";
import { learningRate } from "../objective/schedule.js";
import { packSequences } from "../rollout/pack.js";
import { finiteGradients, optimizerStep } from "./guard.js";
import type { HeldOut } from "./held-out.js";
import type { Run } from "./run.js";
import { Tally, type TrainCost, trainingSteps } from "./steps.js";

/** A prompt with each of its answers, as ids. */
export interface PreferencePair {
  readonly chosen: Int32Array; // [T], T > 0
  readonly rejected: Int32Array; // [T], T > 0
  /** By how much the chosen score is to lead. */
  readonly margin: number;
}

/** Pairs one after another, from where it stands. */
export interface PairSource extends Resumable {
  next(count: number): PreferencePair[];
}

export interface RewardPlan {
  readonly steps: number;
  readonly pairsPerStep: number;
  readonly centerCoefficient: number;
  readonly optimizer: OptimizerSettings;
  readonly pairs: PairSource;
  readonly heldOut?: HeldOut | undefined;
}

/** What a reward model says of held-out pairs; plain JSON. */
export interface PairJudgement {
  /** Pairs whose chosen answer has the higher score; equal scores are wrong. */
  readonly accuracy: Share;
  /** Mean of -log sigmoid(chosen - rejected - margin). */
  readonly loss: number;
  /** Means of chosen - rejected, and of all scores. */
  readonly lead: number;
  readonly score: number;
}

/**
 * Trains as the part of the run that has begun, to its last step. Throws TrainError when the loss or the gradient is not finite.
 */
export async function trainReward(run: Run, engine: EngineLike, plan: RewardPlan): Promise<TrainCost> {
  const { pairsPerStep, centerCoefficient, optimizer } = plan;
  const tally = new Tally();
  const state = resumables({ tally, pairs: plan.pairs });
  const loss: BradleyTerryLoss = { kind: "bradley-terry", centerCoefficient };
  for await (const step of trainingSteps(run, { engine, steps: plan.steps, state, heldOut: plan.heldOut, tally })) {
    const batch = packPairs(plan.pairs.next(pairsPerStep));
    const attempt = { engine, folder: run.folder.path, where: `reward-model step ${step}`, batch, loss };
    const metrics = await finiteGradients(attempt, run.signal);
    const { chosenReward, rejectedReward, margin, accuracy } = metrics.pairs!;
    const lr = learningRate(optimizer, step, plan.steps);
    const { gradNorm } = await optimizerStep(attempt, optimizer, lr);
    tally.add(batch.ids.length);
    run.step(step, {
      loss: metrics.loss,
      accuracy,
      margin,
      "reward/mean": (chosenReward + rejectedReward) / 2,
      "reward/chosen": chosenReward,
      "reward/rejected": rejectedReward,
      grad_norm: gradNorm,
      lr,
      tokens_per_second: tally.tokens / run.seconds,
    });
  }
  return tally.cost(run.seconds);
}

/** Chosen and rejected in turn; every pair counts 1 / pairs. */
export function packPairs(pairs: readonly PreferencePair[]): TrainBatch {
  const packed = packSequences(pairs.flatMap(({ chosen, rejected }) => [chosen, rejected]));
  return {
    ...packed,
    weights: new Float32Array(packed.ids.length),
    pairWeights: new Float32Array(pairs.length).fill(1 / pairs.length),
    margins: Float32Array.from(pairs, ({ margin }) => margin),
  };
}

/** log(1 + e^x), large x included. */
const softplus = (x: number): number => Math.max(0, x) + Math.log1p(Math.exp(-Math.abs(x)));

/** Scores of held-out pairs, at least one. Rejects with the signal's reason. */
export async function judgePairs(
  engine: EngineLike,
  pairs: readonly PreferencePair[],
  signal: AbortSignal,
): Promise<PairJudgement> {
  const { ids, cuSeqlens } = packPairs(pairs);
  const scores = await engine.rewardScores({ ids, cuSeqlens, signal });
  const leads = pairs.map((_, p) => scores[2 * p]! - scores[2 * p + 1]!);
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    accuracy: wilson(leads.filter((lead) => lead > 0).length, pairs.length),
    loss: mean(leads.map((lead, p) => softplus(pairs[p]!.margin - lead))),
    lead: mean(leads),
    score: mean(Array.from(scores)),
  };
}
