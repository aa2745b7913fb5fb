// Finds the traits by which the thoughts of two models differ: the judge notes what tells the thoughts of some pairs apart, pair by pair, then
// sums its notes up as a few traits, which `judgeTraits` compares on other pairs. Traits are found, not chosen beforehand, as in Bhaskar et
// al., "Language models that think, chat better", 2025, analysis of thoughts. What is asked is data. Leaves out the comparison.
import { random } from "../../data/random.js";
import type { ChatSource } from "../../endpoint/types.js";
import { ZazenError } from "../../errors.js";
import { fillTemplate } from "../../prompt/fill.js";
import { type AskOptions, askAll } from "./ask.js";
import { type Pair, PLANS, questionText } from "./verdict.js";

export interface FindOptions extends AskOptions {
  /** Draws the order of each pair. Default 0. */
  readonly seed?: number;
  /** Traits to end with, at most. Default 8. */
  readonly count?: number;
  /** Asks for what tells {a} and {b} apart. Default `NOTE_TEMPLATE`. */
  readonly noteTemplate?: string;
  /** Asks for {count} traits that sum {notes} up. Default `SUM_TEMPLATE`. */
  readonly sumTemplate?: string;
}

/** Plain JSON. */
export interface FoundTraits {
  /** What each is, by its name. */
  readonly traits: Readonly<Record<string, string>>;
  /** Pairs that were read. */
  readonly pairs: number;
  /** Notes that were made of them. */
  readonly notes: number;
  /** Answers without a note. */
  readonly unparsed: number;
}

const COUNT = 8;
const orderStream = 0x7a17;
const SHOWN_CHARACTERS = 200;
const MOST_LINE = 1000; // characters of a line that are read
/** "- **name**: what it is"; a line of anything else is none. Every part is bounded: lines come from a model. */
const TRAIT_LINE =
  /^(?:[-*•]|\d{1,3}[.)])?\s{0,4}(?:trait:\s{0,4})?\*{0,3}([^:*]{1,60})\*{0,3}\s{0,4}:\*{0,3}\s{0,4}(\S.*)$/i;
/** What a judge says of one of the two. */
const NO_NAME = /^(?:(?:plan|response) )?[ab]$/;

/**
 * Rejects as the judge does, with the reason of the signal, and with ZazenError JUDGE_TRAITS where the judge notes nothing in any pair, or
 * does not sum its notes up in the form that it is asked for.
 */
export async function findTraits(
  judge: ChatSource,
  pairs: readonly Pair[],
  options: FindOptions = {},
): Promise<FoundTraits> {
  const { seed = 0, count = COUNT, noteTemplate = NOTE_TEMPLATE, sumTemplate = SUM_TEMPLATE } = options;
  const questions = pairs.map((pair, p) => questionText(noteTemplate, pair, random(seed, orderStream, p).int(2) === 1));
  const notes: string[] = [];
  let unparsed = 0;
  for await (const answer of askAll(judge, questions, options)) {
    const found = Object.entries(parseTraits(answer));
    if (found.length === 0) unparsed++;
    notes.push(...found.map(([name, what]) => `- ${name}: ${what}`));
  }
  if (notes.length === 0) throw traitError(`notes on at least one of ${pairs.length} pairs`, "none");
  const sum = fillTemplate(sumTemplate, { notes: notes.join("\n"), count: String(count) });
  const answer = await answerTo(judge, sum, options);
  const found = Object.entries(parseTraits(answer)).slice(0, count);
  if (found.length === 0) throw traitError("lines of NAME: what it is", JSON.stringify(clip(answer)));
  return { traits: Object.fromEntries(found), pairs: pairs.length, notes: notes.length, unparsed };
}

/** Throws the refusal of an endpoint, there being nothing else to go on with. */
async function answerTo(judge: ChatSource, question: string, options: AskOptions): Promise<string> {
  for await (const answer of askAll(judge, [question], { ...options, maxFailures: 0 })) return answer;
  return "";
}

/** Traits of an answer by name, of several with a name the first; lines of another form are passed over. */
export function parseTraits(answer: string): Readonly<Record<string, string>> {
  const found = new Map<string, string>();
  for (const line of answer.split("\n")) {
    const [, name = "", what = ""] = TRAIT_LINE.exec(line.trim().slice(0, MOST_LINE)) ?? [];
    const key = name.trim().toLowerCase();
    if (key !== "" && !NO_NAME.test(key) && !found.has(key)) found.set(key, what.replaceAll("*", "").trim());
  }
  return Object.fromEntries(found);
}

function traitError(expected: string, got: string): ZazenError {
  return new ZazenError(
    "JUDGE_TRAITS",
    `[judge traits] expected ${expected}, got ${got}; take another judge or templates, or name the traits in traits.list`,
  );
}

const clip = (text: string): string =>
  text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}...` : text;

/** What tells two thoughts apart. */
export const NOTE_TEMPLATE = `Below are a message to an assistant and two plans, A and B, that were made before the message was answered, by two \
assistants that plan differently. What traits of how they plan tell the two apart? Look at how each goes about it: structure, order, what is \
considered, what is revised. Leave out what the plans are about, which one is longer, and how good an answer each would lead to. A trait is a \
way of planning that plans on other messages can show more or less of.

Write up to five traits, one a line, each as a short name, a colon, and one sentence that says what a plan with this trait does. Write \
nothing else.

${PLANS}`;

/** A few traits of many notes. */
export const SUM_TEMPLATE = `Below are notes on how two assistants plan, made on one pair of plans after another. Notes that mean the same \
are in different words. Sum them up as at most {count} traits: those that were noted most often first, no two of which mean the same, each of \
which a reader can look for in a plan on any message.

Write one trait a line, each as a short name, a colon, and one sentence that says what a plan with this trait does. Write nothing else.

<notes>
{notes}
</notes>`;
