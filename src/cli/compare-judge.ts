// The second judge of `zazen compare`: the folder of a reward model, or an endpoint by its address, with settings of either.
import { realpath } from "node:fs/promises";
import { z } from "zod";
import { isObject, type JsonObject } from "../config/files.js";
import { applySets } from "../config/recipe-file.js";
import { resolveSettings, type Settings } from "../config/resolve.js";
import { InputError } from "../errors.js";
import type { Judgement } from "../eval/comparison/compare.js";
import type { RunRecord } from "../eval/comparison/record.js";
import { judgeByEndpoint, judgeByModel, requireCommonAnswers } from "../eval/second-judge.js";
import { RewardModel } from "../reward/model/model.js";
import { modelFields } from "../reward/model/settings.js";
import { log } from "./output.js";

export interface JudgeFlags {
  /** A folder, or an address that begins with http. */
  readonly judge: string;
  readonly set?: readonly string[];
  readonly keep?: string;
}

const ADDRESS = /^https?:\/\//;

/**
 * Throws InputError COMPARE_JUDGE where there is nothing in common to judge or too little can be scored, RECIPE_KEY and RECIPE_VALUE for
 * settings, USAGE, and what opening a reward model or asking an endpoint may throw.
 */
export async function secondOpinion(
  runs: readonly RunRecord[],
  { judge, set = [], keep }: JudgeFlags,
  signal: AbortSignal,
): Promise<Judgement> {
  requireCommonAnswers(runs, judge); // before a model is loaded or an endpoint asked
  const settings = applySets({}, set);
  if (ADDRESS.test(judge)) return askEndpoint(runs, judge, settings, keep, signal);
  if (keep !== undefined)
    throw new InputError(
      "USAGE",
      `[compare --keep] expected a judge at an endpoint, got the folder ${judge}; leave it out`,
    );
  return askModel(runs, judge, settings, signal);
}

async function askModel(
  runs: readonly RunRecord[],
  judge: string,
  settings: Settings,
  signal: AbortSignal,
): Promise<Judgement> {
  const where = `compare --judge ${judge}`;
  const schema = z.strictObject(modelFields);
  const speaker = { where, help: "zazen compare --help" };
  const resolved = resolveSettings(where, schema, { ...settings, model: judge }, speaker);
  await using model = await RewardModel.open(resolved, { where });
  const opinion = await judgeByModel(model, judge, runs, signal);
  const own = await trainedOn(runs, judge);
  if (own.length === 0) return opinion;
  return {
    ...opinion,
    notes: [`${judge} is what ${own.join(" and ")} was trained on: no second opinion`, ...opinion.notes],
  };
}

async function askEndpoint(
  runs: readonly RunRecord[],
  judge: string,
  settings: Settings,
  keep: string | undefined,
  signal: AbortSignal,
): Promise<Judgement> {
  const { judgeSettings } = await import("../reward/judge/settings.js");
  const stated = isObject(settings.endpoint) ? settings.endpoint : {};
  const resolved = judgeSettings({ ...settings, endpoint: { ...stated, baseURL: judge } });
  const { costText, judging, openJudge } = await import("./open-judge.js");
  const opened = await openJudge(resolved, { keep, judged: runs[1]!.name }, signal);
  const { endpoint, options, kept } = opened;
  const { template } = resolved.answers;
  const opinion = await judging(opened, () =>
    judgeByEndpoint(endpoint, resolved.endpoint.model, runs, { ...options, template }),
  );
  log(`judge: ${costText(endpoint.spent)}; answers: ${kept}`);
  return opinion;
}

/** Names of the runs whose reward is the judge's own folder. */
async function trainedOn(runs: readonly RunRecord[], judge: string): Promise<readonly string[]> {
  const placeOf = (path: string) => realpath(path).catch(() => path);
  const place = await placeOf(judge);
  const places = await Promise.all(runs.map(({ config }) => Promise.all(rewardFolders(config).map(placeOf))));
  return runs.filter((_, r) => places[r]!.includes(place)).map(({ name }) => name);
}

function rewardFolders({ reward, rewards }: JsonObject): readonly string[] {
  const specs = [reward, ...(Array.isArray(rewards) ? rewards : [])].filter(isObject);
  return specs.flatMap(({ model }) => (typeof model === "string" && model !== "" ? [model] : []));
}
