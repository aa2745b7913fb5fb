// What stops a run before it does harm: a loss or a gradient that is not finite. The sequences that gave it stay in the run folder.
import type { OptimizerSettings } from "../config/fragments.js";
import type { EngineLike } from "../engine/like.js";
import type { LossMetrics, LossSpec, OptimResult, TrainBatch } from "../engine/types.js";
import { ZazenError } from "../errors.js";
import { saveBadBatch } from "./bad-batch.js";

/** Training cannot go on; what the run folder holds stays as it is. */
export class TrainError extends ZazenError {
  override readonly name: string = "TrainError";
}

/** What is trained on, and where a batch goes that cannot be. */
export interface Attempt {
  readonly engine: EngineLike;
  /** The run folder. */
  readonly folder: string;
  /** Of the step, for messages. */
  readonly where: string;
  readonly batch: TrainBatch;
  readonly loss: LossSpec;
}

const advice =
  "the weights have diverged; lower the learning rate or the gradient clip and start again from the last model";

/** Gradients of the attempt's batch. Throws TrainError `LOSS_NOT_FINITE` with the file of its batch. */
export async function finiteGradients(attempt: Attempt, signal: AbortSignal): Promise<LossMetrics> {
  const { engine, where, batch, loss } = attempt;
  const metrics = await engine.forwardBackward({ ...batch, signal }, loss);
  if (Number.isFinite(metrics.loss)) return metrics;
  const file = await saved(attempt, async (part) => !Number.isFinite((await engine.forwardBackward(part, loss)).loss));
  throw new TrainError(
    "LOSS_NOT_FINITE",
    `[${where}] expected a finite loss, got ${metrics.loss}; its batch is in ${file}; ${advice}`,
  );
}

const notFinite = "GRADIENT_NOT_FINITE"; // the engine's code; it has cleared the gradient and kept the weights

/** One optimizer step at `learningRate`. Throws TrainError `GRADIENT_NOT_FINITE` with the file of the attempt's batch. */
export async function optimizerStep(
  attempt: Attempt,
  optimizer: OptimizerSettings,
  learningRate: number,
): Promise<OptimResult> {
  const { engine, loss } = attempt;
  const { beta1, beta2, eps, weightDecay, maxGradNorm } = optimizer;
  try {
    return await engine.optimStep({ learningRate, beta1, beta2, eps, weightDecay, maxGradNorm });
  } catch (error) {
    if (!isNotFinite(error)) throw error;
    const file = await saved(attempt, async (part) => {
      await engine.forwardBackward(part, loss);
      return !(await isSteppable(engine));
    });
    throw new TrainError(notFinite, `${error.message}; its batch is in ${file}; ${advice}`, { cause: error });
  }
}

const saved = ({ folder, where, batch, loss }: Attempt, hasFault: (part: TrainBatch) => Promise<boolean>) =>
  saveBadBatch(folder, { where, batch, loss, hasFault });

/** Whether the gradient is finite, by a step that moves no weight; no step follows that could miss the moments. */
async function isSteppable(engine: EngineLike): Promise<boolean> {
  try {
    await engine.optimStep({ learningRate: 0 });
    return true;
  } catch (error) {
    if (isNotFinite(error)) return false;
    throw error;
  }
}

function isNotFinite(error: unknown): error is ZazenError {
  return error instanceof ZazenError && error.code === notFinite;
}
