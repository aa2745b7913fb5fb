// Grades a completion of the trial: the format is strict, the answer is judged by the general Countdown grader, the thought is counted.
import { gradeCountdown } from "../countdown.js";
import type { Grade } from "../task.js";
import type { PromptFormat } from "./demonstration.js";
import type { TrialProblem } from "./split.js";
import { decodeTrial, symbolId } from "./vocabulary.js";

export interface TrialGrade extends Grade {
  /** Each mark of the format is there once, in order, and nothing but `<eos>` follows `</answer>`. */
  readonly wellFormed: boolean;
  /** The thought contains `stop`. */
  readonly gaveUp: boolean;
  /** Attempts that the thought brought to a verdict, `x` or `ok`. */
  readonly attempts: number;
  /** Tokens before `</think>`; the whole completion when it never comes; 0 without thinking. */
  readonly thoughtTokens: number;
  /** What stands between `<answer>` and `</answer>`; null when the completion is not well formed. */
  readonly answerText: string | null;
}

const ID = {
  thoughtEnd: symbolId("</think>"),
  answer: symbolId("<answer>"),
  answerEnd: symbolId("</answer>"),
  eos: symbolId("<eos>"),
  stop: symbolId("stop"),
  miss: symbolId("x"),
  hit: symbolId("ok"),
} as const;
const MARKS: ReadonlySet<number> = new Set([symbolId("<think>"), ID.thoughtEnd, ID.answer, ID.answerEnd, ID.eos]);

/** Place of the first `</think>`; the length when there is none. */
function thoughtLength(ids: ArrayLike<number>): number {
  let at = 0;
  while (at < ids.length && ids[at] !== ID.thoughtEnd) at++;
  return at;
}

function hasMark(ids: ArrayLike<number>, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (MARKS.has(ids[at]!)) return true;
  return false;
}

/** Ids of the answer, or null when the marks are not exactly those of the format. One `<eos>` at the end is left aside. */
function answerIds(ids: ArrayLike<number>, thinking: boolean): number[] | null {
  const end = ids.length - (ids[ids.length - 1] === ID.eos ? 2 : 1);
  if (ids[end] !== ID.answerEnd) return null;
  const thought = thinking ? thoughtLength(ids) : 0;
  const start = thinking ? thought + 2 : 0;
  if (thinking && ids[start - 1] !== ID.answer) return null;
  if (hasMark(ids, 0, thought) || hasMark(ids, start, end)) return null;
  return Array.from({ length: end - start }, (_, at) => ids[start + at]!);
}

function thoughtCounts(ids: ArrayLike<number>, thinking: boolean) {
  const thoughtTokens = thinking ? thoughtLength(ids) : 0;
  let attempts = 0;
  let gaveUp = false;
  for (let at = 0; at < thoughtTokens; at++) {
    if (ids[at] === ID.miss || ids[at] === ID.hit) attempts++;
    if (ids[at] === ID.stop) gaveUp = true;
  }
  return { gaveUp, attempts, thoughtTokens };
}

/** Grades completion ids (without the prompt) of a prompt in `format`; an answer id outside the vocabulary throws InputError. */
export function gradeTrial(problem: TrialProblem, completion: ArrayLike<number>, format: PromptFormat): TrialGrade {
  const answer = answerIds(completion, format.thinking);
  const answerText = answer === null ? null : decodeTrial(answer);
  const grade: Grade =
    answerText === null
      ? { correct: false, reason: "the format is broken" }
      : gradeCountdown(answerText, problem, { useAll: true });
  return { ...grade, wellFormed: answerText !== null, ...thoughtCounts(completion, format.thinking), answerText };
}
