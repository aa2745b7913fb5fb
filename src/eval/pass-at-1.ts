// pass@1 on held-out problems: one sample a problem, sampled or greedy, in one generate call, with the share's 95% interval.
// Leaves out what a right answer is: the caller grades.
import type { EngineLike } from "../engine/like.js";
import type { GenerateStats } from "../engine/types.js";
import { type Share, wilson } from "../objective/intervals.js";
import type { Sample } from "../rollout/types.js";
import { type HeldOutRequest, sampleHeldOut } from "./held-out.js";

export interface PassRequest<P> extends HeldOutRequest<P> {
  /** Whether a sample's answer is right; or whether those of all problems are, one sample each. */
  readonly isCorrect: ((problem: P, sample: Sample) => boolean) | { readonly all: JudgeAll<P> };
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

export async function passAt1<P>(engine: EngineLike, request: PassRequest<P>): Promise<PassResult> {
  const { samples: flat, seconds, tokensPerSecond, stats } = await sampleHeldOut(engine, request);
  const { problems, isCorrect } = request;
  const correct =
    typeof isCorrect === "function"
      ? flat.map((sample, p) => isCorrect(problems[p]!, sample))
      : await isCorrect.all(problems, flat);
  const share = wilson(correct.filter(Boolean).length, correct.length);
  return { pass: { ...share, seconds, tokensPerSecond }, samples: flat, correct, stats };
}
