// Judges pairs of texts through an endpoint: which response is better, which thought shows more of a trait. The order in which a judge sees two
// texts is drawn by seed, or both orders are asked. An answer without a verdict is counted and scores nothing.
import { createHash } from "node:crypto";
import { random } from "../../data/random.js";
import { inOrder } from "../../endpoint/in-order.js";
import type { ChatSource } from "../../endpoint/types.js";
import { ZazenError } from "../../errors.js";
import { pairedDifference } from "../../objective/intervals.js";
import {
  ANSWER_TEMPLATE,
  type Pair,
  parseVerdict,
  questionText,
  type Swapped,
  secondScore,
  TRAIT_TEMPLATE,
} from "./verdict.js";

export interface JudgeOptions {
  /** Draws the order of each pair. Default 0. */
  readonly seed?: number;
  /** Ask each pair in either order; a pair's score is the mean of the two. Default false. */
  readonly bothOrders?: boolean;
  /** Default: `ANSWER_TEMPLATE` or `TRAIT_TEMPLATE`. */
  readonly template?: string;
  /** Default 0: the same question, the same answer, as far as the endpoint can. */
  readonly temperature?: number;
  /** New tokens of an answer at most. Default 1,024. */
  readonly maxTokens?: number;
  /** Questions in hand at once; the endpoint's own limit holds besides. Default 32. */
  readonly window?: number;
  /** Questions in a row that may be refused, or answered with no text, before it is the judge's fault. Default 20. */
  readonly maxFailures?: number;
  readonly signal?: AbortSignal;
  /** Answers that are there already, by `key`: they are not asked for. */
  readonly known?: ReadonlyMap<string, string>;
  /** Told of each answer as it comes. */
  readonly onAnswer?: (answer: JudgeAnswer) => void;
}

export interface JudgeAnswer {
  /** Of the question's text. */
  readonly key: string;
  /** "" where the endpoint refused, or had none. */
  readonly text: string;
}

/** What became of pairs under one question; plain JSON. */
export interface Judgement {
  /** [pairs] of the second text: 1 better or more, 0 worse or less, 0.5 a tie; null where no verdict could be read. */
  readonly scores: readonly (number | null)[];
  /** Pairs by what came of them; with both orders a pair that they disagree on is a tie. */
  readonly wins: number;
  readonly ties: number;
  readonly losses: number;
  /** Answers without a verdict. */
  readonly unparsed: number;
  /** Mean score over pairs that have one; null where none has. */
  readonly rate: number | null;
  /** Of the rate, 95%, normal approximation; null below two pairs. */
  readonly interval: readonly [low: number, high: number] | null;
}

interface Question {
  readonly pair: number;
  readonly text: string;
  readonly swapped: Swapped;
}

const orderStream = 0x1d6e; // keeps orders apart from other draws of the same seed
const KEY_CHARACTERS = 32;
const WINDOW = 32;
const MAX_FAILURES = 20;
const MAX_TOKENS = 1024;
const PASSED_OVER = ["ENDPOINT_EMPTY", "ENDPOINT_REFUSED"];

/** Which response of each pair is better. Rejects as the judge does, and with the reason of the signal. */
export function judgeAnswers(
  judge: ChatSource,
  pairs: readonly Pair[],
  options: JudgeOptions = {},
): Promise<Judgement> {
  return judgePairs(judge, pairs, { template: ANSWER_TEMPLATE, ...options }, "", 0);
}

/** Which thought of each pair shows more of each trait, one question each. `traits`: name -> what it is. Rejects as `judgeAnswers`. */
export async function judgeTraits(
  judge: ChatSource,
  pairs: readonly Pair[],
  traits: Readonly<Record<string, string>>,
  options: JudgeOptions = {},
): Promise<Readonly<Record<string, Judgement>>> {
  const found: Record<string, Judgement> = {};
  for (const [t, [name, trait]] of Object.entries(traits).entries()) {
    found[name] = await judgePairs(judge, pairs, { template: TRAIT_TEMPLATE, ...options }, trait, t + 1);
  }
  return found;
}

async function judgePairs(
  judge: ChatSource,
  pairs: readonly Pair[],
  options: JudgeOptions & { readonly template: string },
  trait: string,
  stream: number,
): Promise<Judgement> {
  const questions = questionsOf(pairs, options, trait, stream);
  const scores: (number | null)[][] = pairs.map(() => []);
  let [unparsed, failures, n] = [0, 0, 0];
  for await (const { text, failure } of answersTo(judge, questions, options)) {
    const { pair, swapped } = questions[n++]!;
    failures = failure === null ? 0 : failures + 1;
    if (failures > (options.maxFailures ?? MAX_FAILURES)) throw failure;
    const verdict = parseVerdict(text);
    if (verdict === null) unparsed++;
    scores[pair]!.push(verdict === null ? null : secondScore(verdict, swapped));
  }
  return judgementOf(scores.map(meanOf), unparsed);
}

function questionsOf(
  pairs: readonly Pair[],
  { seed = 0, bothOrders = false, template }: JudgeOptions & { readonly template: string },
  trait: string,
  stream: number,
): readonly Question[] {
  return pairs.flatMap((one, pair) => {
    const drawn = random(seed, orderStream, stream, pair).int(2) === 1;
    const orders = bothOrders ? [false, true] : [drawn];
    return orders.map((swapped) => ({ pair, swapped, text: questionText(template, one, swapped, trait) }));
  });
}

interface Answered {
  readonly text: string;
  readonly failure: ZazenError | null;
}

/** Answers in the order of the questions. The first failure ends the waits of the others. */
async function* answersTo(
  judge: ChatSource,
  questions: readonly Question[],
  options: JudgeOptions,
): AsyncGenerator<Answered, void, void> {
  const halt = new AbortController();
  const { signal, window = WINDOW } = options;
  const onAbort = () => halt.abort(signal?.reason);
  signal?.addEventListener("abort", onAbort);
  if (signal?.aborted) onAbort();
  const ask = ({ text }: Question, key: number) =>
    answerTo(judge, text, key, options, halt.signal).catch((error: unknown) => {
      halt.abort(error);
      throw error;
    });
  try {
    yield* inOrder(questions, window, ask);
  } finally {
    halt.abort(new Error("no more is asked"));
    signal?.removeEventListener("abort", onAbort);
  }
}

async function answerTo(
  judge: ChatSource,
  question: string,
  key: number,
  { known, onAnswer, temperature = 0, maxTokens = MAX_TOKENS }: JudgeOptions,
  stop: AbortSignal,
): Promise<Answered> {
  stop.throwIfAborted();
  const name = createHash("sha256").update(question).digest("hex").slice(0, KEY_CHARACTERS);
  const before = known?.get(name);
  if (before !== undefined) return { text: before, failure: null };
  const request = { messages: [{ role: "user", content: question }] as const, temperature, maxTokens };
  try {
    const { text } = await judge.chat(request, { stop, key });
    onAnswer?.({ key: name, text });
    return { text, failure: null };
  } catch (error) {
    if (!(error instanceof ZazenError) || !PASSED_OVER.includes(error.code)) throw error;
    return { text: "", failure: error };
  }
}

/** Over the verdicts that there are. */
function meanOf(scores: readonly (number | null)[]): number | null {
  const known = scores.filter((score) => score !== null);
  return known.length === 0 ? null : known.reduce((sum, score) => sum + score, 0) / known.length;
}

/** Counts and the rate of scores [pairs]. */
export function judgementOf(scores: readonly (number | null)[], unparsed: number): Judgement {
  const known = scores.filter((score) => score !== null);
  const wins = known.filter((score) => score > 0.5).length;
  const losses = known.filter((score) => score < 0.5).length;
  const interval = known.length < 2 ? null : pairedDifference(new Float64Array(known.length), known).interval;
  return {
    scores,
    ...{ wins, losses, ties: known.length - wins - losses, unparsed },
    rate: meanOf(known),
    interval: interval && [Math.max(0, interval[0]), Math.min(1, interval[1])],
  };
}
