// Two kinds of answers that need more than one look: relations (equations, inequalities, membership) and numbers in a base.

import type { MathsExpression } from "./expression.js";
import type { Based, Form, Relation, Sequence } from "./form.js";
import { rational } from "./rational.js";
import { isSymbol, splitAt } from "./split.js";
import type { Token } from "./tokens.js";

const SIGNS: ReadonlySet<string> = new Set(["=", "approx", "!=", "<", "<=", ">", ">=", "in"]);
const MIRRORED: Readonly<Record<string, "<" | "<=">> = { ">": "<", ">=": "<=" };
const MAX_BASE = 36;
const INFINITY: MathsExpression = { op: "infinity" };

const isSign = ({ kind, text }: Token): boolean => kind === "symbol" && SIGNS.has(text);

type ReadSide = (tokens: readonly Token[]) => Form | null;

const isLetter = (form: Form | null): boolean => form?.kind === "scalar" && form.expression.op === "name";

/** One letter, a letter before brackets, capitals that name a thing (AB, P(A | B)), words: what stands left of a result. */
function isName(tokens: readonly Token[]): boolean {
  const [first, second] = tokens;
  if (first === undefined) return false;
  if (first.kind === "text") return true;
  const length = splitAt(tokens, ({ kind, text }) => kind === "symbol" && "+-*/^".includes(text)).parts.length;
  if (first.kind !== "name" || length > 1) return false;
  if (tokens.length === 1 || isSymbol(second, "(") || isSymbol(second, "_")) return true;
  return tokens.every(({ kind, text }) => kind === "name" && text === text.toUpperCase());
}

const infinite = (sign: -1 | 1): Form => ({
  kind: "scalar",
  expression: sign > 0 ? INFINITY : { op: "negate", of: INFINITY },
  values: [null],
  infinite: sign,
  percent: null,
  unit: null,
  digits: null,
});

function interval(low: Form, lowSign: string, high: Form, highSign: string): Sequence {
  return {
    kind: "sequence",
    open: lowSign === "<=" ? "[" : "(",
    close: highSign === "<=" ? "]" : ")",
    items: [low, high],
  };
}

const isConstant = (form: Form): boolean => form.kind === "scalar" && form.values.length === 1;

/** Sides that rise from left to right: an interval where one letter is bounded by constants, else a relation of two sides. */
function readInequality(sides: readonly (Form | null)[], signs: readonly string[]): Form | null {
  const [low, middle, high] = sides;
  if (low == null || middle == null) return null;
  if (sides.length === 3) {
    return high != null && isLetter(middle) ? interval(low, signs[0]!, high, signs[1]!) : null;
  }
  const sign = signs[0] as "<" | "<=";
  if (sides.length !== 2) return null;
  if (isLetter(middle) && isConstant(low)) return interval(low, sign, infinite(1), "<");
  if (isLetter(low) && isConstant(middle)) return interval(infinite(-1), "<", middle, sign);
  return relation(sign, low, middle, null);
}

function relation(sign: Relation["sign"], left: Form | null, right: Form, named: Relation["named"]): Relation {
  const difference: MathsExpression | null =
    left?.kind === "scalar" && right.kind === "scalar"
      ? { op: "-", left: left.expression, right: right.expression }
      : null;
  return { kind: "relation", sign, left, right, named, difference };
}

/** A chain a = b = c counts as a = c. */
function readEquation(sides: readonly (readonly Token[])[], sign: "=" | "!=", read: ReadSide): Form | null {
  const [first, last] = [sides[0]!, sides.at(-1)!];
  const right = read(last);
  if (right === null) return null;
  const left = read(first);
  const named = isName(first) ? "left" : isName(last) ? "right" : null;
  return left === null && named !== "left" ? null : relation(sign, left, right, named);
}

/** What stands before the first sign of rounding counts, unless it only names what follows. */
function readRounded(sides: readonly (readonly Token[])[], signs: readonly string[], read: ReadSide): Form | null {
  const rounded = signs.indexOf("approx");
  if (signs.slice(0, rounded).some((sign) => sign !== "=")) return null;
  if (rounded > 0) return readEquation(sides.slice(0, rounded + 1), "=", read);
  return isName(sides[0]!) ? readEquation(sides.slice(0, 2), "=", read) : read(sides[0]!);
}

/** Undefined when there is no sign of relation; null when there is one and it cannot be read. */
export function readRelation(tokens: readonly Token[], read: ReadSide): Form | null | undefined {
  const { parts, separators } = splitAt(tokens, isSign);
  const signs = separators.map(({ text }) => text);
  const [first] = signs;
  if (first === undefined) return undefined;
  if (signs.includes("approx")) return readRounded(parts, signs, read);
  if (signs.every((sign) => sign === "=")) return readEquation(parts, "=", read);
  if (signs.length === 1 && first === "!=") return readEquation(parts, "!=", read);
  if (signs.length === 1 && first === "in") return isName(parts[0]!) ? read(parts[1]!) : null;
  if (signs.length > 2) return null;
  const sides = parts.map(read);
  if (signs.every((sign) => sign === "<" || sign === "<=")) return readInequality(sides, signs);
  const mirrored = signs.map((sign) => MIRRORED[sign]).filter((sign) => sign !== undefined);
  return mirrored.length === signs.length ? readInequality(sides.reverse(), mirrored.reverse()) : null;
}

/** The number in a subscript that ends the tokens, or null. */
function subscript(tokens: readonly Token[]): number | null {
  const inner = isSymbol(tokens[0], "{") && isSymbol(tokens.at(-1), "}") ? tokens.slice(1, -1) : tokens;
  const [only] = inner;
  if (inner.length !== 1 || only === undefined) return null;
  return only.kind === "number" && /^\d{1,2}$/.test(only.text) ? Number(only.text) : null;
}

/** Digits 0-9 and A-Z, one of them 0-9 at least, with a subscript that is a base in which they can stand. */
export function readBased(tokens: readonly Token[]): Based | null {
  const { parts } = splitAt(tokens, (token) => isSymbol(token, "_"));
  const [number, below] = parts;
  if (parts.length !== 2 || number === undefined || below === undefined) return null;
  const base = subscript(below);
  const isDigits = number.every(({ kind, text }) => kind === "number" || (kind === "name" && text.length === 1));
  if (base === null || base < 2 || base > MAX_BASE || !isDigits || !number.some(({ kind }) => kind === "number"))
    return null;
  const digits = number
    .map(({ text }) => text)
    .join("")
    .toUpperCase();
  const value = wholeIn(digits, base);
  return value === null ? null : { kind: "based", digits, base, values: [{ exact: value }] };
}

function wholeIn(digits: string, base: number) {
  let value = 0n;
  for (const character of digits) {
    const digit = Number.parseInt(character, MAX_BASE);
    if (!(digit < base)) return null;
    value = value * BigInt(base) + BigInt(digit);
  }
  return rational(value);
}
