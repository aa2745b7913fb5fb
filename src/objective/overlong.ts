// What is done about completions that ran out of room. Yu et al., "DAPO", 2025, section 3.4: a soft penalty on the reward near the limit,
// or no loss on what was cut off. Both pure; which completions were cut off is the caller's knowledge.
import { checkNotNegative, refuse } from "./groups.js";

/** Tokens. */
export interface OverlongRule {
  /** L_max: a longer completion has the full penalty of -1. */
  readonly maxLength: number;
  /** L_cache: over the last this many tokens before maxLength the penalty grows from 0 to -1; 0 makes it a step. */
  readonly cacheLength: number;
}

/**
 * What is added to the reward of a completion of `length` tokens: 0 to -1. DAPO, eq. 13; the paper has maxLength 20480, cacheLength 4096.
 * @throws InputError BAD_ARGUMENT for a negative number, or a cacheLength above maxLength
 */
export function overlongPenalty(length: number, { maxLength, cacheLength }: OverlongRule): number {
  checkNotNegative("overlongPenalty length", length, "give a count of tokens");
  checkNotNegative("overlongPenalty maxLength", maxLength, "give a count of tokens");
  if (!(cacheLength >= 0 && cacheLength <= maxLength))
    refuse(
      "overlongPenalty cacheLength",
      `a number in 0 .. ${maxLength}`,
      cacheLength,
      "it is the last part of maxLength",
    );
  const free = maxLength - cacheLength;
  if (length <= free) return 0;
  return length > maxLength ? -1 : (free - length) / cacheLength;
}

/**
 * Masks [S][C] with zeros throughout the truncated completions, so that `tokenWeights` gives their tokens no weight and does not count them
 * or their sequence. Their rewards stay in the baseline: compute advantages from all rewards. (To leave them out of the baseline as well,
 * make their reward NaN.) TRL's `mask_truncated_completions` is the same for rewards, masks and counts of tokens, but its losses "grpo" and
 * "dr_grpo" divide by all sequences, the masked ones too; with many truncated its steps are the smaller ones. It takes for truncated what
 * does not end in an end token; the caller here knows why a completion ended.
 */
export function maskTruncated(
  masks: readonly Uint8Array[], // [S][C]
  truncated: readonly boolean[], // [S]
): Uint8Array[] {
  if (truncated.length !== masks.length)
    refuse("maskTruncated truncated", `${masks.length} flags`, truncated.length, "give one for each mask");
  return masks.map((mask, s) => (truncated[s] ? new Uint8Array(mask.length) : mask));
}
