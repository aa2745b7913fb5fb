// Which tokens a policy gradient is restricted to when only uncertain ones are to teach. Wang et al., "Beyond the 80/20 rule", 2025,
// eq. 6: those whose entropy is in the top share of the step's. Pure; the threshold is the step's own, so no cut changes it.
import { refuse } from "./groups.js";

export interface EntropyMask {
  /** Entropy from which on a token counts, nats; NaN where no token does. */
  readonly threshold: number;
  readonly mask: Uint8Array; // [T], 1 where the token counts
}

/**
 * Tokens whose entropy is at least the quantile 1 - share of those with a weight, linearly interpolated. TRL: `top_entropy_quantile`.
 * @param entropy [T] nats; tokens without weight may hold anything
 * @param weights [T]
 * @param share in (0, 1]
 * @throws InputError BAD_ARGUMENT when shapes disagree or the share is out of range
 */
export function highEntropyMask(entropy: ArrayLike<number>, weights: ArrayLike<number>, share: number): EntropyMask {
  if (entropy.length !== weights.length)
    refuse("highEntropyMask entropy", `${weights.length} numbers`, entropy.length, "give one for each weight");
  if (!(share > 0 && share <= 1)) refuse("highEntropyMask share", "a number in (0, 1]", share, "0.2 is usual");
  const counted = Float64Array.from(
    Array.from(weights, (_, t) => t).filter((t) => weights[t] !== 0),
    (t) => entropy[t]!,
  ).sort();
  const threshold = quantile(counted, 1 - share);
  const mask = Uint8Array.from(weights, (weight, t) => (weight !== 0 && entropy[t]! >= threshold ? 1 : 0));
  return { threshold, mask };
}

/** Of ascending values, between two of them in proportion; NaN of none. */
function quantile(sorted: Float64Array, q: number): number {
  const place = q * (sorted.length - 1);
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}
