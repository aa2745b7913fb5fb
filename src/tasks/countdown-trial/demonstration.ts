// Demonstrations of the trial: a search of a few attempts that often gives up too early, wrong on purpose about half of the time. What
// is left to reinforcement learning is to keep searching.
import type { Random } from "../../data/random.js";
import { type Attempt, type Branch, type Step, searchTree } from "./search.js";
import type { TrialProblem, Triple } from "./split.js";
import { decodeTrial, symbolId } from "./vocabulary.js";

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
  const tree = searchTree(numbers);
  const start =
    stream.next() < options.startAtSolution ? stream.choice(solving(tree, target)) : stream.int(tree.length);
  const limit = 1 + stream.weighted(options.attemptWeights);
  const tried: Attempt[] = [];
  while (tried.length < limit && tried.at(-1)?.second.result !== target) {
    const { first, seconds } = tree[(start + tried.length) % tree.length]!;
    tried.push({ first, second: chooseSecond(seconds, target, stream, options.closestSecond) });
  }
  return tried;
}

/** Places of the first steps that a second one brings to the target. */
function solving(tree: readonly Branch[], target: number): number[] {
  return [...tree.keys()].filter((at) => tree[at]!.seconds.some((step) => step.result === target));
}

function chooseSecond(steps: readonly Step[], target: number, stream: Random, closestSecond: number): Step {
  if (stream.next() >= closestSecond) return stream.choice(steps);
  return steps.reduce((best, step) => (Math.abs(step.result - target) < Math.abs(best.result - target) ? step : best));
}

function writeStep({ left, operator, right, result }: Step, ids: number[]): void {
  ids.push(left, symbolId(operator), right, symbolId("="), result);
}

/** `6 * 6 = 36 ; 36 + 9 = 45`, then `ok` or `x`. */
function writeAttempt({ first, second }: Attempt, target: number, ids: number[]): void {
  writeStep(first, ids);
  ids.push(symbolId(";"));
  writeStep(second, ids);
  ids.push(symbolId(second.result === target ? "ok" : "x"));
}

/** `( 6 * 6 ) + 9`. */
function writeAnswer({ first, second }: Attempt, ids: number[]): void {
  const operator = symbolId(second.operator);
  const restFirst = first.result < first.rest;
  if (restFirst) ids.push(first.rest, operator);
  ids.push(symbolId("("), first.left, symbolId(first.operator), first.right, symbolId(")"));
  if (!restFirst) ids.push(operator, first.rest);
}

/**
 * Completion ids of one demonstration, drawn from `stream`, `<eos>` included: after a prompt with thinking
 * `9 * 6 = 54 ; 54 - 6 = 48 x ... ok </think> <answer> ( 6 * 6 ) + 9 </answer> <eos>`. A search that gives up writes `stop`
 * before `</think>` and answers with its last attempt. The same draws without thinking give the same answer.
 */
export function demonstration(
  problem: TrialProblem,
  stream: Random,
  options: Partial<DemonstrationOptions> = {},
): number[] {
  const settings = { ...DEMONSTRATION_DEFAULTS, ...options };
  const tried = search(problem.numbers, problem.target, stream, settings);
  const ids: number[] = [];
  if (settings.thinking) writeThought(tried, problem.target, ids);
  writeAnswer(tried.at(-1)!, ids);
  ids.push(symbolId("</answer>"), symbolId("<eos>"));
  return ids;
}

/** The attempts, `stop` when the last one missed, then the marks up to the answer. */
function writeThought(tried: readonly Attempt[], target: number, ids: number[]): void {
  writeAttempts(tried, target, ids);
  ids.push(symbolId("</think>"), symbolId("<answer>"));
}

function writeAttempts(tried: readonly Attempt[], target: number, ids: number[]): void {
  for (const attempt of tried) writeAttempt(attempt, target, ids);
  if (tried.at(-1)!.second.result !== target) ids.push(symbolId("stop"));
}

/** Thought and answer of one demonstration as texts without marks, by the same draws as `demonstration`. */
export function demonstrationText(
  problem: TrialProblem,
  stream: Random,
  options: Partial<DemonstrationOptions> = {},
): { readonly thinking: string; readonly response: string } {
  const tried = search(problem.numbers, problem.target, stream, { ...DEMONSTRATION_DEFAULTS, ...options });
  const [thought, answer]: [number[], number[]] = [[], []];
  writeAttempts(tried, problem.target, thought);
  writeAnswer(tried.at(-1)!, answer);
  return { thinking: decodeTrial(thought), response: decodeTrial(answer) };
}

/** An attempt as an answer: `( 6 * 6 ) + 9`. */
export function attemptText(attempt: Attempt): string {
  const ids: number[] = [];
  writeAnswer(attempt, ids);
  return decodeTrial(ids);
}

/** Ids to ban while decoding so that a search cannot give up: it ends with `ok` or runs out of tokens. */
export function giveUpIds(): number[] {
  return [symbolId("stop")];
}
