// Correlations, intervals, shares and repeated n-grams against scipy and numpy, and what they promise for lists that have no answer.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { random } from "../../src/data/random.js";
import { pearson, ranks, spearman, spearmanWithin } from "../../src/objective/correlation.js";
import { meanOf, pairedDifference, unpairedDifference, wilson, winShare } from "../../src/objective/intervals.js";
import { repeatedShare } from "../../src/objective/repetition.js";
import { student95 } from "../../src/objective/student.js";

interface Correlated {
  readonly a: number[];
  readonly b: number[];
}
interface Fixture {
  readonly correlations: readonly (Correlated & { ranks: number[]; pearson: number; spearman: number })[];
  readonly within: Correlated & { cuGroups: number[]; spearman: number };
  readonly means: Readonly<Record<"before" | "after" | "others" | "mean" | "paired" | "unpaired", number[]>>;
  readonly student: readonly { freedom: number; t: number }[];
  readonly wilson: readonly { correct: number; n: number; interval: [number, number] }[];
  readonly repeated: readonly { ids: number[]; n: number; share: number | null }[];
}
const file = new URL("../fixtures/statistics.json", import.meta.url);
const fixture = JSON.parse(readFileSync(file, "utf8")) as Fixture;

const exact = 12; // digits: both are float64
const expectInterval = (ours: readonly number[], theirs: readonly number[], digits = exact) =>
  theirs.forEach((bound, i) => {
    expect(ours[i]).toBeCloseTo(bound, digits);
  });

describe("correlations", () => {
  test.each(fixture.correlations)("scipy's of lists [$a.length]", (each) => {
    expect(Array.from(ranks(each.a))).toEqual(each.ranks);
    expect(pearson(each.a, each.b)).toBeCloseTo(each.pearson, exact);
    expect(spearman(each.a, each.b)).toBeCloseTo(each.spearman, exact);
  });

  test("within groups: the groups' own levels, here of opposite sign, do not count", () => {
    const { a, b, cuGroups, spearman: wanted } = fixture.within;
    expect(spearmanWithin(a, b, cuGroups)).toBeCloseTo(wanted, exact);
    expect(spearman(a, b)).toBeLessThan(0);
  });

  test("groups of one sample are compared as they are", () => {
    const { a, b } = fixture.correlations[1]!;
    const single = Array.from({ length: a.length + 1 }, (_, i) => i);
    expect(spearmanWithin(a, b, single)).toBe(spearman(a, b));
  });

  test("a group whose values are alike leaves no rounding behind", () => {
    expect(spearmanWithin([0.1, 0.1, 0.1, 0.7, 0.7, 0.7], [1, 2, 3, 4, 5, 6], [0, 3, 6])).toBeNaN();
  });

  test("no spread, too few values, other lengths", () => {
    expect(pearson([1, 1, 1], [1, 2, 3])).toBeNaN();
    expect(spearman([1], [2])).toBeNaN();
    expect(spearman([], [])).toBeNaN();
    expect(spearmanWithin([], [], [0])).toBeNaN();
    expect(() => spearman([1, 2], [1])).toThrow(expect.objectContaining({ code: "PAIRS" }));
  });
});

describe("means and differences", () => {
  const { before, after, others, mean, paired, unpaired } = fixture.means;

  test("scipy's intervals", () => {
    expectInterval(meanOf(before!).interval, mean);
    expectInterval(pairedDifference(before, after).interval, paired);
    expectInterval(unpairedDifference(before, others).interval, unpaired);
    expect(unpairedDifference(before, others).n).toBe(9);
  });

  test.each(fixture.student)("scipy's t of $freedom degrees of freedom", ({ freedom, t }) =>
    expect(student95(freedom) / t).toBeCloseTo(1, 8),
  );

  test("an interval of 95% holds the mean in about 95 of 100 lists, short ones too", () => {
    const source = random(5);
    const holds = Array.from({ length: 1000 }, () => {
      const { interval } = meanOf(Array.from({ length: 6 }, () => source.next()));
      return interval[0] <= 0.5 && 0.5 <= interval[1];
    }).filter(Boolean).length;
    expect(holds).toBeGreaterThan(930);
    expect(holds).toBeLessThan(970);
  });

  test("lists of right and wrong have a proportion's interval, which is none of no width", () => {
    const all = Array<number>(20).fill(1);
    expect(meanOf(all)).toEqual({ n: 20, mean: 1, interval: wilson(20, 20).interval });
    expect(meanOf(all, "figures").interval).toEqual([1, 1]);
    expect(pairedDifference(all, all, "figures").interval).toEqual([0, 0]);
    const { mean, interval } = pairedDifference(all, all);
    expect(mean).toBe(0);
    expect(interval[0]).toBeLessThan(-0.05);
    expect(interval[1]).toBeGreaterThan(0.05);
    const apart = unpairedDifference(Array<number>(20).fill(0), all);
    expect(apart).toMatchObject({ mean: 1, interval: [expect.any(Number), 1] });
    expect(apart.interval[0]).toBeLessThan(0.95);
  });

  test("the difference of proportions of different problems holds the true one about 95 times in 100", () => {
    const source = random(6);
    const drawn = (share: number, n: number) => Array.from({ length: n }, () => Number(source.next() < share));
    const holds = Array.from({ length: 1000 }, () => {
      const [low, high] = unpairedDifference(drawn(0.3, 40), drawn(0.5, 60)).interval;
      return low <= 0.2 && 0.2 <= high;
    }).filter(Boolean).length;
    expect(holds).toBeGreaterThan(930);
    expect(holds).toBeLessThan(975);
  });

  test("too few values, other numbers, other lengths", () => {
    const refused = expect.objectContaining({ code: "PAIRS" });
    expect(() => meanOf([1])).toThrow(refused);
    expect(() => meanOf([1, Number.NaN])).toThrow(refused);
    expect(() => unpairedDifference([1, 2], [3])).toThrow(refused);
    expect(() => pairedDifference([1, 2], [3])).toThrow(refused);
  });
});

describe("Wilson's interval of a share", () => {
  test.each(fixture.wilson)("$correct of $n", ({ correct, n, interval }) =>
    expectInterval(wilson(correct, n).interval, interval),
  );
});

describe("repeated n-grams", () => {
  test.each(fixture.repeated)("$n-grams of $ids.length ids", ({ ids, n, share }) =>
    share === null ? expect(repeatedShare(ids, n)).toBeNaN() : expect(repeatedShare(ids, n)).toBeCloseTo(share, exact),
  );

  test("one phrase over and over is all repetition but its first round", () => {
    const ids = Int32Array.from({ length: 400 }, (_, t) => t % 5);
    expect(repeatedShare(ids, 4)).toBeCloseTo(1 - 5 / 397, exact);
  });
});

describe("shares of wins", () => {
  /** The textbook form, cell by cell: half a pair more in each of the four, then Wald's interval of the difference. */
  function slow(wins: number, ties: number, losses: number): [number, number] {
    const [w, l, n] = [wins + 0.5, losses + 0.5, wins + ties + losses + 2];
    const difference = (w - l) / n;
    const half = 1.959963984540054 * Math.sqrt((w / n + l / n - difference ** 2) / n);
    return [Math.max(0, (1 + difference - half) / 2), Math.min(1, (1 + difference + half) / 2)];
  }
  const scoresOf = (wins: number, ties: number, losses: number) => [
    ...[Array<number>(wins).fill(1), Array<number>(ties).fill(0.5), Array<number>(losses).fill(0)].flat(),
  ];

  test.each<[number, number, number]>([
    [40, 0, 0],
    [0, 40, 0],
    [0, 0, 1],
    [3, 1, 4],
    [120, 31, 77],
  ])("%i wins, %i ties, %i losses", (wins, ties, losses) => {
    const found = winShare(scoresOf(wins, ties, losses));
    const n = wins + ties + losses;
    expect(found).toMatchObject({ n, wins, ties, losses, rate: (wins + ties / 2) / n });
    expectInterval(found.interval!, slow(wins, ties, losses));
    expectInterval(
      winShare(scoresOf(losses, ties, wins))
        .interval!.map((bound) => 1 - bound)
        .reverse(),
      found.interval!,
    );
  });

  test("ties narrow the interval, and all of one kind leave it a width", () => {
    const width = ([low, high]: readonly [number, number]) => high - low;
    expect(width(winShare(scoresOf(10, 80, 10)).interval!)).toBeLessThan(0.6 * width(wilson(50, 100).interval));
    expect(winShare(scoresOf(40, 0, 0)).interval).toEqual([expect.closeTo(0.936, 3), 1]);
    expect(width(winShare(scoresOf(0, 40, 0)).interval!)).toBeGreaterThan(0.04);
  });

  test("scores between, the mean of two orders, count as what they are", () => {
    const found = winShare([0.75, 0.25, 1, 0.5]);
    expect(found).toMatchObject({ n: 4, wins: 2, ties: 1, losses: 1, rate: 0.625 });
    expect(winShare([])).toEqual({ n: 0, wins: 0, ties: 0, losses: 0, rate: null, interval: null });
  });

  test("holds the true share about 95 times in 100", () => {
    const stream = random(77);
    for (const [win, tie, n] of [
      [0.3, 0.5, 40],
      [0.6, 0.1, 25],
      [0.85, 0.1, 60],
    ] as const) {
      let held = 0;
      const rounds = 2000;
      for (let round = 0; round < rounds; round++) {
        const scores = Array.from({ length: n }, () => {
          const drawn = stream.next();
          return drawn < win ? 1 : drawn < win + tie ? 0.5 : 0;
        });
        const [low, high] = winShare(scores).interval!;
        if (low <= win + tie / 2 && win + tie / 2 <= high) held++;
      }
      expect(held / rounds).toBeGreaterThan(0.935);
      expect(held / rounds).toBeLessThan(0.985);
    }
  });
});
