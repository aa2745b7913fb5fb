// Several rewards a sample to one, and which failures a step may have. Pure.
import { type Fault, faultError, RewardError } from "./faults.js";

export interface RewardFailure {
  /** Place of the sample in the request, problem-major. */
  readonly index: number;
  readonly error: Error;
  /** The beginning of what was graded, where it is text. */
  readonly sample?: string;
}

/** One reward of every sample. */
export interface RewardPart {
  readonly name: string;
  readonly weight: number;
  readonly rewards: readonly Float64Array[]; // [P][n], NaN where it failed
}

/** One reward of a call, what failed of it, and what was counted, by the metric's name. */
export interface GradedPart {
  readonly part: RewardPart;
  readonly failures: readonly RewardFailure[]; // in index order
  readonly counts?: Readonly<Record<string, number>>;
}

const SHOWN_CHARACTERS = 120; // of a sample in a message

export const failureOf = (index: number, fault: Fault, sample: string): RewardFailure => ({
  index,
  error: faultError(fault),
  sample: sample.length > SHOWN_CHARACTERS ? `${sample.slice(0, SHOWN_CHARACTERS)}...` : sample,
});

/** Flat rewards [S] as rows as long as the problems' own. */
export function rowsOf(flat: Float64Array, inputs: readonly (readonly unknown[])[]): readonly Float64Array[] {
  let next = 0;
  return inputs.map(({ length }) => {
    next += length;
    return flat.slice(next - length, next);
  });
}

/** Sum over rewards of weight times reward, [P][n]; NaN where one of them failed, since a sum without it means something else. */
export function combineRewards(parts: readonly RewardPart[]): readonly Float64Array[] {
  const [first] = parts;
  if (first === undefined) return [];
  return first.rewards.map((own, p) =>
    Float64Array.from(own, (_, i) => parts.reduce((sum, { weight, rewards }) => sum + weight * rewards[p]![i]!, 0)),
  );
}

/** Throws RewardError REWARD_ERRORS where more than `maxShare` of `calls` failed; `failures` are in index order. */
export function refuseTooMany(
  failures: readonly RewardFailure[],
  calls: number,
  maxShare: number,
  where = "reward",
): void {
  if (failures.length === 0 || failures.length <= maxShare * calls) return;
  const first = failures[0]!;
  throw new RewardError(
    "REWARD_ERRORS",
    `[${where}] expected at most ${maxShare * 100}% of ${calls} rewards to fail, got ${failures.length} failures; ` +
      `correct the reward function; the first, ${failureText(first)}`,
    { cause: first.error },
  );
}

/** "on sample 3 ("some text"): what went wrong". */
export function failureText({ index, error, sample }: RewardFailure): string {
  return `on sample ${index}${sample === undefined ? "" : ` (${JSON.stringify(sample)})`}: ${error.message}`;
}
