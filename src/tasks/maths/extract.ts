// Where the final answer is in a text: the last \boxed{...}, else behind the last "####", else behind "answer is" or "answer:", else the
// last number. One pass over the text for each; what is around the answer (units, dollars, full stops) is left to the reader, and words that
// are around it to sentence.ts. In prose a `!` behind a number ends the sentence: a factorial there has to stand in dollars or in a box.
import { InputError } from "../../errors.js";
import { answerIn, lastNumber } from "./sentence.js";

const BOXES = ["\\boxed", "\\fbox"] as const;
const MARK = "####";
const PHRASES = ["answer is", "answer:"] as const;

interface Box {
  readonly start: number;
  readonly content: string;
}

/** What stands behind `\boxed` without braces: up to a blank, a `$` or the end. */
function bareContent(text: string, from: number): string {
  let start = from;
  while (text[start] === " ") start++;
  let end = start;
  while (end < text.length && !" \n\r\t$\\".includes(text[end]!)) end++;
  return text.slice(start, end);
}

/** Place of the brace that opens the box at `at`; -1 for a box without braces. */
function braceOf(text: string, at: number): number {
  let brace = at;
  while (text[brace] === " ") brace++;
  return text[brace] === "{" ? brace : -1;
}

const isLetter = (character: string | undefined): boolean => character !== undefined && /[A-Za-z]/.test(character);

/** The box that begins last of those that are closed, or null. Escaped braces do not count. */
function lastBox(text: string): Box | null {
  let last: Box | null = null;
  const braces: (number | null)[] = []; // for each open brace, where its box begins
  const keep = (box: Box): void => {
    if (last === null || box.start > last.start) last = box;
  };
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "{") braces.push(null);
    if (character === "}") {
      const start = braces.pop() ?? null;
      if (start !== null) keep({ start, content: text.slice(text.indexOf("{", start) + 1, at) });
    }
    if (character !== "\\") continue;
    const box = BOXES.find((name) => text.startsWith(name, at) && !isLetter(text[at + name.length]));
    const brace = box === undefined ? -1 : braceOf(text, at + box.length);
    if (brace >= 0) braces.push(at);
    else if (box !== undefined) keep({ start: at, content: bareContent(text, at + box.length) });
    at = brace >= 0 ? brace : at + (box?.length ?? 2) - 1;
  }
  return last;
}

/** What the last closed `\boxed{...}` or `\fbox{...}` holds, or null. */
export function lastBoxed(text: string): string | null {
  return lastBox(text)?.content ?? null;
}

/** The line from `from` on, up to the end of its first sentence, without what leads to the answer. */
function restOfLine(text: string, from: number): string {
  const newline = text.indexOf("\n", from);
  const line = text.slice(from, newline < 0 ? text.length : newline);
  const stop = line.indexOf(". ");
  const sentence = stop < 0 ? line : line.slice(0, stop);
  let start = 0;
  while (start < sentence.length && ": *\t".includes(sentence[start]!)) start++;
  return sentence.slice(start).trim();
}

function behindPhrase(text: string): string {
  const small = text.toLowerCase();
  const ends = PHRASES.map((phrase) => ({ at: small.lastIndexOf(phrase), length: phrase.length }));
  const last = ends.reduce((a, b) => (b.at > a.at ? b : a));
  return last.at < 0 ? "" : answerIn(restOfLine(text, last.at + last.length).replace(/(?<=\d)!+(?=\**$)/, ""));
}

/** The final answer of a completion as it is written, or null when there is none. An empty last box is no answer. */
export function extractMathsAnswer(text: string): string | null {
  const box = lastBox(text);
  if (box !== null) return box.content.trim() || null;
  const mark = text.lastIndexOf(MARK);
  if (mark >= 0) return answerIn(restOfLine(text, mark + MARK.length)) || null;
  return behindPhrase(text) || lastNumber(text) || null;
}

/** The reference in a record's answer: behind the last "####" of a solution in GSM8K's form, else the answer as it is. */
export function mathsReference(answer: string): string {
  return answer.includes(MARK) ? gsm8kReference(answer) : answer;
}

/** The reference in a GSM8K solution: what follows its last "####". Throws InputError GSM8K_SOLUTION when there is none. */
export function gsm8kReference(solution: string): string {
  const mark = solution.lastIndexOf(MARK);
  const reference = mark < 0 ? "" : restOfLine(solution, mark + MARK.length);
  if (reference !== "") return reference;
  throw new InputError(
    "GSM8K_SOLUTION",
    `[gsm8k] expected a solution that ends in "${MARK} " and the answer, got none. Check the field of the record.`,
  );
}
