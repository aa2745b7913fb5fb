// Groups that dynamic sampling keeps.
import { describe, expect, test } from "vitest";
import { advantages } from "../../src/objective/estimators.js";
import { groupsWithSpread } from "../../src/objective/groups.js";
import { grpo, noise, offsets } from "./specs.js";

describe("groups worth keeping", () => {
  test("indices in order; a group of one, equal rewards and samples left out have no spread", () => {
    const rewards = [1, 0, 1, 1, 5, NaN, 1, 1, NaN, 0, 1, NaN];
    expect(groupsWithSpread(rewards, offsets([2, 2, 1, 3, 3, 0, 1]))).toEqual([0, 4]);
    expect(groupsWithSpread([], offsets([]))).toEqual([]);
  });

  test("the tolerance is of the range and is not itself spread", () => {
    const rewards = [0, 0.25, 0.5, 0, 0.25, 1, 1.75];
    const cuGroups = offsets([3, 2, 2]);
    expect(groupsWithSpread(rewards, cuGroups, 0.25)).toEqual([0, 2]);
    expect(groupsWithSpread(rewards, cuGroups, 0.5)).toEqual([2]);
    expect(groupsWithSpread(rewards, cuGroups)).toEqual([0, 1, 2]);
  });

  test("a group without spread has advantages 0, and only such a group", () => {
    const rewards = noise(grpo, 30, 21, true).map((reward) => Math.sign(reward));
    const cuGroups = offsets([4, 4, 4, 3, 3, 3, 2, 2, 2, 2, 1]);
    const found = advantages(grpo, rewards, cuGroups);
    const kept = Array.from({ length: cuGroups.length - 1 }, (_, g) => g).filter((g) =>
      found.subarray(cuGroups[g], cuGroups[g + 1]).some((value) => value !== 0),
    );
    expect(kept.length).toBeGreaterThan(2);
    expect(kept.length).toBeLessThan(10);
    expect(groupsWithSpread(rewards, cuGroups)).toEqual(kept);
  });
});
