// The engine that a part of a run trains: as its checkpoint has it where the run goes on within that part, else from its origin. Its head
// is the one that the options ask for: none is a language model's.
import { join } from "node:path";
import { requireHead } from "../engine/head.js";
import type { EngineLike, EngineSource } from "../engine/like.js";
import type { EngineOptions, ModelSpec } from "../engine/types.js";
import { checkpointModel } from "./checkpoint.js";
import type { RunHost } from "./run.js";

export interface PolicyOrigin {
  readonly engines: EngineSource;
  /** A model folder, or the shape and the seed of random weights. */
  readonly from: string | { readonly spec: ModelSpec; readonly seed: number };
  readonly options: EngineOptions;
}

/** `place`: where in a checkpoint it is kept, for one that is trained beside another. */
export async function openPolicy(
  host: Pick<RunHost, "resume">,
  part: string,
  origin: PolicyOrigin,
  place = ".",
): Promise<EngineLike> {
  const { engines, from, options } = origin;
  const checkpoint = host.resume?.checkpoint ?? null;
  if (checkpoint?.state.part === part) return restored(engines, join(checkpoint.path, place), options);
  if (typeof from !== "string") return engines.create(from.spec, { seed: from.seed }, options);
  const engine = await engines.load(from, options);
  try {
    requireHead(`model ${from}`, engine.spec, options.head ?? "language");
    return engine;
  } catch (error) {
    await engine.dispose();
    throw error;
  }
}

async function restored(engines: EngineSource, path: string, options: EngineOptions): Promise<EngineLike> {
  const { lora: _, ...others } = options; // a checkpoint of adapters brings them
  const engine = await engines.load(checkpointModel(path), others);
  try {
    await engine.loadState(path);
    return engine;
  } catch (error) {
    await engine.dispose();
    throw error;
  }
}
