// What an answer is as a whole: a value, a point, a set, words... Written by read.ts, compared by grade.ts.
import type { MathsExpression } from "./expression.js";
import type { Values } from "./value.js";

/** One value, or one formula. */
export interface Scalar {
  readonly kind: "scalar";
  readonly expression: MathsExpression;
  readonly values: Values;
  /** The sign of an infinite answer; else 0. */
  readonly infinite: -1 | 0 | 1;
  /** The values without the percent sign where the answer has one at its end. */
  readonly percent: Values | null;
  /** As written; null for none. */
  readonly unit: string | null;
  /** The digits of an answer that is a plain whole number >= 0. */
  readonly digits: string | null;
}

/** A whole number written in a base: 1010_2. */
export interface Based {
  readonly kind: "based";
  readonly digits: string; // in capitals
  readonly base: number; // 2..36
  readonly values: Values;
}

/** Ordered things in brackets: a point, a tuple, an interval. */
export interface Sequence {
  readonly kind: "sequence";
  readonly open: "(" | "[";
  readonly close: ")" | "]";
  readonly items: readonly Form[];
}

/** Unordered things: a comma list, a set in braces, a union. */
export interface Collection {
  readonly kind: "collection";
  /** In a set and in a union the same item twice counts once. */
  readonly join: "list" | "set";
  readonly items: readonly Form[];
}

export interface Matrix {
  readonly kind: "matrix";
  readonly shape: string; // rows x columns, and the bars of a determinant
  readonly items: readonly Form[]; // row by row
}

/** a : b : c */
export interface Ratio {
  readonly kind: "ratio";
  /** Each term over the last, without the last. */
  readonly quotients: readonly Values[];
}

export interface Relation {
  readonly kind: "relation";
  readonly sign: "=" | "!=" | "<" | "<=";
  /** Null when only the right side can be read, as in P(A | B) = 1/2. */
  readonly left: Form | null;
  readonly right: Form;
  /** Which side only names the other: x = 5, f(x) = 2x, 5 = x. */
  readonly named: "left" | "right" | null;
  /** left - right, where both are values. */
  readonly difference: MathsExpression | null;
}

export interface Words {
  readonly kind: "words";
  /** Letters and digits only, in small letters. */
  readonly text: string;
}

export type Form = Scalar | Based | Sequence | Collection | Matrix | Ratio | Relation | Words;
