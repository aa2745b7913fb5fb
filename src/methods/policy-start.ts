// What recipes that train a policy by reinforcement check and say alike before they begin.
import type { EngineOptions } from "../engine/types.js";
import { InputError } from "../errors.js";
import { type LearnerSettings, learnerOptions, type ReferenceMove } from "./learner-settings.js";
import type { GrpoSettings } from "./settings.js";

export interface PolicyStart extends LearnerSettings {
  readonly grpo: GrpoSettings;
}

/** Options of the policy's engine. */
export function policyOptions(config: PolicyStart): EngineOptions {
  return { ...learnerOptions(config), reference: referenceOf(config.grpo) };
}

/** The engine's reference: none where the loss asks for none, one that moves where it follows the policy by parts of the way. */
export function referenceOf({ loss, reference }: Pick<GrpoSettings, "loss" | "reference">): boolean | "moving" {
  if (loss.klCoefficient === 0) return false;
  return reference.sync.every > 0 && reference.sync.mix < 1 ? "moving" : true;
}

/** How the reference of GRPO follows the policy; null where it does not. */
export function grpoMove({ grpo }: Pick<PolicyStart, "grpo">): ReferenceMove | null {
  const { every } = grpo.reference.sync;
  return every === 0 ? null : { key: "grpo.reference.sync.every", still: 0, got: every };
}

/** Throws InputError DATA_LENGTH where a prompt leaves no room for an answer. */
export function requireRoom(recipe: string, longest: number, positions: number): void {
  if (longest < positions) return;
  throw new InputError(
    "DATA_LENGTH",
    `[recipe ${recipe}] expected prompts of fewer tokens than the model's ${positions} positions, got one of ${longest}; ` +
      "set maxPromptTokens to leave such problems out",
  );
}
