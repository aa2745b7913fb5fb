// Countdown-3, the built-in trial: three numbers in 1..16, operations + - *, a target in 1..99. Small enough to learn from scratch on a
// CPU in minutes. Vocabulary, problems, demonstrations, grader and tokenizer files, each in its own file.
export {
  DEMONSTRATION_DEFAULTS,
  type DemonstrationOptions,
  demonstration,
  demonstrationText,
  encodePrompt,
  giveUpIds,
  type PromptFormat,
} from "./countdown-trial/demonstration.js";
export { gradeTrial, type TrialGrade } from "./countdown-trial/grade.js";
export { PREFERENCE_WEIGHTS, preference, type TrialPreference } from "./countdown-trial/preference.js";
export {
  EVALUATION_PROBLEMS,
  SPLIT_SEED,
  sampleProblem,
  type TrialMultiset,
  type TrialProblem,
  type TrialSplit,
  type Triple,
  trialMultisets,
  trialSplit,
} from "./countdown-trial/split.js";
export { trialChatTemplate, trialTokenizerFiles } from "./countdown-trial/tokenizer-files.js";
export {
  decodeTrial,
  encodeTrial,
  symbolId,
  TRIAL_TOKENS,
  TRIAL_VOCAB_SIZE,
  type TrialSymbol,
} from "./countdown-trial/vocabulary.js";
