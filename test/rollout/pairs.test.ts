// Groups to pairs and pairs to a batch: which samples, what is left out, and where every number lies.
import { describe, expect, test } from "vitest";
import { type Pair, packPairs, pairBatch, pairOf } from "../../src/rollout/pairs.js";
import type { Group, Sample } from "../../src/rollout/types.js";

const sample = (completion: readonly number[], mask = completion.map(() => 1)): Sample => ({
  prompt: Int32Array.of(5, 6),
  completion: Int32Array.from(completion),
  logprobs: new Float32Array(completion.length),
  samplerLogprobs: new Float32Array(completion.length),
  mask: Uint8Array.from(mask),
  finish: "stop",
});
const group = (rewards: readonly number[], lengths = rewards.map((_, i) => i + 1)): Group<null> => ({
  problem: null,
  samples: rewards.map((_, i) => sample(Array(lengths[i]).fill(i))),
  rewards: Float64Array.from(rewards),
});
const rule = { minValid: 2, maxPairTokens: 100 };
const all = (n: number) => Array<boolean>(n).fill(true);

describe("the pair of a group", () => {
  test("is its best and its worst, the first of equals", () => {
    const { chosen, rejected, prompt } = pairOf(group([2, 5, 1, 5, 1]), all(5), rule) as Pair;
    expect([chosen.reward, chosen.completion[0], rejected.reward, rejected.completion[0]]).toEqual([5, 1, 1, 2]);
    expect([...prompt]).toEqual([5, 6]);
  });

  test("is made of valid samples only", () => {
    const { chosen, rejected } = pairOf(group([2, 5, 1, 4]), [true, false, false, true], rule) as Pair;
    expect([chosen.reward, rejected.reward]).toEqual([4, 2]);
  });

  test("holds copies, not views of the rollout", () => {
    const rollout = group([1, 2]);
    const { chosen } = pairOf(rollout, all(2), rule) as Pair;
    expect(chosen.completion.buffer).not.toBe(rollout.samples[1]!.completion.buffer);
  });

  test.each([
    ["few_valid", [1, 2, 3], [true, false, false], rule],
    ["few_valid", [], [], rule],
    ["tied", [2, 2, 2], all(3), rule],
    ["too_long", [1, 2], all(2), { ...rule, maxPairTokens: 3 }],
  ] as const)("%s", (reason, rewards, valid, ruled) => {
    expect(pairOf(group(rewards), valid, ruled)).toBe(reason);
  });

  test("fits with as many tokens as may be", () => {
    expect(typeof pairOf(group([1, 2]), all(2), { ...rule, maxPairTokens: 4 })).toBe("object");
  });
});

test("a batch has both sides in turn, weights on what the policy chose, and the mean over pairs", () => {
  const pairs = [group([1, 2]), group([3, 0])].map((each) => pairOf(each, all(2), rule) as Pair);
  const masked = { ...pairs[1]!, chosen: { ...pairs[1]!.chosen, mask: Uint8Array.of(0) } };
  const packed = packPairs([pairs[0]!, masked]);
  expect([...packed.cuSeqlens]).toEqual([0, 4, 7, 10, 14]);
  expect([...packed.ids]).toEqual([5, 6, 1, 1, 5, 6, 0, 5, 6, 0, 5, 6, 1, 1]);
  const reference = Float32Array.from(packed.ids, (_, t) => -t);
  const batch = pairBatch([pairs[0]!, masked], packed, reference);
  expect([...batch.weights]).toEqual([0, 0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1]);
  expect([...batch.pairWeights!]).toEqual([0.5, 0.5]);
  expect(batch.refLogprobs).toBe(reference);
});
