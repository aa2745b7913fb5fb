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

const MARKS: ReadonlySet<number> = new Set(
  (["<think>", "</think>", "<answer>", "</answer>", "<eos>"] as const).map(symbolId),
);

/** Ids of the answer, or null when the marks are not exactly those of the format. One `<eos>` at the end is left aside. */
function answerIds(completion: readonly number[], thinking: boolean): readonly number[] | null {
  const end = completion.at(-1) === symbolId("<eos>") ? -1 : completion.length;
  const body = completion.slice(0, end);
  if (body.pop() !== symbolId("</answer>")) return null;
  const thoughtEnd = thinking ? body.indexOf(symbolId("</think>")) : -1;
  if (thinking && (thoughtEnd < 0 || body[thoughtEnd + 1] !== symbolId("<answer>"))) return null;
  const thought = thinking ? body.slice(0, thoughtEnd) : [];
  const answer = thinking ? body.slice(thoughtEnd + 2) : body;
  return [...thought, ...answer].some((id) => MARKS.has(id)) ? null : answer;
}

/** Grades completion ids (without the prompt) of a prompt in `format`; an answer id outside the vocabulary throws InputError. */
export function gradeTrial(problem: TrialProblem, completion: ArrayLike<number>, format: PromptFormat): TrialGrade {
  const ids = Array.from(completion);
  const end = ids.indexOf(symbolId("</think>"));
  const thought = format.thinking ? ids.slice(0, end < 0 ? ids.length : end) : [];
  const answer = answerIds(ids, format.thinking);
  const answerText = answer === null ? null : decodeTrial(answer);
  const grade: Grade =
    answerText === null
      ? { correct: false, reason: "the format is broken" }
      : gradeCountdown(answerText, problem, { useAll: true });
  return {
    ...grade,
    wellFormed: answerText !== null,
    gaveUp: thought.includes(symbolId("stop")),
    attempts: thought.filter((id) => id === symbolId("x") || id === symbolId("ok")).length,
    thoughtTokens: thought.length,
    answerText,
  };
}
