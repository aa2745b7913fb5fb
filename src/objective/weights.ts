// What each token counts in a step's loss. The normalisers are those of the whole step, so they are known before it is cut into
// micro-batches and the update does not depend on the cut.
import { InputError } from "../errors.js";

/**
 * "token-mean": every token alike (DAPO, Yu et al. 2025). "sequence-mean": every sequence alike, its tokens share (GRPO, Shao et al.
 * 2024). "constant": token sums divided by a fixed length and the number of sequences (Dr. GRPO, Liu et al. 2025). Sequences and tokens
 * are those given: the policy loop gives the ones that it trains on, so groups that it drops do not make the step smaller.
 */
export type Aggregation = "token-mean" | "sequence-mean" | "constant";

/** Weights [S][C] of the tokens of a step's sequences from their masks [S][C], 1 where a token counts. */
export function tokenWeights(
  masks: readonly ArrayLike<number>[],
  aggregation: Aggregation,
  constantLength: number,
): Float32Array[] {
  if (aggregation === "constant" && !(constantLength > 0)) {
    throw new InputError(
      "CONSTANT_LENGTH",
      `[tokenWeights] expected constantLength > 0 for the aggregation "constant", got ${constantLength}`,
    );
  }
  const counts = masks.map(countTokens); // [S]
  const tokens = counts.reduce((sum, count) => sum + count, 0);
  const sequences = counts.filter((count) => count > 0).length;
  const share = {
    "token-mean": () => tokens,
    "sequence-mean": (count: number) => count * sequences,
    constant: () => constantLength * sequences,
  };
  return masks.map((mask, s) => {
    const weight = 1 / share[aggregation](counts[s]!);
    const weights = new Float32Array(mask.length);
    for (let t = 0; t < mask.length; t++) if (mask[t] !== 0) weights[t] = weight;
    return weights;
  });
}

function countTokens(mask: ArrayLike<number>): number {
  let count = 0;
  for (let t = 0; t < mask.length; t++) if (mask[t] !== 0) count++;
  return count;
}
