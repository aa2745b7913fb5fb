// The critic of PPO: an engine with a scalar head that says of every token what the completion will earn from it on. How it begins or goes
// on, what it says of a rollout, one optimizer step of it, and how both engines are saved together.
import { join } from "node:path";
import type { Aggregate, OptimizerSettings } from "../config/fragments.js";
import type { EngineLike } from "../engine/like.js";
import type { EngineOptions, LossMetrics } from "../engine/types.js";
import { tokenWeights } from "../objective/weights.js";
import { scatter } from "../rollout/batch.js";
import { packSequences, wholeSequence } from "../rollout/pack.js";
import type { Sample } from "../rollout/types.js";
import { checkpointModel, type Saved } from "./checkpoint.js";
import { finiteGradients, optimizerStep } from "./guard.js";
import { openPolicy, type PolicyOrigin } from "./open-policy.js";
import type { Run, RunHost } from "./run.js";

const criticFolder = "critic"; // of a checkpoint

/** What a critic's engine has other than the policy's options; for its memory too. */
export const criticOptions = { reference: false, head: "scalar" } as const satisfies EngineOptions;

/**
 * The critic that a part of a run trains: as its checkpoint has it, else the language model of `origin` with a new head drawn from `seed`, or
 * a reward model as it is.
 */
export function openCritic(
  host: Pick<RunHost, "resume">,
  part: string,
  origin: PolicyOrigin,
  seed: number,
): Promise<EngineLike> {
  const options = { ...origin.options, ...criticOptions, headInit: { seed } };
  return openPolicy(host, part, { ...origin, options }, criticFolder);
}

/** Policy and critic in one checkpoint. */
export function withCritic(policy: EngineLike, critic: EngineLike): Saved {
  return {
    save: (folder) => policy.save(folder),
    loadWeights: (folder) => policy.loadWeights(folder), // a critic's are of use in training alone
    saveState: async (folder) => {
      await policy.saveState(folder);
      await critic.save(checkpointModel(join(folder, criticFolder)));
      await critic.saveState(join(folder, criticFolder));
    },
  };
}

/** Values [S][C] of the states that completion tokens were chosen in: what the critic says at the token before each. */
export async function criticValues(
  critic: EngineLike,
  samples: readonly Sample[], // [S]
  signal: AbortSignal,
): Promise<Float32Array[]> {
  if (samples.length === 0) return [];
  const packed = packSequences(samples.map(wholeSequence));
  const values = await critic.values({ ...packed, signal });
  return samples.map(({ prompt }, s) =>
    values.slice(packed.cuSeqlens[s]! + prompt.length - 1, packed.cuSeqlens[s + 1]! - 1),
  );
}

/** How the critic learns. */
export interface CriticSettings {
  /** A value may move this far from what it was at the rollout before its loss is clipped; 0 is off. */
  readonly valueClip: number;
  /** Weight of the loss. */
  readonly coefficient: number;
  readonly optimizer: OptimizerSettings;
}

/** Samples with what the critic said of them and what they came to. */
export interface ValueTargets {
  readonly samples: readonly Sample[]; // [S]
  readonly values: readonly Float32Array[]; // [S][C] at the rollout
  readonly returns: readonly Float32Array[]; // [S][C]
}

export interface CriticUpdate {
  /** Its loss without the coefficient. */
  readonly loss: LossMetrics;
  readonly gradNorm: number;
  readonly seconds: number;
}

/** One optimizer step of the critic; tokens count as in the policy's loss. */
export async function updateCritic(
  run: Run,
  critic: EngineLike,
  { samples, values, returns }: ValueTargets,
  settings: CriticSettings & { readonly aggregate: Aggregate; readonly constantLength: number },
  { step, lr }: { readonly step: number; readonly lr: number },
): Promise<CriticUpdate> {
  const began = performance.now();
  const { valueClip: clip, coefficient, aggregate, constantLength, optimizer } = settings;
  const packed = packSequences(samples.map(wholeSequence));
  const masks = samples.map((sample) => sample.mask);
  const weights = tokenWeights(masks, aggregate, constantLength).map((row) =>
    row.map((weight) => coefficient * weight),
  );
  const spread = (rows: readonly Float32Array[]) => scatter(samples, packed.cuSeqlens, (s) => rows[s]!);
  const batch = { ...packed, weights: spread(weights), returns: spread(returns), oldValues: spread(values) };
  const loss = { kind: "value", clip } as const;
  const attempt = { engine: critic, folder: run.folder.path, where: `critic step ${step}`, batch, loss };
  const metrics = await finiteGradients(attempt, run.signal);
  const { gradNorm } = await optimizerStep(attempt, optimizer, lr);
  const seconds = (performance.now() - began) / 1000;
  return { loss: { ...metrics, loss: metrics.loss / coefficient }, gradNorm, seconds };
}
