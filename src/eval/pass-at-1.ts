// pass@1 on held-out problems: one sample a problem, sampled or greedy, in one generate call, with the share's 95% interval.
// Leaves out what a right answer is: the caller grades.
import type { EngineLike } from "../engine/like.js";
import type { GenerateStats, SamplingParams } from "../engine/types.js";
import { type Share, wilson } from "../objective/intervals.js";
import { sampleCompletions } from "../rollout/sample.js";
import type { Sample } from "../rollout/types.js";

export interface PassRequest<P> {
  readonly problems: readonly P[];
  readonly promptOf: (problem: P) => Int32Array;
  /** Whether a sample's answer is right; or whether those of all problems are, one sample each. */
  readonly isCorrect: ((problem: P, sample: Sample) => boolean) | { readonly all: JudgeAll<P> };
  readonly sampling: SamplingParams;
  readonly seed: number;
  readonly signal?: AbortSignal;
}

export type JudgeAll<P> = (problems: readonly P[], samples: readonly Sample[]) => Promise<readonly boolean[]>;

export interface Pass extends Share {
  readonly seconds: number;
  readonly tokensPerSecond: number;
}

export interface PassResult {
  readonly pass: Pass;
  readonly samples: readonly Sample[]; // one a problem
  readonly correct: readonly boolean[]; // one a problem
  readonly stats: GenerateStats;
}

/** Step number of evaluation samples in the random key: training steps count up from 1 and never reach it. */
const evaluationStep = 0x7fffffff;

export async function passAt1<P>(engine: EngineLike, request: PassRequest<P>): Promise<PassResult> {
  const { samples, tokens, seconds, stats } = await sampleCompletions(engine, {
    prompts: request.problems.map(request.promptOf),
    samplesPerPrompt: 1,
    sampling: request.sampling,
    seed: request.seed,
    step: evaluationStep,
    ...(request.signal && { signal: request.signal }),
  });
  const flat = samples.map((one) => one[0]!);
  const { problems, isCorrect } = request;
  const correct =
    typeof isCorrect === "function"
      ? flat.map((sample, p) => isCorrect(problems[p]!, sample))
      : await isCorrect.all(problems, flat);
  const share = wilson(correct.filter(Boolean).length, correct.length);
  return { pass: { ...share, seconds, tokensPerSecond: tokens / seconds }, samples: flat, correct, stats };
}
