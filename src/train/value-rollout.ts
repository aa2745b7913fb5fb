// A graded rollout to what PPO trains on: rewards of tokens, what the critic says of them, advantages and returns. All over the whole rollout,
// so that no mini-batch changes a mean. Leaves out the update.
import type { LossSettings } from "../config/fragments.js";
import type { EngineLike } from "../engine/like.js";
import { type GaeRule, generalizedAdvantages, tokenRewards, whiten } from "../objective/gae.js";
import { klBounds, sequenceKl } from "../objective/kl.js";
import { countedTokens } from "../rollout/pack.js";
import type { Group, Sample } from "../rollout/types.js";
import { criticValues } from "./critic.js";
import { mean } from "./metrics.js";
import type { UpdateGroup } from "./policy.js";
import { referenceLogprobs } from "./prepare.js";
import type { Metrics } from "./run.js";

export interface ValueSettings extends GaeRule {
  readonly loss: LossSettings;
  /** Whether rewards of tokens are scaled to variance 1 over the rollout, their mean kept. */
  readonly whitenRewards: boolean;
  /** Whether advantages have mean 0 and variance 1 over the rollout. */
  readonly whitenAdvantages: boolean;
}

export interface Engines {
  readonly policy: EngineLike;
  /** With a scalar head; see `openCritic`. */
  readonly critic: EngineLike;
}

/** A group with what the critic said and what it is to learn. */
export interface ValuedGroup<P> extends UpdateGroup<P> {
  readonly advantages: readonly Float32Array[]; // [S][C]
  readonly values: readonly Float32Array[]; // [S][C]
  readonly returns: readonly Float32Array[]; // [S][C]
}

/** What the engines say of the samples of a rollout. */
interface Said {
  readonly samples: readonly Sample[]; // [S]
  readonly scores: readonly number[]; // [S]
  readonly values: readonly Float32Array[]; // [S][C]
  readonly reference: readonly Float32Array[] | null; // [S][C]
}

/** The groups that have samples. */
export async function valueRollout<P>(
  { policy, critic }: Engines,
  settings: ValueSettings & { readonly temperature: number },
  groups: readonly Group<P>[], // [G]
  signal: AbortSignal,
): Promise<{ readonly valued: readonly ValuedGroup<P>[]; readonly metrics: Metrics }> {
  const began = performance.now();
  const samples = groups.flatMap((group) => group.samples);
  const scores = groups.flatMap((group) => [...group.rewards]);
  const pulled = settings.loss.klCoefficient > 0;
  const references = pulled ? await referenceLogprobs(policy, groups, settings.temperature, signal) : null;
  const values = await criticValues(critic, samples, signal);
  const seconds = (performance.now() - began) / 1000;
  const found = estimates(settings, { samples, scores, values, reference: references?.flat() ?? null });
  const { advantages, returns, metrics } = found;
  let first = 0;
  const valued = groups.map((group, g) => {
    const begin = first;
    first += group.samples.length;
    const own = <T>(rows: readonly T[]): readonly T[] => rows.slice(begin, first);
    const learned = { advantages: own(advantages), values: own(values), returns: own(returns) };
    return { group, reference: references?.[g] ?? null, ...learned };
  });
  const kept = valued.filter(({ group }) => group.samples.length > 0);
  return { valued: kept, metrics: { ...metrics, "seconds/values": seconds } };
}

/** Advantages and returns [S][C]. */
function estimates(settings: ValueSettings, { samples, scores, values, reference }: Said) {
  const { loss, whitenRewards, whitenAdvantages } = settings;
  const masks = samples.map((sample) => sample.mask);
  const payers = loss.klIn === "reward" ? reference : null;
  const pull = { estimator: loss.klEstimator, coefficient: loss.klCoefficient, bounds: klBounds(loss) };
  const plain = samples.map(({ mask, logprobs }, s) =>
    tokenRewards(scores[s]!, mask, payers && { logprobs, reference: payers[s]!, ...pull }),
  );
  const rewards = whitenRewards ? whiten(plain, masks, false) : plain;
  const found = rewards.map((each, s) => generalizedAdvantages(each, values[s]!, masks[s]!, settings));
  const raw = found.map(({ advantages }) => advantages);
  const exact = found.map(({ returns }) => returns);
  const rounded = (rows: readonly Float64Array[]) => rows.map((row) => Float32Array.from(row));
  return {
    advantages: rounded(whitenAdvantages ? whiten(raw, masks) : raw),
    returns: rounded(exact),
    metrics: { ...valueMetrics(values, exact, raw, masks), ...(payers && klMetrics(samples, payers, loss)) },
  };
}

/** What the critic said against what came, over the tokens that the policy chose; advantages before whitening. */
function valueMetrics(
  values: readonly ArrayLike<number>[], // [S][C]
  returns: readonly ArrayLike<number>[], // [S][C]
  advantages: readonly ArrayLike<number>[], // [S][C]
  masks: readonly ArrayLike<number>[], // [S][C]
): Metrics {
  const flat = (rows: readonly ArrayLike<number>[]) =>
    rows.flatMap((row, s) => Array.from(row).filter((_, t) => masks[s]![t] !== 0));
  const [said, came, better] = [flat(values), flat(returns), flat(advantages)];
  const variance = (of: readonly number[]) => {
    const center = mean(of);
    return mean(of.map((x) => (x - center) ** 2));
  };
  const most = (of: readonly number[]) => of.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return {
    "value/mean": mean(said),
    "returns/mean": mean(came),
    "value/explained_variance": 1 - variance(came.map((x, i) => x - said[i]!)) / variance(came),
    "advantages/mean": mean(better),
    "advantages/max": most(better),
    "advantages/min": -most(better.map((x) => -x)),
  };
}

/** Of a KL in the reward: its mean over tokens, and what a sample pays for it. */
function klMetrics(
  samples: readonly Sample[], // [S]
  reference: readonly Float32Array[], // [S][C]
  loss: LossSettings,
): Metrics {
  const { klEstimator, klCoefficient } = loss;
  const bounds = klBounds(loss);
  const sums = samples.map(({ logprobs, mask }, s) => sequenceKl(logprobs, reference[s]!, mask, klEstimator, bounds));
  const tokens = samples.reduce((sum, { mask }) => sum + countedTokens(mask), 0);
  const total = sums.reduce((sum, kl) => sum + kl, 0);
  return { kl: total / tokens, "reward/kl": (-klCoefficient * total) / sums.length };
}
