// One sample of each held-out problem, in one generate call: what pass@1 and held-out rewards are figures of. Leaves out grading.
import type { EngineLike } from "../engine/like.js";
import type { GenerateStats, SamplingParams } from "../engine/types.js";
import { sampleCompletions } from "../rollout/sample.js";
import type { Sample } from "../rollout/types.js";

export interface HeldOutRequest<P> {
  readonly problems: readonly P[];
  readonly promptOf: (problem: P) => Int32Array;
  readonly sampling: SamplingParams;
  readonly seed: number;
  readonly signal?: AbortSignal;
}

export interface HeldOutSamples {
  readonly samples: readonly Sample[]; // one a problem
  readonly seconds: number;
  readonly tokensPerSecond: number;
  readonly stats: GenerateStats;
}

/** Step number of evaluation samples in the random key: training steps count up from 1 and never reach it. */
const evaluationStep = 0x7fffffff;

export async function sampleHeldOut<P>(engine: EngineLike, request: HeldOutRequest<P>): Promise<HeldOutSamples> {
  const { samples, tokens, seconds, stats } = await sampleCompletions(engine, {
    prompts: request.problems.map(request.promptOf),
    samplesPerPrompt: 1,
    sampling: request.sampling,
    seed: request.seed,
    step: evaluationStep,
    ...(request.signal && { signal: request.signal }),
  });
  return { samples: samples.map((one) => one[0]!), seconds, tokensPerSecond: tokens / seconds, stats };
}
