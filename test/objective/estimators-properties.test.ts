// Advantage estimators by their properties: shifts, permutations, samples left out, groups that are flat or of one, and cuts.
import { describe, expect, test } from "vitest";
import { type AdvantageSpec, advantages, usesGroupBaseline } from "../../src/objective/estimators.js";
import {
  baseline,
  byGroupAlone,
  centred,
  columnsOf,
  eps,
  everySpec,
  expectClose,
  gdpo,
  grpo,
  noise,
  offsets,
  plain,
  rloo,
  title,
  whitened,
  withBaseline,
} from "./specs.js";

describe("properties", () => {
  const cuGroups = offsets([6, 1, 9, 2, 4]);
  const n = cuGroups.at(-1)!;
  const groupOf = (i: number) => cuGroups.findIndex((end) => i < end) - 1;

  test.each(withBaseline.map((spec) => [title(spec), spec] as const))(
    "%s: a constant added to a group changes nothing",
    (_, spec) => {
      const rewards = noise(spec, n, 11, true);
      const K = columnsOf(spec);
      const moved = rewards.map((reward, at) => reward + 3 * groupOf(Math.floor(at / K)) - 5);
      expectClose(advantages(spec, moved, cuGroups), advantages(spec, rewards, cuGroups));
    },
  );

  test("without a group baseline it does", () => {
    const rewards = noise(plain, n, 11);
    const moved = rewards.map((reward, i) => reward + groupOf(i));
    for (const spec of [plain, whitened]) {
      expect(usesGroupBaseline(spec)).toBe(false);
      expect(advantages(spec, moved, cuGroups)).not.toEqual(advantages(spec, rewards, cuGroups));
    }
    expectClose(
      advantages(
        whitened,
        rewards.map((reward) => reward + 9),
        cuGroups,
      ),
      advantages(whitened, rewards, cuGroups),
    );
  });

  test.each(everySpec.map((spec) => [title(spec), spec] as const))(
    "%s: samples of a group may change places",
    (_, spec) => {
      const rewards = noise(spec, n, 12, true);
      const K = columnsOf(spec);
      const turned = Array.from({ length: n }, (_, i) => cuGroups[groupOf(i)]! + cuGroups[groupOf(i) + 1]! - 1 - i);
      const permuted = Float64Array.from(rewards, (_, at) => rewards[turned[Math.floor(at / K)]! * K + (at % K)]!);
      const before = advantages(spec, rewards, cuGroups);
      expectClose(
        advantages(spec, permuted, cuGroups),
        turned.map((i) => before[i]!),
      );
    },
  );

  test("leave-one-out is n / (n - 1) of above the mean", () => {
    const rewards = noise(rloo, n, 13);
    const above = advantages(centred, rewards, cuGroups);
    const wanted = Array.from(above, (value, i) => {
      const size = cuGroups[groupOf(i) + 1]! - cuGroups[groupOf(i)]!;
      return size === 1 ? 0 : (value * size) / (size - 1);
    });
    expectClose(advantages(rloo, rewards, cuGroups), wanted);
  });

  test("whitened over the batch: mean 0, deviation 1", () => {
    for (const kind of [whitened, baseline, gdpo]) {
      const spec = { ...kind, eps: 1e-9 };
      const values = [...advantages(spec, noise(spec, n, 14), cuGroups)];
      expect(values.reduce((a, b) => a + b, 0)).toBeCloseTo(0, 5);
      expect(values.reduce((sum, value) => sum + value * value, 0) / (n - 1)).toBeCloseTo(1, 4);
    }
  });

  test("one reward by its own is GDPO of it and zeros of another", () => {
    const rewards = noise(grpo, n, 15);
    const two = Float64Array.from({ length: 2 * n }, (_, at) => (at % 2 === 0 ? rewards[at / 2]! : 0.1));
    const alone = advantages({ kind: "gdpo", weights: [1], eps }, rewards, cuGroups);
    expect(advantages({ kind: "gdpo", weights: [1, 7], eps }, two, cuGroups)).toEqual(alone);
  });
});

describe("what is left out, alone or flat", () => {
  test.each(everySpec.map((spec) => [title(spec), spec] as const))(
    "%s: a sample left out might as well not be there",
    (_, spec) => {
      const K = columnsOf(spec);
      const rewards = noise(spec, 9, 16);
      const left = [0, 4, 8]; // first, middle and last of groups of 5 and 4
      const holed = rewards.map((reward, at) => (left.includes(Math.floor(at / K)) ? Number.NaN : reward));
      const found = advantages(spec, holed, offsets([5, 4]));
      expect(left.map((i) => found[i])).toEqual([0, 0, 0]);
      const without = rewards.filter((_, at) => !left.includes(Math.floor(at / K)));
      expect(found.filter((_, i) => !left.includes(i))).toEqual(advantages(spec, without, offsets([3, 3])));
    },
  );

  test.each(withBaseline.map((spec) => [title(spec), spec] as const))("%s: exact zeros", (_, spec) => {
    const K = columnsOf(spec);
    const rewards = noise(spec, 12, 17);
    rewards.fill(0.1, 3 * K, 10 * K); // a group of 7; 0.1 has no exact mean
    const found = [...advantages(spec, rewards, offsets([3, 7, 1, 1]))];
    expect(found.slice(3)).toEqual(Array(9).fill(0));
    expect(found.slice(0, 3).every((value) => value !== 0)).toBe(true);
  });

  test("a flat batch, and a batch of one", () => {
    for (const spec of [...withBaseline, whitened]) {
      const flat = new Float64Array(6 * columnsOf(spec)).fill(0.1);
      expect([...advantages(spec, flat, offsets([4, 2]))]).toEqual(Array(6).fill(0));
      expect([...advantages(spec, flat.slice(0, columnsOf(spec)), offsets([1]))]).toEqual([0]);
    }
    expect([...advantages(plain, [3, Number.NaN], offsets([1, 1]))]).toEqual([3, 0]);
  });

  test("all left out", () => {
    for (const spec of everySpec) {
      const rewards = new Float64Array(3 * columnsOf(spec)).fill(Number.NaN);
      expect([...advantages(spec, rewards, offsets([2, 1]))]).toEqual([0, 0, 0]);
    }
  });

  test("no eps: finite where squares underflow", () => {
    const tiny = [0, 1e-200];
    expect([...advantages({ ...baseline, eps: 0 }, tiny, offsets([2]))]).toEqual([0, 0]);
    expect([...advantages({ ...grpo, eps: 0 }, tiny, offsets([2]))]).toEqual([0, 0]);
  });

  test("no groups, empty groups", () => {
    for (const spec of everySpec) {
      expect(advantages(spec, [], offsets([]))).toEqual(new Float32Array(0));
      expect(advantages(spec, [], offsets([0, 0]))).toEqual(new Float32Array(0));
    }
  });
});

describe("cuts", () => {
  const sizes = [5, 1, 8, 3, 16];
  const cuGroups = offsets(sizes);

  /** Advantages of runs of groups, one call each. */
  function inParts(spec: AdvantageSpec, rewards: Float64Array, edges: readonly number[]): number[] {
    const K = columnsOf(spec);
    return edges.slice(1).flatMap((to, part) => {
      const cut = sizes.slice(edges[part], to);
      const from = cuGroups[edges[part]!]! * K;
      return [...advantages(spec, rewards.slice(from, cuGroups[to]! * K), offsets(cut))];
    });
  }

  test.each([[[0, 5]], [[0, 1, 5]], [[0, 2, 3, 5]], [[0, 1, 2, 3, 4, 5]]])("at groups %j: the same bits", (edges) => {
    for (const spec of byGroupAlone) {
      const rewards = noise(spec, cuGroups.at(-1)!, 18, true);
      expect(inParts(spec, rewards, edges)).toEqual([...advantages(spec, rewards, cuGroups)]);
    }
  });

  test("estimators over the batch see the batch", () => {
    for (const spec of [whitened, baseline, gdpo]) {
      const rewards = noise(spec, cuGroups.at(-1)!, 18);
      expect(inParts(spec, rewards, [0, 2, 5])).not.toEqual([...advantages(spec, rewards, cuGroups)]);
    }
  });

  test("empty groups between groups change no bit", () => {
    const gaps = offsets(sizes.flatMap((size) => [0, size, 0]));
    for (const spec of everySpec) {
      const rewards = noise(spec, cuGroups.at(-1)!, 19, true);
      expect(advantages(spec, rewards, gaps)).toEqual(advantages(spec, rewards, cuGroups));
    }
  });

  test("the rewards are left as they were", () => {
    for (const spec of everySpec) {
      const rewards = noise(spec, cuGroups.at(-1)!, 20, true);
      const before = rewards.slice();
      advantages(spec, rewards, cuGroups);
      expect(rewards).toEqual(before);
    }
  });
});
