// Held-out answers, problem by problem, to held-out.jsonl: what a comparison of runs pairs, and what a second judge reads.
import type { Message } from "../prompt/chat.js";
import type { Sample } from "../rollout/types.js";
import type { Numbered } from "./rollout-log.js";
import type { Run } from "./run.js";
import type { ReadSample } from "./watch.js";

/** Which evaluation it was, in the part of the run that has begun. */
export interface Evaluation {
  /** Of training, or the first or second of the part's own. */
  readonly step: number;
  readonly decoded: "sampled" | "greedy";
  /** What the mean of the rewards is called, such as "pass@1". */
  readonly figure: string;
}

/** One problem's answer. */
export interface HeldOutAnswer<P extends Numbered> {
  readonly problem: P;
  /** What the user asks, without a template. */
  readonly messages: readonly Message[];
  readonly sample: Sample;
  readonly read: ReadSample;
  /** What the figure is the mean of; NaN where grading failed. */
  readonly reward: number;
}

/** Writes a line for each answer. */
export function logHeldOut<P extends Numbered>(
  { folder, phase }: Run,
  evaluation: Evaluation,
  answers: Iterable<HeldOutAnswer<P>>,
): void {
  for (const { problem, messages, sample, read, reward } of answers) {
    const { finish, completion } = sample;
    folder.heldOut({
      phase,
      ...evaluation,
      problem: problem.id,
      messages,
      ...read,
      reward: Number.isNaN(reward) ? null : reward,
      finish,
      tokens: completion.length,
    });
  }
}
