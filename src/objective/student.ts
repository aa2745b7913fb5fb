// The point of Student's t-distribution that 95% intervals of means are made with.

const z95 = 1.959963984540054; // of the normal distribution, to which it comes down
const SERIES = 200; // degrees of freedom above which the expansion is good to 1e-9
const HALVINGS = 60;

/** t with P(|T| < t) = 0.95 for whole degrees of freedom >= 1. Abramowitz and Stegun, "Handbook of mathematical functions", 26.7.3 to 26.7.5. */
export function student95(freedom: number): number {
  if (freedom > SERIES) return expansion(freedom);
  let [low, high] = [0, Math.PI / 2]; // of the angle whose tangent is t / sqrt(freedom)
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    if (within(middle, freedom) < 0.95) low = middle;
    else high = middle;
  }
  return Math.sqrt(freedom) * Math.tan(low);
}

/** P(|T| < sqrt(freedom) tan(angle)): a finite sum over powers of the cosine, of another form for odd and even degrees. */
function within(angle: number, freedom: number): number {
  const [sine, cosine] = [Math.sin(angle), Math.cos(angle)];
  const isOdd = freedom % 2 === 1;
  let term = isOdd ? cosine : 1;
  let sum = freedom === 1 ? 0 : term;
  for (let power = isOdd ? 3 : 2; power <= freedom - 2; power += 2) {
    term *= (cosine * cosine * (power - 1)) / power;
    sum += term;
  }
  return isOdd ? (2 / Math.PI) * (angle + sine * sum) : sine * sum;
}

/** In powers of 1 / freedom. */
function expansion(freedom: number): number {
  const [z, z3, z5, z7] = [1, 3, 5, 7].map((power) => z95 ** power) as [number, number, number, number];
  return (
    z +
    (z3 + z) / (4 * freedom) +
    (5 * z5 + 16 * z3 + 3 * z) / (96 * freedom ** 2) +
    (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * freedom ** 3)
  );
}
