// What the generator scripts of test/fixtures wrote of PyTorch's runs, as the engine takes it.
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
