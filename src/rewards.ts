// Rewards on their own, `zazen/rewards`: settings of rewards, verifiers as functions, functions of your own, and the pool that runs them
// all under a deadline. Judges and the loop are in `zazen`, graders of single answers in `zazen/tasks`.
export type { RewardFailure, RewardPart } from "./reward/combine.js";
export { RewardError } from "./reward/faults.js";
export type { GroupReward, RewardInput, SampleReward } from "./reward/input.js";
export { type PoolScoreOptions, type PoolScores, RewardPool, type RewardPoolOptions } from "./reward/pool.js";
export {
  type RewardFunction,
  type RewardValue,
  type ScoreOptions,
  type Scores,
  scoreDefaults,
  scoreSamples,
} from "./reward/score.js";
export {
  type ModelReward,
  type ModuleSpec,
  type RewardSettings,
  type RewardSpec,
  rewardNames,
  rewardSpec,
  type VerifierSpec,
} from "./reward/spec.js";
export { recordCheck, type Verifier, verifier } from "./reward/verifiers.js";
