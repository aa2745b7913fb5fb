// Over-long completions: the soft penalty against TRL's, and the mask that leaves the baseline alone.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { advantages } from "../../src/objective/estimators.js";
import { maskTruncated, overlongPenalty } from "../../src/objective/overlong.js";
import { tokenWeights } from "../../src/objective/weights.js";

interface Fixture {
  readonly overlong: readonly { max_length: number; cache_length: number; penalties: readonly number[] }[];
}
const file = new URL("../fixtures/advantage_variants.json", import.meta.url);
const fixture = JSON.parse(readFileSync(file, "utf8")) as Fixture;

describe("soft penalty", () => {
  test.each(fixture.overlong)("TRL: $max_length, cache $cache_length", ({ max_length, cache_length, penalties }) => {
    const rule = { maxLength: max_length, cacheLength: cache_length };
    expect(penalties.map((_, length) => overlongPenalty(length, rule))).toEqual(penalties);
  });

  test("the paper's setting", () => {
    const rule = { maxLength: 20_480, cacheLength: 4096 };
    const lengths = [0, 16_384, 16_385, 18_432, 20_480, 20_481];
    expect(lengths.map((length) => overlongPenalty(length, rule))).toEqual([0, 0, -1 / 4096, -0.5, -1, -1]);
  });

  test("never rises", () => {
    const rule = { maxLength: 37, cacheLength: 11 };
    const penalties = Array.from({ length: 50 }, (_, length) => overlongPenalty(length, rule));
    penalties.slice(1).forEach((penalty, i) => {
      expect(penalty).toBeLessThanOrEqual(penalties[i]!);
    });
    expect(new Set(penalties).size).toBe(12);
  });

  test.each([
    [-1, 10, 2, "[overlongPenalty length]"],
    [Number.NaN, 10, 2, "[overlongPenalty length]"],
    [1, -10, 0, "[overlongPenalty maxLength]"],
    [1, 10, 11, "[overlongPenalty cacheLength] expected a number in 0 .. 10, got 11"],
    [1, 10, -1, "[overlongPenalty cacheLength]"],
    [1, 10, Number.NaN, "[overlongPenalty cacheLength]"],
  ])("length %d of %d, cache %d is refused", (length, maxLength, cacheLength, message) => {
    const call = () => overlongPenalty(length, { maxLength, cacheLength });
    expect(call).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT", message: expect.stringContaining(message) }));
  });
});

describe("mask", () => {
  const masks = [Uint8Array.of(1, 1), Uint8Array.of(1, 0, 1), Uint8Array.of(1), new Uint8Array(0)];

  test("a truncated completion has weight 0 throughout and does not count in the normaliser", () => {
    const masked = maskTruncated(masks, [false, true, false, true]);
    expect(masked.map((mask) => [...mask])).toEqual([[1, 1], [0, 0, 0], [1], []]);
    const ofTokens = tokenWeights(masked, "token-mean", 0).map((row) => [...row]);
    const third = Math.fround(1 / 3);
    expect(ofTokens).toEqual([[third, third], [0, 0, 0], [third], []]);
    expect([...tokenWeights(masked, "sequence-mean", 0)[2]!]).toEqual([0.5]);
  });

  test("its reward stays in the baseline; NaN takes it out of that too", () => {
    const group = Int32Array.of(0, 3);
    expect([...advantages({ kind: "rloo" }, [1, 0, 1], group)]).toEqual([0.5, -1, 0.5]);
    expect([...advantages({ kind: "rloo" }, [1, Number.NaN, 1], group)]).toEqual([0, 0, 0]);
  });

  test("the masks are left as they were", () => {
    maskTruncated(masks, [true, true, true, true]);
    expect([...masks[1]!]).toEqual([1, 0, 1]);
  });

  test("a flag for each mask", () => {
    expect(() => maskTruncated(masks, [true])).toThrow(/\[maskTruncated truncated\] expected 4 flags, got 1/);
  });
});
