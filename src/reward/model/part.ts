// One reward of all samples by a reward model: what of a sample it reads, and what is counted of that.
import { NULL_ANSWER } from "../../prompt/thinking.js";
import { failureOf, type GradedPart, refuseTooMany, rowsOf } from "../combine.js";
import type { RewardInput } from "../input.js";
import type { ModelReward } from "../spec.js";
import type { RewardModel } from "./model.js";

/**
 * Throws RewardError REWARD_ERRORS where more than `maxErrorShare` of the scores are missing, and what `RewardModel.score` throws. An empty
 * answer, and the text that stands for one whose marks are missing, are scored like any other.
 */
export async function gradeByModel(
  model: Pick<RewardModel, "score">,
  { name, spec }: { readonly name: string; readonly spec: ModelReward },
  inputs: readonly (readonly RewardInput[])[],
  maxErrorShare: number,
  signal: AbortSignal,
): Promise<GradedPart> {
  const samples = inputs.flat();
  const texts = samples.map((sample) => ({ messages: sample.messages, answer: sample[spec.from] ?? NULL_ANSWER }));
  const mostFailures = Math.floor(maxErrorShare * samples.length);
  const { rewards, faults, truncated } = await model.score(texts, mostFailures, signal);
  const failures = [...faults]
    .sort(([a], [b]) => a - b)
    .map(([index, fault]) => failureOf(index, fault, samples[index]!.completion));
  refuseTooMany(failures, samples.length, maxErrorShare, `reward ${name}`);
  const counts = {
    [`reward_model/${name}/texts`]: texts.length,
    [`reward_model/${name}/truncated`]: truncated,
    [`reward_model/${name}/empty`]: texts.filter(({ answer }) => answer.trim() === "").length,
    [`reward_model/${name}/malformed`]: samples.filter((sample) => sample[spec.from] === null).length,
  };
  return { part: { name, weight: spec.weight, rewards: rowsOf(rewards, inputs) }, failures, counts };
}
