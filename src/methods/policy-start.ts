// What recipes that train a policy by reinforcement check and say alike before they begin.
import type { EngineOptions } from "../engine/types.js";
import { InputError } from "../errors.js";
import { type LearnerSettings, learnerOptions } from "./learner-settings.js";
import type { GrpoSettings } from "./settings.js";

export interface PolicyStart extends LearnerSettings {
  readonly grpo: GrpoSettings;
}

/** Options of the policy's engine. */
export function policyOptions(config: PolicyStart): EngineOptions {
  return { ...learnerOptions(config), reference: config.grpo.loss.klCoefficient > 0 };
}

/** Whether the reference can do as it is told: with adapters it is the frozen base, which does not follow the policy. */
export const referenceCan = ({ lora, grpo }: Pick<PolicyStart, "lora" | "grpo">): boolean =>
  lora.rank === 0 || grpo.reference.sync.every === 0;

/** The same of a schema's output, as its `refine` takes it. */
export const referenceFault = {
  path: ["grpo", "reference", "sync", "every"],
  message: "0 with lora.rank > 0, whose reference is the base",
};

/** Throws InputError RECIPE_VALUE unless `referenceCan`. */
export function requireFixedReference(recipe: string, config: PolicyStart): void {
  if (referenceCan(config)) return;
  const message = `[recipe ${recipe}] grpo.reference.sync.every: expected 0 with lora.rank > 0, whose reference is the base`;
  throw new InputError("RECIPE_VALUE", `${message}; set it to 0, or train every weight`);
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
