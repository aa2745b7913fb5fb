// The verbs of the engine that the loop uses, as interfaces: code above this folder asks for no more than this, so a table model
// written in a page can stand in for the native engine.
import type { Engine } from "./engine.js";
import type { EngineOptions, ModelSpec } from "./types.js";

export type EngineLike = Pick<
  Engine,
  | "spec"
  | "parameters"
  | "trainedParameters"
  | "useVocabulary"
  | "generate"
  | "logprobs"
  | "rewardScores"
  | "values"
  | "forwardBackward"
  | "optimStep"
  | "syncReference"
  | "save"
  | "loadWeights"
  | "saveState"
  | "loadState"
  | "memory"
  | "planMemory"
  | "reserve"
  | "dispose"
  | typeof Symbol.asyncDispose
>;

/** Where engines come from; the class `Engine` is one. */
export interface EngineSource {
  load(folder: string, options?: EngineOptions): Promise<EngineLike>;
  create(spec: ModelSpec, init: { seed: number; std?: number }, options?: EngineOptions): Promise<EngineLike>;
}
