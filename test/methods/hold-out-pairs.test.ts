// Which pairs are held out where no data are named for it: whole prompts, a tenth at most, something left in every source.
import { describe, expect, test } from "vitest";
import { holdOutPairs } from "../../src/methods/hold-out-pairs.js";

const promptsAt = (prompts: readonly (readonly string[])[], places: readonly (readonly number[])[]) =>
  places.flatMap((own, s) => own.map((place) => prompts[s]![place]!));

describe("pairs held out", () => {
  const prompts = [
    Array.from({ length: 60 }, (_, i) => `a${i % 20}`),
    Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? `a${i % 20}` : `b${i}`)),
  ];

  test("are a tenth at most, or as many as are asked for, drawn by seed", () => {
    const count = (asked: number, seed = 0) => promptsAt(prompts, holdOutPairs(prompts, asked, seed).heldOut).length;
    expect(count(1000)).toBe(10);
    expect(count(4)).toBe(4);
    expect(count(0)).toBe(0);
    const drawn = (seed: number) => holdOutPairs(prompts, 1000, seed).heldOut;
    expect(drawn(1)).toEqual(drawn(1));
    expect(drawn(2)).not.toEqual(drawn(1));
  });

  test("share no prompt with those that are trained on, in any source; each pair is on one side", () => {
    for (let seed = 0; seed < 20; seed++) {
      const { training, heldOut } = holdOutPairs(prompts, 1000, seed);
      const [trained, held] = [promptsAt(prompts, training), new Set(promptsAt(prompts, heldOut))];
      expect(trained.filter((prompt) => held.has(prompt))).toEqual([]);
      for (const [s, own] of prompts.entries())
        expect([...training[s]!, ...heldOut[s]!].sort((a, b) => a - b)).toEqual([...own.keys()]);
    }
  });

  test("are none where there are few, and leave something in every source", () => {
    expect(holdOutPairs([["a", "b", "c"]], 10, 0)).toEqual({ training: [[0, 1, 2]], heldOut: [[]] });
    const many = Array.from({ length: 90 }, (_, i) => `m${i}`);
    for (let seed = 0; seed < 50; seed++) expect(holdOutPairs([many, ["x"]], 1000, seed).training[1]).toEqual([0]);
  });
});
