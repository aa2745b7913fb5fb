// A second judge on held-out answers: which of two runs answers better, problem by problem, by a scorer that neither was trained on. A
// scorer gives each answer a number by itself, so there is no order of the two to be fair about. Leaves out who the scorer is.
import { wilson } from "../objective/intervals.js";
import { commonAnswers, type HeldOutSet, type HeldOutText } from "./comparison/record.js";

/** Scores [n] of answers to what was asked; NaN where one could not be scored. */
export type AnswerScorer = (answers: readonly Pick<HeldOutText, "messages" | "answer">[]) => Promise<ArrayLike<number>>;

/** How often the second run's answer is the better one. Plain JSON. */
export interface WinRate {
  /** Problems whose answers were both scored. */
  readonly n: number;
  readonly wins: number;
  readonly ties: number;
  readonly losses: number;
  /** (wins + ties / 2) / n; null for no problems. */
  readonly rate: number | null;
  /** Wilson's, with ties as half a win each: at most a little too wide. */
  readonly interval: readonly [low: number, high: number] | null;
}

/** The same evaluation with the scorer's opinion in place of its rewards. */
export async function judgeSet(set: HeldOutSet, score: AnswerScorer): Promise<HeldOutSet> {
  const answers = set.answers ?? [];
  const scores = await score(answers);
  const judged = answers.map((answer, i) => ({ ...answer, reward: Number.isFinite(scores[i]) ? scores[i]! : null }));
  const known = judged.flatMap(({ reward }) => reward ?? []);
  const mean = known.reduce((sum, one) => sum + one, 0) / known.length;
  return { ...set, figure: "score", mean, answers: judged };
}

/** Whose answers score higher, over the problems that both sets have, asked in the same words. */
export function winRate(first: HeldOutSet, second: HeldOutSet): WinRate {
  const pairs = commonAnswers(first, second).flatMap(([{ reward: a }, { reward: b }]) =>
    a === null || b === null ? [] : [Math.sign(b - a)],
  );
  const n = pairs.length;
  const count = (sign: number) => pairs.filter((one) => one === sign).length;
  const [wins, ties] = [count(1), count(0)];
  if (n === 0) return { n, wins, ties, losses: 0, rate: null, interval: null };
  const { rate, interval } = wilson(wins + ties / 2, n);
  return { n, wins, ties, losses: n - wins - ties, rate, interval };
}
