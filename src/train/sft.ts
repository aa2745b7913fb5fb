// Supervised fine-tuning: negative log-likelihood of completions, the mean over a step's completion tokens. Leaves out where
// demonstrations come from.
import type { OptimizerSettings } from "../config/fragments.js";
import type { EngineLike } from "../engine/like.js";
import type { TrainBatch } from "../engine/types.js";
import { learningRate } from "../objective/schedule.js";
import { packSequences, wholeSequence } from "../rollout/pack.js";
import { finiteLoss, optimizerStep } from "./guard.js";
import type { Run } from "./run.js";

/** A prompt and what to answer, as ids; only the completion is trained on. */
export interface Demonstration {
  readonly prompt: ArrayLike<number>; // [P], P > 0
  readonly completion: ArrayLike<number>; // [C], C > 0, the end token included
}

export interface SftPlan {
  readonly steps: number;
  /** Tokens of a step's sequences, prompts included; a step has as many demonstrations as fit, at least one. */
  readonly tokensPerStep: number;
  readonly optimizer: OptimizerSettings;
  readonly next: () => Demonstration;
}

/** What a training part cost. */
export interface TrainCost {
  readonly steps: number;
  readonly seconds: number;
  /** Tokens of the sequences trained on, prompts included. */
  readonly tokens: number;
  readonly tokensPerSecond: number;
}

/**
 * Trains as the part of the run that has begun, to its last step or its last second; where seconds end it, the schedule follows the
 * steps that they are expected to hold. Throws TrainError when the loss or the gradient is not finite.
 */
export async function trainSft(run: Run, engine: EngineLike, plan: SftPlan): Promise<TrainCost> {
  const fill = filler(plan.next, plan.tokensPerStep);
  let tokens = 0;
  let step = 0;
  while (step < plan.steps && !run.over) {
    const last = Math.max(step + 1, run.stepsInTime(step, plan.steps));
    step++;
    run.signal.throwIfAborted();
    const batch = packDemonstrations(fill());
    const loss = finiteLoss(
      `sft step ${step}`,
      await engine.forwardBackward({ ...batch, signal: run.signal }, { kind: "sft" }),
    );
    const lr = learningRate(plan.optimizer, step, last);
    const { gradNorm } = await optimizerStep(engine, plan.optimizer, lr);
    tokens += batch.ids.length;
    run.step(step, {
      loss: loss.loss,
      entropy: loss.entropy,
      grad_norm: gradNorm,
      lr,
      tokens_per_second: tokens / run.seconds,
    });
  }
  return { steps: step, seconds: run.seconds, tokens, tokensPerSecond: tokens / run.seconds };
}

/** Packs demonstrations; every completion token counts 1 / (completion tokens of the batch). */
export function packDemonstrations(demonstrations: readonly Demonstration[]): TrainBatch {
  const packed = packSequences(demonstrations.map(wholeSequence));
  const trained = demonstrations.reduce((sum, d) => sum + d.completion.length, 0);
  const weights = new Float32Array(packed.ids.length);
  demonstrations.forEach((d, s) => {
    weights.fill(1 / trained, packed.cuSeqlens[s]! + d.prompt.length, packed.cuSeqlens[s + 1]!);
  });
  return { ...packed, weights };
}

/** Demonstrations for one step: as many as fit in `tokens`; the one that did not fit is the first of the next step. */
function filler(next: () => Demonstration, tokens: number): () => Demonstration[] {
  const length = (d: Demonstration) => d.prompt.length + d.completion.length;
  let held: Demonstration | null = null;
  return () => {
    const batch = [held ?? next()];
    for (let used = length(batch[0]!); ; used += length(held)) {
      held = next();
      if (used + length(held) > tokens) return batch;
      batch.push(held);
    }
  };
}
