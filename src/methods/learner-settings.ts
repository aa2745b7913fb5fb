// What all recipes have alike that train a user's model on a user's rows: seed, engine and adapters at the beginning of their settings, how
// rows are mixed and written, and at the end what a run keeps and shows. Leaves out what is trained on what.
import { mixturePart } from "../config/data.js";
import type { EngineOptions } from "../engine/types.js";
import { chatPart } from "./data-settings.js";
import {
  checkpoints,
  type EngineSettings,
  engineOptions,
  engineSettings,
  type LoraSettings,
  logging,
  loraOptions,
  loraPart,
  seed,
} from "./settings.js";

/** Who learns: seed, engine, adapters. */
export const learnerSettings = () => ({ seed: seed(), ...engineSettings, lora: loraPart() });

export interface LearnerSettings extends EngineSettings {
  readonly seed: number;
  readonly lora: LoraSettings;
}

/** Options of the learner's engine. */
export const learnerOptions = (config: LearnerSettings): EngineOptions => ({
  ...engineOptions(config),
  ...loraOptions(config.lora, config.seed),
});

/** How sources are mixed, and conversations become text. */
export const rowsSettings = () => ({ mixture: mixturePart(), chat: chatPart() });

/** What a run keeps, every so many steps, and shows. */
export const keepingSettings = (defaults: { readonly every: number }) => ({
  checkpoint: checkpoints(defaults),
  logging: logging(),
});
