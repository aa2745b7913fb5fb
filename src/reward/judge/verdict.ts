// What a judge of two texts is asked and how its answer is read. The texts are called A and B in the order in which the judge sees them; a
// verdict is turned back into a score of the second text. Pure.
import { fillTemplate } from "../../prompt/fill.js";

/** Two texts that answer one prompt: two responses, or two thoughts. */
export interface Pair {
  readonly prompt: string;
  readonly first: string;
  readonly second: string;
}

export type Verdict = "A" | "B" | "tie";

/** Whether the judge sees the second text as A. */
export type Swapped = boolean;

/** Last line of what a judge writes. */
const VERDICT = /^[^\p{L}\n]*(?:final\s+)?verdict[^\p{L}\n]*(A|B|tie)[^\p{L}\n]*$/gimu;
const ALONE = /^[^\p{L}]*(A|B|tie)[^\p{L}]*$/iu;

/** The verdict that a judge's text ends with, or that is all of it; null where there is none: such an answer is no tie. */
export function parseVerdict(text: string): Verdict | null {
  const found = [...text.matchAll(VERDICT)].at(-1)?.[1] ?? ALONE.exec(text)?.[1];
  if (found === undefined) return null;
  return found.toLowerCase() === "tie" ? "tie" : (found.toUpperCase() as Verdict);
}

/** 1 where the second text has it, 0 where the first has, 0.5 for a tie. */
export function secondScore(verdict: Verdict, swapped: Swapped): number {
  if (verdict === "tie") return 0.5;
  return (verdict === "A") === swapped ? 1 : 0;
}

/** The question with {prompt}, {a}, {b} and, for a trait, {trait} in their places. */
export function questionText(template: string, { prompt, first, second }: Pair, swapped: Swapped, trait = ""): string {
  const [a, b] = swapped ? [second, first] : [first, second];
  return fillTemplate(template, { prompt, a, b, trait });
}

const ENDING =
  "Reason in a few sentences. Then end with one line that reads Verdict: A, Verdict: B, or, where neither is ahead, Verdict: tie.";

/** Which of two responses is better. */
export const ANSWER_TEMPLATE = `Below are a message to an assistant and two responses to it, A and B. Which response serves the person who \
wrote the message better? Weigh whether it does what was asked, is right, is complete without padding, and is clear. Neither the order of the \
responses nor their length counts by itself.

${ENDING}

<message>
{prompt}
</message>

<response_a>
{a}
</response_a>

<response_b>
{b}
</response_b>`;

/** The end of a question about two thoughts. */
export const PLANS = `<message>
{prompt}
</message>

<plan_a>
{a}
</plan_a>

<plan_b>
{b}
</plan_b>`;

/** Which of two thoughts shows more of a trait (Bhaskar et al., "Language models that think, chat better", 2025, analysis of thoughts). */
export const TRAIT_TEMPLATE = `Below are a message to an assistant and two plans, A and B, that were made before the message was answered. \
Which plan shows more of this trait?

Trait: {trait}

Look at the plans alone, not at how good an answer they would lead to. Neither the order of the plans nor their length counts by itself.

${ENDING}

${PLANS}`;

/** Traits of thoughts by name: those of checklists and those of weighing, grouping and revising, between which training is said to move. */
export const TRAITS: Readonly<Record<string, string>> = {
  outline:
    "The plan is a fixed outline: sections or steps of the answer from top to bottom, filled in one after the other.",
  checklist: "The plan is a list of items to tick off, with little that connects them.",
  constraints:
    "The plan says what the answer has to keep to, such as limits, format, tone and what the person wants, before it plans.",
  themes: "The plan groups related ideas into themes, and builds the answer of these.",
  alternatives: "The plan weighs several ways to answer, and says why it takes one.",
  revision: "The plan goes back to an earlier part of itself, finds fault with it, and changes it.",
  checking: "The plan checks facts, steps or its own draft against the message.",
  reader: "The plan considers who reads the answer, what they know and what they need.",
  "edge cases": "The plan looks for cases, risks or misunderstandings that are easily missed.",
};
