// What the tests of the estimators share: a spec of each kind, and rewards without a pattern.
import { expect } from "vitest";
import { random } from "../../src/data/random.js";
import { type AdvantageSpec, usesGroupBaseline } from "../../src/objective/estimators.js";

/** Of one float32 result, relative to the larger of itself and 1. */
const TOLERANCE = 1e-6;

export function expectClose(actual: ArrayLike<number>, wanted: ArrayLike<number>, tolerance = TOLERANCE): void {
  expect(actual.length).toBe(wanted.length);
  const errors = Array.from(wanted, (value, i) => Math.abs(actual[i]! - value) / Math.max(1, Math.abs(value)));
  expect(errors.findIndex((error) => !(error <= tolerance))).toBe(-1);
}

/** Large enough to be seen above the tolerance. */
export const eps = 0.01;
export const grpo = { kind: "grpo", scaleByStd: true, eps } as const satisfies AdvantageSpec;
export const centred = { kind: "grpo", scaleByStd: false, eps } as const satisfies AdvantageSpec;
export const rloo = { kind: "rloo" } as const satisfies AdvantageSpec;
export const plain = { kind: "reinforce" } as const satisfies AdvantageSpec;
export const whitened = { kind: "reinforce++", eps } as const satisfies AdvantageSpec;
export const baseline = { kind: "reinforce++-baseline", eps } as const satisfies AdvantageSpec;
export const gdpo = { kind: "gdpo", weights: [1, -0.5], eps } as const satisfies AdvantageSpec;
export const everySpec: readonly AdvantageSpec[] = [grpo, centred, rloo, plain, whitened, baseline, gdpo];
export const withBaseline = everySpec.filter(usesGroupBaseline);
export const byGroupAlone: readonly AdvantageSpec[] = [grpo, centred, rloo, plain];

export const columnsOf = (spec: AdvantageSpec) => (spec.kind === "gdpo" ? spec.weights.length : 1);
export const offsets = (sizes: readonly number[]) =>
  Int32Array.from([0, ...sizes.map((_, g) => sizes.slice(0, g + 1).reduce((a, b) => a + b))]);

/** Rewards [n, K] without a pattern; a tenth are NaN where `holes`. */
export function noise(spec: AdvantageSpec, n: number, seed: number, holes = false): Float64Array {
  const draw = random(seed, 7);
  return Float64Array.from({ length: n * columnsOf(spec) }, () => {
    const value = 4 * draw.next() - 2;
    return holes && draw.next() < 0.1 ? Number.NaN : value;
  });
}

export const title = (spec: AdvantageSpec) => JSON.stringify(spec);
