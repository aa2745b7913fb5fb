// What stops a run before it does harm: a loss or a gradient that is not finite.
import type { OptimizerSettings } from "../config/fragments.js";
import type { EngineLike } from "../engine/like.js";
import type { LossMetrics, OptimResult } from "../engine/types.js";
import { ZazenError } from "../errors.js";

/** Training cannot go on; what the run folder holds stays as it is. */
export class TrainError extends ZazenError {
  override readonly name: string = "TrainError";
}

const advice =
  "the weights have diverged; lower the learning rate or the gradient clip and start again from the last model";

/** The metrics, when their loss is a finite number. Throws TrainError `LOSS_NOT_FINITE`. */
export function finiteLoss(where: string, metrics: LossMetrics): LossMetrics {
  if (Number.isFinite(metrics.loss)) return metrics;
  throw new TrainError("LOSS_NOT_FINITE", `[${where}] expected a finite loss, got ${metrics.loss}; ${advice}`);
}

const notFinite = "GRADIENT_NOT_FINITE"; // the engine's code; it has cleared the gradient and kept the weights

/** One optimizer step at `learningRate`. Throws TrainError `GRADIENT_NOT_FINITE`. */
export async function optimizerStep(
  engine: EngineLike,
  optimizer: OptimizerSettings,
  learningRate: number,
): Promise<OptimResult> {
  const { beta1, beta2, eps, weightDecay, maxGradNorm } = optimizer;
  try {
    return await engine.optimStep({ learningRate, beta1, beta2, eps, weightDecay, maxGradNorm });
  } catch (error) {
    if (!(error instanceof ZazenError) || error.code !== notFinite) throw error;
    throw new TrainError(notFinite, `${error.message}; ${advice}`, { cause: error });
  }
}
