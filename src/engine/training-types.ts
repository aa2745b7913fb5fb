// The engine's plain data of training: losses, batches, optimizer steps, and what they say. Suffixes of arrays as in types.ts.
import type { PackedTokens } from "./types.js";

/** Weighted negative log-likelihood: sum_t weight_t * -logp_t. */
export interface SftLoss {
  readonly kind: "sft";
}

/** Whose probability a ratio is of: a token's, or a whole sequence's, length-normalised. */
export type RatioLevel = "token" | "sequence";
export type PolicyObjective = "clip" | "cispo";
export type KlEstimator = "k1" | "k2" | "k3";

/**
 * sum_t weight_t * (-importance_t * surrogate_t + klCoefficient * kl_t - entropyCoefficient * H_t), with the ratio exp(logp - old) of a
 * token (Schulman et al. 2017) or exp(mean(logp - old)) of a sequence, whose gradient goes through all its tokens (GSPO, Zheng et al.
 * 2025, eq. 7). Surrogates: "clip" min(ratio A, clip(ratio) A) (Schulman et al. 2017, eq. 7); "cispo" clip(ratio) A logp, the clipped
 * ratio a constant (MiniMax-M1 2025, eq. 4). KL to the reference from d = ref - logp (Schulman 2020): k1 = -d, whose gradient has no
 * pull to the reference on average; k2 = d^2 / 2; k3 = exp(d) - d - 1.
 */
export interface PolicyLoss {
  readonly kind: "policy";
  readonly temperature: number;
  /** Default "token". */
  readonly ratio?: RatioLevel;
  /** Default "clip". */
  readonly objective?: PolicyObjective;
  readonly clipLow: number;
  readonly clipHigh: number;
  /** Bound of the clip surrogate for negative advantages, > 1; 0 is off (Ye et al. 2020, eq. 5). */
  readonly dualClip: number;
  /** Coefficient of the KL to the reference; 0 needs no reference log-probs. */
  readonly klCoefficient: number;
  /** Default "k3". */
  readonly klEstimator?: KlEstimator;
  /** Bound of |ref - logp| in the KL, beyond which a token has no pull; 0, the default, is off. */
  readonly klMaxLogRatio?: number;
  /** Bound of a token's estimate, likewise. */
  readonly klMax?: number;
  readonly entropyCoefficient: number;
}

/**
 * Direct preference optimisation (Rafailov et al. 2023, eq. 7) of pairs: sequence 2 p is the chosen one of pair p, 2 p + 1 the rejected one.
 * sum_p pairWeight_p * (-(1 - labelSmoothing) log sigmoid(m_p) - labelSmoothing log sigmoid(-m_p)) of the margins
 * m = beta * ((logp_c - ref_c) - (logp_r - ref_r)), log-probs at temperature 1 summed over a completion's tokens. Label smoothing is the
 * share of labels that may be flipped: Mitchell 2023, "A note on DPO with noisy preferences", eq. 3.
 */
export interface DpoLoss {
  readonly kind: "dpo";
  /** How hard the policy is held to the reference. */
  readonly beta: number;
  /** In 0 .. 0.5. Default 0. */
  readonly labelSmoothing?: number;
}

/**
 * Of a critic, a model with a scalar head: sum_t weight_t * max((v_t - R_t)^2, (clip(v_t) - R_t)^2) / 2, where v_t is the value at the token
 * before token t and clip keeps it within `clip` of the value recorded (as PPO's reference code, TRL and verl). Schulman et al. 2017, eq. 9.
 */
export interface ValueLoss {
  readonly kind: "value";
  /** 0 is off. */
  readonly clip: number;
}

/**
 * Of a reward model, a model with a scalar head, on pairs: sequence 2 p is the chosen one of pair p, 2 p + 1 the rejected one.
 * sum_p pairWeight_p * (-log sigmoid(c_p - r_p - margin_p) + centerCoefficient * (c_p + r_p)^2) of their scores, as `rewardScores` gives them
 * (Bradley and Terry 1952; margins: Touvron et al. 2023, "Llama 2", eq. 2; centring: Eisenstein et al. 2023, "Helping or herding?").
 */
export interface BradleyTerryLoss {
  readonly kind: "bradley-terry";
  /** Holds the scores around zero: 0.01, say. Default 0. */
  readonly centerCoefficient?: number;
}

export type LossSpec = SftLoss | PolicyLoss | DpoLoss | ValueLoss | BradleyTerryLoss;

/**
 * Training tokens. weights[i] is what token i counts in the loss, its normaliser included (for a mean over n tokens 1 / n, n over
 * the whole step); 0 leaves the token out. The first token of a sequence has weight 0. For losses of pairs a weight that is not 0 marks a
 * token of a completion, and pairWeights hold the normaliser; "bradley-terry" has no use for them.
 */
export interface TrainBatch extends PackedTokens {
  readonly weights: Float32Array; // [T]
  /** For "policy": advantage of each token. */
  readonly advantages?: Float32Array; // [T]
  /** For "policy": log-probs recorded when the tokens were sampled. */
  readonly oldLogprobs?: Float32Array; // [T]
  /** For "policy" with KL and for "dpo": log-probs under the reference. */
  readonly refLogprobs?: Float32Array; // [T]
  /** For "policy": log-probs that the ratio is to, where they are not those of the policy: a filtered sampler's. Default: oldLogprobs. */
  readonly samplerLogprobs?: Float32Array; // [T]
  /** For "policy": factor of each token's surrogate, such as an importance weight, or 0 to leave it out. Default 1. */
  readonly importance?: Float32Array; // [T]
  /** For "value": what the value at the token before is to be. */
  readonly returns?: Float32Array; // [T]
  /** For "value" with a clip: the value at the token before, as it was recorded. */
  readonly oldValues?: Float32Array; // [T]
  /** For "bradley-terry": by how much each chosen score is to lead. Default 0. */
  readonly margins?: Float32Array; // [S / 2]
  /** For losses of pairs: what each pair counts in the loss, its normaliser included (for a mean over n pairs 1 / n); 0 leaves it out. */
  readonly pairWeights?: Float32Array; // [S / 2]
  readonly signal?: AbortSignal;
}

/** Means over tokens with weight != 0, except `loss`, which is the weighted sum. */
export interface LossMetrics {
  readonly loss: number;
  readonly tokens: number;
  readonly entropy: number;
  /** max |logp - oldLogprobs|, or |value - oldValues|; the on-policy law says 0 on the first update of a rollout. NaN for other losses. */
  readonly mismatchMaxAbs: number;
  /** Tokens whose surrogate a bound decided; for "cispo" those whose ratio was clipped; for "value" those whose clipped square is larger. */
  readonly clipFraction: number;
  /** Of these, below 1 - clipLow and above 1 + clipHigh; what is left is the dual clip's. */
  readonly clipLowFraction: number;
  readonly clipHighFraction: number;
  readonly ratio: number;
  readonly kl: number;
  /** Of losses of pairs. */
  readonly pairs?: PairMetrics;
  /** Of the value loss. */
  readonly value?: ValueMetrics;
}

/** Over tokens with weight != 0. */
export interface ValueMetrics {
  readonly mean: number;
  readonly returnMean: number;
  /** 1 - Var(return - value) / Var(return): 1 of a critic that knows the returns, 0 of one that knows their mean alone. */
  readonly explainedVariance: number;
}

/**
 * Means over pairs with weight != 0. Of "dpo" rewards are beta * (logp - ref), log-probs sums over a completion; of "bradley-terry" rewards
 * are scores, and log-probs NaN.
 */
export interface PairMetrics {
  readonly count: number;
  readonly chosenReward: number;
  readonly rejectedReward: number;
  readonly margin: number;
  /** Share of pairs whose chosen reward is the larger one. */
  readonly accuracy: number;
  readonly chosenLogprob: number;
  readonly rejectedLogprob: number;
}

export interface OptimStep {
  readonly learningRate: number;
  readonly beta1?: number; // 0.9
  readonly beta2?: number; // 0.999
  readonly eps?: number; // 1e-8
  /** Decoupled; matrices only, not norms. Default 0. */
  readonly weightDecay?: number;
  /** Largest gradient norm; 0 is off. Default 0. */
  readonly maxGradNorm?: number;
}

export interface OptimResult {
  /** Norm of the gradient before clipping. */
  readonly gradNorm: number;
  /** Steps taken so far. */
  readonly step: number;
}
