// Demonstrations of the trial: a search of a few attempts that often gives up too early, wrong on purpose about half of the time. What
// is left to reinforcement learning is to keep searching.
import type { Random } from "../../data/random.js";
import { type Attempt, type FirstStep, firstSteps, type Step, secondSteps } from "./search.js";
import type { TrialProblem, Triple } from "./split.js";
import { symbolId } from "./vocabulary.js";

export interface PromptFormat {
  /** With thinking the prompt ends with `<think>`, without with `<answer>`. */
  readonly thinking: boolean;
}

export interface DemonstrationOptions {
  /** False drops the thought and keeps the answer. */
  readonly thinking: boolean;
  /** Probability that the cycle of first steps starts at one that leads to the target; else it starts anywhere. */
  readonly startAtSolution: number;
  /** Probability that the second step is the one closest to the target; else it is any. */
  readonly closestSecond: number;
  /** Weight of giving up after 1, 2, ... attempts. */
  readonly attemptWeights: readonly number[];
}

export const DEMONSTRATION_DEFAULTS: DemonstrationOptions = {
  thinking: true,
  startAtSolution: 0.15,
  closestSecond: 0.85,
  attemptWeights: [0.55, 0.18, 0.1, 0.06, 0.04, 0.03, 0.02, 0.01, 0.01],
};

/** Ids of `<q> a b c -> target <think>`, numbers descending: 7 tokens. */
export function encodePrompt(problem: TrialProblem, format: PromptFormat): number[] {
  const opening = symbolId(format.thinking ? "<think>" : "<answer>");
  return [symbolId("<q>"), ...problem.numbers, symbolId("->"), problem.target, opening];
}

/** The target is one that `numbers` reach. The last attempt is the answer: right when it hits, else the search gave up. */
function search(numbers: Triple, target: number, stream: Random, options: DemonstrationOptions): Attempt[] {
  const cycle = firstSteps(numbers);
  const solving = [...cycle.keys()].filter((at) => secondSteps(cycle[at]!).some((step) => step.result === target));
  const start = stream.next() < options.startAtSolution ? stream.choice(solving) : stream.int(cycle.length);
  const limit = 1 + stream.weighted(options.attemptWeights);
  const tried: Attempt[] = [];
  while (tried.length < limit && tried.at(-1)?.second.result !== target) {
    const first = cycle[(start + tried.length) % cycle.length]!;
    tried.push({ first, second: chooseSecond(first, target, stream, options.closestSecond) });
  }
  return tried;
}

function chooseSecond(first: FirstStep, target: number, stream: Random, closestSecond: number): Step {
  const steps = secondSteps(first);
  if (stream.next() >= closestSecond) return stream.choice(steps);
  return steps.reduce((best, step) => (Math.abs(step.result - target) < Math.abs(best.result - target) ? step : best));
}

function encodeStep(step: Step): number[] {
  return [step.left, symbolId(step.operator), step.right, symbolId("="), step.result];
}

/** `19 - 16 = 3 ; 14 - 3 = 11`, then `ok` or `x`. */
function encodeAttempt({ first, second }: Attempt, target: number): number[] {
  const verdict = symbolId(second.result === target ? "ok" : "x");
  return [...encodeStep(first), symbolId(";"), ...encodeStep(second), verdict];
}

/** `14 - ( 19 - 16 )`. */
function encodeAnswer({ first, second }: Attempt): number[] {
  const inner = [symbolId("("), first.left, symbolId(first.operator), first.right, symbolId(")")];
  const operator = symbolId(second.operator);
  return first.result >= first.rest ? [...inner, operator, first.rest] : [first.rest, operator, ...inner];
}

/**
 * Completion ids of one demonstration, drawn from `stream`, `<eos>` included: after a prompt with thinking
 * `19 + 16 = 35 ; 35 - 14 = 21 x ... ok </think> <answer> 14 - ( 19 - 16 ) </answer> <eos>`. A search that gives up writes `stop`
 * before `</think>` and answers with its last attempt. The same draws without thinking give the same answer.
 */
export function demonstration(
  problem: TrialProblem,
  stream: Random,
  options: Partial<DemonstrationOptions> = {},
): number[] {
  const settings = { ...DEMONSTRATION_DEFAULTS, ...options };
  const tried = search(problem.numbers, problem.target, stream, settings);
  const last = tried.at(-1)!;
  const answer = [...encodeAnswer(last), symbolId("</answer>"), symbolId("<eos>")];
  if (!settings.thinking) return answer;
  const thought = tried.flatMap((attempt) => encodeAttempt(attempt, problem.target));
  if (last.second.result !== problem.target) thought.push(symbolId("stop"));
  return [...thought, symbolId("</think>"), symbolId("<answer>"), ...answer];
}

/** Ids to ban while decoding so that a search cannot give up: it ends with `ok` or runs out of tokens. */
export function giveUpIds(): number[] {
  return [symbolId("stop")];
}
