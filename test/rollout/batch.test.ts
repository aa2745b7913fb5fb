// The training batch of groups: every token in its place, weights that sum as the aggregate says, whatever the groups.
import { describe, expect, test } from "vitest";
import { random } from "../../src/data/random.js";
import { packGroups } from "../../src/rollout/batch.js";
import type { Group, Sample } from "../../src/rollout/types.js";

function sample(seed: number, promptLength: number, length: number, masked = 0): Sample {
  const stream = random(seed);
  const mask = new Uint8Array(length).fill(1);
  mask.fill(0, 0, masked);
  return {
    prompt: Int32Array.from({ length: promptLength }, () => stream.int(50)),
    completion: Int32Array.from({ length }, () => stream.int(50)),
    logprobs: Float32Array.from({ length }, () => -stream.next()),
    samplerLogprobs: new Float32Array(length),
    mask,
    finish: "stop",
  };
}

const groups: Group<null>[] = [
  { problem: null, samples: [sample(1, 3, 5), sample(2, 3, 1)], rewards: Float64Array.from([1, 0]) },
  {
    problem: null,
    samples: [sample(3, 1, 7, 2), sample(4, 1, 2), sample(5, 1, 3)],
    rewards: Float64Array.from([0, 1, 1]),
  },
];
const advantages = [
  [0.5, -0.5],
  [-2, 1, 1],
];
const counted = 5 + 1 + 5 + 2 + 3;
const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);

describe("packGroups", () => {
  const batch = packGroups(groups, advantages, "token-mean", 1);

  test("lays prompt and completion of each sample end to end", () => {
    const samples = groups.flatMap((group) => group.samples);
    expect([...batch.ids]).toEqual(samples.flatMap((s) => [...s.prompt, ...s.completion]));
    expect([...batch.cuSeqlens]).toEqual([0, 8, 12, 20, 23, 27]);
  });

  test("puts the recorded log-probs and advantages at the completion's tokens", () => {
    expect([...batch.oldLogprobs!.subarray(3, 8)]).toEqual([...groups[0]!.samples[0]!.logprobs]);
    expect([...batch.oldLogprobs!.subarray(8, 11)]).toEqual([0, 0, 0]);
    expect([...batch.advantages!.subarray(12, 20)]).toEqual([0, -2, -2, -2, -2, -2, -2, -2]);
    expect([...batch.advantages!.subarray(21, 23)]).toEqual([1, 1]);
  });

  test("prompts and masked tokens have weight 0, and so the first token of every sequence", () => {
    for (const start of batch.cuSeqlens.slice(0, -1)) expect(batch.weights[start]).toBe(0);
    expect([...batch.weights.subarray(12, 15)]).toEqual([0, 0, 0]);
    expect([...batch.weights].filter((weight) => weight !== 0)).toHaveLength(counted);
  });

  test("token-mean: alike, with sum 1", () => {
    expect(sum(batch.weights)).toBeCloseTo(1, 6);
    expect(new Set([...batch.weights].filter((weight) => weight !== 0))).toEqual(new Set([Math.fround(1 / counted)]));
  });

  test("sequence-mean: every sequence has 1 / 5", () => {
    const { weights, cuSeqlens } = packGroups(groups, advantages, "sequence-mean", 1);
    for (let s = 0; s < 5; s++) expect(sum(weights.subarray(cuSeqlens[s], cuSeqlens[s + 1]))).toBeCloseTo(1 / 5, 6);
  });

  test("constant: tokens over sequences times the length", () => {
    const { weights } = packGroups(groups, advantages, "constant", 64);
    expect(sum(weights)).toBeCloseTo(counted / (5 * 64), 6);
  });
});
