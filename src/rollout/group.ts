// Samples and their rewards to groups. Pure.
import type { Group, Sample } from "./types.js";

/** One group a problem. A sample whose reward is NaN, since grading it failed, is not in its group. */
export function makeGroups<P>(
  problems: readonly P[], // [P]
  samples: readonly (readonly Sample[])[], // [P][n]
  rewards: readonly Float64Array[], // [P][n]
): Group<P>[] {
  return problems.map((problem, p) => {
    const graded = [...samples[p]!.keys()].filter((i) => !Number.isNaN(rewards[p]![i]!));
    return {
      problem,
      samples: graded.map((i) => samples[p]![i]!),
      rewards: Float64Array.from(graded, (i) => rewards[p]![i]!),
    };
  });
}
