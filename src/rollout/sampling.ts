// From a recipe's settings of sampling to what the engine is asked for. Pure. Leaves out which end tokens there are.
import type { EvaluationSamplingSettings, SamplingSettings } from "../config/fragments.js";
import type { Constraint, SamplingParams } from "../engine/types.js";

/** What the engine is asked for. */
export function samplingParams(settings: SamplingSettings, stopTokenIds: readonly number[]): SamplingParams {
  const { temperature, topK, topP, minP, maxTokens, stopStrings } = settings;
  const { repetitionPenalty, presencePenalty, frequencyPenalty } = settings;
  const filters = { topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty };
  return { temperature, ...filters, maxTokens, stopTokenIds, stopStrings, constraint: constraintOf(settings) };
}

/** What a completion must be; null where it may be any text. */
export function constraintOf({ choices, regex }: Pick<SamplingSettings, "choices" | "regex">): Constraint | null {
  if (choices.length > 0) return { kind: "choice", choices };
  return regex === "" ? null : { kind: "regex", pattern: regex };
}

/** Whether the engine has to know what tokens write. */
export function needsVocabulary(settings: SamplingSettings): boolean {
  return settings.stopStrings.length > 0 || constraintOf(settings) !== null;
}

/** Whether tokens are drawn from another distribution than the policy, softmax(logits / temperature). */
export function isFiltered(settings: SamplingSettings): boolean {
  const { topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty } = settings;
  const penalised = repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0;
  return topK > 0 || topP < 1 || minP > 0 || penalised || constraintOf(settings) !== null;
}

/** How held-out problems are answered: as in training, but for what evaluation sets itself. */
export function heldOutSampling(training: SamplingSettings, own: EvaluationSamplingSettings): SamplingSettings {
  return { ...training, ...Object.fromEntries(Object.entries(own).filter(([, value]) => value !== null)) };
}
