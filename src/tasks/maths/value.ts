// The value of an expression: exact where it is rational, else approximate. Letters stand for fixed pseudo-random positive rationals, so
// two formulas are compared by what they are worth at several points; the letters are taken as positive, so that sqrt(x^2) is x.
import {
  type Approx,
  absoluteApprox,
  addApprox,
  applyApprox,
  divideApprox,
  factorialApprox,
  IMAGINARY_UNIT,
  isClose,
  isDefined,
  multiplyApprox,
  negateApprox,
  powerApprox,
  real,
  rootApprox,
  stepApprox,
} from "./approx.js";
import type { MathsExpression } from "./expression.js";
import {
  add,
  choose,
  decimal,
  divide,
  equals,
  factorial,
  floor,
  isInteger,
  multiply,
  negate,
  power,
  type Rational,
  rational,
  root,
  toNumber,
  ZERO,
} from "./rational.js";

/** Null where the expression has no value: a division by zero, a number too large, a logarithm of 0. */
export type Value = { readonly exact: Rational } | { readonly approx: Approx } | null;

/** Values at the points 0, 1, ...: one for an expression without letters. */
export type Values = readonly Value[];

/** Numerators of the points, from and below: one point in each range, so that |x - 1| is told from x - 1. */
const RANGES = [
  [10n, 90n],
  [110n, 290n],
  [300n, 700n],
  [800n, 2000n],
] as const;
const DENOMINATORS = [97n, 101n, 103n] as const; // the points lie in 0.1 .. 20.6
const POINTS = RANGES.length;
const HUNDRED = decimal("100")!;
const RADIANS_A_DEGREE = real(Math.PI / 180);

/** FNV-1a (Fowler, Noll, Vo) over the name, then the point. */
function hash(name: string, point: number): bigint {
  let state = 0x811c9dc5;
  for (const unit of `${name}#${point}`) state = Math.imul(state ^ unit.charCodeAt(0), 0x01000193) >>> 0;
  return BigInt(state ^ (state >>> 15)) & 0x7fffffffn;
}

const pointCache = new Map<string, readonly Rational[]>();
const MAX_CACHED_NAMES = 1024; // names come from answers: without a bound they would pile up

function pointsOf(name: string): readonly Rational[] {
  const known = pointCache.get(name);
  if (known !== undefined) return known;
  const turn = Number(hash(name, POINTS) % BigInt(POINTS)); // letters do not all grow together
  const points = Array.from({ length: POINTS }, (_, point) => {
    const mixed = hash(name, point);
    const [from, below] = RANGES[(point + turn) % POINTS]!;
    const denominator = DENOMINATORS[Number((mixed >> 8n) % BigInt(DENOMINATORS.length))]!;
    return rational(from + ((mixed >> 12n) % (below - from)), denominator)!;
  });
  if (pointCache.size < MAX_CACHED_NAMES) pointCache.set(name, points);
  return points;
}

type Binary = (a: Rational, b: Rational) => Rational | null;

const EXACT_BINARY: Readonly<Record<"+" | "-" | "*" | "/" | "^" | "choose", Binary>> = {
  "+": add,
  "-": (a, b) => add(a, negate(b)),
  "*": multiply,
  "/": divide,
  "^": power,
  choose,
};

type Single = (a: Rational) => Rational | null;

const EXACT_SINGLE: Readonly<
  Record<"negate" | "degrees" | "percent" | "factorial" | "abs" | "floor" | "ceil", Single>
> = {
  negate,
  degrees: (a) => a,
  percent: (a) => divide(a, HUNDRED),
  factorial,
  abs: (a) => (a.numerator < 0n ? negate(a) : a),
  floor,
  ceil: (a) => negate(floor(negate(a))),
};

/** Null where the value is not rational, or not seen to be, or too large. */
function exactValue(expression: MathsExpression, point: number): Rational | null {
  switch (expression.op) {
    case "number":
      return expression.value;
    case "name":
      return pointsOf(expression.name)[point]!;
    case "constant":
    case "infinity":
    case "call":
    case "log":
      return null;
    case "root": {
      const index = exactValue(expression.index, point);
      const of = index === null || !isInteger(index) ? null : exactValue(expression.of, point);
      return of === null || index === null ? null : root(of, index.numerator);
    }
    case "+":
    case "-":
    case "*":
    case "/":
    case "^":
    case "choose": {
      const left = exactValue(expression.left, point);
      const right = left === null ? null : exactValue(expression.right, point);
      return left === null || right === null ? null : EXACT_BINARY[expression.op](left, right);
    }
    default: {
      const of = exactValue(expression.of, point);
      return of === null ? null : EXACT_SINGLE[expression.op](of);
    }
  }
}

type ApproxBinary = (a: Approx, b: Approx) => Approx;

const APPROX_BINARY: Readonly<Record<"+" | "-" | "*" | "/" | "^" | "choose", ApproxBinary>> = {
  "+": addApprox,
  "-": (a, b) => addApprox(a, negateApprox(b)),
  "*": multiplyApprox,
  "/": divideApprox,
  "^": powerApprox,
  choose: (a, b) => {
    const others = multiplyApprox(factorialApprox(b), factorialApprox(addApprox(a, negateApprox(b))));
    return divideApprox(factorialApprox(a), others);
  },
};

type ApproxSingle = (a: Approx) => Approx;

const APPROX_SINGLE: Readonly<Record<keyof typeof EXACT_SINGLE, ApproxSingle>> = {
  negate: negateApprox,
  degrees: (a) => a,
  percent: (a) => divideApprox(a, real(100)),
  factorial: factorialApprox,
  abs: absoluteApprox,
  floor: (a) => stepApprox(a, Math.floor),
  ceil: (a) => stepApprox(a, Math.ceil),
};

const CONSTANTS = { pi: real(Math.PI), e: real(Math.E), i: IMAGINARY_UNIT } as const;

/** A degree sign counts as pi / 180 inside a function, and as nothing outside of one. */
function approxValue(expression: MathsExpression, point: number, inFunction: boolean): Approx {
  switch (expression.op) {
    case "number":
      return real(toNumber(expression.value));
    case "name":
      return real(toNumber(pointsOf(expression.name)[point]!));
    case "constant":
      return CONSTANTS[expression.name];
    case "infinity":
      return real(Number.POSITIVE_INFINITY);
    case "call":
      return applyApprox(expression.name, approxValue(expression.of, point, true));
    case "log": {
      const of = applyApprox("ln", approxValue(expression.of, point, inFunction));
      return divideApprox(of, applyApprox("ln", approxValue(expression.base, point, inFunction)));
    }
    case "root": {
      const of = approxValue(expression.of, point, inFunction);
      return rootApprox(of, approxValue(expression.index, point, inFunction));
    }
    case "+":
    case "-":
    case "*":
    case "/":
    case "^":
    case "choose": {
      const left = approxValue(expression.left, point, inFunction);
      return APPROX_BINARY[expression.op](left, approxValue(expression.right, point, inFunction));
    }
    default: {
      const of = approxValue(expression.of, point, inFunction);
      if (expression.op === "degrees" && inFunction) return multiplyApprox(of, RADIANS_A_DEGREE);
      return APPROX_SINGLE[expression.op](of);
    }
  }
}

function valueAt(expression: MathsExpression, point: number): Value {
  const exact = exactValue(expression, point);
  if (exact !== null) return { exact };
  const approx = approxValue(expression, point, false);
  return isDefined(approx) ? { approx } : null;
}

function hasNames(expression: MathsExpression): boolean {
  if (expression.op === "name") return true;
  if ("left" in expression) return hasNames(expression.left) || hasNames(expression.right);
  if (expression.op === "root") return hasNames(expression.of) || hasNames(expression.index);
  if (expression.op === "log") return hasNames(expression.of) || hasNames(expression.base);
  return "of" in expression && hasNames(expression.of);
}

export function valuesOf(expression: MathsExpression): Values {
  return Array.from({ length: hasNames(expression) ? POINTS : 1 }, (_, point) => valueAt(expression, point));
}

export function isAnywhereDefined(values: Values): boolean {
  return values.some((value) => value !== null);
}

function toApprox(value: NonNullable<Value>): Approx {
  return "exact" in value ? real(toNumber(value.exact)) : value.approx;
}

function sameValue(a: NonNullable<Value>, b: NonNullable<Value>): boolean {
  return "exact" in a && "exact" in b ? equals(a.exact, b.exact) : isClose(toApprox(a), toApprox(b));
}

/** Whether two expressions agree at each point where both have a value, and there is such a point. */
export function sameValues(a: Values, b: Values): boolean {
  const [longer, shorter] = a.length >= b.length ? [a, b] : [b, a];
  const pairs = longer.map((value, point) => [value, shorter[shorter.length === 1 ? 0 : point] ?? null] as const);
  const defined = pairs.filter(([one, other]) => one !== null && other !== null);
  return defined.length > 0 && defined.every(([one, other]) => sameValue(one!, other!));
}

export function isZero(values: Values): boolean {
  return sameValues(values, [{ exact: ZERO }]);
}

/** The sign of a value that is the same at every point, 0 for a value that varies, is 0, or is not real. */
export function constantSign(values: Values): -1 | 0 | 1 {
  const [first, ...others] = values.filter((value) => value !== null);
  if (first === undefined || !others.every((value) => sameValue(first, value))) return 0;
  if (isZero([first])) return 0;
  const { re, im } = toApprox(first);
  return im !== 0 ? 0 : re < 0 ? -1 : 1;
}
