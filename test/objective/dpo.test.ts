// Figures of pairs that are measured: against the kernel that trains, and at the ends.
import { describe, expect, test } from "vitest";
import { dpoLoss } from "../../src/kernels.js";
import { pairFigures } from "../../src/objective/dpo.js";

describe("figures of pairs", () => {
  test.each([0, 0.2])("are the kernel's, label smoothing %d", (labelSmoothing) => {
    const [chosen, rejected] = [
      [0.5, -2, 3],
      [0.25, -1, -4],
    ];
    const found = pairFigures(chosen, rejected, { beta: 0.5, labelSmoothing });
    const kernel = dpoLoss(
      {
        logprobs: Float32Array.from(chosen.flatMap((value, p) => [value, rejected[p]!])),
        refLogprobs: new Float32Array(6),
        weights: new Float32Array(6).fill(1),
        cuSeqlens: Int32Array.of(0, 1, 2, 3, 4, 5, 6),
        pairWeights: new Float32Array(3).fill(1 / 3),
      },
      { beta: 0.5, labelSmoothing },
    );
    expect(found.loss).toBeCloseTo(kernel.loss, 7);
    expect(found.margin).toBeCloseTo(kernel.pairs.margin, 12);
    expect(found.accuracy).toBe(kernel.pairs.accuracy);
  });

  test("hold at large margins, and are NaN for no pairs", () => {
    expect(pairFigures([0], [2e6], { beta: 1, labelSmoothing: 0 }).loss).toBe(2e6);
    expect(pairFigures([2e6], [0], { beta: 1, labelSmoothing: 0 }).loss).toBe(0);
    expect(pairFigures([], [], { beta: 1, labelSmoothing: 0 })).toEqual({ loss: NaN, margin: NaN, accuracy: NaN });
  });

  test("are refused for sides of other lengths", () => {
    expect(() => pairFigures([1], [], { beta: 1, labelSmoothing: 0 })).toThrow("[pairFigures rejected] expected 1");
  });
});
