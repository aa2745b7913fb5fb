// Preferences of the trial: two answers to a problem, of which the first is the better one, by program. What a reward model learns from.
import type { Random } from "../../data/random.js";
import { NULL_ANSWER } from "../../prompt/thinking.js";
import { attemptText } from "./demonstration.js";
import { type Attempt, attempts } from "./search.js";
import { sampleProblem, type TrialMultiset, type TrialProblem } from "./split.js";

export interface TrialPreference {
  readonly problem: TrialProblem;
  readonly chosen: string;
  readonly rejected: string;
}

/** Why the chosen answer is the better one. */
export const PREFERENCE_KINDS = ["right against wrong", "near against far", "by the rules against not"] as const;

/** The weights of `PREFERENCE_KINDS`. */
export const PREFERENCE_WEIGHTS: readonly number[] = [0.6, 0.15, 0.25];

/** Share of the wrong answers that are the nearest ones. */
const NEAREST_SHARE = 0.3;

/**
 * A pair for a problem of `multisets`: an expression that hits the target against one that misses it; of two that miss, the nearer one; one of
 * the problem's numbers against one that is not: an answer to another problem with the same target, or a torn one.
 */
export function preference(
  multisets: readonly TrialMultiset[],
  stream: Random,
  weights: readonly number[] = PREFERENCE_WEIGHTS,
): TrialPreference {
  for (;;) {
    const problem = sampleProblem(multisets, stream);
    const pair = MAKERS[stream.weighted(weights)]!(problem, stream, multisets);
    if (pair !== null && pair.chosen !== pair.rejected) return { problem, ...pair };
  }
}

type Pair = Pick<TrialPreference, "chosen" | "rejected">;
/** Null where the draw allows no pair. */
type Maker = (problem: TrialProblem, stream: Random, multisets: readonly TrialMultiset[]) => Pair | null;

const MAKERS: readonly Maker[] = [rightAgainstWrong, nearAgainstFar, ruledAgainstNot];

function rightAgainstWrong(problem: TrialProblem, stream: Random): Pair | null {
  const { hits, misses } = sides(problem);
  if (misses.length === 0) return null;
  const nearest = stream.next() < NEAREST_SHARE;
  const wrong = nearest ? nearestOf(misses, problem.target) : stream.choice(misses);
  return { chosen: attemptText(stream.choice(hits)), rejected: attemptText(wrong) };
}

function nearAgainstFar(problem: TrialProblem, stream: Random): Pair | null {
  const { misses } = sides(problem);
  if (misses.length < 2) return null;
  const [one, other] = [stream.choice(misses), stream.choice(misses)];
  const lead = distance(other, problem.target) - distance(one, problem.target);
  if (lead === 0) return null;
  const [near, far] = lead > 0 ? [one, other] : [other, one];
  return { chosen: attemptText(near), rejected: attemptText(far) };
}

function ruledAgainstNot(problem: TrialProblem, stream: Random, multisets: readonly TrialMultiset[]): Pair | null {
  const own = attempts(problem.numbers);
  const chosen = attemptText(stream.choice(own));
  if (stream.next() < TORN_SHARE) return { chosen, rejected: tear(attemptText(stream.choice(own)), stream) };
  const lender = stream.choice(multisets);
  const borrowed = attempts(lender.numbers).filter(({ second }) => second.result === problem.target);
  if (lender.numbers === problem.numbers || borrowed.length === 0) return null;
  return { chosen, rejected: attemptText(stream.choice(borrowed)) };
}

/** Of the answers that break the rules, those that are no expression. */
const TORN_SHARE = 0.4;

/** What stands for an answer without marks, or the text with one of its words left out or written twice. */
function tear(text: string, stream: Random): string {
  const words = text.split(" ");
  const place = stream.int(words.length);
  const how = stream.int(3);
  if (how === 0) return NULL_ANSWER;
  words.splice(place, 1, ...(how === 1 ? [] : [words[place]!, words[place]!]));
  return words.join(" ");
}

function sides({ numbers, target }: TrialProblem) {
  const all = attempts(numbers);
  return {
    hits: all.filter(({ second }) => second.result === target),
    misses: all.filter(({ second }) => second.result !== target),
  };
}

const distance = ({ second }: Attempt, target: number): number => Math.abs(second.result - target);

const nearestOf = (misses: readonly Attempt[], target: number): Attempt =>
  misses.reduce((best, each) => (distance(each, target) < distance(best, target) ? each : best));
