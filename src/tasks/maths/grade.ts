// Whether an answer says what the reference says. The reference decides what is asked: its form (a set, a point, an interval, a base), then
// the values are compared, exactly where they are rational. What is accepted beyond that is listed at `gradeMaths`.
import { InputError } from "../../errors.js";
import type { Grade } from "../task.js";
import type { Based, Collection, Form, Ratio, Relation, Scalar, Sequence } from "./form.js";
import { type MathsReading, readMathsAnswer } from "./read.js";
import { MAX_MATHS_LENGTH } from "./tokens.js";
import { canonicalUnit } from "./units.js";
import { constantSign, isZero, sameValues, valuesOf } from "./value.js";
import { wordsOf } from "./words.js";

export type MathsFault =
  | "no answer"
  | "unreadable answer"
  | "wrong form"
  | "wrong count"
  | "wrong unit"
  | "wrong value";

export interface MathsGrade extends Grade {
  readonly reason: MathsFault | null;
}

type Comparison = MathsFault | null;

const CORRECT: MathsGrade = { correct: true, reason: null };

function compareUnits(reference: string | null, answer: string | null): Comparison {
  if (reference === null || answer === null) return null;
  const [wanted, given] = [canonicalUnit(reference), canonicalUnit(answer)];
  return wanted === null || given === null || wanted === given ? null : "wrong unit";
}

function sameScalars(reference: Scalar, answer: Scalar): boolean {
  if (reference.infinite !== 0 || answer.infinite !== 0) return reference.infinite === answer.infinite;
  if (sameValues(reference.values, answer.values)) return true;
  if ((reference.percent === null) === (answer.percent === null)) return false;
  return sameValues(reference.percent ?? reference.values, answer.percent ?? answer.values);
}

function compareScalar(reference: Scalar, answer: Form): Comparison {
  if (answer.kind === "based") return sameValues(reference.values, answer.values) ? null : "wrong value";
  if (answer.kind === "ratio" && answer.quotients.length === 1) {
    return sameValues(reference.values, answer.quotients[0]!) ? null : "wrong value";
  }
  if (answer.kind !== "scalar") return "wrong form";
  return sameScalars(reference, answer) ? compareUnits(reference.unit, answer.unit) : "wrong value";
}

/** A number without a base is read in the reference's base. */
function compareBased(reference: Based, answer: Form): Comparison {
  if (answer.kind === "scalar" && answer.digits !== null) {
    return answer.digits === reference.digits ? null : "wrong value";
  }
  if (answer.kind !== "based" || answer.base !== reference.base) return "wrong form";
  return sameValues(reference.values, answer.values) ? null : "wrong value";
}

/** Item by item; the first fault. */
function compareOrdered(references: readonly Form[], answers: readonly Form[]): Comparison {
  if (references.length !== answers.length) return "wrong count";
  for (const [at, reference] of references.entries()) {
    const fault = compare(reference, answers[at]!);
    if (fault !== null) return fault;
  }
  return null;
}

function compareSequence(reference: Sequence, answer: Form): Comparison {
  if (answer.kind !== "sequence") return "wrong form";
  const fault = compareOrdered(reference.items, answer.items);
  if (fault !== null) return fault;
  return reference.open === answer.open && reference.close === answer.close ? null : "wrong form";
}

/** Without items that are equal to an earlier one. */
function distinct(items: readonly Form[]): readonly Form[] {
  return items.filter((item, at) => !items.slice(0, at).some((earlier) => compare(earlier, item) === null));
}

/** Each item of one finds its own equal in the other. */
function compareUnordered(references: readonly Form[], answers: readonly Form[]): Comparison {
  if (references.length !== answers.length) return "wrong count";
  const left = [...answers];
  for (const reference of references) {
    const at = left.findIndex((answer) => compare(reference, answer) === null);
    if (at < 0) return "wrong value";
    left.splice(at, 1);
  }
  return null;
}

function compareRatio(reference: Ratio, answer: Form): Comparison {
  const quotients = answer.kind === "ratio" ? answer.quotients : answer.kind === "scalar" ? [answer.values] : null;
  if (quotients === null) return "wrong form";
  if (quotients.length !== reference.quotients.length) return "wrong count";
  return reference.quotients.every((values, at) => sameValues(values, quotients[at]!)) ? null : "wrong value";
}

function compareCollection(reference: Collection, answer: Form): Comparison {
  if (answer.kind !== "collection") {
    return answer.kind === "sequence" || reference.items.length === 1 ? "wrong form" : "wrong count";
  }
  const fault = compareUnordered(reference.items, answer.items);
  if (fault === null || (reference.join === "list" && answer.join === "list")) return fault;
  return compareUnordered(distinct(reference.items), distinct(answer.items));
}

/** Whether left - right of one is a constant times that of the other; a positive constant for inequalities. */
function isSameRelation(reference: Relation, answer: Relation): boolean {
  if (reference.difference === null || answer.difference === null) return false;
  const ratio = valuesOf({ op: "/", left: reference.difference, right: answer.difference });
  const sign = ratio.length > 1 ? constantSign(ratio) : 0;
  return sign > 0 || (sign < 0 && (reference.sign === "=" || reference.sign === "!="));
}

function compareRelations(reference: Relation, answer: Relation): Comparison {
  if (reference.sign !== answer.sign) return "wrong form";
  if (isSameRelation(reference, answer)) return null;
  const sides = compare(reference.right, answer.right);
  if (reference.left === null || answer.left === null) return sides;
  return sides ?? compare(reference.left, answer.left);
}

/** The side that a name stands for; null when neither side is a name. */
function resultOf({ sign, named, left, right }: Relation): Form | null {
  if (sign !== "=") return null;
  return named === "left" ? right : named === "right" ? left : null;
}

/** What an equation without a name ends in, as in 2 + 8 = 10 and a + b = 10; a curve f(x, y) = 0 ends in nothing. */
function lastSide({ sign, left, right }: Relation): Form | null {
  if (sign !== "=") return null;
  const isCurve = left?.kind === "scalar" && left.values.length > 1 && right.kind === "scalar" && isZero(right.values);
  return isCurve ? null : right;
}

function compare(reference: Form, answer: Form): Comparison {
  if (reference.kind === "relation" && answer.kind === "relation") return compareRelations(reference, answer);
  if (reference.kind === "relation") {
    const result = resultOf(reference);
    return result === null ? "wrong form" : compare(result, answer);
  }
  if (answer.kind === "relation") {
    const result = resultOf(answer) ?? lastSide(answer);
    return result === null ? "wrong form" : compare(reference, result);
  }
  return compareKinds(reference, answer);
}

function compareKinds(reference: Exclude<Form, Relation>, answer: Exclude<Form, Relation>): Comparison {
  switch (reference.kind) {
    case "scalar":
      return compareScalar(reference, answer);
    case "based":
      return compareBased(reference, answer);
    case "sequence":
      return compareSequence(reference, answer);
    case "collection":
      return compareCollection(reference, answer);
    case "matrix":
      if (answer.kind !== "matrix") return "wrong form";
      return reference.shape === answer.shape ? compareOrdered(reference.items, answer.items) : "wrong count";
    case "ratio":
      return compareRatio(reference, answer);
    case "words":
      return answer.kind === "words" && reference.text === answer.text ? null : "wrong value";
  }
}

/** Throws InputError MATHS_REFERENCE for a reference that no answer could equal: empty, or too long. */
export function checkMathsReference(reference: string): void {
  if (reference.trim() !== "" && reference.length <= MAX_MATHS_LENGTH) return;
  throw new InputError(
    "MATHS_REFERENCE",
    `[maths] expected a reference of 1 to ${MAX_MATHS_LENGTH} characters, got ${reference.trim() === "" ? "none" : reference.length}. ` +
      "Give the final answer alone, not the solution.",
  );
}

/** Equal but for layout; words also but for case. */
function isSameText(reference: MathsReading, answer: MathsReading): boolean {
  if (reference.flat === answer.flat) return true;
  const hasWords = reference.form?.kind === "words" || answer.form?.kind === "words";
  return hasWords && wordsOf(reference.flat) === wordsOf(answer.flat);
}

function compareReadings(reference: MathsReading, answer: MathsReading): Comparison {
  if (answer.form === null) return "unreadable answer";
  return reference.form === null ? "wrong form" : compare(reference.form, answer.form);
}

/** 1,234 may be meant as two numbers: where the other side is a collection, both are read that way too. */
function compareAsLists(reference: string, answer: string, fault: Comparison): Comparison {
  if (!reference.includes(",") && !answer.includes(",")) return fault;
  const [wanted, given] = [reference, answer].map((text) => readMathsAnswer(text, { plainComma: "separator" }));
  return compareReadings(wanted!, given!) === null ? null : fault;
}

const isCollection = ({ form }: MathsReading): boolean => form?.kind === "collection";

/**
 * Grades a final answer (see `extractMathsAnswer`; null for none) against a reference, both LaTeX or plain maths. The answer may be any
 * text: it never throws for one, and an answer that is too long, nested too deep or too large to compute is unreadable. Throws InputError
 * MATHS_REFERENCE for an empty or too long reference.
 *
 * Equal are:
 * - values: rational ones exactly; with roots, pi, e, i or functions within 1e-13 of the size of what was computed; formulas at four fixed
 *   points, all letters positive. A rounded decimal does not equal a fraction or a root.
 * - a percent sign on one side only: 50% equals both 1/2 and 50. On both sides the values must agree.
 * - a missing unit, or one that is not in the table; two known units must be the same. Money and degree signs do not count.
 * - x = 5, f(x) = 5 and 5, either way round; equations and inequalities that are a constant multiple of each other; x > 5 and (5, \infty).
 * - lists, sets and unions in any order, \pm as two values; tuples, intervals and matrices in order, with the same brackets.
 * - a number without base where the reference has one: its digits count. Another base is the wrong form.
 * - 5 million and 5000000; what stands before a sign of rounding counts, as in 22/7 \approx 3.14.
 * - words but for case, blanks and full stops; a choice with or without brackets.
 * - any two texts that differ in layout only.
 */
export function gradeMaths(answer: string | null, reference: string): MathsGrade {
  checkMathsReference(reference);
  if (answer === null || answer.trim() === "") return { correct: false, reason: "no answer" };
  const [wanted, given] = [readMathsAnswer(reference), readMathsAnswer(answer)];
  const read = compareReadings(wanted, given);
  const isMixed = read !== null && isCollection(wanted) !== isCollection(given);
  const fault = isMixed ? compareAsLists(reference, answer, read) : read;
  return fault === null || isSameText(wanted, given) ? CORRECT : { correct: false, reason: fault };
}
