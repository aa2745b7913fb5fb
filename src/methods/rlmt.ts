// Recipe `rlmt`: reinforcement learning with model-rewarded thinking (Bhaskar et al., "Language models that think, chat better", 2025). The
// policy thinks, z, and answers, y; the reward sees the prompt x and y alone; the gradient covers every token. Objective: max E r(x, y).
// Its defaults are the paper's. The paper's comparison is two runs, thinking=true and thinking=false, with all else equal.
import { z } from "zod";
import { counted } from "../config/counted.js";
import { dataSetting, showSources } from "../config/data.js";
import { evaluationSampling, group, onDisk, type SamplingSettings } from "../config/fragments.js";
import { Engine } from "../engine/engine.js";
import type { EngineSource } from "../engine/like.js";
import { InputError } from "../errors.js";
import { sampleHeldOut } from "../eval/held-out.js";
import {
  type Difference,
  type Estimate,
  estimate,
  pairedDifference,
  type Share,
  showShare,
  wilson,
} from "../objective/intervals.js";
import type { ThinkingFormat } from "../prompt/thinking.js";
import { foreseeRewards } from "../reward/memory.js";
import { modelFields } from "../reward/model/settings.js";
import { type RewardSpec, rewardList, rewardSpec } from "../reward/spec.js";
import { heldOutSampling } from "../rollout/sampling.js";
import type { HeldOut } from "../train/held-out.js";
import { logHeldOut } from "../train/held-out-log.js";
import { mean, roomMetrics } from "../train/metrics.js";
import { taskSampling } from "../train/reinforce.js";
import { type Metrics, Run } from "../train/run.js";
import { startTemplate } from "./chat-start.js";
import { formatFrom, formatSettings, otherPrompt } from "./format-settings.js";
import { ignoredRecommendations, withVocabulary } from "./generation.js";
import {
  keepingSettings,
  learnerSettings,
  patienceCan,
  patienceFault,
  requireStill,
  rowsSettings,
  stillWithAdapters,
} from "./learner-settings.js";
import { foreseeMemory, mostTokens, policyModel } from "./memory.js";
import { foldersOf, requireTokenizer } from "./model-folders.js";
import { requireRoom } from "./policy-start.js";
import type { Recipe, RunContext, RunSummary } from "./recipe.js";
import { type Algorithm, algorithmOf, algorithmSettings, type Learner, moveOf, timesLine } from "./rlmt-algorithms.js";
import { type Judged, openRlmtTask, type RlmtTask } from "./rlmt-task.js";
import { rewardWords } from "./rlvr-task.js";
import { heldOutSettings } from "./settings.js";
import { sourceOptions } from "./sft-data.js";
import { loraLines, sayNext, saySize, standIn } from "./words.js";

const EVALUATE_EVERY = 10; // steps
const PAPER_EVALUATION = "the paper's benchmarks take 8192 with thinking, 4096 without";

const settings = z.strictObject({
  ...learnerSettings(),
  model: z
    .string()
    .min(1)
    .describe("Folder of the model to start from; the reference of the KL is a frozen copy.")
    .meta(onDisk("folder")),
  data: dataSetting("", "Prompts: rows with a prompt, question, problem or messages."),
  ...rowsSettings(),
  question: z
    .string()
    .default("")
    .describe("Text that asks, with {field} for a row's fields; empty: the row's prompt."),
  maxPromptTokens: z.int().min(0).default(1024).describe("Tokens of a prompt at most; 0 is no limit."),
  longPrompts: z
    .enum(["truncate", "drop"])
    .default("truncate")
    .describe("Longer prompts keep their last tokens, or are left out, with thinking or without; both are counted."),
  ...formatSettings,
  reward: group({
    ...modelFields,
    model: z
      .string()
      .default("")
      .describe("Folder of the reward model: a sequence classifier, safetensors or ONNX, with its tokenizer.")
      .meta(onDisk("folder")),
  }),
  rewards: rewardList()
    .default([])
    .describe(
      "What answers earn, summed by weight; they see what follows the thought. The reward model counts as one of weight 1.",
    ),
  rewardWorkers: z.int().min(0).max(1024).default(0).describe("Workers that grade; 0 takes the cores of this process."),
  ...algorithmSettings,
  evaluation: group({
    problems: z
      .int()
      .min(0)
      .max(100_000)
      .default(256)
      .describe("Held-out prompts judged before, while and after; 0 is none."),
    data: dataSetting("", "Held-out prompts; empty takes a tenth of data at most, which training leaves out."),
    sampling: evaluationSampling({ topP: 0.95 }, { maxTokens: PAPER_EVALUATION }),
    ...heldOutSettings,
    every: heldOutSettings.every.default(EVALUATE_EVERY),
  }),
  ...keepingSettings({ every: 10 }),
});
const schema = stillWithAdapters(settings, moveOf).refine(patienceCan, patienceFault);

export type RlmtConfig = z.output<typeof schema>;

/** The recipe on engines from `engines`. */
export function makeRlmt(engines: EngineSource): Recipe<RlmtConfig> {
  return {
    name: "rlmt",
    summary: "Thinking before chat answers, rewarded by a model (RLMT): prompts from data, GRPO, DPO or PPO.",
    schema,
    plan: describePlan,
    memory: foresee,
    check: async (config) => {
      await requireStart(config);
      await requireTokenizer(config);
    },
    run: (config, context) => rlmt(engines, config, context),
  };
}

export const rlmtRecipe = makeRlmt(Engine);

async function rlmt(engines: EngineSource, config: RlmtConfig, context: RunContext): Promise<RunSummary> {
  await requireStill("rlmt", config, moveOf(config)); // what cannot be is refused before data are read
  const { maxErrorShare } = algorithmOf(config);
  const rewards = rewardsOf(config);
  const format = formatFrom(config);
  await requireStart(config);
  const { tokenizer } = await foldersOf(config.model, config.lora);
  const warn = (text: string) => context.emit({ type: "note", level: "warning", text });
  await using task = await openRlmtTask(
    taskConfig(config, { tokenizer, rewards, format, maxErrorShare }),
    warn,
    engines,
    sourceOptions(context),
  );
  const algorithm = algorithmOf(config, { endIds: task.endIds, prompts: task.prompts.count });
  await using learner = await algorithm.open(engines, context);
  requireRoom("rlmt", task.longestPrompt, learner.policy.spec.maxPositions);
  return await train({ task, learner, algorithm, format, config }, context);
}

/** Who learns what. */
interface Setup {
  readonly task: RlmtTask;
  readonly learner: Learner;
  readonly algorithm: Algorithm;
  readonly format: ThinkingFormat;
  readonly config: RlmtConfig;
}

async function train(setup: Setup, context: RunContext): Promise<RunSummary> {
  const { task, learner, algorithm, config } = setup;
  const { seed, logging, thinking, start } = config;
  const { tokenizer, heldOut } = task;
  const { policy: engine } = learner;
  const { name, sampling } = algorithm;
  const { stopTokenIds } = taskSampling(engine, task, sampling);
  await withVocabulary(engine, heldOut.length > 0 ? evaluated(setup) : sampling, task.vocabulary);
  const ignored = await ignoredRecommendations({ ...config, sampling, group: name }, context);
  const plan = parts(algorithm, config, heldOut.length);
  using run = new Run(context, "rlmt", config, plan, { ...config.checkpoint, tokenizer, data: task.sources });
  saySize(run, engine);
  run.note("info", timesLine(algorithm, task.prompts.count));
  await learner.reserve(run, task, { ...config.evaluation, problems: heldOut.length });
  const before = await judge(run, setup, "evaluate-before");
  const cost = await run.part(name, () => learner.train(run, task, { seed, logging, heldOut: watch(run, setup) }));
  const model = await run.folder.saveModel("model", engine, tokenizer);
  const after = await judge(run, setup, "evaluate-after");
  const difference = before === null || after === null ? null : compared(before, after);
  if (before !== null && after !== null) showTable(run, name, before, after, difference);
  sayNext(run, model, standIn(setup.format));
  const summary = {
    recipe: "rlmt",
    seed,
    thinking,
    start,
    algorithm: name,
    parameters: engine.parameters,
    model,
    train: cost,
    before: before && figuresOf(before),
    after: after && figuresOf(after),
    difference,
    data: task.sources,
    prompts: task.prompts,
    sampling: { stopTokenIds, ignored },
  };
  run.folder.summary(summary);
  return summary;
}

/** Rewards of held-out prompts with what they were given for; plain JSON. */
interface Evaluation {
  readonly rewards: readonly (number | null)[]; // null where it could not be graded
  readonly reward: Estimate;
  readonly malformed: Share;
  readonly tokensPerSecond: number;
}

/** How held-out prompts are answered: evaluation stops where the answer closes. */
function evaluated({ algorithm, config, format }: Setup): SamplingSettings {
  const sampling = heldOutSampling(algorithm.sampling, config.evaluation.sampling);
  const { answerClose } = format;
  return { ...sampling, stopStrings: [...sampling.stopStrings, ...(answerClose === null ? [] : [answerClose])] };
}

/** Answers every held-out prompt and keeps the answers, as those of a step. */
async function evaluate(run: Run, setup: Setup, step: number) {
  const { task, learner, config } = setup;
  const { policy } = learner;
  const { samples, tokensPerSecond, stats } = await sampleHeldOut(policy, {
    problems: task.heldOut,
    promptOf: task.promptOf,
    sampling: taskSampling(policy, task, evaluated(setup)),
    seed: config.seed,
    signal: run.signal,
  });
  const judged = await task.judge(task.heldOut, samples);
  const answers = judged.map((each) => ({ ...each, messages: each.problem.asked }));
  logHeldOut(run, { step, decoded: "sampled", figure: "reward" }, answers);
  return { judged, tokensPerSecond, stats };
}

function heldOutMetrics(judged: readonly Judged[]): Metrics {
  const rewards = judged.map(({ reward }) => reward).filter(Number.isFinite);
  const known = (field: "thoughtTokens" | "answerTokens") => judged.flatMap(({ read }) => read[field] ?? []);
  return {
    "eval/reward": mean(rewards),
    "eval/malformed": malformedOf(judged).rate,
    "eval/length/thought": mean(known("thoughtTokens")),
    "eval/length/answer": mean(known("answerTokens")),
  };
}

/** Before training or after it. Null where there are no held-out prompts. */
async function judge(run: Run, setup: Setup, phase: string): Promise<Evaluation | null> {
  if (setup.task.heldOut.length === 0) return null;
  return run.part(phase, async () => {
    const { judged, tokensPerSecond, stats } = await evaluate(run, setup, 1);
    run.step(1, { ...heldOutMetrics(judged), tokens_per_second: tokensPerSecond, ...roomMetrics([stats]) });
    return evaluationOf(judged, tokensPerSecond);
  });
}

function evaluationOf(judged: readonly Judged[], tokensPerSecond: number): Evaluation {
  const rewards = judged.map(({ reward }) => (Number.isFinite(reward) ? reward : null));
  const reward = estimate(rewards.filter((each) => each !== null));
  return { rewards, reward, malformed: malformedOf(judged), tokensPerSecond };
}

const malformedOf = (judged: readonly Judged[]): Share =>
  wilson(judged.filter(({ read }) => read.malformed).length, judged.length);

const figuresOf = ({ rewards: _, ...figures }: Evaluation) => figures;

/** after - before on the prompts that were graded both times; null for fewer than two. */
function compared(before: Evaluation, after: Evaluation): Difference | null {
  const both = before.rewards.flatMap((reward, p) => {
    const later = after.rewards[p]!;
    return reward === null || later === null ? [] : [[reward, later] as const];
  });
  if (both.length < 2) return null;
  return pairedDifference(
    both.map(([reward]) => reward),
    both.map(([, later]) => later),
  );
}

/** The held-out reward while training, which says what the best checkpoint is. */
function watch(run: Run, setup: Setup): HeldOut | undefined {
  const { evaluation } = setup.config;
  if (evaluation.every === 0 || setup.task.heldOut.length === 0) return undefined;
  const measure = async () => {
    const { judged, stats } = await evaluate(run, setup, run.stepsDone);
    return { ...heldOutMetrics(judged), ...roomMetrics([stats]) };
  };
  return { ...evaluation, figure: "eval/reward", better: "higher", measure };
}

function showMean({ mean, interval }: Estimate): string {
  if (mean === null) return "-";
  const [low, high] = (interval ?? []).map((bound) => bound.toFixed(3));
  return interval === null ? mean.toFixed(3) : `${mean.toFixed(3)} [${low}, ${high}]`;
}

function showTable(
  run: Run,
  algorithm: string,
  before: Evaluation,
  after: Evaluation,
  difference: Difference | null,
): void {
  const row = (name: string, { reward, malformed }: Evaluation) => [name, showMean(reward), showShare(malformed)];
  run.table({
    title: `Held-out reward [95% interval], ${counted(after.reward.n, "prompt")}`,
    columns: ["policy", "reward", "malformed in %"],
    rows: [
      row("before", before),
      row(`after ${algorithm.toUpperCase()}`, after),
      ...(difference === null ? [] : [["difference, paired", showMean(difference), ""]]),
    ],
  });
}

/** The reward model of the settings and what else answers earn. Throws InputError RECIPE_VALUE where that is nothing. */
function rewardsOf(config: RlmtConfig): readonly RewardSpec[] {
  const rewards = allRewards(config);
  if (rewards.length > 0) return rewards;
  const message = "[recipe rlmt] reward.model: expected a reward model or other rewards, got none";
  throw new InputError("RECIPE_VALUE", `${message}; set reward.model or rewards`);
}

const allRewards = ({ reward, rewards }: RlmtConfig): readonly RewardSpec[] =>
  reward.model === "" ? rewards : [rewardSpec.parse({ kind: "model", ...reward }), ...rewards];

/** Throws InputError for a start that the model's folder, or the settings of its chat template, do not fit. */
async function requireStart(config: RlmtConfig): Promise<void> {
  requireTemplateUsed(formatFrom(config), config);
  await startTemplate("rlmt", config);
}

/** Settings of a chat template that nothing would read are a mistake about the start. */
function requireTemplateUsed({ prompt, name }: ThinkingFormat, { chat }: RlmtConfig): void {
  if (prompt.style !== "plain" || (chat.template === "" && Object.keys(chat.kwargs).length === 0)) return;
  throw new InputError(
    "RECIPE_VALUE",
    `[recipe rlmt] chat: expected no settings of a chat template with the format ${name}, whose prompts are plain text, got some; ` +
      "set start=warm for an instruct model, or remove them",
  );
}

interface TaskParts {
  readonly tokenizer: string;
  readonly rewards: readonly RewardSpec[];
  readonly format: ThinkingFormat;
  readonly maxErrorShare: number;
}

const taskConfig = (config: RlmtConfig, parts: TaskParts) => ({
  ...config,
  ...parts,
  tooLong: config.longPrompts,
  otherPrompt: otherPrompt(config),
});

function parts(algorithm: Algorithm, { evaluation }: RlmtConfig, heldOut: number) {
  const { name, steps, atMost = false, asked, samplesPerPrompt } = algorithm;
  const training = 2; // a sample that is trained on costs about as much again
  const samples = asked * samplesPerPrompt;
  const watched = evaluation.every === 0 ? 0 : Math.floor(steps / evaluation.every);
  const judging = { title: `Evaluation on ${counted(heldOut, "held-out prompt")}`, steps: 1, work: heldOut };
  return [
    { name: "evaluate-before", ...judging },
    { name, title: `RLMT by ${name.toUpperCase()}`, steps, atMost, work: training * samples + watched * heldOut },
    { name: "evaluate-after", ...judging },
  ].filter((part) => part.work > 0);
}

async function foresee(config: RlmtConfig): Promise<string> {
  await requireStill("rlmt", config, moveOf(config));
  const { model, lora, evaluation, maxPromptTokens, rewardWorkers } = config;
  const { options, workload, beside } = algorithmOf(config);
  return foreseeMemory({
    model: () => policyModel(model, lora),
    options,
    workload: (spec) => workload(spec, mostTokens(maxPromptTokens, spec.maxPositions - 1), evaluation),
    beside: async () => [
      ...(await foreseeRewards(allRewards(config), rewardWorkers || undefined)),
      ...(await beside(maxPromptTokens)),
    ],
    bounded: true,
  });
}

function describePlan(config: RlmtConfig): readonly string[] {
  const { model, data, start, thinking, lora } = config;
  const rewards = allRewards(config);
  const { lines } = algorithmOf(config);
  return [
    `model: ${model}`,
    ...loraLines(lora),
    `prompts: ${showSources(data)}, ${start} start, ${thinking ? "thinking" : "no thinking"}`,
    `rewards: ${rewards.length === 0 ? "none, set reward.model or rewards" : rewardWords(rewards)}`,
    ...lines,
  ];
}
