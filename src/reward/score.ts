// Runs a reward function over samples in index order, sync or async. It may give several rewards by name; their weighted sum is the reward.
// A wrong answer is reward 0; a function that throws or returns no finite number is an error: counted, reported, its sample left out of the
// update, and fatal above a share. Leaves out deadlines, workers and reward models, which pool.ts has.
import { isObject } from "../config/json.js";
import { InputError } from "../errors.js";
import { combineRewards, type RewardFailure, type RewardPart, refuseTooMany } from "./combine.js";

/** One finite number, or several by name: the same names for every sample. */
export type RewardValue = number | Readonly<Record<string, number>>;

/**
 * Grades one sample of one problem. Runs on the caller's own thread, unprotected: a loop that does not end hangs the
 * run, an exit ends it. A module in a `RewardPool` has a deadline and, in a process of its own, costs one sample at most.
 */
export type RewardFunction<P, S> = (problem: P, sample: S) => RewardValue | Promise<RewardValue>;

export interface ScoreOptions {
  /** Share of samples whose reward may fail before the run stops. */
  readonly maxErrorShare: number;
  /** Calls of an async function in flight at once; they begin in index order. */
  readonly concurrency: number;
  /** Of rewards by name; default 1 each. */
  readonly weights?: Readonly<Record<string, number>>;
  readonly signal?: AbortSignal;
}

/** Grades all samples of a step at once, as a `RewardPool` does. */
export interface RewardScorer<P, S> {
  score(
    problems: readonly P[], // [P]
    samples: readonly (readonly S[])[], // [P][n]
    options: { readonly maxErrorShare: number; readonly signal: AbortSignal },
  ): Promise<Scores>;
}

export interface Scores {
  /** Rewards of `samples[p]`; NaN where the reward failed. */
  readonly rewards: readonly Float64Array[]; // [P][n]
  readonly failures: readonly RewardFailure[];
  /** What the rewards are the weighted sum of, where there are several. */
  readonly parts?: readonly RewardPart[];
  /** What was counted while grading, by the metric's name; those of several calls of a step are added. */
  readonly counts?: Readonly<Record<string, number>>;
}

export const scoreDefaults: ScoreOptions = { maxErrorShare: 0.05, concurrency: 16 };

/**
 * Rewards for `samples[p]`, the samples of `problems[p]`. Throws RewardError `REWARD_ERRORS` above `maxErrorShare`, InputError
 * `REWARD_NAME` for a weight whose reward there is not.
 */
export async function scoreSamples<P, S>(
  problems: readonly P[], // [P]
  samples: readonly (readonly S[])[], // [P][n]
  reward: RewardFunction<P, S>,
  options: ScoreOptions = scoreDefaults,
): Promise<Scores> {
  const calls = problems.flatMap((problem, p) => samples[p]!.map((sample) => () => reward(problem, sample)));
  const { values, errors } = await callAll(calls, options);
  const names = namesOf(values);
  const columns = columnsOf(values, names, errors);
  const failures = [...errors].sort(([a], [b]) => a - b).map(([index, error]) => ({ index, error }));
  refuseTooMany(failures, calls.length, options.maxErrorShare);
  const weights = weightsOf(names, options.weights ?? {}, failures.length < calls.length);
  const counts = samples.map((own) => own.length);
  if (names === null) return { rewards: cut(columns[0]!, counts), failures };
  const parts = names.map((name, k) => ({ name, weight: weights[k]!, rewards: cut(columns[k]!, counts) }));
  return { rewards: combineRewards(parts), failures, parts };
}

async function callAll(calls: readonly (() => RewardValue | Promise<RewardValue>)[], options: ScoreOptions) {
  const values = new Array<RewardValue | null>(calls.length).fill(null);
  const errors = new Map<number, Error>();
  let next = 0;
  const worker = async () => {
    while (next < calls.length) {
      options.signal?.throwIfAborted();
      const index = next++;
      try {
        values[index] = checked(await calls[index]!());
      } catch (error) {
        errors.set(index, error instanceof Error ? error : new Error(String(error)));
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, options.concurrency) }, worker));
  return { values, errors };
}

function checked(value: unknown): RewardValue {
  const parts = isObject(value) ? Object.values(value) : [value];
  const wrong = parts.find((part) => typeof part !== "number" || !Number.isFinite(part));
  if (parts.length > 0 && wrong === undefined) return value as RewardValue;
  if (Object.is(parts[0], value)) throw new Error(`[reward] expected a finite number, got ${String(value)}`);
  const got = parts.length === 0 ? "none" : String(wrong);
  throw new Error(`[reward] expected finite numbers by name, got ${got}`);
}

/** Names of the first sample's rewards; null where rewards are numbers. */
function namesOf(values: readonly (RewardValue | null)[]): readonly string[] | null {
  const first = values.find((value) => value !== null) ?? 0;
  return typeof first === "number" ? null : Object.keys(first);
}

/** Rewards [K][n], NaN where they failed; a sample whose names are others fails too. */
function columnsOf(
  values: readonly (RewardValue | null)[], // [n]
  names: readonly string[] | null, // [K]
  errors: Map<number, Error>,
): readonly Float64Array[] {
  const columns = (names ?? [""]).map(() => new Float64Array(values.length).fill(Number.NaN));
  values.forEach((value, index) => {
    if (value === null) return;
    const own = typeof value === "number" ? null : Object.keys(value);
    if (own?.length === names?.length && (names ?? []).every((name) => own?.includes(name))) {
      for (const [k, column] of columns.entries()) {
        column[index] = typeof value === "number" ? value : value[names![k]!]!;
      }
      return;
    }
    const show = (each: readonly string[] | null) => (each === null ? "one number" : each.join(", "));
    errors.set(index, new Error(`[reward] expected ${show(names)}, as for the samples before, got ${show(own)}`));
  });
  return columns;
}

function weightsOf(
  names: readonly string[] | null,
  weights: Readonly<Record<string, number>>,
  known: boolean, // false where every reward failed
): readonly number[] {
  const unknown = Object.keys(weights).find((name) => known && names?.includes(name) !== true);
  if (unknown !== undefined) {
    const expected = names === null ? "no weights, since the reward is one number" : `weights of ${names.join(", ")}`;
    throw new InputError(
      "REWARD_NAME",
      `[reward weights] expected ${expected}, got one of "${unknown}"; correct its name`,
    );
  }
  return (names ?? []).map((name) => weights[name] ?? 1);
}

/** A flat array [n] as the samples of each problem. */
function cut(flat: Float64Array, counts: readonly number[]): readonly Float64Array[] {
  let next = 0;
  return counts.map((count) => {
    next += count;
    return flat.subarray(next - count, next);
  });
}
