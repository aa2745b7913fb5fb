// The KL in the reward against TRL's RLOO, the estimators against their formulas, importance weights and the mask of uncertain tokens.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { highEntropyMask } from "../../src/objective/entropy-mask.js";
import { advantages } from "../../src/objective/estimators.js";
import { sequenceKl, truncatedImportance } from "../../src/objective/kl.js";

interface Fixture {
  readonly lengths: number[];
  readonly group: number;
  readonly inputs: { readonly old: number[]; readonly ref: number[] };
  readonly kl_in_reward: readonly {
    readonly beta: number;
    readonly rewards: number[];
    readonly shaped: number[];
    readonly advantages: number[];
  }[];
}
const file = new URL("../fixtures/policy_variants.json", import.meta.url);
const fixture = JSON.parse(readFileSync(file, "utf8")) as Fixture;

const refused = (message: string) =>
  expect.objectContaining({ code: "BAD_ARGUMENT", message: expect.stringContaining(message) });

describe("the KL in the reward", () => {
  test.each(fixture.kl_in_reward)("TRL's RLOO at $beta", ({ beta, rewards, shaped, advantages: wanted }) => {
    const { lengths, group, inputs } = fixture;
    const starts = lengths.map((_, s) => lengths.slice(0, s).reduce((sum, length) => sum + length, 0));
    const part = (values: readonly number[], s: number) => values.slice(starts[s], starts[s]! + lengths[s]!);
    const ours = lengths.map((length, s) => {
      const mask = new Uint8Array(length).fill(1);
      return rewards[s]! - beta * sequenceKl(part(inputs.old, s), part(inputs.ref, s), mask, "k1");
    });
    ours.forEach((value, s) => {
      expect(value).toBeCloseTo(shaped[s]!, 12);
    });
    const cuGroups = Int32Array.of(0, group, 2 * group);
    advantages({ kind: "rloo" }, ours, cuGroups).forEach((value, s) => {
      expect(value).toBeCloseTo(wanted[s]!, 6);
    });
  });

  test("estimators are their formulas, and tokens without mask do not count", () => {
    const [logp, ref] = [
      [-1, -2, Number.NaN],
      [-1.5, -1, 0],
    ];
    const mask = [1, 1, 0];
    expect(sequenceKl(logp, ref, mask, "k1")).toBeCloseTo(0.5 - 1, 12);
    expect(sequenceKl(logp, ref, mask, "k2")).toBeCloseTo((0.25 + 1) / 2, 12);
    expect(sequenceKl(logp, ref, mask, "k3")).toBeCloseTo(Math.exp(-0.5) + 0.5 - 1 + Math.exp(1) - 1 - 1, 12);
    const far = Math.log(12); // k3: 12 - 1 - log 12
    expect(sequenceKl([0], [far], [1], "k3", { max: 8 })).toBe(8);
    expect(sequenceKl([0, 0], [far, -9], [1, 1], "k1", { maxLogRatio: 2 })).toBe(-2 + 2);
    expect(sequenceKl([0], [far], [1], "k3", { maxLogRatio: 2, max: 10 })).toBeCloseTo(Math.exp(2) - 3, 12);
    expect(sequenceKl([0], [far], [1], "k3", { maxLogRatio: 0, max: 0 })).toBeCloseTo(12 - 1 - far, 12);
    expect(() => sequenceKl([0], [0, 0], [1], "k1")).toThrow(
      refused("[sequenceKl reference] expected 1 numbers, got 2"),
    );
    expect(() => sequenceKl([0], [0], [1, 1], "k1")).toThrow(refused("[sequenceKl mask]"));
  });
});

describe("truncated importance weights", () => {
  test("are policy over sampler, at most the cap", () => {
    const weights = truncatedImportance([-1, -1, -1], [-1, -0.5, -3], 2);
    [1, Math.exp(-0.5), 2].forEach((wanted, t) => {
      expect(weights[t]).toBeCloseTo(wanted, 6);
    });
    expect(() => truncatedImportance([0], [0], 0)).toThrow(refused("[truncatedImportance cap]"));
    expect(() => truncatedImportance([0], [], 1)).toThrow(refused("[truncatedImportance samplerLogprobs]"));
  });
});

describe("tokens of high entropy", () => {
  test("are the top share of those with a weight, ties included", () => {
    const entropy = [5, 1, 2, 3, 4, Number.NaN];
    const weights = [1, 1, 0, 1, 1, 0];
    expect([...highEntropyMask(entropy, weights, 0.5).mask]).toEqual([1, 0, 0, 0, 1, 0]);
    expect(highEntropyMask(entropy, weights, 0.5).threshold).toBe(3.5);
    expect([...highEntropyMask([1, 1, 1], [1, 1, 1], 0.1).mask]).toEqual([1, 1, 1]);
    expect([...highEntropyMask(entropy, weights, 1).mask]).toEqual([1, 1, 0, 1, 1, 0]);
    expect(highEntropyMask([1], [0], 0.5)).toEqual({ threshold: Number.NaN, mask: Uint8Array.of(0) });
  });

  test("refuses shares and shapes that are none", () => {
    expect(() => highEntropyMask([1], [1], 0)).toThrow(refused("[highEntropyMask share] expected a number in (0, 1]"));
    expect(() => highEntropyMask([1], [1, 1], 0.5)).toThrow(refused("[highEntropyMask entropy]"));
  });
});
