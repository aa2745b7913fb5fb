// What all recipes have alike that train a user's model on a user's rows: seed, engine and adapters at the beginning of their settings, how
// rows are mixed and written, and at the end what a run keeps and shows; and that the reference of adapters, their base, does not move. Leaves
// out what is trained on what.
import type { z } from "zod";
import { mixturePart } from "../config/data.js";
import type { EngineOptions } from "../engine/types.js";
import { InputError } from "../errors.js";
import { chatPart } from "./data-settings.js";
import { foldersOf } from "./model-folders.js";
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

interface KeptSettings {
  readonly evaluation: { readonly patience: number };
  readonly checkpoint: { readonly every: number; readonly seconds: number };
}

/** Patience ends a run with the weights of its best checkpoint. */
export const patienceCan = ({ evaluation: { patience }, checkpoint: { every, seconds } }: KeptSettings): boolean =>
  patience === 0 || every > 0 || seconds > 0;

export const patienceFault = {
  path: ["evaluation", "patience"],
  message: "0 without checkpoints (checkpoint.every, checkpoint.seconds), as the best one's weights end the run",
};

/** What a run keeps, every so many steps, and shows. */
export const keepingSettings = (defaults: { readonly every: number }) => ({
  checkpoint: checkpoints(defaults),
  logging: logging(),
});

/** A setting by which the reference follows the policy, and at which value it would not. */
export interface ReferenceMove {
  readonly key: string; // "grpo.reference.sync.every"
  readonly still: string | number;
  readonly got: string | number;
}

const BASE_STAYS = "since the reference of adapters is their base";

/** The settings of a recipe, refused where adapters are to be trained and the reference is to move: `moveOf` says by what, null being not. */
export function stillWithAdapters<Schema extends z.ZodType<LearnerSettings>>(
  schema: Schema,
  moveOf: (config: z.output<Schema>) => ReferenceMove | null,
): Schema {
  return schema.superRefine((config, context) => {
    const move = config.lora.rank > 0 ? moveOf(config) : null;
    if (move === null) return;
    const message = `${move.still}, or lora.rank=0, ${BASE_STAYS}`;
    context.addIssue({ code: "custom", path: move.key.split("."), message });
  });
}

/** The same of adapters that the model's folder brings. Throws InputError RECIPE_VALUE, and as Engine.load. */
export async function requireStill(
  recipe: string,
  { model, lora }: { readonly model: string; readonly lora: LoraSettings },
  move: ReferenceMove | null,
): Promise<void> {
  if (move === null || (await foldersOf(model, lora)).adapter === null) return;
  throw new InputError(
    "RECIPE_VALUE",
    `[recipe ${recipe}] ${move.key}: expected ${move.still} with the adapters in ${model}, ${BASE_STAYS}, got ${move.got}; ` +
      `set it to ${move.still}, or begin with a whole model, as engine.saveMerged writes it`,
  );
}
