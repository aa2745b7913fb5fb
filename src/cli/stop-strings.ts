// Stop strings: text ends before the first of them, ids end with the token that completes it. Sampled ids are never made into other
// ids; an id whose text is trimmed in part stays.

export interface Cut {
  /** Tokens that are kept. */
  readonly tokens: number;
  readonly text: string;
}

/**
 * Where the first stop string to appear ends a sample; null when none does.
 * @param textOf text of the first n ids; the text of fewer ids is the beginning of the text of more
 * @param count ids in the sample
 */
export function cutAtStop(textOf: (n: number) => string, count: number, stops: readonly string[]): Cut | null {
  const hasStop = (n: number) => stops.some((stop) => textOf(n).includes(stop));
  if (stops.length === 0 || !hasStop(count)) return null;
  let [without, having] = [0, count]; // textOf(having) holds a stop string, textOf(without) does not
  while (having - without > 1) {
    const middle = (without + having) >> 1;
    if (hasStop(middle)) having = middle;
    else without = middle;
  }
  const text = textOf(having);
  const places = stops.map((stop) => text.indexOf(stop)).filter((place) => place >= 0);
  return { tokens: having, text: text.slice(0, Math.min(...places)) };
}
