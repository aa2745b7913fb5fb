// Held-out evaluation of the built-in trial: pass@1 at a temperature and greedy, with the figures that say how the answers were found.
import type { EngineLike } from "../engine/like.js";
import type { GenerateStats, SamplingParams } from "../engine/types.js";
import type { Sample } from "../rollout/types.js";
import { encodePrompt, gradeTrial, symbolId, type TrialGrade, type TrialProblem } from "../tasks/countdown-trial.js";
import { type Pass, passAt1 } from "./pass-at-1.js";

export interface TrialQuestion {
  readonly problems: readonly TrialProblem[];
  readonly thinking: boolean;
  /** Temperature 0 is greedy. */
  readonly sampling: SamplingParams;
  readonly seed: number;
  readonly signal: AbortSignal;
}

/** Plain JSON. Means are over all samples, right or wrong. */
export interface TrialScore {
  readonly pass: Pass;
  readonly attempts: number;
  readonly thoughtTokens: number;
  /** Share of thoughts that give up. */
  readonly gaveUp: number;
  /** Share of the equations `a op b = c` in the thoughts that hold; null when there are none. */
  readonly arithmetic: number | null;
}

/** Plain JSON. */
export interface TrialEvaluation {
  readonly score: TrialScore;
  readonly completions: readonly (readonly number[])[]; // ids, one a problem
  readonly grades: readonly TrialGrade[]; // one a problem
}

/** An evaluation with its samples, and the room that it took, which follows memory and threads. */
export interface MeasuredTrial extends TrialEvaluation {
  readonly samples: readonly Sample[]; // one a problem
  readonly stats: GenerateStats;
}

/** One sample for each problem. */
export async function evaluateTrial(engine: EngineLike, question: TrialQuestion): Promise<MeasuredTrial> {
  const { problems, thinking, sampling, seed, signal } = question;
  const grades: TrialGrade[] = [];
  const { pass, samples, stats } = await passAt1(engine, {
    problems,
    promptOf: (problem) => Int32Array.from(encodePrompt(problem, { thinking })),
    isCorrect: (problem, sample) => {
      const grade = gradeTrial(problem, sample.completion, { thinking });
      grades.push(grade);
      return grade.correct;
    },
    sampling,
    seed,
    signal,
  });
  const score = { pass, ...thoughtFigures(grades), arithmetic: arithmeticShare(samples) };
  return { score, completions: samples.map(({ completion }) => Array.from(completion)), grades, samples, stats };
}

/** Means over grades: how long and how hard the policy thought. */
export function thoughtFigures(grades: readonly TrialGrade[]) {
  const mean = (figure: (grade: TrialGrade) => number) =>
    grades.reduce((sum, grade) => sum + figure(grade), 0) / grades.length;
  return {
    attempts: mean((grade) => grade.attempts),
    thoughtTokens: mean((grade) => grade.thoughtTokens),
    gaveUp: mean((grade) => (grade.gaveUp ? 1 : 0)),
  };
}

const operators: ReadonlyMap<number, (a: number, b: number) => number> = new Map([
  [symbolId("+"), (a, b) => a + b],
  [symbolId("-"), (a, b) => a - b],
  [symbolId("*"), (a, b) => a * b],
]);

/** Share of the equations in the samples that hold. */
function arithmeticShare(samples: readonly Sample[]): number | null {
  let equations = 0;
  let holding = 0;
  for (const { completion } of samples) {
    for (let at = completion.indexOf(symbolId("=")); at >= 0; at = completion.indexOf(symbolId("="), at + 1)) {
      equations++;
      if (holds(completion, at)) holding++;
    }
  }
  return equations === 0 ? null : holding / equations;
}

/** Whether `a op b = c` stands around the equals sign at `at` and is true. */
function holds(ids: Int32Array, at: number): boolean {
  const apply = operators.get(ids[at - 2] ?? -1);
  const [a, b, c] = [ids[at - 3], ids[at - 1], ids[at + 1]].map(numberOf);
  return apply !== undefined && a !== undefined && b !== undefined && apply(a, b) === c;
}

/** The number that an id stands for: ids below the first symbol are the numbers themselves. */
function numberOf(id: number | undefined): number | undefined {
  return id !== undefined && id < symbolId("<pad>") ? id : undefined;
}
