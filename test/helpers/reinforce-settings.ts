// Settings of a part by GRPO as a recipe fills them in, for loops on engines that are made up.
import {
  advantage,
  dynamicSampling,
  loss,
  type OptimizerSettings,
  optimizer,
  overlong,
  reference,
  type SamplingSettings,
  sampling,
} from "../../src/config/fragments.js";
import type { ReinforceSettings } from "../../src/train/reinforce.js";

/** 4 prompts x 6 samples, one update a rollout, no reward may fail. */
export function reinforceSettings(
  sampled: Partial<SamplingSettings>,
  optimized: Partial<OptimizerSettings>,
): ReinforceSettings {
  return {
    prompts: 4,
    samplesPerPrompt: 6,
    sampling: sampling(sampled).parse({}),
    advantage: advantage().parse({}),
    aggregate: "token-mean",
    constantLength: 64,
    loss: loss().parse({}),
    dynamicSampling: dynamicSampling().parse({}),
    overlong: overlong().parse({}),
    reference: reference().parse({}),
    rewardWeights: {},
    optimizer: optimizer(optimized).parse({}),
    epochs: 1,
    miniBatches: 1,
    maxErrorShare: 0,
  };
}
