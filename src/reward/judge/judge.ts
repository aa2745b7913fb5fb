// Judges pairs of texts through an endpoint: which response is better, which thought shows more of a trait. The order in which a judge sees two
// texts is drawn by seed, or both orders are asked. An answer without a verdict is counted and scores nothing.
import { random } from "../../data/random.js";
import type { ChatSource } from "../../endpoint/types.js";
import { type WinShare, winShare } from "../../objective/intervals.js";
import { type AskOptions, askAll } from "./ask.js";
import {
  ANSWER_TEMPLATE,
  type Pair,
  parseVerdict,
  questionText,
  type Swapped,
  secondScore,
  TRAIT_TEMPLATE,
} from "./verdict.js";

export interface JudgeOptions extends AskOptions {
  /** Draws the order of each pair. Default 0. */
  readonly seed?: number;
  /** Ask each pair in either order; a pair's score is the mean of the two. Default false. */
  readonly bothOrders?: boolean;
  /** Default: `ANSWER_TEMPLATE` or `TRAIT_TEMPLATE`. */
  readonly template?: string;
}

/** What became of pairs under one question: how often the second text is ahead, over the pairs that have a verdict; plain JSON. */
export interface Judgement extends WinShare {
  /** [pairs] of the second text: 1 better or more, 0 worse or less, 0.5 a tie, or the mean of both orders; null where no verdict could be read. */
  readonly scores: readonly (number | null)[];
  /** Answers without a verdict. */
  readonly unparsed: number;
}

interface Question {
  readonly pair: number;
  readonly text: string;
  readonly swapped: Swapped;
}

const orderStream = 0x1d6e; // keeps orders apart from other draws of the same seed

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
  let [unparsed, n] = [0, 0];
  const texts = questions.map(({ text }) => text);
  for await (const answer of askAll(judge, texts, options)) {
    const { pair, swapped } = questions[n++]!;
    const verdict = parseVerdict(answer);
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

/** Over the verdicts that there are. */
function meanOf(scores: readonly (number | null)[]): number | null {
  const known = scores.filter((score) => score !== null);
  return known.length === 0 ? null : known.reduce((sum, score) => sum + score, 0) / known.length;
}

/** Counts and the rate of scores [pairs]. */
export function judgementOf(scores: readonly (number | null)[], unparsed: number): Judgement {
  return { scores, unparsed, ...winShare(scores.filter((score) => score !== null)) };
}
