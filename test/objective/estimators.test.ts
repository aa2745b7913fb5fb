// Advantage estimators: against TRL and the papers' formulas in float64, against slow references, and what they refuse.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { type AdvantageSpec, advantages } from "../../src/objective/estimators.js";
import { groupsWithSpread } from "../../src/objective/groups.js";
import { columnsOf, eps, everySpec, expectClose, gdpo, grpo, noise, offsets, rloo, title, whitened } from "./specs.js";

interface Case {
  readonly source: string;
  readonly spec: AdvantageSpec;
  readonly rewards: readonly (number | null)[];
  readonly cu_groups: readonly number[];
  readonly advantages: readonly number[];
  readonly tokens?: readonly number[];
}
interface Fixture {
  readonly cases: readonly Case[];
  readonly groups_with_spread: readonly number[];
}
const file = new URL("../fixtures/advantage_variants.json", import.meta.url);
const fixture = JSON.parse(readFileSync(file, "utf8")) as Fixture;

const orNaN = (values: readonly (number | null)[]) => values.map((value) => value ?? Number.NaN);

describe("the fixture", () => {
  test("has every kind", () => {
    expect(new Set(fixture.cases.map(({ spec }) => spec.kind))).toEqual(new Set(everySpec.map(({ kind }) => kind)));
  });

  const named = (each: Case) => `${each.source}${each.tokens ? ", over tokens" : ""}: ${title(each.spec)}`;
  test.each(fixture.cases.map((each) => [named(each), each] as const))(
    "%s",
    (_, { spec, rewards, cu_groups, advantages: wanted, tokens }) => {
      expectClose(advantages(spec, orNaN(rewards), Int32Array.from(cu_groups), tokens), wanted);
    },
  );

  test("tells whitening over tokens from whitening over samples", () => {
    const counted = fixture.cases.filter(({ tokens }) => tokens !== undefined);
    expect(counted.map(({ spec }) => spec.kind)).toEqual(["reinforce++", "reinforce++-baseline"]);
    for (const { spec, rewards, cu_groups, advantages: wanted } of counted) {
      const once = advantages(spec, orNaN(rewards), Int32Array.from(cu_groups));
      expect(wanted.some((value, i) => Math.abs(value - once[i]!) > 0.01)).toBe(true);
    }
  });

  test("groups with spread are those that TRL gives a deviation", () => {
    const { rewards, cu_groups } = fixture.cases[0]!;
    expect(groupsWithSpread(orNaN(rewards), Int32Array.from(cu_groups))).toEqual(fixture.groups_with_spread);
  });
});

describe("slow references", () => {
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const deviation = (values: readonly number[]) =>
    Math.sqrt(values.reduce((sum, value) => sum + (value - mean(values)) ** 2, 0) / (values.length - 1));
  const spread = (values: readonly number[]) => values.length > 1 && values.some((value) => value !== values[0]);
  const graded = (values: readonly number[]) => values.filter((value) => !Number.isNaN(value));
  const over = (values: readonly number[], add: number) => {
    const scale = deviation(graded(values)) + add;
    return values.map((value) => (value - mean(graded(values))) / scale);
  };
  /** Each sample from its own definition; NaN where it is left out. */
  const ofGroup = (group: readonly number[], rule: (reward: number, others: readonly number[]) => number) =>
    group.map((reward, i) => {
      const others = graded(group.filter((_, j) => j !== i));
      return Number.isNaN(reward) ? reward : spread(graded(group)) ? rule(reward, others) : 0;
    });
  const aboveMean = (reward: number, others: readonly number[]) => reward - mean([reward, ...others]);

  function slow(spec: AdvantageSpec, samples: readonly (readonly number[])[], cuGroups: Int32Array): number[] {
    const cut = (values: readonly number[]) =>
      Array.from({ length: cuGroups.length - 1 }, (_, g) => values.slice(cuGroups[g], cuGroups[g + 1]));
    const first = samples.map((sample) => sample[0]!);
    const byGroup = (values: readonly number[], rule: Parameters<typeof ofGroup>[1]) =>
      cut(values).flatMap((group) => ofGroup(group, rule));
    const standard = (values: readonly number[]) =>
      byGroup(values, (reward, others) => aboveMean(reward, others) / (deviation([reward, ...others]) + eps));
    switch (spec.kind) {
      case "grpo":
        return spec.scaleByStd ? standard(first) : byGroup(first, aboveMean);
      case "rloo":
        return byGroup(first, (reward, others) => reward - mean(others));
      case "reinforce":
        return first;
      case "reinforce++":
        return over(first, eps);
      case "reinforce++-baseline":
        return over(byGroup(first, aboveMean), eps);
      case "gdpo": {
        const columns = spec.weights.map((_, k) => standard(samples.map((sample) => sample[k]!)));
        const sums = samples.map((sample, i) =>
          graded([...sample]).length === 0
            ? Number.NaN
            : spec.weights.reduce(
                (sum, weight, k) => sum + weight * (Number.isNaN(columns[k]![i]!) ? 0 : columns[k]![i]!),
                0,
              ),
        );
        return over(sums, eps);
      }
    }
  }

  const shapes = [[2], [5], [1, 2, 3], [16, 1, 17, 2], [1, 1, 1, 4], [0, 3, 0, 0, 4, 0], [31, 33, 8, 100]];
  test.each(everySpec.map((spec) => [title(spec), spec] as const))("%s", (_, spec) => {
    shapes.forEach((sizes, at) => {
      const cuGroups = offsets(sizes);
      const K = columnsOf(spec);
      for (const holes of [false, true]) {
        const rewards = noise(spec, cuGroups.at(-1)!, at, holes);
        const samples = Array.from({ length: rewards.length / K }, (_, i) => [...rewards.slice(i * K, (i + 1) * K)]);
        const wanted = slow(spec, samples, cuGroups).map((value) => (Number.isNaN(value) ? 0 : value));
        expectClose(advantages(spec, rewards, cuGroups), wanted);
      }
    });
  });
});

describe("refused", () => {
  const two = Int32Array.of(0, 2);
  test.each<[string, () => unknown, string]>([
    [
      "offsets that end early",
      () => advantages(rloo, [1, 2, 3], two),
      "[advantages rewards] expected 2 numbers, 1 a sample, got 3",
    ],
    [
      "too few rewards",
      () => advantages(gdpo, [1, 2], two),
      "[advantages rewards] expected 4 numbers, 2 a sample, got 2",
    ],
    [
      "offsets from 1",
      () => advantages(rloo, [1], Int32Array.of(1, 2)),
      "[advantages cuGroups] expected offsets from 0, got 1",
    ],
    ["no offsets", () => advantages(rloo, [], new Int32Array(0)), "expected offsets from 0, got undefined"],
    [
      "offsets that go back",
      () => advantages(rloo, [1], Int32Array.of(0, 2, 1)),
      "expected ascending offsets, got 2 then 1",
    ],
    [
      "an infinite reward",
      () => advantages(rloo, [1, -Infinity], two),
      "expected finite numbers, got -Infinity at place 1",
    ],
    [
      "a negative eps",
      () => advantages({ ...grpo, eps: -1 }, [1, 2], two),
      "[advantages eps] expected a finite number >= 0, got -1",
    ],
    ["eps NaN", () => advantages({ ...whitened, eps: Number.NaN }, [1, 2], two), "[advantages eps]"],
    ["no eps for several rewards", () => advantages({ ...gdpo, eps: 0 }, [1, 2, 3, 4], two), '> 0 for "gdpo", got 0'],
    ["no weights", () => advantages({ kind: "gdpo", weights: [], eps }, [], two), "expected at least one weight"],
    [
      "an infinite weight",
      () => advantages({ kind: "gdpo", weights: [1, Infinity], eps }, [1, 2, 3, 4], two),
      "[advantages weights] expected finite numbers, got Infinity at place 1",
    ],
    [
      "counts of other samples",
      () => advantages(whitened, [1, 2], two, [1]),
      "[advantages tokens] expected 2 counts, got 1; one for each sample",
    ],
    [
      "half a token",
      () => advantages(whitened, [1, 2], two, [1, 0.5]),
      "[advantages tokens] expected counts of tokens, got 0.5 at place 1",
    ],
    ["a negative tolerance", () => groupsWithSpread([1, 2], two, -1), "[groupsWithSpread tolerance]"],
    ["rewards of others", () => groupsWithSpread([1], two), "[groupsWithSpread rewards] expected 2 numbers"],
  ])("%s", (_, call, message) => {
    expect(call).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT", message: expect.stringContaining(message) }));
  });
});
