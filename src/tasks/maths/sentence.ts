// The answer in a sentence: what follows "the answer is" may be maths, or maths with words around it ("18 eggs per day", "about 3"). Maths
// stays as it is written; of words with numbers in them the expression counts that leads them or that they lead to, else the last number.
import type { Form } from "./form.js";
import { readMathsAnswer } from "./read.js";

/** Words of a sentence among which an expression that leads it is looked for. */
const MOST_WORDS = 32;
/** A clause behind a comma: a word that is neither a join of a list nor the left side of a relation, nor a function. */
const CLAUSE = /,\s+(?!(?:and|or)\b)[a-z]{2,}(?=[\s,.!]|$)(?!\s*[=<>(^])/i;
/** Short words of the language, which would read as products of letters: "1/2 of the cake". */
const SHORT_WORD = /\s(?:as|at|by|for|if|not|of|on|out|per|so|the|to)\s/i;
const NUMBER = /\d[\d,]*(?:\.\d+)?(?:\/\d+)?(?:\\?%|\s+percent\b)?/g;

/** The last run of digits with separators, point, fraction and percent sign or word, and a minus that is no subtraction; "" for none. */
export function lastNumber(text: string): string {
  let last = "";
  for (const match of text.matchAll(NUMBER)) {
    const before = text[match.index - 1];
    const isNegative = (before === "-" || before === "\u2212") && !/[\w)\]}]/.test(text[match.index - 2] ?? " ");
    const isPointed = before === "." && !/\d/.test(text[match.index - 2] ?? " ");
    last = (isNegative ? "-" : isPointed ? "0." : "") + match[0];
  }
  while (last.endsWith(",")) last = last.slice(0, -1);
  return last;
}

/** The answer in what a sentence says it is; the text itself where that is maths, or words without a number. */
export function answerIn(text: string): string {
  const said = beforeShortWord(withoutClause(text));
  const form = readMathsAnswer(said).form;
  if (form !== null && !isProse(form)) return said;
  if (!/\d/.test(said)) return said;
  return leadingExpression(said) ?? ledTo(said) ?? lastNumber(said);
}

/** "42, as required" is no list of two. */
function withoutClause(text: string): string {
  const at = text.search(CLAUSE);
  const before = text.slice(0, Math.max(at, 0));
  return /\d/.test(before) && !/[([{$]/.test(before.replaceAll(/\([^()]*\)|\{[^{}]*\}|\$[^$]*\$/g, "")) ? before : text;
}

function beforeShortWord(text: string): string {
  const before = text.slice(0, Math.max(text.search(SHORT_WORD), 0));
  return /\d/.test(before) && leadingExpression(before) === before ? before : text;
}

/** Words with a number behind them, alone or in a list; a time of day begins with its number. */
function isProse(form: Form): boolean {
  if (form.kind === "collection") return form.items.some(isProse);
  return form.kind === "words" && /^\D.*\d/.test(form.text);
}

const isMaths = (form: Form | null): boolean =>
  form !== null &&
  form.kind !== "words" &&
  !(form.kind === "collection" && form.items.some(({ kind }) => kind === "words"));

/** The longest run of words from the first on that is maths; null where the first is a word of the language. */
function leadingExpression(text: string): string | null {
  const words = text.split(/\s+/, MOST_WORDS);
  if (/^[a-z]{2,}\W*$/i.test(words[0]!)) return null;
  for (let count = words.length; count > 0; count--) {
    const run = words.slice(0, count).join(" ");
    if (isMaths(readMathsAnswer(run).form)) return run;
  }
  return null;
}

/** What words lead to, from the first number on, where all of it is maths. */
function ledTo(text: string): string | null {
  const rest = text.slice(text.search(/(?:[-\u2212]\s*)?[\\$]*\d/));
  return isMaths(readMathsAnswer(rest).form) ? rest : null;
}
