// Supervised fine-tuning: negative log-likelihood of completions, the mean over a step's completion tokens. Leaves out where
// demonstrations come from.
import type { OptimizerSettings } from "../config/fragments.js";
import { type Json, type Resumable, resumables } from "../data/resumable.js";
import type { EngineLike } from "../engine/like.js";
import type { TrainBatch } from "../engine/types.js";
import { learningRate } from "../objective/schedule.js";
import { packSequences, wholeSequence } from "../rollout/pack.js";
import { finiteGradients, optimizerStep } from "./guard.js";
import type { HeldOut } from "./held-out.js";
import type { Run } from "./run.js";
import { Tally, type TrainCost, trainingSteps } from "./steps.js";

/** A prompt and what to answer, as ids; only the completion is trained on, or what the mask leaves of it. */
export interface Demonstration {
  readonly prompt: ArrayLike<number>; // [P], P > 0
  readonly completion: ArrayLike<number>; // [C], C > 0, the end token included
  /** 1 where trained on, 0 in turns of others; absent where all of it is. At least one 1. */
  readonly mask?: ArrayLike<number>; // [C]
}

export interface SftPlan {
  readonly steps: number;
  /** Tokens of a step's sequences, prompts included; a step has as many demonstrations as fit, at least one. */
  readonly tokensPerStep: number;
  /** In the place of tokens: demonstrations a step, and of all steps together; the last step takes what is left. */
  readonly sequences?: { readonly perStep: number; readonly total: number } | undefined;
  readonly optimizer: OptimizerSettings;
  readonly demonstrations: DemonstrationSource;
  readonly heldOut?: HeldOut | undefined;
}

/** Demonstrations one after another, from where it stands. */
export interface DemonstrationSource extends Resumable {
  next(): Demonstration;
}

/**
 * Trains as the part of the run that has begun, to its last step or its last second; where seconds end it, the schedule follows the
 * steps that they are expected to hold. Throws TrainError when the loss or the gradient is not finite.
 */
export async function trainSft(run: Run, engine: EngineLike, plan: SftPlan): Promise<TrainCost> {
  const filler = new Filler(plan);
  const tally = new Tally();
  const state = resumables({ tally, filler });
  for await (const step of trainingSteps(run, { engine, steps: plan.steps, state, heldOut: plan.heldOut, tally })) {
    const last = Math.max(step, run.stepsInTime(step - 1, plan.steps));
    const batch = packDemonstrations(filler.next(step));
    const attempt = {
      engine,
      folder: run.folder.path,
      where: `sft step ${step}`,
      batch,
      loss: { kind: "sft" } as const,
    };
    const { loss, entropy } = await finiteGradients(attempt, run.signal);
    const lr = learningRate(plan.optimizer, step, last);
    const { gradNorm } = await optimizerStep(attempt, plan.optimizer, lr);
    tally.add(batch.ids.length);
    run.step(step, {
      loss,
      entropy,
      grad_norm: gradNorm,
      lr,
      tokens_per_second: tally.tokens / run.seconds,
    });
  }
  return tally.cost(run.seconds);
}

/** Mean negative log-likelihood of a trained token over all demonstrations. */
export async function meanLoss(
  engine: EngineLike,
  demonstrations: readonly Demonstration[],
  signal: AbortSignal,
): Promise<number> {
  const { weights, ...packed } = packDemonstrations(demonstrations);
  const { logprobs } = await engine.logprobs({ ...packed, signal });
  return logprobs.reduce((sum, logprob, t) => (weights[t] === 0 ? sum : sum - weights[t]! * logprob), 0);
}

/** Packs demonstrations; every trained token counts 1 / (trained tokens of the batch). */
export function packDemonstrations(demonstrations: readonly Demonstration[]): TrainBatch {
  const packed = packSequences(demonstrations.map(wholeSequence));
  const trained = demonstrations.reduce((sum, d) => sum + trainedTokens(d), 0);
  const weights = new Float32Array(packed.ids.length);
  demonstrations.forEach(({ prompt, mask }, s) => {
    const completion = weights.subarray(packed.cuSeqlens[s]! + prompt.length, packed.cuSeqlens[s + 1]!);
    for (let t = 0; t < completion.length; t++) if (mask === undefined || mask[t] === 1) completion[t] = 1 / trained;
  });
  return { ...packed, weights };
}

function trainedTokens({ completion, mask }: Demonstration): number {
  return mask === undefined ? completion.length : Array.from(mask).reduce((sum, one) => sum + one, 0);
}

/** Demonstrations for one step: as many as fit in its tokens, the one that did not fit being the first of the next step; or a fixed number. */
class Filler implements Resumable {
  #held: Demonstration | null = null;

  constructor(readonly plan: Pick<SftPlan, "demonstrations" | "tokensPerStep" | "sequences">) {}

  /** `step` is counted from 1. */
  next(step: number): Demonstration[] {
    const { demonstrations, tokensPerStep, sequences } = this.plan;
    if (sequences !== undefined) {
      const left = sequences.total - sequences.perStep * (step - 1);
      return Array.from({ length: Math.min(sequences.perStep, left) }, () => demonstrations.next());
    }
    const length = (d: Demonstration) => d.prompt.length + d.completion.length;
    const batch = [this.#held ?? demonstrations.next()];
    for (let used = length(batch[0]!); ; used += length(this.#held)) {
      this.#held = demonstrations.next();
      if (used + length(this.#held) > tokensPerStep) return batch;
      batch.push(this.#held);
    }
  }

  save(): Json {
    const ids = ({ prompt, completion, mask }: Demonstration) => ({
      prompt: Array.from(prompt),
      completion: Array.from(completion),
      ...(mask === undefined ? {} : { mask: Array.from(mask) }),
    });
    return { held: this.#held === null ? null : ids(this.#held), source: this.plan.demonstrations.save() };
  }

  restore(state: Json): void {
    const { held, source } = state as { held: Demonstration | null; source: Json };
    this.#held = held;
    this.plan.demonstrations.restore(source);
  }
}
