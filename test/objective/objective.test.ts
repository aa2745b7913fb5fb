import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { random } from "../../src/data/random.js";
import { groupAdvantages, hasSpread } from "../../src/objective/advantage.js";
import { pairedDifference } from "../../src/objective/intervals.js";
import { type LearningRateRule, learningRate } from "../../src/objective/schedule.js";
import { type Aggregation, tokenWeights } from "../../src/objective/weights.js";

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);

describe("group advantages", () => {
  interface Fixture {
    readonly rewards: readonly number[];
    readonly cu_groups: readonly number[];
    readonly cases: readonly { scale_by_std: boolean; eps: number; advantages: readonly number[] }[];
  }
  const file = new URL("../fixtures/advantages.json", import.meta.url);
  const fixture = JSON.parse(readFileSync(file, "utf8")) as Fixture;

  test.each(fixture.cases)("agree with PyTorch, scale_by_std $scale_by_std", ({ scale_by_std, eps, advantages }) => {
    for (let g = 0; g + 1 < fixture.cu_groups.length; g++) {
      const [from, to] = [fixture.cu_groups[g]!, fixture.cu_groups[g + 1]!];
      const found = groupAdvantages(fixture.rewards.slice(from, to), { scaleByStd: scale_by_std, eps });
      found.forEach((value, i) => {
        expect(Math.abs(value - advantages[from + i]!)).toBeLessThan(1e-9);
      });
    }
  });

  test("no spread, one sample, no samples", () => {
    for (const scaleByStd of [true, false]) {
      expect([...groupAdvantages([0.1, 0.1, 0.1], { scaleByStd, eps: 0 })]).toEqual([0, 0, 0]);
      expect([...groupAdvantages([5], { scaleByStd, eps: 0 })]).toEqual([0]);
      expect([...groupAdvantages([], { scaleByStd, eps: 0 })]).toEqual([]);
    }
    expect([hasSpread([]), hasSpread([1]), hasSpread([1, 1]), hasSpread([1, 1, 0])]).toEqual([
      false,
      false,
      false,
      true,
    ]);
  });

  test("sum to zero, ignore a shift, follow a scale unless divided by the deviation", () => {
    const stream = random(41);
    for (let i = 0; i < 50; i++) {
      const rewards = Array.from({ length: 2 + stream.int(15) }, () => stream.next());
      const moved = rewards.map((reward) => 3 * reward + 7);
      for (const scaleByStd of [true, false]) {
        const rule = { scaleByStd, eps: 0 };
        const advantages = groupAdvantages(rewards, rule);
        const factor = scaleByStd ? 1 : 3;
        expect(Math.abs(sum(advantages))).toBeLessThan(1e-9);
        groupAdvantages(moved, rule).forEach((value, at) => {
          expect(value).toBeCloseTo(factor * advantages[at]!, 9);
        });
      }
      const squares = sum(groupAdvantages(rewards, { scaleByStd: true, eps: 0 }).map((value) => value ** 2));
      expect(squares).toBeCloseTo(rewards.length - 1, 8); // unbiased: n - 1
    }
  });

  test("without a rule they are over the deviation and 1e-6, and an eps that is no such number is refused", () => {
    const usual = groupAdvantages([1, 0, 2], { scaleByStd: true, eps: 1e-6 });
    expect(groupAdvantages([1, 0, 2])).toEqual(usual);
    expect(groupAdvantages([1, 0, 2], { scaleByStd: true })).toEqual(usual);
    expect([...groupAdvantages([1, 0, 2], { scaleByStd: false })]).toEqual([0, -1, 1]);
    for (const eps of [Number.NaN, -1, Number.POSITIVE_INFINITY]) {
      expect(() => groupAdvantages([1, 0, 2], { eps })).toThrowError(
        expect.objectContaining({
          code: "BAD_ARGUMENT",
          message: expect.stringContaining(`got ${eps}; 1e-6 is usual`),
        }),
      );
    }
  });

  test("the rewards are left as they were", () => {
    const rewards = Float64Array.of(1, 0, 2);
    groupAdvantages(rewards, { scaleByStd: true, eps: 1e-6 });
    expect([...rewards]).toEqual([1, 0, 2]);
  });
});

describe("learning rate", () => {
  const rule = (schedule: LearningRateRule["schedule"], warmupSteps = 0, floor = 0): LearningRateRule => ({
    learningRate: 2,
    schedule,
    warmupSteps,
    floor,
  });
  const curve = (of: LearningRateRule, steps: number) =>
    Array.from({ length: steps }, (_, i) => learningRate(of, i + 1, steps));

  test("warm-up rises evenly to the peak", () => {
    for (const schedule of ["constant", "cosine", "linear"] as const) {
      expect(curve(rule(schedule, 4), 10).slice(0, 4)).toEqual([0.5, 1, 1.5, 2]);
    }
  });

  test("constant stays, linear and cosine end at the floor", () => {
    expect(curve(rule("constant", 0, 0.5), 3)).toEqual([2, 2, 2]);
    expect(curve(rule("linear", 0, 0), 4)).toEqual([1.5, 1, 0.5, 0]);
    expect(curve(rule("linear", 1, 0.5), 5)).toEqual([2, 1.75, 1.5, 1.25, 1]);
    const cosine = curve(rule("cosine", 2, 0.05), 12);
    expect(cosine[6]).toBeCloseTo(2 * (0.05 + 0.95 / 2), 12); // half way
    expect(cosine[11]).toBeCloseTo(0.1, 12);
  });

  test("cosine is what summing its slope gives", () => {
    const steps = 200;
    const slopes = Array.from(
      { length: steps },
      (_, i) => (Math.PI / (2 * steps)) * Math.sin((Math.PI * (i + 0.5)) / steps),
    );
    let expected = 1;
    curve(rule("cosine", 0, 0), steps).forEach((rate, i) => {
      expected -= slopes[i]!;
      expect(rate / 2).toBeCloseTo(expected, 4);
    });
  });

  test("odd lengths give finite rates", () => {
    for (const schedule of ["constant", "cosine", "linear"] as const) {
      for (const [warmup, steps] of [
        [0, 1],
        [1, 1],
        [5, 3],
        [3, 3],
      ] as const) {
        const rates = curve(rule(schedule, warmup, 0.1), steps);
        expect(rates.every((rate) => rate > 0 && rate <= 2)).toBe(true);
      }
    }
  });
});

describe("token weights", () => {
  const masks = [[1, 1, 1, 0], [1], [0, 0], [0, 1, 1]];

  test("token-mean counts every token alike", () => {
    const expected = [[1 / 6, 1 / 6, 1 / 6, 0], [1 / 6], [0, 0], [0, 1 / 6, 1 / 6]];
    expect(tokenWeights(masks, "token-mean", 0)).toEqual(expected.map((row) => Float32Array.from(row)));
  });

  test("sequence-mean counts every sequence with tokens alike", () => {
    const expected = [[1 / 9, 1 / 9, 1 / 9, 0], [1 / 3], [0, 0], [0, 1 / 6, 1 / 6]];
    expect(tokenWeights(masks, "sequence-mean", 0)).toEqual(expected.map((row) => Float32Array.from(row)));
  });

  test("constant divides by a fixed length, the mean over sequences with tokens", () => {
    const expected = [[1 / 24, 1 / 24, 1 / 24, 0], [1 / 24], [0, 0], [0, 1 / 24, 1 / 24]];
    expect(tokenWeights(masks, "constant", 8)).toEqual(expected.map((row) => Float32Array.from(row)));
    expect(() => tokenWeights(masks, "constant", 0)).toThrow(/expected constantLength > 0/);
  });

  test.each(["token-mean", "sequence-mean"] as Aggregation[])(
    "%s: weights sum to 1; the mean of a loss of 1 is 1",
    (aggregation) => {
      const stream = random(42);
      const many = Array.from({ length: 37 }, () => Array.from({ length: 1 + stream.int(50) }, () => stream.int(2)));
      expect(sum(tokenWeights(many, aggregation, 0).map(sum))).toBeCloseTo(1, 5);
    },
  );

  test("nothing to train on has no weight", () => {
    expect(tokenWeights([[0, 0]], "token-mean", 0)).toEqual([new Float32Array(2)]);
    expect(tokenWeights([], "sequence-mean", 0)).toEqual([]);
  });
});

describe("paired difference", () => {
  test("by hand", () => {
    const { n, mean, interval } = pairedDifference([0, 0, 2, 2], [1, 0, 2, 1]);
    const half = 3.182446305284264 * Math.sqrt(2 / 3 / 4); // t of 3 degrees of freedom; variance of (1, 0, 0, -1) is 2 / 3
    expect([n, mean]).toEqual([4, 0]);
    expect(interval[1]).toBeCloseTo(half, 12);
    expect(interval[0]).toBeCloseTo(-half, 12);
  });

  test("holds the true difference 95 times of 100", () => {
    let held = 0;
    for (let trial = 0; trial < 1_000; trial++) {
      const stream = random(43, trial);
      const easy = Array.from({ length: 300 }, () => stream.next()); // shared difficulty makes the pairs alike
      const before = easy.map((ease) => (stream.next() < 0.6 * ease ? 1 : 0));
      const after = easy.map((ease) => (stream.next() < 0.6 * ease + 0.2 ? 1 : 0));
      const { interval } = pairedDifference(before, after);
      if (interval[0] <= 0.2 && 0.2 <= interval[1]) held++;
    }
    expect(held).toBeGreaterThan(930);
    expect(held).toBeLessThan(970);
  });

  test("lists of other lengths are refused", () => {
    expect(() => pairedDifference([1, 2], [1])).toThrow(/\[pairedDifference\] expected two lists/);
    expect(() => pairedDifference([1], [1])).toThrow(/at least 2/);
  });
});
