// A graded rollout to what is trained on: the terms that the reward gets from outside (over-long penalty, KL), advantages over the whole
// rollout, and which groups and samples are left. All before mini-batches, so that no cut changes a baseline. Leaves out the update.
import type { AdvantageSettings, LossSettings, OverlongSettings } from "../config/fragments.js";
import type { EngineLike } from "../engine/like.js";
import { hasSpread } from "../objective/advantage.js";
import { type AdvantageSpec, advantages, usesGroupBaseline } from "../objective/estimators.js";
import { klBounds, sequenceKl } from "../objective/kl.js";
import { overlongPenalty } from "../objective/overlong.js";
import { countedTokens, packSequences, wholeSequence } from "../rollout/pack.js";
import type { Group, Sample } from "../rollout/types.js";
import type { Metrics } from "./run.js";

export interface PrepareSettings {
  readonly temperature: number;
  /** Tokens of a completion at most: where the over-long penalty is whole. */
  readonly maxTokens: number;
  readonly advantage: AdvantageSettings;
  readonly loss: LossSettings;
  readonly overlong: OverlongSettings;
}

/** A group that is trained on. */
export interface TrainedGroup<P> {
  readonly group: Group<P>;
  readonly advantages: Float32Array; // [S]
  /** Log-probs of completions under the reference, where there is one. */
  readonly reference: readonly Float32Array[] | null; // [S][C]
}

export interface Prepared<P> {
  readonly trained: readonly TrainedGroup<P>[];
  readonly metrics: Metrics;
}

export async function prepareRollout<P>(
  engine: EngineLike,
  settings: PrepareSettings,
  groups: readonly Group<P>[], // [G]
  signal: AbortSignal,
): Promise<Prepared<P>> {
  const { loss, temperature } = settings;
  const reference = loss.klCoefficient > 0 ? await referenceLogprobs(engine, groups, temperature, signal) : null;
  const terms = rewardTerms(settings, groups, reference);
  const columns = groups.map((group, g) => rewardColumns(settings.advantage, group, terms.added?.[g]));
  const weights = groups[0]?.parts?.map(({ weight }) => weight) ?? [1];
  const spec = specOf(settings.advantage, terms.added === null ? weights : [...weights, 1]);
  const ofGroup = groupAdvantages(spec, columns, settings.advantage.whiten === "tokens" ? tokensOf(groups) : undefined);
  const candidates = groups.map((group, g) => ({ group, advantages: ofGroup[g]!, reference: reference?.[g] ?? null }));
  const trained = candidates
    .filter(({ group }, g) => group.samples.length > 0 && teaches(settings, columns[g]!))
    .map((each) => (settings.overlong.maskTruncated ? withoutTruncated(each) : each))
    .filter(({ group }) => group.samples.length > 0);
  return { trained, metrics: { ...terms.metrics, ...advantageMetrics(trained) } };
}

/** Which groups the estimator and the loss learn from; rewards are those of `prepareRollout`, [K][S]. */
function teaches({ advantage, loss }: PrepareSettings, columns: readonly Float64Array[]): boolean {
  const pulled = (loss.klCoefficient > 0 && loss.klIn === "loss") || loss.entropyCoefficient !== 0;
  if (pulled || !usesGroupBaseline(specOf(advantage, []))) return true;
  return columns.some((rewards) => hasSpread(rewards));
}

/** Log-probs [G][S][C] of completions under the reference. */
export async function referenceLogprobs(
  engine: EngineLike,
  groups: readonly Group<unknown>[],
  temperature: number,
  signal: AbortSignal,
): Promise<Float32Array[][]> {
  const packed = packSequences(groups.flatMap(({ samples }) => samples.map(wholeSequence)));
  if (packed.ids.length === 0) return groups.map(() => []);
  const { logprobs } = await engine.logprobs({ ...packed, temperature, reference: true, signal });
  let s = 0;
  return groups.map(({ samples }) =>
    samples.map(({ prompt }) => {
      s++;
      return logprobs.slice(packed.cuSeqlens[s - 1]! + prompt.length, packed.cuSeqlens[s]);
    }),
  );
}

/** What is added to the rewards [G][S]: the over-long penalty and, where the KL is in the reward, minus its weight times the KL. */
function rewardTerms(
  { loss, overlong, maxTokens }: PrepareSettings,
  groups: readonly Group<unknown>[],
  reference: readonly (readonly Float32Array[])[] | null,
): { readonly added: readonly Float64Array[] | null; readonly metrics: Metrics } {
  const penalised = overlong.cacheLength > 0;
  const pulled = loss.klIn === "reward" && reference !== null;
  if (!penalised && !pulled) return { added: null, metrics: {} };
  const bounds = klBounds(loss);
  const rule = { maxLength: maxTokens, cacheLength: Math.min(overlong.cacheLength, maxTokens) };
  const sums = { penalty: 0, kl: 0, samples: 0, tokens: 0 };
  const added = groups.map(({ samples }, g) =>
    Float64Array.from(samples, ({ completion, logprobs, mask }, i) => {
      const penalty = penalised ? overlong.penalty * overlongPenalty(completion.length, rule) : 0;
      const kl = pulled ? sequenceKl(logprobs, reference[g]![i]!, mask, loss.klEstimator, bounds) : 0;
      sums.penalty += penalty;
      sums.kl += kl;
      sums.samples++;
      sums.tokens += countedTokens(mask);
      return penalty - loss.klCoefficient * kl;
    }),
  );
  const metrics = {
    ...(penalised && { "reward/overlong": sums.penalty / sums.samples }),
    ...(pulled && { kl: sums.kl / sums.tokens, "reward/kl": (-loss.klCoefficient * sums.kl) / sums.samples }),
  };
  return { added, metrics };
}

/** The rewards that advantages are made of, [K][S]: each for GDPO, else their sum; the added terms are a reward of their own for GDPO. */
function rewardColumns(
  { estimator }: AdvantageSettings,
  { rewards, parts }: Group<unknown>,
  added: Float64Array | undefined,
): readonly Float64Array[] {
  if (estimator !== "gdpo") return [added === undefined ? rewards : rewards.map((reward, i) => reward + added[i]!)];
  const own = parts?.map((part) => part.rewards) ?? [rewards];
  return added === undefined ? own : [...own, added];
}

/** Tokens of completions that count, [n]. */
const tokensOf = (groups: readonly Group<unknown>[]): readonly number[] =>
  groups.flatMap(({ samples }) => samples.map(({ mask }) => countedTokens(mask)));

/** Advantages [G][S] of a whole rollout from its rewards [G][K][S]; tokens [n] where samples count by them. */
function groupAdvantages(
  spec: AdvantageSpec,
  columns: readonly (readonly Float64Array[])[],
  tokens: readonly number[] | undefined,
): readonly Float32Array[] {
  const cuGroups = Int32Array.from([0, ...columns.map(([first]) => first!.length)]);
  for (let g = 1; g < cuGroups.length; g++) cuGroups[g]! += cuGroups[g - 1]!;
  const rewards = columns.flatMap((own) => Array.from(own[0]!, (_, i) => own.map((column) => column[i]!)).flat());
  const flat = advantages(spec, rewards, cuGroups, tokens);
  return columns.map((_, g) => flat.subarray(cuGroups[g], cuGroups[g + 1]));
}

function specOf({ estimator, scaleByStd, eps }: AdvantageSettings, weights: readonly number[]): AdvantageSpec {
  if (estimator === "grpo") return { kind: "grpo", scaleByStd, eps };
  if (estimator === "rloo" || estimator === "reinforce") return { kind: estimator };
  return estimator === "gdpo" ? { kind: "gdpo", weights, eps } : { kind: estimator, eps };
}

/** Completions that were cut off stay in the baseline and out of the loss, as `maskTruncated` of objective/overlong.ts. */
function withoutTruncated<P>({ group, advantages: all, reference }: TrainedGroup<P>): TrainedGroup<P> {
  const whole = [...group.samples.keys()].filter((i) => group.samples[i]!.finish !== "length");
  const pick = <T>(values: readonly T[]) => whole.map((i) => values[i]!);
  const samples: readonly Sample[] = pick(group.samples);
  const rewards = Float64Array.from(whole, (i) => group.rewards[i]!);
  return {
    group: { problem: group.problem, samples, rewards },
    advantages: Float32Array.from(whole, (i) => all[i]!),
    reference: reference === null ? null : pick(reference),
  };
}

function advantageMetrics(trained: readonly TrainedGroup<unknown>[]): Metrics {
  const all = trained.flatMap((each) => Array.from(each.advantages));
  const most = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return {
    "advantages/mean": all.reduce((sum, value) => sum + value, 0) / all.length,
    "advantages/max": most(all),
    "advantages/min": -most(all.map((value) => -value)),
  };
}
