// A series of any length in bounded memory: neighbours are averaged once there are many. Leaves out how it is drawn.

export interface Curve {
  readonly first: number;
  readonly last: number;
  /** Means of `stride` values each, oldest first; the newest is of `filled` values so far. */
  readonly points: readonly number[];
  readonly stride: number;
  readonly filled: number;
}

const mostPoints = 128; // even, and more than a terminal draws

/** The curve with one more value; a value that is not finite is left out. */
export function extend(curve: Curve | null, value: number): Curve | null {
  if (!Number.isFinite(value)) return curve;
  if (curve === null) return { first: value, last: value, points: [value], stride: 1, filled: 1 };
  const { first, points, stride, filled } = curve;
  const newest = points.at(-1) ?? value;
  if (filled < stride) {
    const mean = newest + (value - newest) / (filled + 1);
    return { first, last: value, points: [...points.slice(0, -1), mean], stride, filled: filled + 1 };
  }
  if (points.length < mostPoints) return { ...curve, last: value, points: [...points, value], filled: 1 };
  return { first, last: value, points: [...halve(points), value], stride: 2 * stride, filled: 1 };
}

function halve(points: readonly number[]): readonly number[] {
  return Array.from({ length: points.length / 2 }, (_, i) => ((points[2 * i] ?? 0) + (points[2 * i + 1] ?? 0)) / 2);
}
