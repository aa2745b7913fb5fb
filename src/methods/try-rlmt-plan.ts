// The runs that the trial of RLMT is made of, from its settings: which recipe, with which of its settings, on which of the files. Both arms
// differ in `thinking` alone.
import { join } from "node:path";
import type { EngineSource } from "../engine/like.js";
import type { Recipe } from "./recipe.js";
import { makeRewardModel } from "./reward-model.js";
import { makeRlmt } from "./rlmt.js";
import { makeWarmStart } from "./rlmt-warm-start.js";
import { trialFiles } from "./try-rlmt-data.js";
import type { TryRlmtConfig } from "./try-rlmt-settings.js";
import type { Stage } from "./try-rlmt-stages.js";

/** The arms by the names of their folders; the first is the one that the other is compared with. */
export const ARMS = [
  { name: "no-think", title: "No thinking", thinking: false },
  { name: "think", title: "Thinking", thinking: true },
] as const;

export const REWARD_MODEL = "reward-model";

/** Folders below the run's. */
const DATA = "data";
const BASE = "base";

export const dataFolder = (out: string): string => join(out, DATA);
export const baseFolder = (out: string): string => join(out, BASE);
export const warmName = (arm: string): string => `warm-${arm}`;
export const modelOf = (out: string, stage: string): string => join(out, stage, "model");

/** No template reads it; both arms have the same, whenever they run. */
const DATE = "2025-01-01";

/** The trial's end token ends the assistant's turn. */
const FORMAT = { endOfTurn: ["<eos>"] };

/** The stages in order, of a trial in the folder `out`. */
export function stagesOf(engines: EngineSource, config: TryRlmtConfig, out: string): readonly Stage[] {
  const files = trialFiles(dataFolder(out));
  const { seed, threads, dtype, moments, recompute, microBatchTokens, kvBytes, model, checkpoint, logging } = config;
  const common = {
    ...{ seed, threads, dtype, moments, recompute, microBatchTokens, kvBytes, checkpoint, logging },
    chat: { date: DATE },
  };
  const work = workOf(config);
  const warm = ARMS.map(({ name, title, thinking }) => ({
    name: warmName(name),
    title: `${title}, warm start`,
    recipe: makeWarmStart(engines) as Recipe,
    settings: {
      ...common,
      ...{ model: baseFolder(out), data: files.demonstrations, thinking, format: FORMAT, sft: config.sft },
      filters: { english: false, uniquePrompts: false, strayTags: [] },
    },
    parts: { sft: work.sft(thinking) },
  }));
  const { rows, rewardModel } = config;
  const { start, ...reward } = rewardModel;
  const thinker = warmName(ARMS[1].name);
  const fresh = { scratch: model, tokenizer: baseFolder(out) };
  const judge = {
    name: REWARD_MODEL,
    title: "Reward model",
    recipe: makeRewardModel(engines) as Recipe,
    settings: {
      ...common,
      ...(start === "scratch" ? fresh : { model: modelOf(out, thinker) }),
      ...{ data: files.preferences, reward },
      evaluation: { data: files.heldOutPreferences, pairs: rows.heldOutPreferences },
    },
    parts: { [REWARD_MODEL]: work.rewardModel },
  };
  const arms = ARMS.map(({ name, title, thinking }) => ({
    name,
    title,
    recipe: makeRlmt(engines) as Recipe,
    settings: {
      ...common,
      ...{ model: modelOf(out, warmName(name)), data: files.prompts, thinking, format: FORMAT, grpo: config.grpo },
      reward: { model: modelOf(out, REWARD_MODEL) },
      evaluation: { ...config.evaluation, data: files.heldOutPrompts },
    },
    parts: {
      "evaluate-before": work.evaluation(thinking),
      grpo: work.grpo(thinking),
      "evaluate-after": work.evaluation(thinking),
    },
  }));
  return [...warm, judge, ...arms];
}

/** Tokens of the trial's texts, about. */
const QUESTION = 8;
const ANSWER = 9;
const THOUGHT = 40;

/** Work in forward passes of one token: what the time left is estimated from before a part has run. */
function workOf({ rows, sft, rewardModel, grpo, evaluation }: TryRlmtConfig) {
  const training = 3; // forward, and backward at twice that
  const decoding = 4; // a token at a time is about a quarter as fast as many at once
  const written = (thinking: boolean) => ANSWER + (thinking ? THOUGHT : 0);
  const read = QUESTION + ANSWER;
  const judged = (thinking: boolean) => evaluation.problems * (written(thinking) * decoding + read);
  const evaluations = evaluation.every === 0 ? 0 : Math.floor(grpo.steps / evaluation.every);
  const trained = (thinking: boolean) => (QUESTION + written(thinking)) * training * grpo.epochs;
  const samples = grpo.steps * grpo.prompts * grpo.samplesPerPrompt;
  return {
    sft: (thinking: boolean) => rows.demonstrations * sft.epochs * (QUESTION + written(thinking)) * training,
    rewardModel: rewardModel.steps * rewardModel.pairsPerStep * 2 * read * training,
    evaluation: judged,
    grpo: (thinking: boolean) =>
      samples * (written(thinking) * decoding + trained(thinking) + read) + evaluations * judged(thinking),
  };
}
