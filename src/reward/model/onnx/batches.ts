// Sequences of unlike lengths to padded batches: neighbours in length go together, so that little is computed on padding. A function of the
// lengths alone, so that the same samples give the same batches. Pure.

/** Share of a batch's tokens that may be padding. */
const MOST_PADDING = 0.2;

export interface BatchRules {
  /** Tokens of a batch at most, padding counted; a longer sequence goes alone. */
  readonly tokens: number;
  /** False where a graph cannot be told what is padding: sequences of one length only. */
  readonly pads: boolean;
}

/** Places of the sequences of each batch, the longest batches first. */
export function lengthBatches(
  lengths: readonly number[],
  { tokens, pads }: BatchRules,
): readonly (readonly number[])[] {
  const order = [...lengths.keys()].sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const least = pads ? 1 - MOST_PADDING : 1;
  const batches: number[][] = [];
  let longest = 0;
  for (const place of order) {
    const batch = batches.at(-1);
    const fits = batch !== undefined && (batch.length + 1) * longest <= tokens && lengths[place]! >= least * longest;
    if (fits) batch.push(place);
    else {
      batches.push([place]);
      longest = lengths[place]!;
    }
  }
  return batches;
}
