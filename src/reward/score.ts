// Runs a reward function over samples in index order, sync or async. A wrong answer is reward 0; a function that throws or returns
// no finite number is an error: counted, reported, its sample left out of the update, and fatal above a share. Leaves out deadlines and
// workers, which pool.ts has, and reward models.
import { type RewardFailure, refuseTooMany } from "./combine.js";

/**
 * Grades one sample of one problem; any finite number. Runs on the caller's own thread, unprotected: a loop that does not end hangs the
 * run, an exit ends it. A module in a `RewardPool` has a deadline and, in a process of its own, costs one sample at most.
 */
export type RewardFunction<P, S> = (problem: P, sample: S) => number | Promise<number>;

export interface ScoreOptions {
  /** Share of samples whose reward may fail before the run stops. */
  readonly maxErrorShare: number;
  /** Calls of an async function in flight at once; they begin in index order. */
  readonly concurrency: number;
  readonly signal?: AbortSignal;
}

export interface Scores {
  /** Rewards of `samples[p]`; NaN where the reward failed. */
  readonly rewards: readonly Float64Array[]; // [P][n]
  readonly failures: readonly RewardFailure[];
}

export const scoreDefaults: ScoreOptions = { maxErrorShare: 0.05, concurrency: 16 };

/** Rewards for `samples[p]`, the samples of `problems[p]`. Throws RewardError `REWARD_ERRORS` above `maxErrorShare`. */
export async function scoreSamples<P, S>(
  problems: readonly P[], // [P]
  samples: readonly (readonly S[])[], // [P][n]
  reward: RewardFunction<P, S>,
  options: ScoreOptions = scoreDefaults,
): Promise<Scores> {
  const calls = problems.flatMap((problem, p) => samples[p]!.map((sample) => () => reward(problem, sample)));
  const { flat, failures } = await callAll(calls, options);
  refuseTooMany(failures, calls.length, options.maxErrorShare);
  let next = 0;
  const rewards = samples.map((own) => {
    next += own.length;
    return flat.subarray(next - own.length, next);
  });
  return { rewards, failures };
}

async function callAll(calls: readonly (() => number | Promise<number>)[], options: ScoreOptions) {
  const flat = new Float64Array(calls.length).fill(Number.NaN);
  const errors = new Map<number, Error>();
  let next = 0;
  const worker = async () => {
    while (next < calls.length) {
      options.signal?.throwIfAborted();
      const index = next++;
      try {
        flat[index] = finite(await calls[index]!());
      } catch (error) {
        errors.set(index, error instanceof Error ? error : new Error(String(error)));
      }
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, options.concurrency) }, worker));
  const failures = [...errors].sort(([a], [b]) => a - b).map(([index, error]) => ({ index, error }));
  return { flat, failures };
}

function finite(value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new Error(`[reward] expected a finite number, got ${String(value)}`);
}
