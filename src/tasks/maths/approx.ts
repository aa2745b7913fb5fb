// Complex numbers in double precision that carry how far rounding may have moved them, so that one rule of comparison holds for large
// values, small ones, and what is left when large ones cancel. Trigonometry takes real arguments only.

export interface Approx {
  readonly re: number;
  readonly im: number;
  /** Absolute error in units of the rounding unit, estimated step by step; at least |value|. */
  readonly slack: number;
}

/** Two values are equal when they are closer than this times the sum of their slacks. */
export const TOLERANCE = 1e-13;

const UNDEFINED: Approx = { re: Number.NaN, im: Number.NaN, slack: Number.NaN };
const LARGEST_FACTORIAL = 170; // 171! is above the largest double

export const size = ({ re, im }: Approx): number => (im === 0 ? Math.abs(re) : Math.hypot(re, im));

function made(re: number, im: number, inherited: number): Approx {
  return { re, im, slack: inherited + (im === 0 ? Math.abs(re) : Math.hypot(re, im)) };
}

export const real = (value: number): Approx => made(value, 0, 0);
export const IMAGINARY_UNIT: Approx = made(0, 1, 0);

export function isDefined({ re, im }: Approx): boolean {
  return Number.isFinite(re) && Number.isFinite(im);
}

export function isClose(a: Approx, b: Approx): boolean {
  return Math.hypot(a.re - b.re, a.im - b.im) <= TOLERANCE * (a.slack + b.slack);
}

export function addApprox(a: Approx, b: Approx): Approx {
  return made(a.re + b.re, a.im + b.im, a.slack + b.slack);
}

export function negateApprox({ re, im, slack }: Approx): Approx {
  return { re: -re, im: 0 - im, slack }; // no -0: the root of -4 is 2i, not -2i
}

export function multiplyApprox(a: Approx, b: Approx): Approx {
  const slack = size(a) * b.slack + size(b) * a.slack;
  return made(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re, slack);
}

export function divideApprox(a: Approx, b: Approx): Approx {
  const square = b.re * b.re + b.im * b.im;
  const re = (a.re * b.re + a.im * b.im) / square;
  const im = (a.im * b.re - a.re * b.im) / square;
  const length = Math.sqrt(square);
  return made(re, im, (a.slack + Math.hypot(re, im) * b.slack) / length);
}

function logarithm(a: Approx): Approx {
  return made(Math.log(size(a)), Math.atan2(a.im, a.re), a.slack / size(a));
}

function exponential(a: Approx): Approx {
  const length = Math.exp(a.re);
  return made(length * Math.cos(a.im), a.im === 0 ? 0 : length * Math.sin(a.im), length * a.slack);
}

/** The principal value. */
export function powerApprox(base: Approx, exponent: Approx): Approx {
  if (size(base) === 0) return size(exponent) === 0 ? real(1) : exponent.re > 0 ? real(0) : UNDEFINED;
  if (base.im !== 0 || exponent.im !== 0 || (base.re < 0 && !Number.isInteger(exponent.re))) {
    return exponential(multiplyApprox(exponent, logarithm(base)));
  }
  const value = base.re ** exponent.re;
  const relative = (Math.abs(exponent.re) * base.slack) / size(base) + Math.abs(Math.log(size(base))) * exponent.slack;
  return made(value, 0, Math.abs(value) * relative);
}

/** The real root of a negative number where the index is odd, as in a cube root of -8; else the principal root. */
export function rootApprox(value: Approx, index: Approx): Approx {
  const isOdd = index.im === 0 && Math.abs(index.re % 2) === 1;
  if (value.im === 0 && value.re < 0 && isOdd) return negateApprox(rootApprox(negateApprox(value), index));
  return powerApprox(value, divideApprox(real(1), index));
}

export function absoluteApprox(a: Approx): Approx {
  return made(size(a), 0, a.slack);
}

/** Steps such as floor: only where no rounding could have crossed a step. */
export function stepApprox(a: Approx, step: (value: number) => number): Approx {
  const reach = TOLERANCE * a.slack;
  const value = step(a.re);
  return a.im === 0 && step(a.re - reach) === value && step(a.re + reach) === value ? real(value) : UNDEFINED;
}

export function factorialApprox(a: Approx): Approx {
  if (a.im !== 0 || !Number.isInteger(a.re) || a.re < 0 || a.re > LARGEST_FACTORIAL) return UNDEFINED;
  let product = 1;
  for (let factor = 2; factor <= a.re; factor++) product *= factor;
  return real(product);
}

/** A real function and the size of its slope at x with value y. */
interface RealFunction {
  readonly at: (x: number) => number;
  readonly slope: (x: number, y: number) => number;
}

const REAL_FUNCTIONS: Readonly<Record<string, RealFunction>> = {
  sin: { at: Math.sin, slope: () => 1 },
  cos: { at: Math.cos, slope: () => 1 },
  tan: { at: Math.tan, slope: (_, y) => 1 + y * y },
  cot: { at: (x) => 1 / Math.tan(x), slope: (_, y) => 1 + y * y },
  sec: { at: (x) => 1 / Math.cos(x), slope: (_, y) => y * y },
  csc: { at: (x) => 1 / Math.sin(x), slope: (_, y) => y * y },
  arcsin: { at: Math.asin, slope: (x) => 1 / Math.sqrt(1 - x * x) },
  arccos: { at: Math.acos, slope: (x) => 1 / Math.sqrt(1 - x * x) },
  arctan: { at: Math.atan, slope: () => 1 },
  sinh: { at: Math.sinh, slope: (x) => Math.cosh(x) },
  cosh: { at: Math.cosh, slope: (x) => Math.cosh(x) },
  tanh: { at: Math.tanh, slope: () => 1 },
};

/** The value of a named function; undefined (NaN) for an unknown name and where the function is not defined. */
export function applyApprox(name: string, a: Approx): Approx {
  if (name === "ln") return size(a) === 0 ? UNDEFINED : logarithm(a);
  if (name === "log") return applyApprox("lg", a);
  if (name === "lg") return divideApprox(applyApprox("ln", a), real(Math.LN10));
  if (name === "exp") return exponential(a);
  const known = REAL_FUNCTIONS[name];
  if (known === undefined || a.im !== 0) return UNDEFINED;
  const value = known.at(a.re);
  const slope = known.slope(a.re, value);
  return made(value, 0, Number.isFinite(slope) ? slope * a.slack : a.slack);
}
