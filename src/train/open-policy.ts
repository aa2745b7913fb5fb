// The engine that a part of a run trains: as its checkpoint has it where the run goes on within that part, else from its origin.
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

export async function openPolicy(
  host: Pick<RunHost, "resume">,
  part: string,
  origin: PolicyOrigin,
): Promise<EngineLike> {
  const { engines, from, options } = origin;
  const checkpoint = host.resume?.checkpoint ?? null;
  if (checkpoint?.state.part === part) return restored(engines, checkpoint.path, options);
  return typeof from === "string"
    ? engines.load(from, options)
    : engines.create(from.spec, { seed: from.seed }, options);
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
