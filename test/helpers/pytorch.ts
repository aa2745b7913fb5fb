// What the generator scripts of test/fixtures wrote of PyTorch's runs, as the engine takes it.
import { expect } from "vitest";
import type { OptimStep, PackedTokens } from "../../src/engine/types.js";
import { floats, ints, type Tensor } from "./safetensors.js";

/** Settings of torch.optim.AdamW and clip_grad_norm_. */
export type TorchOptimizer = Readonly<
  Record<"learning_rate" | "beta1" | "beta2" | "eps" | "weight_decay" | "max_grad_norm", number>
>;

export function optimStepOf(torch: TorchOptimizer): OptimStep {
  const { learning_rate: learningRate, beta1, beta2, eps, weight_decay, max_grad_norm } = torch;
  return { learningRate, beta1, beta2, eps, weightDecay: weight_decay, maxGradNorm: max_grad_norm };
}

/** The batch of an expected.safetensors. */
export function fixtureBatch(tensors: ReadonlyMap<string, Tensor>): PackedTokens & { readonly weights: Float32Array } {
  return {
    ids: ints(tensors, "ids"),
    cuSeqlens: ints(tensors, "cu_seqlens"),
    weights: floats(tensors, "weights"),
  };
}

export const largest = (values: Float32Array): number =>
  values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** Largest difference; NaN, which the first token of a sequence has, must stand where it is wanted. */
export function difference(actual: Float32Array, wanted: Float32Array): number {
  expect(actual.length).toBe(wanted.length);
  return actual.reduce((most, value, i) => {
    const apart = Object.is(value, wanted[i]) ? 0 : Math.abs(value - wanted[i]!);
    return Number.isNaN(apart) ? Number.POSITIVE_INFINITY : Math.max(most, apart);
  }, 0);
}
