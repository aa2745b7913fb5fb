// Samples and their rewards to groups. Pure.
import type { Group, NamedReward, Sample } from "./types.js";

/** A named reward of every sample. */
export interface RewardColumn {
  readonly name: string;
  readonly weight: number;
  readonly rewards: readonly Float64Array[]; // [P][n]
}

/** One group a problem. A sample whose reward is NaN, since grading it failed, is not in its group. */
export function makeGroups<P>(
  problems: readonly P[], // [P]
  samples: readonly (readonly Sample[])[], // [P][n]
  rewards: readonly Float64Array[], // [P][n]
  parts: readonly RewardColumn[] = [],
): Group<P>[] {
  return problems.map((problem, p) => {
    const graded = [...samples[p]!.keys()].filter((i) => !Number.isNaN(rewards[p]![i]!));
    return {
      problem,
      samples: graded.map((i) => samples[p]![i]!),
      rewards: Float64Array.from(graded, (i) => rewards[p]![i]!),
      ...(parts.length > 0 && { parts: parts.map((part) => partOf(part, p, graded)) }),
    };
  });
}

function partOf({ name, weight, rewards }: RewardColumn, p: number, graded: readonly number[]): NamedReward {
  return { name, weight, rewards: Float64Array.from(graded, (i) => rewards[p]![i]!) };
}
