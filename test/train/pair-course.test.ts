// The course of on-policy DPO by itself: which pairs are held out, and what a call and a course come to.
import { describe, expect, test } from "vitest";
import type { Pair } from "../../src/rollout/pairs.js";
import { type CourseSettings, dpoSteps, PairCourse } from "../../src/train/pair-course.js";

const settings: CourseSettings = {
  ...{ rounds: 1, rollouts: 1, prompts: 1, pairsPerStep: 1000, epochs: 1 },
  ...{ heldOutShare: 0.25, splitSeed: 42 },
};

const side = (reward: number) => ({ completion: Int32Array.of(reward), mask: Uint8Array.of(1), reward });
const pairOf = (prompt: number): Pair => ({ prompt: Int32Array.of(7, prompt), chosen: side(2), rejected: side(1) });

/** The prompts of the pairs held out, and of those trained on. */
function split(prompts: readonly number[], change: Partial<CourseSettings> = {}) {
  const course = new PairCourse({ path: "", pair: () => {} }, { ...settings, ...change }, 1);
  course.add(
    prompts.map((prompt, problem) => ({ problem, pair: pairOf(prompt) })),
    true,
  );
  const asked = (pairs: readonly Pair[]) => pairs.map(({ prompt }) => prompt[1]!);
  return { heldOut: asked(course.heldOut), training: asked(course.batch()) };
}

describe("the split of a round's pairs", () => {
  test("has all pairs of a prompt on one side, though they are of several problems", () => {
    const prompts = Array.from({ length: 40 }, (_, i) => i % 8);
    const { heldOut, training } = split(prompts);
    expect(heldOut).toHaveLength(10); // two prompts of five pairs
    expect(new Set(heldOut).size).toBe(2);
    expect(heldOut.filter((prompt) => training.includes(prompt))).toEqual([]);
    expect([...heldOut, ...training].sort()).toEqual([...prompts].sort());
  });

  test("is by the pair where every prompt comes once, and follows the seed", () => {
    const prompts = Array.from({ length: 40 }, (_, i) => i);
    const { heldOut } = split(prompts);
    expect(heldOut).toHaveLength(10);
    expect(split(prompts).heldOut).toEqual(heldOut);
    expect(split(prompts, { splitSeed: 43 }).heldOut).not.toEqual(heldOut);
  });

  test("leaves a prompt to train on", () => {
    expect(split([3, 3, 3], { heldOutShare: 0.9 })).toEqual({ heldOut: [], training: [3, 3, 3] });
    expect(split([3, 4, 4], { heldOutShare: 0.9 }).training.length).toBeGreaterThan(0);
  });
});

test("with so many problems a round the last call takes what is left", () => {
  const own = { ...settings, rollouts: 3, prompts: 8, problems: 18, pairsPerStep: 4, rounds: 2 };
  const course = new PairCourse({ path: "", pair: () => {} }, own, 1);
  const calls = [];
  for (; course.isSampling; course.add([{ problem: 1, pair: pairOf(1) }], true)) calls.push(course.problems);
  expect(calls).toEqual([8, 8, 2]);
  expect(dpoSteps(own)).toBe(2 * (3 + Math.ceil(18 / 4)));
  expect(dpoSteps({ ...own, rollouts: 3, problems: undefined })).toBe(2 * (3 + Math.ceil(24 / 4)));
});
