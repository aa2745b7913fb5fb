// Ragged groups: samples laid end to end, group g from cuGroups[g] to before cuGroups[g + 1]. What runs group by group, which groups are
// worth keeping, and the checks of both.
import { InputError } from "../errors.js";
import { hasSpread } from "./advantage.js";

/** Applies `estimator` to the rewards of each group that are not NaN; the result [n] is NaN where they are. */
export function byGroup(
  rewards: Float64Array, // [n]
  cuGroups: Int32Array, // [G + 1]
  estimator: (present: Float64Array) => Float64Array,
): Float64Array {
  const result = new Float64Array(rewards.length).fill(Number.NaN);
  for (let g = 0; g + 1 < cuGroups.length; g++) {
    const present: number[] = [];
    for (let i = cuGroups[g]!; i < cuGroups[g + 1]!; i++) if (!Number.isNaN(rewards[i]!)) present.push(i);
    const values = estimator(Float64Array.from(present, (i) => rewards[i]!));
    present.forEach((i, at) => {
      result[i] = values[at]!;
    });
  }
  return result;
}

/**
 * Indices of the groups whose rewards differ by more than `tolerance`, ascending: those that dynamic sampling keeps (Yu et al., "DAPO",
 * 2025, eq. 11), so never a group of one. The paper's condition is on the number of right answers: give rewards without the penalty of
 * overlong.ts, which lends spread to a group that is right throughout. The caller refills what is missing, in index order.
 * @param rewards [n]; NaN is a sample left out
 * @param cuGroups [G + 1] int32
 * @throws InputError BAD_ARGUMENT when shapes disagree or a number is out of range
 */
export function groupsWithSpread(rewards: ArrayLike<number>, cuGroups: Int32Array, tolerance = 0): number[] {
  checkGroups("groupsWithSpread", rewards, cuGroups);
  checkNotNegative("groupsWithSpread tolerance", tolerance, "0 keeps every group that differs at all");
  const values = Float64Array.from(rewards);
  const groups = Array.from({ length: cuGroups.length - 1 }, (_, g) => g);
  return groups.filter((g) => hasSpread(values.subarray(cuGroups[g], cuGroups[g + 1]), tolerance));
}

/** Throws InputError BAD_ARGUMENT unless `rewards` [n, columns] are finite or NaN and `cuGroups` [G + 1] cuts all n samples. */
export function checkGroups(where: string, rewards: ArrayLike<number>, cuGroups: Int32Array, columns = 1): void {
  const cut = "group g is samples cuGroups[g] .. cuGroups[g + 1] - 1";
  if (cuGroups[0] !== 0) refuse(`${where} cuGroups`, "offsets from 0", cuGroups[0], cut);
  const back = cuGroups.findIndex((end, g) => g > 0 && end < cuGroups[g - 1]!);
  if (back > 0) refuse(`${where} cuGroups`, "ascending offsets", `${cuGroups[back - 1]} then ${cuGroups[back]}`, cut);
  const numbers = cuGroups.at(-1)! * columns;
  const shape = `${numbers} numbers, ${columns} a sample`;
  if (rewards.length !== numbers) refuse(`${where} rewards`, shape, rewards.length, "cuGroups ends at the samples");
  for (let i = 0; i < numbers; i++) {
    if (Number.isFinite(rewards[i]) || Number.isNaN(rewards[i])) continue;
    refuse(`${where} rewards`, "finite numbers", `${rewards[i]} at place ${i}`, "NaN leaves a sample out");
  }
}

export function checkNotNegative(where: string, value: number, advice: string): void {
  if (!(Number.isFinite(value) && value >= 0)) refuse(where, "a finite number >= 0", value, advice);
}

export function refuse(where: string, expected: string, got: unknown, advice: string): never {
  throw new InputError("BAD_ARGUMENT", `[${where}] expected ${expected}, got ${String(got)}; ${advice}`);
}
