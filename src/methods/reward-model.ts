// Recipe `reward-model`: a model that gives an answer a number, from a language model, a sequence classifier or from scratch, trained on pairs
// of answers of which one was chosen (Ouyang et al. 2022, section 3.4).
import { join } from "node:path";
import { z } from "zod";
import { counted } from "../config/counted.js";
import { dataSetting, showSources } from "../config/data.js";
import { isObject, readJsonObject } from "../config/files.js";
import { group, onDisk, onResume, optimizer } from "../config/fragments.js";
import { Engine } from "../engine/engine.js";
import { loadedSpec } from "../engine/head.js";
import type { EngineLike, EngineSource } from "../engine/like.js";
import type { Workload } from "../engine/memory.js";
import { readModelSpec, scalarSpec } from "../engine/spec.js";
import type { EngineOptions, HeadInit, ModelSpec } from "../engine/types.js";
import { InputError } from "../errors.js";
import { showShare } from "../objective/intervals.js";
import { Tokenizer } from "../prompt/tokenizer.js";
import type { HeldOut } from "../train/held-out.js";
import { openPolicy, type PolicyOrigin } from "../train/open-policy.js";
import { judgePairs, type PairJudgement, type PreferencePair, trainReward } from "../train/reward-model.js";
import { Run } from "../train/run.js";
import { copyTokenizer, withTemplate } from "../train/run-folder.js";
import {
  keepingSettings,
  learnerOptions,
  learnerSettings,
  patienceCan,
  patienceFault,
  rowsSettings,
} from "./learner-settings.js";
import { foreseeMemory, mostTokens, type PolicyModel, takeMemory } from "./memory.js";
import { foldersOf } from "./model-folders.js";
import { openPairs } from "./pair-data.js";
import { pairsPart, type WrittenTemplate } from "./pair-rows.js";
import type { Recipe, RunContext, RunSummary } from "./recipe.js";
import { heldOutSettings, llamaSpec, scratchModel } from "./settings.js";
import { reportLine } from "./sft-data.js";
import { loraLines, saySize, shellWord } from "./words.js";

const name = "reward-model";
const MOST_TOKENS = 2 ** 31 - 1;
/** What chat templates call for today's date. */
const ASKS_FOR_DATE = "strftime_now";

const settings = z.strictObject({
  ...learnerSettings(),
  model: z
    .string()
    .default("")
    .describe(
      "Folder of a language model, which gets a new head, or of a sequence classifier; empty makes one from scratch.",
    )
    .meta(onDisk("folder")),
  scratch: scratchModel(),
  tokenizer: z
    .string()
    .default("")
    .describe("Folder with the tokenizer of a model from scratch.")
    .meta(onDisk("folder")),
  data: dataSetting(
    "",
    "Rows of {prompt, chosen, rejected} as texts or messages, and a number as margin if there is one.",
  ),
  ...rowsSettings(),
  pairs: pairsPart(),
  reward: group({
    steps: z.int().min(1).max(10_000_000).default(500).describe("Optimizer steps.").meta(onResume("raise")),
    pairsPerStep: z.int().min(1).max(65_536).default(32).describe("Pairs a step."),
    centerCoefficient: z
      .number()
      .min(0)
      .max(1e6)
      .default(0)
      .describe("Weight of (chosen + rejected)^2, which holds scores around zero; 0.01 does, 0 is off."),
    headStd: z.number().min(0).max(100).default(0.02).describe("Deviation of the weights of a new head."),
    optimizer: optimizer({ learningRate: 1e-5, schedule: "cosine", warmupSteps: 20 }),
  }),
  evaluation: group({
    data: dataSetting(
      "",
      "Held-out pairs; empty takes a tenth of data at most, whole prompts, which training leaves out.",
    ),
    pairs: z.int().min(0).max(100_000).default(1024).describe("Held-out pairs, at most; 0 is none."),
    ...heldOutSettings,
  }),
  ...keepingSettings({ every: 100 }),
});
const schema = settings.refine(patienceCan, patienceFault);

export type RewardModelConfig = z.output<typeof schema>;

/** The recipe on engines from `engines`. */
export function makeRewardModel(engines: EngineSource): Recipe<RewardModelConfig> {
  return {
    name,
    summary: "A reward model from pairs of answers, one of them chosen: Bradley-Terry, saved as a sequence classifier.",
    schema,
    plan: describePlan,
    memory: foresee,
    run: (config, context) => rewardModel(engines, config, context),
  };
}

export const rewardModelRecipe = makeRewardModel(Engine);

async function rewardModel(engines: EngineSource, config: RewardModelConfig, context: RunContext): Promise<RunSummary> {
  requireData(config);
  const folder = config.model === "" ? config.tokenizer : (await foldersOf(config.model, config.lora)).tokenizer;
  using tokenizer = await loadTokenizer(folder);
  const padTokenId = await paddingOf(folder, tokenizer);
  await using engine = await openPolicy(context, name, await origin(engines, config, tokenizer, padTokenId));
  const learner = { folder, tokenizer, spec: engine.spec };
  const named = await heldOutPairs(config, learner, context);
  using pairs = await openPairs(config, learner, context, named === null ? config.evaluation.pairs : 0);
  const held = named ?? { pairs: pairs.heldOut, reports: [] };
  const { steps } = config.reward;
  const parts = [{ name, title: "Reward model on pairs of answers", steps, work: 1 }];
  const writer = withTemplate(copyTokenizer(folder), pairs.template.source);
  // Only now: bad input leaves the folder empty, and the corrected command may use it.
  const reports = [...pairs.reports, ...held.reports];
  using run = new Run(context, name, config, parts, { ...config.checkpoint, tokenizer: writer, data: reports });
  saySize(run, engine);
  await takeMemory(run, engine, workloadOf(config, pairs.longest, held.pairs));
  for (const line of reports.map(reportLine)) if (line !== null) run.note("info", line);
  sayPadding(run, engine);
  sayTemplate(run, pairs.template);
  sayHeldOut(run, held.pairs.length, named !== null);
  const heldOut = watch(run, engine, held.pairs, config);
  const cost = await run.part(name, () => trainReward(run, engine, { ...config.reward, pairs, heldOut }));
  const judged = held.pairs.length === 0 ? null : await judgePairs(engine, held.pairs, run.signal);
  const model = await run.folder.saveModel("model", engine, writer);
  sayResult(run, model, judged);
  sayPolicy(run, model, config, pairs.template);
  const summary = {
    recipe: name,
    seed: config.seed,
    parameters: engine.parameters,
    model,
    train: cost,
    heldOut: judged,
    data: reports,
  };
  run.folder.summary(summary);
  return summary;
}

function requireData({ data, evaluation }: RewardModelConfig): void {
  if (data === "") throw missing("data", "rows of {prompt, chosen, rejected}", "set data");
  if (evaluation.every > 0 && evaluation.data === "")
    throw missing("evaluation.data", "held-out pairs", "set it, or evaluation.every to 0");
}

function missing(setting: string, expected: string, advice: string): InputError {
  return new InputError("RECIPE_VALUE", `[recipe ${name}] ${setting}: expected ${expected}, got nothing; ${advice}`);
}

function loadTokenizer(folder: string): Promise<Tokenizer> {
  if (folder === "")
    throw missing(
      "tokenizer",
      "a folder with tokenizer.json for a model from scratch",
      "set tokenizer, or model to the folder of a model",
    );
  return Tokenizer.load(folder);
}

/** The padding token, by which transformers finds the end of a sequence in a batch: none where it is an end token too. */
async function paddingOf(folder: string, tokenizer: Tokenizer): Promise<number | undefined> {
  const config = await readJsonObject(join(folder, "tokenizer_config.json"), { code: "TOKENIZER_INVALID" });
  const token = isObject(config?.pad_token) ? config.pad_token.content : config?.pad_token;
  const id = typeof token === "string" ? tokenizer.tokenId(token) : null;
  return id === null || id === tokenizer.eosId ? undefined : id;
}

async function origin(
  engines: EngineSource,
  config: RewardModelConfig,
  tokenizer: Tokenizer,
  padTokenId: number | undefined,
): Promise<PolicyOrigin> {
  const { reward, model, lora } = config;
  const headInit = { seed: config.seed, std: reward.headStd, ...(padTokenId !== undefined && { padTokenId }) };
  if (model !== "") return { engines, from: model, options: rewardOptions(config, headInit) };
  if (lora.rank > 0 || lora.base !== "")
    throw new InputError(
      "RECIPE_VALUE",
      `[recipe ${name}] lora: expected a model for it to stand on, got one from scratch; set model`,
    );
  const spec = scalarSpec(scratchSpec(config, tokenizer), padTokenId ?? null);
  return { engines, from: { spec, seed: config.seed }, options: rewardOptions(config) };
}

/** Options of the engine. */
const rewardOptions = (config: RewardModelConfig, headInit?: HeadInit): EngineOptions => ({
  ...learnerOptions(config),
  head: "scalar",
  ...(headInit && { headInit }),
});

function scratchSpec({ scratch }: RewardModelConfig, { vocabSize, bosId, eosId }: Tokenizer): ModelSpec {
  return llamaSpec({ ...scratch, vocabSize, bosTokenId: bosId, eosTokenId: eosId });
}

/** Of data of their own; null where there are none. */
async function heldOutPairs(config: RewardModelConfig, learner: Parameters<typeof openPairs>[1], context: RunContext) {
  const { data, pairs: count } = config.evaluation;
  if (data === "") return null;
  using held = await openPairs({ ...config, data }, learner, context);
  return { pairs: held.first(count), reports: held.reports };
}

/** The share of held-out pairs in the right order while training. */
function watch(
  run: Run,
  engine: EngineLike,
  pairs: readonly PreferencePair[],
  { evaluation }: RewardModelConfig,
): HeldOut | undefined {
  if (pairs.length === 0) return undefined;
  const measure = async () => {
    const { accuracy, loss, lead, score } = await judgePairs(engine, pairs, run.signal);
    return { "eval/accuracy": accuracy.rate, "eval/loss": loss, "eval/margin": lead, "eval/reward": score };
  };
  return { ...evaluation, figure: "eval/accuracy", better: "higher", measure };
}

/** Steps on pairs of sequences of up to `longest` tokens, and the scores of held-out ones. */
function workloadOf({ reward }: RewardModelConfig, longest: number, heldOut: readonly PreferencePair[]): Workload {
  const sequences = 2 * reward.pairsPerStep;
  const train = { tokens: Math.min(MOST_TOKENS, sequences * longest), longest, sequences, together: 2 };
  if (heldOut.length === 0) return { train };
  const lengths = heldOut.flatMap(({ chosen, rejected }) => [chosen.length, rejected.length]);
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  const most = lengths.reduce((a, b) => Math.max(a, b));
  return { train, score: { tokens, longest: most, sequences: lengths.length } };
}

function sayPadding(run: Run, { spec }: EngineLike): void {
  if (spec.padTokenId !== null && spec.padTokenId !== undefined) return;
  run.note("info", "no padding token apart from the end token: transformers scores with this model one text at a time");
}

/** Which pairs the accuracy is of. */
function sayHeldOut(run: Run, count: number, named: boolean): void {
  if (count === 0)
    run.note("info", "no held-out pairs: the accuracy will not be known; set evaluation.data, or evaluation.pairs");
  else if (!named)
    run.note(
      "info",
      `${counted(count, "pair")} of data ${count === 1 ? "is" : "are"} held out, whole prompts; evaluation.data has others`,
    );
}

/** By what the pairs were written, which is what the reward model reads answers by. */
function sayTemplate(run: Run, { endToEnd, others }: WrittenTemplate): void {
  if (endToEnd)
    run.note("info", "prompt and answer are written end to end; chat_template.jinja of the reward model does the same");
  if (others === 0) return;
  const texts =
    others === 1 ? "1 row of plain texts is used as it is" : `${others} rows of plain texts are used as they are`;
  run.note(
    "warning",
    `${texts}, while the reward model will read answers by the model's chat template: see that it wrote those texts`,
  );
}

function sayResult(run: Run, model: string, judged: PairJudgement | null): void {
  if (judged !== null)
    run.note("info", `held-out pairs in the right order: ${showShare(judged.accuracy)} % of ${judged.accuracy.n}`);
  run.note("info", `the reward model, a sequence classifier of transformers: ${model}`);
}

/** The command that trains a policy on the scores; it writes answers for the model as training did. */
function sayPolicy(run: Run, rewardModel: string, { model, chat }: RewardModelConfig, template: WrittenTemplate): void {
  const { kwargs, date } = chat;
  const settings = [
    `model=${model || "my-model"}`,
    "data=prompts.jsonl",
    `reward.model=${rewardModel}`,
    ...(template.endToEnd ? ["start=zero"] : []),
    ...(template.endToEnd || Object.keys(kwargs).length === 0 ? [] : [`reward.kwargs=${JSON.stringify(kwargs)}`]),
    ...(template.source.includes(ASKS_FOR_DATE) ? [`reward.date=${date}`] : []),
  ];
  const words = settings.map((each) => ` \\\n    --set ${shellWord(each)}`).join("");
  run.note("info", `\nTrain a policy on its scores:\n  npx zazen train rlmt${words}\n`);
}

function foresee(config: RewardModelConfig): Promise<string> {
  const { model, pairs } = config;
  return foreseeMemory({
    model: () => (model === "" ? fromScratch(config) : fromFolder(config)),
    options: rewardOptions(config),
    workload: ({ maxPositions }) => workloadOf(config, mostTokens(pairs.maxTokens, maxPositions), []),
    bounded: true,
  });
}

async function fromScratch(config: RewardModelConfig): Promise<PolicyModel> {
  using tokenizer = await loadTokenizer(config.tokenizer);
  return { spec: scratchSpec(config, tokenizer) };
}

async function fromFolder(config: RewardModelConfig): Promise<PolicyModel> {
  const folders = await foldersOf(config.model, config.lora);
  const spec = loadedSpec(await readModelSpec(folders.base), folders, { head: "scalar" });
  return { spec, ...(folders.adapter && { lora: folders.adapter.lora }) };
}

function describePlan({ model, scratch, data, reward, lora }: RewardModelConfig): readonly string[] {
  const fresh = `from scratch, width ${scratch.width}, ${scratch.layers} layers`;
  const centred = reward.centerCoefficient > 0 ? `, scores centred by ${reward.centerCoefficient}` : "";
  return [
    `model: ${model === "" ? fresh : model}, with a scalar head`,
    ...loraLines(lora),
    `data: ${data === "" ? "none" : showSources(data)}`,
    `Bradley-Terry: ${counted(reward.steps, "step")} of ${counted(reward.pairsPerStep, "pair")}, learning rate ${reward.optimizer.learningRate}${centred}`,
  ];
}
