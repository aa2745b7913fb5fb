// What a reward sees of a sample, and the two forms of a reward function. Plain data: it is copied to the worker that grades.
import type { FinishReason } from "../engine/types.js";
import type { Message } from "../prompt/chat.js";

/** One sample of one problem. */
export interface RewardInput {
  /** The prompt as the model read it. */
  readonly prompt: string;
  /** The problem as a conversation, before any template: what a reward model reads. */
  readonly messages: readonly Message[];
  /** All that the model wrote, without the end token. */
  readonly completion: string;
  /** The thought; null where its marks are missing. */
  readonly thinking: string | null;
  /** What follows the thought; null where its marks are missing. */
  readonly answer: string | null;
  /** The problem's record as the data file has it. */
  readonly record: Readonly<Record<string, unknown>>;
  /** Tokens of the completion. */
  readonly tokens: number;
  /** "length" where the completion was cut off. */
  readonly finish: FinishReason;
}

/** `per: sample`: the reward of one sample, a finite number. */
export type SampleReward = (input: RewardInput) => number | Promise<number>;

/** `per: group`: the rewards of all samples of one problem, in their order. */
export type GroupReward = (inputs: readonly RewardInput[]) => ArrayLike<number> | Promise<ArrayLike<number>>;
