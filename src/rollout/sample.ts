// Samples completions for problems with one generate call. Leaves out rewards: a sample is graded elsewhere.
import type { EngineLike } from "../engine/like.js";
import type { GenerateStats, SamplingParams } from "../engine/types.js";
import { packSequences, unpackSamples } from "./pack.js";
import type { Sample } from "./types.js";

export interface SampleRequest {
  readonly prompts: readonly Int32Array[]; // [P] ids of each prompt
  readonly samplesPerPrompt: number;
  readonly sampling: SamplingParams;
  readonly seed: number;
  readonly step: number;
  /** Problem numbers for the random key. Default: the place in `prompts`. */
  readonly problemIds?: Int32Array; // [P]
  readonly signal?: AbortSignal;
}

export interface Sampled {
  readonly samples: readonly (readonly Sample[])[]; // [P][samplesPerPrompt]
  readonly tokens: number;
  readonly seconds: number;
  readonly stats: GenerateStats;
}

/** Samples every prompt; prompt p's samples are `samples[p]`. */
export async function sampleCompletions(engine: EngineLike, request: SampleRequest): Promise<Sampled> {
  const began = performance.now();
  const result = await engine.generate({
    prompts: packSequences(request.prompts),
    samplesPerPrompt: request.samplesPerPrompt,
    sampling: request.sampling,
    seed: request.seed,
    step: request.step,
    ...(request.problemIds && { problemIds: request.problemIds }),
    ...(request.signal && { signal: request.signal }),
  });
  const seconds = (performance.now() - began) / 1000;
  request.signal?.throwIfAborted();
  const ends = request.sampling.stopTokenIds ?? engine.spec.eosTokenIds;
  const samples = unpackSamples(request.prompts, result, request.samplesPerPrompt, ends);
  return { samples, tokens: result.tokens.length, seconds, stats: result.stats };
}
