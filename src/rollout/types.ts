// What a rollout is made of: samples, and groups of samples that share a baseline. Plain data.
import type { FinishReason } from "../engine/types.js";

/** One completion of one prompt, as ids; text is never re-tokenised. P prompt tokens, C completion tokens. */
export interface Sample {
  readonly prompt: Int32Array; // [P]
  readonly completion: Int32Array; // [C]
  /** log softmax(logits / temperature) of each completion token when it was sampled. */
  readonly logprobs: Float32Array; // [C]
  /** Log-prob in the distribution that was sampled from, after all that the sampling parameters do. */
  readonly samplerLogprobs: Float32Array; // [C]
  /** 1 where the policy chose the token and the loss counts it; 0 for tokens that came from elsewhere. */
  readonly mask: Uint8Array; // [C]
  readonly finish: FinishReason;
  /** The stop string that ended it; the ids are whole, so its text may go on behind the string. */
  readonly stopString?: string | null;
  /** The end token that ended it, its last id. */
  readonly stopToken?: number | null;
}

/** One of several rewards of a group's samples. */
export interface NamedReward {
  readonly name: string;
  readonly weight: number;
  readonly rewards: Float64Array; // [S]
}

/** Samples of one problem with their rewards; the mean reward is the baseline of each. */
export interface Group<P> {
  readonly problem: P;
  readonly samples: readonly Sample[]; // [S]
  readonly rewards: Float64Array; // [S]
  /** What the rewards are the weighted sum of, where a sample has several. */
  readonly parts?: readonly NamedReward[]; // [K]
}
