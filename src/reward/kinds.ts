// Which rewards are modules, models or verifiers. Apart from the schema, so that workers start without it.
import type { ModelReward, ModuleSpec, RewardSpec, VerifierSpec } from "./spec.js";

export const isModule = (spec: RewardSpec): spec is ModuleSpec => "module" in spec;
export const isModel = (spec: RewardSpec): spec is ModelReward => spec.kind === "model";
export const isVerifier = (spec: RewardSpec): spec is VerifierSpec => !isModule(spec) && !isModel(spec);
