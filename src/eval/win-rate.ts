// A second judge on held-out answers: which of two runs answers better, problem by problem, by a scorer that neither was trained on. A
// scorer gives each answer a number by itself, so there is no order of the two to be fair about. Leaves out who the scorer is.
import { type WinShare, winShare } from "../objective/intervals.js";
import { commonAnswers, type HeldOutSet, type HeldOutText } from "./comparison/record.js";

/** Scores [n] of answers to what was asked; NaN where one could not be scored. */
export type AnswerScorer = (answers: readonly HeldOutText[]) => Promise<ArrayLike<number>>;

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
export function winRate(first: HeldOutSet, second: HeldOutSet): WinShare {
  const pairs = commonAnswers(first, second).flatMap(([{ reward: a }, { reward: b }]) =>
    a === null || b === null ? [] : [Math.sign(b - a)],
  );
  return winShare(pairs.map((sign) => (1 + sign) / 2));
}
