// On-policy direct preference optimisation: sample groups, pair the best of each with the worst, train on the pairs (Rafailov et al. 2023);
// once from the initial policy, or round after round. The reference is a frozen copy: of the initial policy, or of the one that sampled the
// round. Leaves out what a problem is and how it is graded.
import type { OptimizerSettings } from "../config/fragments.js";
import { resumables } from "../data/resumable.js";
import type { EngineLike } from "../engine/like.js";
import type { DpoLoss, LossMetrics } from "../engine/types.js";
import { type DpoRule, pairFigures } from "../objective/dpo.js";
import { sequenceKl } from "../objective/kl.js";
import { learningRate } from "../objective/schedule.js";
import { countedTokens } from "../rollout/pack.js";
import { type NoPair, type Pair, type PairRule, packPairs, pairBatch, pairOf } from "../rollout/pairs.js";
import type { Group } from "../rollout/types.js";
import { Diagnosis } from "./diagnosis.js";
import { finiteGradients, optimizerStep } from "./guard.js";
import { mean, policyMetrics, roomMetrics } from "./metrics.js";
import { type CourseSettings, PairCourse } from "./pair-course.js";
import { referenceLogprobs } from "./prepare.js";
import { type PolicyTask, type ReinforcePart, type RoundSettings, sampleRound } from "./reinforce.js";
import { logRollouts, type Numbered } from "./rollout-log.js";
import type { Metrics, Run } from "./run.js";
import { Tally, type TrainCost, trainingSteps } from "./steps.js";
import { watchMetrics } from "./watch.js";

export interface DpoSettings extends RoundSettings, CourseSettings, PairRule, DpoRule {
  /** The policy that the reference is: the one that the run began with, or the one that sampled the round. */
  readonly reference: "initial" | "round";
  readonly optimizer: OptimizerSettings;
  /** Share of the training steps in which the learning rate rises, where optimizer.warmupSteps is 0. */
  readonly warmupShare: number;
}

interface Work<P extends Numbered> {
  readonly run: Run;
  readonly engine: EngineLike;
  readonly task: PolicyTask<P>;
  readonly settings: DpoSettings;
  readonly part: Omit<ReinforcePart, "steps">;
  readonly course: PairCourse;
  readonly tally: Tally;
  readonly diagnosis: Diagnosis;
}

/**
 * Improves the policy on a task as the part of the run that has begun. The engine needs its reference, and one of its own, not the base
 * of adapters, where the reference is the round's. Throws TrainError NO_PAIRS where a round gives none, LOSS_NOT_FINITE,
 * GRADIENT_NOT_FINITE; InputError NO_REFERENCE.
 */
export async function trainDpo<P extends Numbered>(
  run: Run,
  engine: EngineLike,
  task: PolicyTask<P>,
  settings: DpoSettings,
  part: Omit<ReinforcePart, "steps">,
): Promise<TrainCost> {
  const tally = new Tally();
  const course = new PairCourse(run.folder, settings, part.seed);
  const { rollouts, beta, sampling } = settings;
  const own = { group: "dpo", maxTokens: sampling.maxTokens, loss: null, beta, sampledAtOnce: rollouts };
  const diagnosis = new Diagnosis(own);
  const work = { run, engine, task, settings, part, course, tally, diagnosis };
  const state = resumables({ tally, course, diagnosis, ...(task.source && { source: task.source }) });
  let moved = false; // the policy, in the step in hand
  const plan = {
    engine,
    state,
    heldOut: part.heldOut,
    tally,
    isMeasured: () => moved,
    get steps() {
      return run.stepsDone + course.stepsLeft;
    },
  };
  for await (const step of trainingSteps(run, plan)) {
    if (step === 1) await requireReference(engine, settings);
    run.plan(step - 1 + course.stepsLeft);
    moved = !course.isSampling;
    await (moved ? trainPairs(work, step) : samplePairs(work, step));
  }
  return { ...tally.cost(run.seconds), steps: run.stepsDone };
}

/** Before anything is sampled: rejects with NO_REFERENCE where there is none, or none that may follow the policy. */
async function requireReference(engine: EngineLike, { reference }: DpoSettings): Promise<void> {
  if (reference === "round") return engine.syncReference(1); // it is the policy still
  await engine.logprobs({ ids: Int32Array.of(0), cuSeqlens: Int32Array.of(0, 1), reference: true });
}

/** A step that samples: the groups of one call become pairs. */
async function samplePairs<P extends Numbered>(work: Work<P>, step: number): Promise<void> {
  const { run, engine, task, settings, part, course, diagnosis } = work;
  const began = performance.now();
  const { round, call } = course;
  const { groups, errors, counts, stats } = await sampleRound(
    { run, engine, task, settings, seed: part.seed, step: call },
    course.problems,
    0,
  );
  const seconds = (performance.now() - began) / 1000;
  const found = groups.map((group) => ({
    problem: group.problem.id,
    pair: pairOf(group, validOf(task, group), settings),
  }));
  const pairs = found.filter((each): each is { problem: number; pair: Pair } => typeof each.pair !== "string");
  const without = (reason: NoPair) => found.filter(({ pair }) => pair === reason).length;
  const tokens = groups.reduce((sum, { samples }) => sum + samples.reduce((n, s) => n + s.completion.length, 0), 0);
  const figures = {
    ...policyMetrics(groups, []),
    ...watchMetrics(groups, task.read),
    kl: await klOf(work, groups),
  };
  run.step(step, {
    ...figures,
    round,
    "pairs/made": pairs.length,
    "pairs/few_valid": without("few_valid"),
    "pairs/tied": without("tied"),
    "pairs/too_long": without("too_long"),
    "pairs/reward_margin": mean(pairs.map(({ pair }) => pair.chosen.reward - pair.rejected.reward)),
    "reward/errors": errors,
    ...counts,
    ...task.metrics(groups),
    ...roomMetrics([stats]),
    "tokens_per_second/rollout": tokens / seconds,
    "seconds/rollout": seconds,
  });
  const { rolloutGroups, showEvery } = part.logging;
  logRollouts(run, part.phase, step, groups, { groups: rolloutGroups, showEvery, describe: task.describe });
  for (const text of diagnosis.see(step, { ...counts, ...figures }, 0)) run.note("warning", text);
  course.add(pairs, figures.kl === 0);
}

/** Nats a token of the policy that sampled to the reference, by k3: 0 where it is the reference, without a pass. */
async function klOf<P extends Numbered>(
  { run, engine, settings, course }: Work<P>,
  groups: readonly Group<P>[],
): Promise<number> {
  const hasBase = engine.trainedParameters !== engine.parameters; // the reference of adapters is the model without them
  const isReference = settings.reference === "round" || (course.round === 1 && !hasBase);
  if (isReference) return 0;
  const reference = (await referenceLogprobs(engine, groups, settings.sampling.temperature, run.signal)).flat();
  const samples = groups.flatMap((group) => group.samples);
  const sums = samples.map(({ logprobs, mask }, s) => sequenceKl(logprobs, reference[s]!, mask, "k3"));
  const tokens = samples.reduce((sum, { mask }) => sum + countedTokens(mask), 0);
  return sums.reduce((sum, kl) => sum + kl, 0) / tokens;
}

const validOf = <P extends Numbered>({ isValid }: PolicyTask<P>, { problem, samples }: Group<P>): boolean[] =>
  samples.map((sample) => isValid?.(problem, sample) ?? true);

/** A step that trains: one optimizer step on some pairs of the round. */
async function trainPairs<P extends Numbered>(work: Work<P>, step: number): Promise<void> {
  const { run, engine, settings, course, tally } = work;
  const began = performance.now();
  const { beta, labelSmoothing } = settings;
  const loss: DpoLoss = { kind: "dpo", beta, labelSmoothing };
  const pairs = course.batch();
  const packed = packPairs(pairs);
  const { logprobs } = await engine.logprobs({ ...packed, reference: true, signal: run.signal });
  const attempt = {
    engine,
    folder: run.folder.path,
    where: `dpo step ${step}`,
    batch: pairBatch(pairs, packed, logprobs),
    loss,
  };
  const found = await finiteGradients(attempt, run.signal);
  const progress = course.progress();
  const lr = learningRate(warmedUp(settings, progress.steps), progress.step, progress.steps);
  const { gradNorm } = await optimizerStep(attempt, settings.optimizer, lr);
  tally.add(packed.ids.length);
  const held = progress.endsEpoch ? await heldOutFigures(work) : {};
  const seconds = (performance.now() - began) / 1000;
  const speed = { "tokens_per_second/train": packed.ids.length / seconds, "seconds/train": seconds };
  const { round } = course;
  const kl = course.isOfReference ? klOfPairs(found, beta, pairs) : Number.NaN;
  run.step(step, {
    ...trainMetrics(found),
    kl,
    grad_norm: gradNorm,
    lr,
    round,
    epoch: progress.epoch,
    ...held,
    ...speed,
  });
  for (const text of work.diagnosis.seeKl(step, kl)) run.note("warning", text);
  course.advance();
  if (progress.endsRound && settings.reference === "round" && !course.isOver) await engine.syncReference(1);
}

/**
 * Nats a token of the reference to the policy, KL(reference || policy), by k1 on completions that the reference wrote: the mean of
 * log(reference / policy), of which DPO's rewards are -beta times the sum. Best and worst of a group are no fair draw, but one from either end;
 * they were drawn at the sampling's temperature and are judged at 1, as the loss judges them.
 */
function klOfPairs({ pairs: found }: LossMetrics, beta: number, pairs: readonly Pair[]): number {
  const tokensOf = ({ chosen, rejected }: Pair) => countedTokens(chosen.mask) + countedTokens(rejected.mask);
  const tokens = pairs.reduce((sum, pair) => sum + tokensOf(pair), 0);
  return (-pairs.length * (found!.chosenReward + found!.rejectedReward)) / (beta * tokens);
}

/** Named as in TRL. */
function trainMetrics({ loss, entropy, pairs }: LossMetrics): Metrics {
  return {
    loss,
    "rewards/chosen": pairs!.chosenReward,
    "rewards/rejected": pairs!.rejectedReward,
    "rewards/margins": pairs!.margin,
    "rewards/accuracies": pairs!.accuracy,
    "logps/chosen": pairs!.chosenLogprob,
    "logps/rejected": pairs!.rejectedLogprob,
    entropy,
  };
}

function warmedUp({ optimizer, warmupShare }: DpoSettings, steps: number): OptimizerSettings {
  if (optimizer.warmupSteps > 0) return optimizer;
  return { ...optimizer, warmupSteps: Math.ceil(warmupShare * steps) };
}

/** Loss, margin and accuracy on the round's pairs that are not trained on; nothing where there are none. */
async function heldOutFigures<P extends Numbered>({ run, engine, settings, course }: Work<P>): Promise<Metrics> {
  const { heldOut } = course;
  if (heldOut.length === 0) return {};
  const ratios: number[] = []; // [2 P] chosen and rejected in turn
  for (let first = 0; first < heldOut.length; first += settings.pairsPerStep) {
    const pairs = heldOut.slice(first, first + settings.pairsPerStep);
    const packed = packPairs(pairs);
    const policy = await engine.logprobs({ ...packed, signal: run.signal });
    const reference = await engine.logprobs({ ...packed, reference: true, signal: run.signal });
    const { weights, cuSeqlens } = pairBatch(pairs, packed, reference.logprobs);
    for (let s = 0; s + 1 < cuSeqlens.length; s++) {
      let sum = 0;
      for (let t = cuSeqlens[s]!; t < cuSeqlens[s + 1]!; t++)
        if (weights[t] !== 0) sum += policy.logprobs[t]! - reference.logprobs[t]!;
      ratios.push(sum);
    }
  }
  const sides = [0, 1].map((side) => ratios.filter((_, s) => s % 2 === side));
  const { loss, margin, accuracy } = pairFigures(sides[0]!, sides[1]!, settings);
  return { "heldout/loss": loss, "heldout/rewards/margins": margin, "heldout/rewards/accuracies": accuracy };
}
