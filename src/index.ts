// The public API. A loop can be written with the verbs of `Engine` and pure functions; recipes are loops that are written already.
// Kernels, rewards and tasks have entries of their own: `zazen/kernels`, `zazen/rewards`, `zazen/tasks`.
export { type DataSettings, dataSetting, type SourceSettings, sourcesOf } from "./config/data.js";
export { type EndpointInput, type EndpointSettings, endpointPart } from "./config/endpoint.js";
export { type HubFiles, type HubOptions, type HubReference, hubFiles } from "./data/hub.js";
export { type JsonlRecord, loadJsonl, type ParseRecord, readJsonl } from "./data/jsonl.js";
export { Mixture, type MixtureOptions, type MixturePart } from "./data/mixture.js";
export { type Cursor, epochOrder, OrderedSource, type Records } from "./data/order.js";
export { type Random, random } from "./data/random.js";
export { type LoadedSource, loadRecords } from "./data/records.js";
export { type Json, type Resumable, resumables } from "./data/resumable.js";
export { type Row, readRows } from "./data/rows.js";
export { type OpenSource, openSource, type SourceReport } from "./data/source.js";
export { type Codec, RecordStore } from "./data/store.js";
export { Endpoint, type EndpointOptions } from "./endpoint/endpoint.js";
export { EndpointError } from "./endpoint/faults.js";
export { inOrder } from "./endpoint/in-order.js";
export { costOf, type Price, type Spent } from "./endpoint/meter.js";
export type { ChatAnswer, ChatOptions, ChatRequest, ChatSource, Usage } from "./endpoint/types.js";
export { Engine, planMemory } from "./engine/engine.js";
export { endTokens, type Recommended, recommendedSampling } from "./engine/generation-config.js";
export type { EngineLike, EngineSource } from "./engine/like.js";
export type { BatchBound, GenerateBound, MemoryParts, MemoryPlan, MemoryUse, Workload } from "./engine/memory.js";
export type {
  BradleyTerryLoss,
  Constraint,
  DpoLoss,
  EngineOptions,
  FinishReason,
  GenerateChunk,
  GenerateProgress,
  GenerateRequest,
  GenerateResult,
  GenerateStats,
  Head,
  HeadInit,
  KlEstimator,
  LogprobsRequest,
  LogprobsResult,
  LoraOptions,
  LossMetrics,
  LossSpec,
  ModelFamily,
  ModelSpec,
  OptimResult,
  OptimStep,
  PackedTokens,
  PairMetrics,
  PolicyLoss,
  PolicyObjective,
  RatioLevel,
  RopeScaling,
  SamplingParams,
  SftLoss,
  TokenBytes,
  TrainBatch,
  ValueLoss,
  ValueMetrics,
  ValuesRequest,
} from "./engine/types.js";
export { InputError, ZazenError } from "./errors.js";
export { type Pass, type PassRequest, type PassResult, passAt1 } from "./eval/pass-at-1.js";
export { recipes } from "./methods/index.js";
export type { Recipe, RunContext, RunSummary } from "./methods/recipe.js";
export { type LlamaShape, llamaSpec } from "./methods/settings.js";
export { type AdvantageRule, groupAdvantages, hasSpread } from "./objective/advantage.js";
export { type EntropyMask, highEntropyMask } from "./objective/entropy-mask.js";
export { type AdvantageSpec, advantages, usesGroupBaseline } from "./objective/estimators.js";
export {
  type Advantages,
  type GaeRule,
  generalizedAdvantages,
  type TokenKl,
  tokenRewards,
  whiten,
} from "./objective/gae.js";
export { groupsWithSpread } from "./objective/groups.js";
export { type Share, showShare, type WinShare, wilson, winShare } from "./objective/intervals.js";
export { sequenceKl, truncatedImportance } from "./objective/kl.js";
export { maskTruncated, type OverlongRule, overlongPenalty } from "./objective/overlong.js";
export { type LearningRateRule, learningRate } from "./objective/schedule.js";
export { type Aggregation, tokenWeights } from "./objective/weights.js";
export { type Lesson, lessonTexts, type MaskedIds, maskedIds } from "./prompt/assistant-mask.js";
export { ChatTemplate, type MarkedText, type Message, type TemplateOptions } from "./prompt/chat.js";
export {
  type Answer,
  answerOf,
  type FormatChange,
  formatOf,
  NULL_ANSWER,
  plainPrompt,
  splitThinking,
  THINKING_FORMATS,
  type ThinkingFormat,
  writeCompletion,
} from "./prompt/thinking.js";
export { Tokenizer } from "./prompt/tokenizer.js";
export {
  languageDetector,
  readTeacher,
  rowFault,
  STRAY_TAGS,
  TEACHER_TAGS,
  type TeacherTags,
  type WarmStartFault,
  type WarmStartFilters,
  type WarmStartRow,
} from "./prompt/warm-start.js";
export type { NoteEvent, PhaseEvent, RolloutEvent, RunEvent, StepEvent, TableEvent } from "./report/events.js";
export type { RewardFailure, RewardPart } from "./reward/combine.js";
export { RewardError } from "./reward/faults.js";
export type { GroupReward, RewardInput, SampleReward } from "./reward/input.js";
export {
  type FindOptions,
  type FoundTraits,
  findTraits,
  NOTE_TEMPLATE,
  SUM_TEMPLATE,
} from "./reward/judge/find-traits.js";
export { type Judgement, type JudgeOptions, judgeAnswers, judgementOf, judgeTraits } from "./reward/judge/judge.js";
export {
  ANSWER_TEMPLATE,
  type Pair,
  parseVerdict,
  TRAIT_TEMPLATE,
  TRAITS,
  type Verdict,
} from "./reward/judge/verdict.js";
export { type PoolScoreOptions, type PoolScores, RewardPool, type RewardPoolOptions } from "./reward/pool.js";
export {
  type RewardFunction,
  type RewardValue,
  type ScoreOptions,
  type Scores,
  scoreDefaults,
  scoreSamples,
} from "./reward/score.js";
export type { RewardSettings, RewardSpec } from "./reward/spec.js";
export { packGroups } from "./rollout/batch.js";
export { makeGroups } from "./rollout/group.js";
export { packSequences, unpackSamples } from "./rollout/pack.js";
export { type Sampled, type SampleRequest, sampleCompletions } from "./rollout/sample.js";
export type { Group, Sample } from "./rollout/types.js";
export { type Checkpoint, findCheckpoint, type TokenizerWriter } from "./train/checkpoint.js";
export { TrainError } from "./train/guard.js";
export type { HeldOut } from "./train/held-out.js";
export type { CheckpointSettings, Keeping } from "./train/keeper.js";
export { openPolicy, type PolicyOrigin } from "./train/open-policy.js";
export { type Collected, type PolicyPlan, policyLoss, trainPolicy } from "./train/policy.js";
export { type PolicyTask, type ReinforceSettings, reinforce } from "./train/reinforce.js";
export { type Resumption, Run, type RunHost } from "./train/run.js";
export { copyTokenizer, RunFolder } from "./train/run-folder.js";
export {
  type Demonstration,
  type DemonstrationSource,
  packDemonstrations,
  type SftPlan,
  trainSft,
} from "./train/sft.js";
export { type TrainCost, trainingSteps } from "./train/steps.js";
