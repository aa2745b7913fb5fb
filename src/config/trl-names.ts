// What settings are called in TRL, peft and transformers' TrainingArguments, and what they are here: data for the message about an unknown
// key. A name stands for the first of its keys that the recipe has. Names that differ from a key here by case and underscores alone are left
// out where they mean the same: the nearest key is found without a table.

/** Stands for the part of a recipe that trains, which differs between recipes. */
const PART = "*";
/** Parts by their group, in the order in which a recipe with several is looked through. */
const PARTS = ["grpo", "dpo", "ppo", "sft", "reward", "rewardModel"];

/** Keys here by name there; "*" stands for the part that trains. */
export const TRL_KEYS: Readonly<Record<string, readonly string[]>> = {
  // optimizer and schedule
  learning_rate: ["*.optimizer.learningRate"],
  lr: ["*.optimizer.learningRate"],
  weight_decay: ["*.optimizer.weightDecay"],
  adam_beta1: ["*.optimizer.beta1"],
  adam_beta2: ["*.optimizer.beta2"],
  adam_epsilon: ["*.optimizer.eps"],
  max_grad_norm: ["*.optimizer.maxGradNorm"],
  lr_scheduler_type: ["*.optimizer.schedule"],
  warmup_steps: ["*.optimizer.warmupSteps"],
  warmup_ratio: ["*.warmupShare", "*.optimizer.warmupSteps"],
  // how much of what a step takes
  max_steps: ["*.steps", "*.rollouts"],
  num_train_epochs: ["*.epochs", "*.steps"],
  num_iterations: ["*.epochs"],
  per_device_train_batch_size: ["*.prompts", "*.batch", "*.pairsPerStep", "*.tokensPerStep"],
  gradient_accumulation_steps: ["microBatchTokens"],
  gradient_checkpointing: ["recompute"],
  bf16: ["dtype"],
  // sampling
  num_generations: ["*.samplesPerPrompt"],
  max_completion_length: ["*.sampling.maxTokens"],
  max_new_tokens: ["*.sampling.maxTokens"],
  response_length: ["*.sampling.maxTokens"],
  max_prompt_length: ["maxPromptTokens", "pairs.maxTokens", "examples.maxTokens"],
  max_length: ["examples.maxTokens", "pairs.maxTokens", "*.maxPairTokens"],
  max_seq_length: ["examples.maxTokens", "pairs.maxTokens"],
  temperature: ["*.sampling.temperature"],
  top_p: ["*.sampling.topP"],
  top_k: ["*.sampling.topK"],
  min_p: ["*.sampling.minP"],
  repetition_penalty: ["*.sampling.repetitionPenalty"],
  // loss
  beta: ["*.loss.klCoefficient", "*.beta"],
  kl_coef: ["*.loss.klCoefficient"],
  epsilon: ["*.loss.clipLow"],
  epsilon_high: ["*.loss.clipHigh"],
  delta: ["*.loss.dualClip"],
  cliprange: ["*.loss.clipLow"],
  cliprange_value: ["*.critic.valueClip"],
  loss_type: ["*.aggregate", "*.loss.objective"],
  importance_sampling_level: ["*.loss.ratio"],
  scale_rewards: ["*.advantage.scaleByStd"],
  mask_truncated_completions: ["*.overlong.maskTruncated"],
  reward_weights: ["*.rewardWeights"],
  sync_ref_model: ["*.reference.sync.every"],
  ref_model_sync_steps: ["*.reference.sync.every"],
  ref_model_mixup_alpha: ["*.reference.sync.mix"],
  label_smoothing: ["*.labelSmoothing"],
  center_rewards_coefficient: ["*.centerCoefficient"],
  lam: ["*.lambda"],
  whiten_rewards: ["*.whitenRewards"],
  // models and data
  model_name_or_path: ["model"],
  reward_model_path: ["reward.model", "rewards"],
  reward_funcs: ["rewards"],
  value_model: ["*.critic.model"],
  train_dataset: ["data"],
  dataset_name: ["data"],
  eval_dataset: ["evaluation.data"],
  chat_template_kwargs: ["chat.kwargs"],
  // what is kept and shown
  eval_steps: ["evaluation.every"],
  save_steps: ["checkpoint.every"],
  save_total_limit: ["checkpoint.keep"],
  logging_steps: ["logging.every", "logging.showEvery"],
  log_completions: ["logging.showEvery"],
  // adapters
  lora_r: ["lora.rank"],
  lora_alpha: ["lora.alpha"],
  lora_target_modules: ["lora.targets"],
  target_modules: ["lora.targets"],
  modules_to_save: ["lora.modulesToSave"],
  use_rslora: ["lora.rsLora"],
};

/**
 * The key that a name of TRL's stands for, null for another name or where the recipe has no such key. `name` may stand in a group, which is
 * looked through first; then comes the part that trains, such as "dpo".
 */
export function trlKey(name: string, known: readonly string[], training?: string): string | null {
  const parts = name.split(".");
  const last = parts.pop()!;
  if (!Object.hasOwn(TRL_KEYS, last)) return null;
  const groups = [...parts.slice(0, 1), ...(training === undefined ? [] : [training]), ...PARTS];
  const keys = groups.flatMap((part) => TRL_KEYS[last]!.map((key) => key.replace(PART, part)));
  return keys.find((key) => known.includes(key)) ?? null;
}
