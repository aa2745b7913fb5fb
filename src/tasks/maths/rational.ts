// Exact fractions of bounded size. A result whose numerator or denominator would pass MAX_BITS is null, like a division by zero, so no
// text can make the arithmetic slow. The bound also keeps both parts below the largest double.

/** Lowest terms, denominator > 0. */
export interface Rational {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

export const MAX_BITS = 1000;
const BOUND = 1n << BigInt(MAX_BITS);
const SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const BITS_OF_HEX = 4;

const absolute = (value: bigint): bigint => (value < 0n ? -value : value);

/** Numbers as soon as they fit: several times faster than bigints. */
function greatestCommonDivisor(a: bigint, b: bigint): bigint {
  if (a === 1n || b === 1n) return 1n;
  while (b > SAFE) [a, b] = [b, a % b];
  if (b === 0n) return a;
  let [x, y] = [Number(b), Number(a % b)];
  while (y !== 0) [x, y] = [y, x % y];
  return BigInt(x);
}

/** numerator / denominator in lowest terms; null for a division by zero or a part that is too large. */
export function rational(numerator: bigint, denominator = 1n): Rational | null {
  if (denominator === 0n) return null;
  if (denominator < 0n) return rational(-numerator, -denominator);
  const divisor = denominator === 1n ? 1n : greatestCommonDivisor(absolute(numerator), denominator);
  const reduced =
    divisor === 1n
      ? { numerator, denominator }
      : { numerator: numerator / divisor, denominator: denominator / divisor };
  return bounded(reduced.numerator, reduced.denominator);
}

export const ZERO: Rational = { numerator: 0n, denominator: 1n };
export const ONE: Rational = { numerator: 1n, denominator: 1n };

/** Parts that have no common factor; null when one is too large. */
function bounded(numerator: bigint, denominator: bigint): Rational | null {
  return absolute(numerator) < BOUND && denominator < BOUND ? { numerator, denominator } : null;
}

/** Knuth, The Art of Computer Programming 4.5.1: the divisors are taken of the small parts, before they are multiplied. */
export function add(a: Rational, b: Rational): Rational | null {
  const shared = greatestCommonDivisor(a.denominator, b.denominator);
  const factor = a.denominator / shared;
  const sum = a.numerator * (b.denominator / shared) + b.numerator * factor;
  const divisor = shared === 1n ? 1n : greatestCommonDivisor(absolute(sum), shared);
  return bounded(sum / divisor, factor * (b.denominator / divisor));
}

export function negate({ numerator, denominator }: Rational): Rational {
  return { numerator: -numerator, denominator };
}

export function multiply(a: Rational, b: Rational): Rational | null {
  const one = greatestCommonDivisor(absolute(a.numerator), b.denominator);
  const other = greatestCommonDivisor(absolute(b.numerator), a.denominator);
  return bounded((a.numerator / one) * (b.numerator / other), (a.denominator / other) * (b.denominator / one));
}

/** Null for a division by zero too. */
export function divide(a: Rational, { numerator, denominator }: Rational): Rational | null {
  if (numerator === 0n) return null;
  const sign = numerator < 0n ? -1n : 1n;
  return multiply(a, { numerator: sign * denominator, denominator: sign * numerator });
}

export function equals(a: Rational, b: Rational): boolean {
  return a.numerator === b.numerator && a.denominator === b.denominator;
}

export function isInteger({ denominator }: Rational): boolean {
  return denominator === 1n;
}

export function toNumber({ numerator, denominator }: Rational): number {
  return Number(numerator) / Number(denominator);
}

/** Largest whole number <= value. */
export function floor({ numerator, denominator }: Rational): Rational {
  const quotient = numerator / denominator;
  const isBelow = numerator % denominator < 0n;
  return { numerator: isBelow ? quotient - 1n : quotient, denominator: 1n };
}

/** An upper bound of the bits of a whole number >= 0, within 3. */
function bits(value: bigint): number {
  return value.toString(16).length * BITS_OF_HEX;
}

/** base ** exponent, for an exponent of any size; the bits are bounded before anything is multiplied. */
function wholePower(base: bigint, exponent: bigint): bigint | null {
  if (base === 0n || base === 1n) return exponent === 0n ? 1n : base;
  if (exponent > BigInt(MAX_BITS) || (bits(absolute(base)) - BITS_OF_HEX) * Number(exponent) > MAX_BITS) {
    return base === -1n ? (exponent % 2n === 0n ? 1n : -1n) : null;
  }
  return base ** exponent;
}

/** The whole root of a whole number >= 0 (Newton, from above), or null when there is none. */
function wholeRoot(value: bigint, index: bigint): bigint | null {
  if (value < 2n) return value;
  let guess = 1n << BigInt(Math.ceil(bits(value) / Number(index)));
  for (let next = guess; ; guess = next) {
    next = ((index - 1n) * guess + value / guess ** (index - 1n)) / index;
    if (next >= guess) break;
  }
  return guess ** index === value ? guess : null;
}

/** value ** (1 / index) where that is rational: value >= 0 or an odd index; index 1..MAX_BITS. Null otherwise. */
export function root(value: Rational, index: bigint): Rational | null {
  if (index < 1n || index > BigInt(MAX_BITS)) return null;
  if (value.numerator < 0n) {
    const positive = index % 2n === 1n ? root(negate(value), index) : null;
    return positive === null ? null : negate(positive);
  }
  const numerator = wholeRoot(value.numerator, index);
  const denominator = numerator === null ? null : wholeRoot(value.denominator, index);
  return numerator === null || denominator === null ? null : { numerator, denominator };
}

/** base ** exponent where that is rational (a negative base only with a whole exponent) and not too large; null otherwise. */
export function power(base: Rational, exponent: Rational): Rational | null {
  if (!isInteger(exponent) && base.numerator < 0n) return null;
  const from = isInteger(exponent) ? base : root(base, exponent.denominator);
  if (from === null) return null;
  const times = absolute(exponent.numerator);
  const numerator = wholePower(from.numerator, times);
  const denominator = wholePower(from.denominator, times);
  if (numerator === null || denominator === null) return null;
  return exponent.numerator < 0n ? rational(denominator, numerator) : rational(numerator, denominator);
}

/** 1 * 2 * ... * value; null when it is no whole number >= 0 or the result is too large. */
export function factorial(value: Rational): Rational | null {
  if (!isInteger(value) || value.numerator < 0n || value.numerator > BigInt(MAX_BITS)) return null;
  let product = 1n;
  for (let factor = 2n; factor <= value.numerator && product < BOUND; factor++) product *= factor;
  return rational(product);
}

/** Ways to choose `taken` of `all`; null when they are no whole numbers with 0 <= taken <= all <= MAX_BITS. */
export function choose(all: Rational, taken: Rational): Rational | null {
  const [n, k] = [all.numerator, taken.numerator];
  if (!isInteger(all) || !isInteger(taken) || k < 0n || k > n || n > BigInt(MAX_BITS)) return null;
  let ways = 1n;
  for (let step = 1n; step <= k; step++) ways = (ways * (n - k + step)) / step;
  return rational(ways);
}

/** Digits with an optional point: "1234", "3.5", ".25". `repeating` are digits that go on for ever behind it. */
export function decimal(text: string, repeating = ""): Rational | null {
  const point = text.indexOf(".");
  const digits = point < 0 ? text : text.slice(0, point) + text.slice(point + 1);
  const scale = 10n ** BigInt(point < 0 ? 0 : text.length - point - 1);
  if (repeating === "") return rational(BigInt(digits), scale);
  const nines = 10n ** BigInt(repeating.length) - 1n;
  return rational(BigInt(digits) * nines + BigInt(repeating), scale * nines);
}
