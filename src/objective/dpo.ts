// The DPO loss of pairs whose log-probs are known, for pairs that are measured and not trained on. The engine has the loss that is trained.
import { sameLength } from "./kl.js";

export interface DpoRule {
  readonly beta: number;
  readonly labelSmoothing: number;
}

/** Means over pairs. */
export interface PairFigures {
  readonly loss: number;
  readonly margin: number;
  /** Share of pairs whose chosen reward is the larger one. */
  readonly accuracy: number;
}

/**
 * Figures of pairs from log-ratios log pi - log ref, each summed over a completion (Rafailov et al. 2023, eq. 7). NaN for no pairs.
 * @throws InputError BAD_ARGUMENT when lengths disagree
 */
export function pairFigures(
  chosen: ArrayLike<number>, // [P]
  rejected: ArrayLike<number>, // [P]
  { beta, labelSmoothing }: DpoRule,
): PairFigures {
  sameLength("pairFigures rejected", rejected, chosen);
  const margins = Array.from(chosen, (ratio, p) => beta * (ratio - rejected[p]!));
  const mean = (value: (margin: number) => number) => margins.reduce((sum, m) => sum + value(m), 0) / margins.length;
  return {
    loss: mean((m) => (1 - labelSmoothing) * softplus(-m) + labelSmoothing * softplus(m)),
    margin: mean((m) => m),
    accuracy: mean((m) => (m > 0 ? 1 : 0)),
  };
}

/** log(1 + e^x), large x included. */
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
