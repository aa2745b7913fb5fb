// What stops a run before it does harm: a loss or a gradient that is not finite. The batch that gave it stays in the run folder.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { OptimizerSettings } from "../config/fragments.js";
import type { EngineLike } from "../engine/like.js";
import type { LossMetrics, LossSpec, OptimResult, TrainBatch } from "../engine/types.js";
import { ZazenError } from "../errors.js";

/** Training cannot go on; what the run folder holds stays as it is. */
export class TrainError extends ZazenError {
  override readonly name: string = "TrainError";
}

const advice =
  "the weights have diverged; lower the learning rate or the gradient clip and start again from the last model";

/** Writes the batch that the run stopped on; returns its file. */
export type SaveBatch = () => string;

/** The metrics, when their loss is a finite number. Throws TrainError `LOSS_NOT_FINITE` with the file of the batch. */
export function finiteLoss(where: string, metrics: LossMetrics, save: SaveBatch): LossMetrics {
  if (Number.isFinite(metrics.loss)) return metrics;
  throw new TrainError(
    "LOSS_NOT_FINITE",
    `[${where}] expected a finite loss, got ${metrics.loss}; its batch is in ${save()}; ${advice}`,
  );
}

const notFinite = "GRADIENT_NOT_FINITE"; // the engine's code; it has cleared the gradient and kept the weights

/** One optimizer step at `learningRate`. Throws TrainError `GRADIENT_NOT_FINITE` with the file of the batch. */
export async function optimizerStep(
  engine: EngineLike,
  optimizer: OptimizerSettings,
  learningRate: number,
  save: SaveBatch,
): Promise<OptimResult> {
  const { beta1, beta2, eps, weightDecay, maxGradNorm } = optimizer;
  try {
    return await engine.optimStep({ learningRate, beta1, beta2, eps, weightDecay, maxGradNorm });
  } catch (error) {
    if (!(error instanceof ZazenError) || error.code !== notFinite) throw error;
    throw new TrainError(notFinite, `${error.message}; its batch is in ${save()}; ${advice}`, { cause: error });
  }
}

/** Writes `bad-batch.json` into a run folder: where, loss and arrays of the batch, numbers that are not finite as text. Returns its path. */
export function savedBatch(folder: string, where: string, batch: TrainBatch, loss: LossSpec): string {
  const { signal: _, ...arrays } = batch;
  const plain = (_key: string, value: unknown) => {
    if (ArrayBuffer.isView(value)) return Array.from(value as Float32Array);
    return typeof value === "number" && !Number.isFinite(value) ? String(value) : value;
  };
  const path = join(folder, "bad-batch.json");
  writeFileSync(path, `${JSON.stringify({ where, loss, ...arrays }, plain)}\n`);
  return path;
}
