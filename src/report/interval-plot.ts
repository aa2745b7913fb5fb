// Means with their intervals as a drawing: a line a run, a dot on it, and a line across that says where neither side is ahead. Pure.

export interface IntervalPlot {
  readonly title: string;
  /** Ends of the axis. */
  readonly range: readonly [low: number, high: number];
  /** Where neither side is ahead. */
  readonly even: number;
  /** One a run; null where the run has none. */
  readonly points: readonly ({ readonly mean: number; readonly interval: readonly [number, number] | null } | null)[];
}

const WIDTH = 340;
const SIDE = 24; // for labels of runs
const ROW = 26;
const FOOT = 20; // for the axis' numbers
const DOT = 4.5;
const TICKS = 5;

/** SVG; `colours` of CSS by run. */
export function intervalSvg(
  { range: [low, high], even, points }: IntervalPlot,
  labels: readonly string[],
  colours: readonly string[],
): string {
  const x = (value: number) => (SIDE + ((WIDTH - 2 * SIDE) * (value - low)) / (high - low)).toFixed(1);
  const known = points.flatMap((point, r) => (point === null ? [] : [{ ...point, r }]));
  const bottom = ROW * known.length;
  const rows = known.map(({ mean, interval, r }, row) => {
    const y = ROW * (row + 0.5);
    const colour = colours[r % colours.length];
    const line =
      interval === null
        ? ""
        : `<line x1="${x(interval[0])}" x2="${x(interval[1])}" y1="${y}" y2="${y}" stroke="${colour}" stroke-width="2.5"/>`;
    return `<text x="2" y="${y + 4}">${labels[r]}</text>${line}<circle cx="${x(mean)}" cy="${y}" r="${DOT}" fill="${colour}"/>`;
  });
  const ticks = Array.from({ length: TICKS }, (_, i) => low + ((high - low) * i) / (TICKS - 1)).map(
    (value) => `<text x="${x(value)}" y="${bottom + FOOT - 4}" text-anchor="middle">${value}</text>`,
  );
  const across = `<line x1="${x(even)}" x2="${x(even)}" y1="0" y2="${bottom}" stroke="var(--axis)" stroke-dasharray="4 3"/>`;
  return `<svg viewBox="0 0 ${WIDTH} ${bottom + FOOT}" role="img">${across}${rows.join("")}${ticks.join("")}</svg>`;
}
