import { describe, expect, test } from "vitest";
import { philox, random } from "../../src/data/random.js";

const hex = (words: readonly number[]) => words.map((word) => word.toString(16).padStart(8, "0")).join(" ");

/** 64-bit arithmetic by BigInt: slow and obvious. */
function slowPhilox(key: readonly [number, number], counter: readonly [number, number, number, number]): number[] {
  const low = (x: bigint) => Number(x & 0xffffffffn);
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  let c = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const p0 = 0xd2511f53n * c[0];
    const p1 = 0xcd9e8d57n * c[2];
    c = [(p1 >> 32n) ^ c[1] ^ k0, p1 & 0xffffffffn, (p0 >> 32n) ^ c[3] ^ k1, p0 & 0xffffffffn];
    k0 = (k0 + 0x9e3779b9n) & 0xffffffffn;
    k1 = (k1 + 0xbb67ae85n) & 0xffffffffn;
  }
  return c.map(low);
}

describe("philox", () => {
  // Known answers of the authors' Random123 distribution (kat_vectors, philox4x32 10).
  test.each([
    [[0, 0], [0, 0, 0, 0], "6627e8d5 e169c58d bc57ac4c 9b00dbd8"],
    [[0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff], "408f276d 41c83b0e a20bc7c6 6d5451fd"],
    [[0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], "d16cfe09 94fdcceb 5001e420 24126ea1"],
  ] as [[number, number], [number, number, number, number], string][])("key %j counter %j", (key, counter, words) => {
    expect(hex(philox(key, counter))).toBe(words);
  });

  test("agrees with 64-bit arithmetic", () => {
    const stream = random(3);
    const word = () => stream.int(2 ** 32);
    for (let i = 0; i < 500; i++) {
      const key: [number, number] = [word(), word()];
      const counter: [number, number, number, number] = [word(), word(), word(), word()];
      expect(philox(key, counter)).toEqual(slowPhilox(key, counter));
    }
  });
});

describe("random", () => {
  test("the same keys give the same numbers, other keys others", () => {
    const first = (seed: number, ...keys: number[]) => random(seed, ...keys).next();
    expect(first(7, 1, 2)).toBe(first(7, 1, 2));
    const keyed = [first(7), first(7, 0), first(7, 0, 0), first(7, 1), first(7, 1, 2), first(7, 2, 1), first(8, 1, 2)];
    const odd = [first(0), first(-1), first(2 ** 32), first(2 ** 32 - 1), first(2 ** 53 - 1), first(-(2 ** 53) + 1)];
    expect(new Set([...keyed, ...odd]).size).toBe(keyed.length + odd.length);
  });

  test("next is uniform in [0, 1)", () => {
    const stream = random(1);
    const buckets = new Array<number>(10).fill(0);
    for (let i = 0; i < 50_000; i++) buckets[Math.floor(stream.next() * 10)]!++;
    const chi2 = buckets.reduce((sum, count) => sum + (count - 5_000) ** 2 / 5_000, 0);
    expect(chi2).toBeLessThan(27.9); // 99.9% point of chi-square with 9 degrees of freedom
  });

  test("int is uniform where the range does not divide 2^32", () => {
    const stream = random(2);
    const third = 3 * 2 ** 30;
    const low = Array.from({ length: 20_000 }, () => stream.int(third)).filter((value) => value < 2 ** 30).length;
    expect(Math.abs(low / 20_000 - 1 / 3)).toBeLessThan(0.015); // a bare remainder would give 1/2
    expect(stream.int(1)).toBe(0);
  });

  test("weighted follows its weights and never takes a weight of 0", () => {
    const stream = random(4);
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 20_000; i++) counts[stream.weighted([1, 0, 3, 0])]!++;
    expect(counts[1]! + counts[3]!).toBe(0);
    expect(Math.abs(counts[2]! / 20_000 - 0.75)).toBeLessThan(0.015);
  });

  test("shuffle permutes, and every place is as likely", () => {
    const items = ["a", "b", "c", "d"];
    const places = [0, 0, 0, 0];
    for (let i = 0; i < 8_000; i++) {
      const shuffled = random(5, i).shuffle(items);
      expect([...shuffled].sort()).toEqual(items);
      places[shuffled.indexOf("a")]!++;
    }
    for (const count of places) expect(Math.abs(count - 2_000)).toBeLessThan(160);
    expect(items).toEqual(["a", "b", "c", "d"]);
  });

  test("bad arguments are refused by name", () => {
    expect(() => random(0.5)).toThrow(/\[random\] expected seed and keys to be safe integers, got 0.5/);
    expect(() => random(1).int(0)).toThrow(/\[random.int\]/);
    expect(() => random(1).choice([])).toThrow(/\[random.choice\]/);
    for (const weights of [[], [0], [-1, 2], [Number.NaN], [Number.POSITIVE_INFINITY]]) {
      expect(() => random(1).weighted(weights)).toThrow(/\[random.weighted\]/);
    }
  });

  test.each([
    ["RANDOM_KEY", () => random(0.5)],
    ["RANDOM_RANGE", () => random(1).int(0)],
    ["RANDOM_EMPTY", () => random(1).choice([])],
    ["RANDOM_WEIGHTS", () => random(1).weighted([0])],
    ["CURSOR_RANGE", () => random(1).restore(-1)],
  ])("%s", (code, act) => expect(act).toThrow(expect.objectContaining({ code })));
});

describe("a stream's state", () => {
  test.each([0, 1, 2, 3, 4, 5, 7, 8, 11])(
    "after %d words, saved and restored, gives the words that would have come",
    (drawn) => {
      const stream = random(9, 4);
      for (let i = 0; i < drawn; i++) stream.int(2 ** 32);
      const resumed = random(9, 4);
      resumed.restore(JSON.parse(JSON.stringify(stream.save())));
      expect(stream.save()).toBe(drawn);
      const words = (from: typeof stream) => Array.from({ length: 9 }, () => from.int(2 ** 32));
      expect(words(resumed)).toEqual(words(stream));
    },
  );

  test.each([-1, 0.5, null, "3", {}])("%j is refused", (state) => {
    expect(() => random(1).restore(state)).toThrow(/expected a number of words drawn/);
  });
});
