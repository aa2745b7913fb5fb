// Multiple choice: which label an answer names, and whether it is the right one. Labels are A to E or any others; the options' own texts may
// stand for them. An answer that names several labels names none: "A or B" earns nothing. Patterns are anchored or find plain words, so time
// grows with the text only. Leaves out partial credit and questions with several right labels.
import { InputError } from "../errors.js";
import { lastBoxed } from "./maths/extract.js";
import type { Grade } from "./task.js";

export interface ChoiceOptions {
  /** What an option is called, in order. Default A to E, or as many letters as there are options. */
  readonly labels?: readonly string[];
  /** The options' texts, in the order of the labels; an answer may give one in place of its label. */
  readonly choices?: readonly string[];
}

export interface ChoiceGrade extends Grade {
  readonly reason: "no choice" | "wrong choice" | null;
}

const DEFAULT_LABELS = 5;
const MOST_LETTERS = 26;
const MARK = "####";
const PHRASE = /\b(?:answer|choice|option)(?: is|:|\*\*:?| is:) ?/gi;
const CORRECT: ChoiceGrade = { correct: true, reason: null };

const letters = (count: number): string[] =>
  Array.from({ length: count }, (_, at) => String.fromCharCode("A".charCodeAt(0) + at));

/** The labels that the options say. Throws InputError CHOICE_OPTIONS where they cannot tell options apart. */
export function choiceLabels({ labels, choices }: ChoiceOptions): readonly string[] {
  const names = labels ?? letters(choices?.length ?? DEFAULT_LABELS);
  const distinct = new Set(names.map((name) => name.trim().toLowerCase()));
  const fits = names.length >= 2 && distinct.size === names.length && !distinct.has("");
  if (fits && (labels !== undefined || names.length <= MOST_LETTERS) && (choices?.length ?? 2) <= names.length) {
    return names;
  }
  throw new InputError(
    "CHOICE_OPTIONS",
    `[choice] expected at least two distinct labels, one for each option, got ${names.length} labels ` +
      `[${names.slice(0, MOST_LETTERS).join(", ")}]${choices === undefined ? "" : ` for ${choices.length} options`}; name them`,
  );
}

/**
 * The label of a reference: a label ("b", "(B)"), a whole number (the place of the option, from 0), or an option's text.
 * Throws InputError CHOICE_REFERENCE for anything else.
 */
export function choiceReference(reference: unknown, options: ChoiceOptions = {}): string {
  const labels = choiceLabels(options);
  const label =
    typeof reference === "number"
      ? labels[reference]
      : typeof reference === "string"
        ? (wholeLabel(reference, labels) ?? byText(reference, labels, options.choices))
        : null;
  if (label !== null && label !== undefined) return label;
  throw new InputError(
    "CHOICE_REFERENCE",
    `[choice] expected one of the labels ${labels.join(", ")}, the place of an option from 0, or its text, ` +
      `got ${JSON.stringify(reference)}; correct the record`,
  );
}

/**
 * The label that a text answers with, or null where it names none or several. Looked for in this order: the last `\boxed{...}`, behind the
 * last "####", behind the last "answer is", "answer:" and the like; then the whole text or its last line, as "C", "(C)", "C) Paris" or an
 * option's text; then labels in brackets. A label behind no mark counts only where no other one stands in brackets.
 */
export function extractChoice(text: string, options: ChoiceOptions = {}): string | null {
  const labels = choiceLabels(options);
  const read = (part: string) => leadingLabel(part, labels) ?? byText(part, labels, options.choices);
  const box = lastBoxed(text);
  if (box !== null) return wholeLabel(box, labels) ?? read(box);
  const mark = text.lastIndexOf(MARK);
  if (mark >= 0) return read(lineFrom(text, mark + MARK.length));
  const phrase = [...text.matchAll(PHRASE)].at(-1);
  if (phrase !== undefined) {
    const named = read(lineFrom(text, phrase.index + phrase[0].length));
    if (named !== null) return named;
  }
  const lines = text.trim().split("\n");
  const named = read(text) ?? read(lines.at(-1)!);
  const inBrackets = bracketed(text, labels);
  if (named !== null) return inBrackets.every((label) => label === named) ? named : null;
  return inBrackets.length === 1 && !isRefused(behindLast(text, inBrackets[0]!)) ? inBrackets[0]! : null;
}

/** Grades a text against a reference (see `choiceReference`). Throws only for a bad reference or bad options. */
export function gradeChoice(text: string | null, reference: unknown, options: ChoiceOptions = {}): ChoiceGrade {
  const wanted = choiceReference(reference, options);
  const given = text === null ? null : extractChoice(text, options);
  if (given === null) return { correct: false, reason: "no choice" };
  return given === wanted ? CORRECT : { correct: false, reason: "wrong choice" };
}

function lineFrom(text: string, from: number): string {
  const end = text.indexOf("\n", from);
  return text.slice(from, end < 0 ? text.length : end);
}

/** Without the dress of a label: `**(C)**`, `\text{C}`, `option C`. */
function undress(text: string): string {
  return text
    .slice(0, MOST_DRESSED)
    .trim()
    .replace(/^(?:[\s*_$"'`:]|\\(?:text|textbf|mathrm|mathbf)\s*\{|\{)+/, "")
    .replace(/^(?:the )?(?:option|choice|letter)\s+/i, "");
}

/** A label with its dress is short; options' texts are compared whole elsewhere. */
const MOST_DRESSED = 200;

/** The label that is the whole text, in any case: "c", "(C)", "**C.**". */
function wholeLabel(text: string, labels: readonly string[]): string | null {
  const bare = undress(text)
    .replace(/^[([]/, "")
    .replace(/[\s*_$"'`.:)\]}]+$/, "")
    .toLowerCase();
  if (text.length > MOST_DRESSED) return null;
  return labels.find((label) => label.toLowerCase() === bare) ?? null;
}

/** The label that a text begins with, unless another one follows as an alternative. */
function leadingLabel(text: string, labels: readonly string[]): string | null {
  const whole = wholeLabel(text, labels);
  if (whole !== null) return whole;
  const bare = undress(text);
  const bracket = /^[([]/.test(bare);
  const inner = bracket ? bare.slice(1) : bare;
  const label = longest(inner, labels, bracket);
  if (label === null) return null;
  const rest = inner.slice(label.length);
  return ends(rest, bracket) && !isRefused(rest) && !offersAnother(rest, labels) ? label : null;
}

/** The longest label at the start of a text. Small letters count in brackets or before a bracket only: "a matter of taste". */
function longest(text: string, labels: readonly string[], bracket: boolean): string | null {
  const small = text.toLowerCase();
  const fitting = labels.filter((label) => {
    if (!small.startsWith(label.toLowerCase())) return false;
    return bracket || text[label.length] === ")" || text.startsWith(label);
  });
  return fitting.reduce<string | null>((best, label) => (label.length > (best?.length ?? 0) ? label : best), null);
}

/** Whether what follows a label leaves it one. "A dog" and "A's" are no answers; "A because ..." is. */
function ends(rest: string, bracket: boolean): boolean {
  if (bracket) return /^\s*[)\]]/.test(rest);
  if (rest.trim() === "") return true;
  return /^(?:[\s*_$"`}]*(?:[.):,;\]}*|]|[-\u2013\u2014] ?)(?!\d)|\s+(?:because|since|as|\())/.test(rest);
}

const isRefused = (rest: string): boolean =>
  /^[\s*_$"'`).\]}]*(?:is|was)(?:n't| not| wrong| incorrect| false)\b/i.test(rest);

function offersAnother(rest: string, labels: readonly string[]): boolean {
  const next = /^[\s*_$"'`).\]}]*(?:,|\/|&|\bor\b|\band\b)\s*(?:or\b|and\b)?[\s*_$"'`([{]*/i.exec(rest);
  if (next === null) return false;
  const after = rest.slice(next[0].length);
  return labels.some((label) => after.startsWith(label) && !/^[\w']/.test(after.slice(label.length)));
}

/** The labels that stand in round brackets anywhere. */
function bracketed(text: string, labels: readonly string[]): readonly string[] {
  return labels.filter((label) => text.includes(`(${label})`) || text.includes(`(${label.toLowerCase()})`));
}

function behindLast(text: string, label: string): string {
  const at = Math.max(text.lastIndexOf(`(${label})`), text.lastIndexOf(`(${label.toLowerCase()})`));
  return text.slice(at + label.length + 2, at + MOST_DRESSED);
}

const plain = (text: string): string =>
  text
    .normalize("NFC")
    .toLowerCase()
    .replace(/\s+/g, " ")
    .replace(/^[\s*_"'`$]+/, "")
    .replace(/[\s*_"'`$.]{1,32}$/, "");

/** The label whose option is the text, where there is one alone. */
function byText(text: string, labels: readonly string[], choices: readonly string[] | undefined): string | null {
  if (choices === undefined) return null;
  const longestChoice = choices.reduce((most, choice) => Math.max(most, choice.length), 0);
  if (text.length > longestChoice + MOST_DRESSED) return null;
  const wanted = plain(text);
  const at = choices.flatMap((choice, place) => (plain(choice) === wanted ? [place] : []));
  return at.length === 1 ? labels[at[0]!]! : null;
}
