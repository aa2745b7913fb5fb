// Which rewards are modules. Apart from the schema, so that workers start without it.
import type { ModuleSpec, RewardSpec } from "./spec.js";

export const isModule = (spec: RewardSpec): spec is ModuleSpec => "module" in spec;
