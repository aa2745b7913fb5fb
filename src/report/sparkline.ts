// A series as one line of block characters.

const levels = [..."▁▂▃▄▅▆▇█"];

/**
 * At most `width` characters, newest to the right; a longer series is averaged into equal parts. Values that are not finite are
 * left out. The scale is `range`, or where there is none the series' own, lowest value to highest; a series without spread then
 * lies in the middle.
 */
export function sparkline(
  values: readonly number[],
  width: number,
  range?: readonly [low: number, high: number],
): string {
  const points = shrink(values.filter(Number.isFinite), width);
  const [low, high] = range ?? [Math.min(...points), Math.max(...points)];
  const spread = high - low;
  const level = (value: number) => (spread > 0 ? Math.round(((value - low) / spread) * (levels.length - 1)) : 3);
  return points.map((value) => levels[level(value)]).join("");
}

function shrink(values: readonly number[], width: number): readonly number[] {
  if (width < 1) return [];
  if (values.length <= width) return values;
  return Array.from({ length: width }, (_, i) => {
    const part = values.slice(Math.floor((i * values.length) / width), Math.floor(((i + 1) * values.length) / width));
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}
