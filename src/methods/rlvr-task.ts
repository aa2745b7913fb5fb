// The tasks of recipe `rlvr`: problems from data with rewards by settings, and the built-in trial. What a problem is, how it is asked, what an
// answer earns, when it is right.
import { z } from "zod";
import { type DataSettings, dataSetting, type MixtureSettings } from "../config/data.js";
import type { SourceReport } from "../data/source.js";
import type { EngineLike } from "../engine/like.js";
import type { OtherMemory } from "../engine/memory.js";
import type { TokenBytes } from "../engine/types.js";
import { InputError } from "../errors.js";
import type { Message } from "../prompt/chat.js";
import { isModel, isModule } from "../reward/kinds.js";
import { type RewardSpec, rewardList } from "../reward/spec.js";
import type { Sample } from "../rollout/types.js";
import { gradeTrial, TRIAL_VOCAB_SIZE, type TrialProblem, trialSplit } from "../tasks/countdown-trial.js";
import type { TokenizerWriter } from "../train/checkpoint.js";
import type { PolicyTask } from "../train/reinforce.js";
import type { Numbered } from "../train/rollout-log.js";
import { copyTokenizer } from "../train/run-folder.js";
import type { SampleReader } from "../train/watch.js";
import type { PromptsUsed } from "./asked.js";
import type { ChatSettings } from "./data-settings.js";
import { rowsSettings } from "./learner-settings.js";
import { trialMessages, trialTask, trialVocabulary } from "./trial.js";
import { type Question, trialQuestion } from "./words.js";

const formats = ["warm-thinking", "warm-plain", "zero-thinking", "zero-plain"] as const;

/** The settings that choose and shape the task. */
export const taskSettings = {
  task: z.enum(["problems", "countdown-trial"]).default("problems").describe("What the policy has to solve."),
  data: dataSetting(
    "",
    "Problems: rows with a prompt, question, problem or messages, and the fields that rewards compare with.",
  ),
  rewards: rewardList()
    .default([])
    .describe("What answers earn. None: countdown where rows hold numbers and a target, else maths."),
  rewardWorkers: z.int().min(0).max(1024).default(0).describe("Workers that grade; 0 takes the cores of this process."),
  ...rowsSettings(),
  thinking: z.boolean().default(true).describe("Whether the policy of countdown-trial thinks."),
  format: z
    .enum(formats)
    .default("zero-thinking")
    .describe("How problems are asked: warm by chat template, zero as text."),
  maxPromptTokens: z
    .int()
    .min(0)
    .default(0)
    .describe("Problems with longer prompts are left out and counted; 0 keeps all."),
  question: z
    .string()
    .default("")
    .describe("Text that asks, with {field} for a row's fields; empty: the row's prompt."),
};

export interface TaskConfig {
  readonly seed: number;
  readonly threads: number;
  /** Folder of the tokenizer and the chat template. */
  readonly tokenizer: string;
  readonly task: "problems" | "countdown-trial";
  readonly data: DataSettings;
  readonly rewards: readonly RewardSpec[];
  readonly rewardWorkers: number;
  readonly mixture: MixtureSettings;
  readonly chat: ChatSettings;
  readonly thinking: boolean;
  readonly format: (typeof formats)[number];
  readonly question: string;
  readonly maxPromptTokens: number;
  readonly grpo: { readonly maxErrorShare: number };
  readonly evaluation: { readonly problems: number; readonly data: DataSettings };
}

/** A task with its held-out problems. */
export interface RlvrTask<P extends Numbered> extends PolicyTask<P>, AsyncDisposable {
  readonly read: SampleReader<P>;
  readonly heldOut: readonly P[];
  /** Tokens of the longest prompt. */
  readonly longestPrompt: number;
  /** Held-out problems that a run is watched by while it trains; other than `heldOut` where there are others. */
  readonly watched: readonly P[];
  /** What the user asks, without a template. */
  messagesOf(problem: P): readonly Message[];
  /** Whether samples, one of each problem, are right. */
  areCorrect(problems: readonly P[], samples: readonly Sample[]): Promise<readonly boolean[]>;
  /** What tokens write, for stop strings and constraints. */
  vocabulary(): TokenBytes;
  readonly tokenizer: TokenizerWriter;
  /** What its rewards take. */
  readonly memory: readonly OtherMemory[];
  /** What became of the rows of each source; none of the built-in trial. */
  readonly sources: readonly SourceReport[];
  /** Which prompts are trained on; null of the built-in trial, whose settings say it. */
  readonly prompts: PromptsUsed | null;
  /** What a user may ask the trained model; a stand-in where prompts are long. */
  readonly question: Question;
}

/** The built-in trial. Throws InputError where the model has another vocabulary. */
export function trialVerified(
  { seed, thinking, tokenizer, evaluation }: TaskConfig,
  { spec }: EngineLike,
): RlvrTask<TrialProblem> {
  if (spec.vocabSize !== TRIAL_VOCAB_SIZE) {
    throw new InputError(
      "RECIPE_VALUE",
      `[recipe rlvr] model: expected the trial's vocabulary of ${TRIAL_VOCAB_SIZE} tokens, got ${spec.vocabSize}; ` +
        "make such a model with the recipe sft",
    );
  }
  const split = trialSplit();
  return {
    ...trialTask(split.train, seed, thinking),
    heldOut: split.evaluation.slice(0, evaluation.problems),
    watched: split.monitor.slice(0, evaluation.problems),
    messagesOf: trialMessages,
    areCorrect: async (problems, samples) =>
      samples.map(({ completion }, p) => gradeTrial(problems[p]!, completion, { thinking }).correct),
    vocabulary: trialVocabulary,
    longestPrompt: spec.maxPositions - 1,
    tokenizer: copyTokenizer(tokenizer),
    memory: [],
    sources: [],
    prompts: null,
    question: trialQuestion(split.evaluation[0]!, thinking),
    [Symbol.asyncDispose]: async () => {},
  };
}

/** Rewards in words. */
export function rewardWords(rewards: readonly RewardSpec[]): string {
  if (rewards.length === 0) return "countdown or maths, by the first row";
  const what = (spec: RewardSpec) => (isModule(spec) ? spec.module : isModel(spec) ? spec.model : spec.kind);
  return rewards.map((spec) => `${what(spec)} x ${spec.weight}`).join(", ");
}
