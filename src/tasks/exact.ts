// Exact match after normalisation: an answer is right when it reads the same as a reference. What does not count (case, blanks, punctuation,
// articles) is said by options. Leaves out partial matches: F1 over words, containment, edit distance.
import { InputError } from "../errors.js";
import type { Grade } from "./task.js";

/** What does not count. Unicode forms (NFC) and blanks at either end never count. */
export interface ExactOptions {
  /** Capitals. Default true. */
  readonly ignoreCase?: boolean;
  /** How wide blanks are, line breaks among them. Default true. */
  readonly ignoreSpace?: boolean;
  /** Everything that Unicode calls punctuation. Default false. */
  readonly ignorePunctuation?: boolean;
  /** The words a, an and the. Default false. */
  readonly ignoreArticles?: boolean;
}

export interface ExactGrade extends Grade {
  readonly reason: "no answer" | "another text" | null;
}

const CORRECT: ExactGrade = { correct: true, reason: null };

/** The text that is compared. With all options on this is SQuAD's normalisation (Rajpurkar et al. 2016), for any script. */
export function normaliseExact(text: string, options: ExactOptions = {}): string {
  const { ignoreCase = true, ignoreSpace = true, ignorePunctuation = false, ignoreArticles = false } = options;
  let result = text.normalize("NFC");
  if (ignoreCase) result = result.toLowerCase();
  if (ignorePunctuation) result = result.replace(/\p{P}/gu, "");
  if (ignoreArticles) result = result.replace(/\b(?:a|an|the)\b/giu, " ");
  if (ignoreSpace || ignoreArticles) result = result.replace(/\s+/gu, " ");
  return result.trim();
}

/** The texts that a reference accepts: a text, a number as JSON writes it, or a list of those. Throws InputError EXACT_REFERENCE. */
export function exactReferences(reference: unknown): readonly string[] {
  const list: readonly unknown[] = Array.isArray(reference) ? reference : [reference];
  const texts = list.flatMap((one) => (typeof one === "string" || typeof one === "number" ? [String(one)] : []));
  if (texts.length === list.length && texts.length > 0) return texts;
  throw new InputError(
    "EXACT_REFERENCE",
    `[exact] expected a text, a number, or a list of those, got ${JSON.stringify(reference)}; correct the record`,
  );
}

/** Grades an answer against references, any of which will do. An answer that is null or blank is none, unless a reference is blank too. */
export function gradeExact(answer: string | null, reference: unknown, options: ExactOptions = {}): ExactGrade {
  const wanted = exactReferences(reference).map((text) => normaliseExact(text, options));
  const given = answer === null ? null : normaliseExact(answer, options);
  if (given !== null && wanted.includes(given)) return CORRECT;
  return { correct: false, reason: given === null || given === "" ? "no answer" : "another text" };
}
