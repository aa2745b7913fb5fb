// A share and its 95% interval. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

/** A count of successes with the Wilson 95% interval of their share; plain JSON. */
export interface Share {
  readonly n: number;
  readonly correct: number;
  /** correct / n. */
  readonly rate: number;
  readonly interval: readonly [low: number, high: number];
}

const z95 = 1.959963984540054; // the 97.5% point of the normal distribution

/** Share of `correct` in `n` > 0 trials. */
export function wilson(correct: number, n: number): Share {
  const rate = correct / n;
  const shrink = 1 + (z95 * z95) / n;
  const center = (rate + (z95 * z95) / (2 * n)) / shrink;
  const half = (z95 / shrink) * Math.sqrt((rate * (1 - rate)) / n + (z95 * z95) / (4 * n * n));
  return { n, correct, rate, interval: [Math.max(0, center - half), Math.min(1, center + half)] };
}

/** "73.8 [71.0, 76.4]": percent with its interval. */
export function showShare(share: Share): string {
  const percent = (x: number) => (100 * x).toFixed(1);
  return `${percent(share.rate)} [${percent(share.interval[0])}, ${percent(share.interval[1])}]`;
}
