// Advantages of PPO: against verl's functions and TRL's lines in float64, against the sum in the paper, and the odd cases.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { generalizedAdvantages, tokenRewards, whiten } from "../../src/objective/gae.js";

type Rows = readonly (readonly number[])[];
interface Case {
  readonly source: string;
  readonly estimator: "k1" | "k2" | "k3";
  readonly gamma: number;
  readonly lambda: number;
  readonly whiten_rewards?: boolean;
  readonly rewards: Rows;
  readonly advantages: Rows;
  readonly returns: Rows;
  readonly whitened: Rows;
}
interface Batch {
  readonly inputs: Readonly<Record<"logprobs" | "reference" | "values" | "mask", Rows>> & { readonly scores: number[] };
  readonly cases: readonly Case[];
  readonly whitening: readonly { readonly shift_mean: boolean; readonly whitened: Rows }[];
}
const file = new URL("../fixtures/gae.json", import.meta.url);
const fixture = JSON.parse(readFileSync(file, "utf8")) as { coefficient: number; batches: readonly Batch[] };

const TOLERANCE = 1e-6;

function expectRows(actual: readonly ArrayLike<number>[], wanted: Rows, mask: Rows): void {
  expect(actual.map((row) => row.length)).toEqual(wanted.map((row) => row.length));
  wanted.forEach((row, s) => {
    row.forEach((value, t) => {
      const expected = mask[s]![t] === 0 ? 0 : value;
      expect(Math.abs(actual[s]![t]! - expected)).toBeLessThanOrEqual(TOLERANCE * Math.max(1, Math.abs(expected)));
    });
  });
}

describe.each(fixture.batches.map((batch) => [batch.cases[0]!.source, batch] as const))("%s", (_, batch) => {
  const { inputs, cases, whitening } = batch;
  const { mask } = inputs;

  test.each(cases)("gamma $gamma, lambda $lambda, $estimator, rewards whitened: $whiten_rewards", (one) => {
    const { estimator, gamma, lambda } = one;
    const plain = inputs.scores.map((score, s) => {
      const [logprobs, reference] = [inputs.logprobs[s]!, inputs.reference[s]!];
      return tokenRewards(score, mask[s]!, { logprobs, reference, estimator, coefficient: fixture.coefficient });
    });
    const rewards = one.whiten_rewards ? whiten(plain, mask, false) : plain;
    expectRows(rewards, one.rewards, mask);
    const found = rewards.map((each, s) => generalizedAdvantages(each, inputs.values[s]!, mask[s]!, { gamma, lambda }));
    const advantages = found.map((each) => each.advantages);
    expectRows(advantages, one.advantages, mask);
    expectRows(
      found.map((each) => each.returns),
      one.returns,
      mask,
    );
    expectRows(whiten(advantages, mask), one.whitened, mask);
  });

  test.each(whitening)("whitening, mean shifted: $shift_mean", ({ shift_mean, whitened }) => {
    expectRows(whiten(inputs.values, mask, shift_mean), whitened, mask);
  });
});

describe("the sum in the paper", () => {
  const wave = (length: number, phase: number) => Array.from({ length }, (_, t) => Math.sin(1.7 * t + phase));
  const rules = [
    [1, 1],
    [0.9, 0.8],
    [0, 1],
    [1, 0],
    [0, 0],
  ] as const;

  test.each(rules)("gamma %d, lambda %d", (gamma, lambda) => {
    for (const length of [1, 2, 17]) {
      const [rewards, values] = [wave(length, 0), wave(length, 1)];
      const { advantages, returns } = generalizedAdvantages(rewards, values, wave(length, 0).fill(1), {
        gamma,
        lambda,
      });
      const delta = rewards.map((reward, t) => reward + gamma * (values[t + 1] ?? 0) - values[t]!);
      for (let t = 0; t < length; t++) {
        const wanted = delta.slice(t).reduce((sum, value, k) => sum + (gamma * lambda) ** k * value, 0);
        expect(advantages[t]).toBeCloseTo(wanted, 12);
        expect(returns[t]).toBeCloseTo(wanted + values[t]!, 12);
      }
    }
  });

  test("tokens of mask 0 are passed over, whatever they hold", () => {
    const rule = { gamma: 0.9, lambda: 0.7 };
    const whole = generalizedAdvantages([1, 2, 3], [0.5, 0.25, -1], [1, 1, 1], rule);
    const holes = generalizedAdvantages(
      [1, Number.NaN, 2, 3, 9],
      [0.5, 7, 0.25, -1, Number.NaN],
      [1, 0, 1, 1, 0],
      rule,
    );
    const [a, b, c] = whole.advantages;
    expect([...holes.advantages]).toEqual([a, 0, b, c, 0]);
    expect(holes.returns[1]).toBe(0);
  });
});

describe("rewards of tokens", () => {
  test("the score is on the last token that the policy chose", () => {
    expect([...tokenRewards(3, [1, 1, 0])]).toEqual([0, 3, 0]);
    expect([...tokenRewards(3, [1])]).toEqual([3]);
    expect([...tokenRewards(3, [0, 0])]).toEqual([0, 0]);
    expect([...tokenRewards(3, [])]).toEqual([]);
  });

  test("each token pays for its own KL, those without a mask for none", () => {
    const kl = { logprobs: [-1, Number.NaN, -2], reference: [-2, 0, -1], estimator: "k1", coefficient: 0.5 } as const;
    expect([...tokenRewards(1, [1, 0, 1], kl)]).toEqual([-0.5, 0, 1.5]);
  });
});

describe("whitening", () => {
  test("has mean 0 and variance 1 over all completions", () => {
    const [a, b] = whiten([[1, 2, 99], [4]], [[1, 1, 0], [1]]);
    const all = [a![0]!, a![1]!, b![0]!];
    expect(all.reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 12);
    expect(all.reduce((sum, value) => sum + value ** 2, 0) / 2).toBeCloseTo(1, 7);
    expect(a![2]).toBe(0);
  });

  test.each([true, false])("of one token, of none and of equal ones is finite, mean shifted: %s", (shift) => {
    const kept = (value: number) => (shift ? 0 : value);
    expect([...whiten([[5, 1]], [[1, 0]], shift)[0]!]).toEqual([kept(5), 0]);
    expect([...whiten([[2, 2, 2]], [[1, 1, 1]], shift)[0]!]).toEqual([2, 2, 2].map(kept));
    expect(whiten([[5], []], [[0], []], shift).map((row) => [...row])).toEqual([[0], []]);
    expect(whiten([], [], shift)).toEqual([]);
  });
});

describe("refused", () => {
  const kl = { logprobs: [1], reference: [1], estimator: "k1", coefficient: 1 } as const;
  test.each<[string, () => unknown, string]>([
    ["few values", () => generalizedAdvantages([1, 2], [1], [1, 1], { gamma: 1, lambda: 1 }), "values] expected 2"],
    ["a long mask", () => generalizedAdvantages([1], [1], [1, 1], { gamma: 1, lambda: 1 }), "mask] expected 1"],
    [
      "gamma above 1",
      () => generalizedAdvantages([], [], [], { gamma: 1.1, lambda: 1 }),
      "gamma] expected a number in 0",
    ],
    [
      "lambda NaN",
      () => generalizedAdvantages([], [], [], { gamma: 1, lambda: Number.NaN }),
      "lambda] expected a number",
    ],
    ["few log-probs", () => tokenRewards(1, [1, 1], kl), "[tokenRewards logprobs] expected 2 numbers, got 1"],
    ["a negative coefficient", () => tokenRewards(1, [1], { ...kl, coefficient: -1 }), "[tokenRewards coefficient]"],
    ["few masks", () => whiten([[1], [2]], [[1]]), "[whiten masks] expected 2"],
    ["a short mask", () => whiten([[1], [2, 3]], [[1], [1]]), "[whiten masks 1] expected 2"],
  ])("%s", (_, call, message) => {
    expect(call).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT", message: expect.stringContaining(message) }));
  });
});
