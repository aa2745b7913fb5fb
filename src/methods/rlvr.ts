// Recipe `rlvr`: reinforcement learning from rewards that can be checked, with group advantages and the clipped policy loss (Shao et al. 2024).
// Tasks: problems (rows of data with rewards by settings, any model with a tokenizer) and countdown-trial (the built-in trial's model).
import { z } from "zod";
import { dataSetting, showSources } from "../config/data.js";
import { evaluationSampling, group, onDisk, type SamplingSettings } from "../config/fragments.js";
import { Engine } from "../engine/engine.js";
import type { EngineLike, EngineSource } from "../engine/like.js";
import type { ModelSpec } from "../engine/types.js";
import { InputError } from "../errors.js";
import { type Pass, type PassResult, passAt1 } from "../eval/pass-at-1.js";
import { showShare } from "../objective/intervals.js";
import { foreseeRewards } from "../reward/memory.js";
import { rewardList } from "../reward/spec.js";
import { heldOutSampling } from "../rollout/sampling.js";
import type { HeldOut } from "../train/held-out.js";
import { type Evaluation, logHeldOut } from "../train/held-out-log.js";
import { roomMetrics } from "../train/metrics.js";
import { openPolicy } from "../train/open-policy.js";
import { reinforce, taskSampling } from "../train/reinforce.js";
import type { Numbered } from "../train/rollout-log.js";
import { Run } from "../train/run.js";
import { ignoredRecommendations, withVocabulary } from "./generation.js";
import {
  keepingSettings,
  learnerSettings,
  patienceCan,
  patienceFault,
  requireStill,
  stillWithAdapters,
} from "./learner-settings.js";
import { foreseeMemory, grpoWorkload, mostTokens, policyModel, takeMemory } from "./memory.js";
import { foldersOf, requireTokenizer } from "./model-folders.js";
import { grpoMove, policyOptions, requireRoom } from "./policy-start.js";
import type { Recipe, RunContext, RunSummary } from "./recipe.js";
import { problemsVerified } from "./rlvr-problems.js";
import { type RlvrTask, rewardWords, taskSettings, trialVerified } from "./rlvr-task.js";
import { grpoPart, heldOutSettings } from "./settings.js";
import { sourceOptions } from "./sft-data.js";
import { groupSteps, loraLines, samplingLines, sayNext, saySize } from "./words.js";

const settings = z.strictObject({
  ...learnerSettings(),
  model: z
    .string()
    .min(1)
    .describe("Folder of the model to start from; the reference of the KL is a frozen copy, with LoRA the base.")
    .meta(onDisk("folder")),
  ...taskSettings,
  grpo: grpoPart({
    steps: 100,
    prompts: 16,
    samplesPerPrompt: 8,
    sampling: { temperature: 1, maxTokens: 256 },
    optimizer: { learningRate: 1e-6, warmupSteps: 5 },
  }),
  evaluation: group({
    problems: z
      .int()
      .min(0)
      .max(100_000)
      .default(256)
      .describe("Held-out problems judged before and after; 0 is none."),
    data: dataSetting("", "Held-out problems; countdown-trial has its own."),
    sampling: evaluationSampling(),
    ...heldOutSettings,
  }),
  ...keepingSettings({ every: 10 }),
});
const schema = stillWithAdapters(settings, grpoMove).refine(patienceCan, patienceFault);

export type RlvrConfig = z.output<typeof schema>;

/** The recipe on engines from `engines`. */
export function makeRlvr(engines: EngineSource): Recipe<RlvrConfig> {
  return {
    name: "rlvr",
    summary: "GRPO on verifiers' rewards or your own: problems from data, or the built-in trial.",
    schema,
    plan: describePlan,
    memory: foresee,
    check: async (config) => {
      if (config.task === "problems") await requireTokenizer(config);
    },
    run: (config, context) => rlvr(engines, config, context),
  };
}

export const rlvrRecipe = makeRlvr(Engine);

async function rlvr(engines: EngineSource, config: RlvrConfig, context: RunContext): Promise<RunSummary> {
  await requireStill("rlvr", config, grpoMove(config));
  const open = () => openPolicy(context, "grpo", { engines, from: config.model, options: policyOptions(config) });
  const { tokenizer } = await foldersOf(config.model, config.lora);
  const asked = { ...config, tokenizer };
  if (config.task === "countdown-trial") {
    await using engine = await open();
    return await trainOn(trialVerified(asked, engine), engine, config, context);
  }
  const warn = (text: string) => context.emit({ type: "note", level: "warning", text });
  await using task = await problemsVerified(asked, warn, engines, sourceOptions(context));
  await using engine = await open();
  requireRoom("rlvr", task.longestPrompt, engine.spec.maxPositions);
  return await trainOn(task, engine, config, context);
}

async function trainOn<P extends Numbered>(
  task: RlvrTask<P>,
  engine: EngineLike,
  config: RlvrConfig,
  context: RunContext,
): Promise<RunSummary> {
  const { seed, grpo, logging } = config;
  const { tokenizer } = task;
  checkWatched(task.watched.length, config);
  const { stopTokenIds } = taskSampling(engine, task, grpo.sampling);
  await withVocabulary(engine, grpo.sampling, task.vocabulary);
  const ignored = await ignoredRecommendations({ ...config, sampling: grpo.sampling, group: "grpo" }, context);
  const keeping = { ...config.checkpoint, tokenizer, data: task.sources };
  using run = new Run(context, "rlvr", config, parts(config, task.heldOut.length), keeping);
  saySize(run, engine);
  const evaluation = { ...config.evaluation, problems: task.heldOut.length };
  await takeMemory(run, engine, grpoWorkload(grpo, engine.spec, task.longestPrompt, evaluation), task.memory);
  const part = { phase: "grpo", steps: grpo.steps, seed, logging, heldOut: watch(run, engine, task, config) };
  const before = await judge(run, engine, task, config, "evaluate-before");
  const train = await run.part("grpo", () => reinforce(run, engine, task, grpo, part));
  const model = await run.folder.saveModel("model", engine, tokenizer);
  const after = await judge(run, engine, task, config, "evaluate-after");
  if (before !== null && after !== null) showTable(run, before, after);
  sayNext(run, model, task.question);
  const summary = {
    recipe: "rlvr",
    seed,
    parameters: engine.parameters,
    model,
    train,
    before,
    after,
    data: task.sources,
    prompts: task.prompts,
    sampling: { stopTokenIds, ignored },
  };
  run.folder.summary(summary);
  return summary;
}

interface Judged {
  readonly sampled: Pass;
  readonly greedy: Pass;
}

/** pass@1 on the held-out problems, sampled and greedy. Null where there are none. */
async function judge<P extends Numbered>(
  run: Run,
  engine: EngineLike,
  task: RlvrTask<P>,
  config: RlvrConfig,
  part: string,
): Promise<Judged | null> {
  if (task.heldOut.length === 0) return null;
  const sampling = heldOutSampling(config.grpo.sampling, config.evaluation.sampling);
  const at = (temperature: number) =>
    pass(run, engine, task, task.heldOut, { sampling: { ...sampling, temperature }, seed: config.seed });
  return run.part(part, async () => {
    const sampled = await at(sampling.temperature);
    run.step(1, passMetrics(sampled), "sampled");
    logPass(run, task, task.heldOut, sampled, { step: 1, decoded: "sampled" });
    const greedy = await at(0);
    run.step(2, passMetrics(greedy), "greedy");
    logPass(run, task, task.heldOut, greedy, { step: 2, decoded: "greedy" });
    return { sampled: sampled.pass, greedy: greedy.pass };
  });
}

const passMetrics = ({ pass, stats }: PassResult) => ({
  "pass@1": pass.rate,
  tokens_per_second: pass.tokensPerSecond,
  ...roomMetrics([stats]),
});

/** The answers behind a pass rate, one line a problem. */
function logPass<P extends Numbered>(
  run: Run,
  task: RlvrTask<P>,
  problems: readonly P[],
  { samples, correct }: PassResult,
  place: Omit<Evaluation, "figure">,
): void {
  const answers = problems.map((problem, p) => ({
    problem,
    messages: task.messagesOf(problem),
    sample: samples[p]!,
    read: task.read(problem, samples[p]!),
    reward: Number(correct[p]),
  }));
  logHeldOut(run, { ...place, figure: "pass@1" }, answers);
}

function checkWatched(problems: number, { evaluation }: RlvrConfig): void {
  if (evaluation.every === 0 || problems > 0) return;
  throw new InputError(
    "RECIPE_VALUE",
    `[recipe rlvr] evaluation.every: expected 0 without held-out problems, got ${evaluation.every}; ` +
      "set evaluation.data and evaluation.problems",
  );
}

/** pass@1 while training, sampled as before and after it. */
function watch<P extends Numbered>(
  run: Run,
  engine: EngineLike,
  task: RlvrTask<P>,
  config: RlvrConfig,
): HeldOut | undefined {
  const { evaluation, grpo, seed } = config;
  if (evaluation.every === 0) return undefined;
  const sampling = heldOutSampling(grpo.sampling, evaluation.sampling);
  const measure = async () => {
    const watched = await pass(run, engine, task, task.watched, { sampling, seed });
    logPass(run, task, task.watched, watched, { step: run.stepsDone, decoded: "sampled" });
    return { "eval/pass@1": watched.pass.rate, ...roomMetrics([watched.stats]) };
  };
  return { ...evaluation, figure: "eval/pass@1", better: "higher", measure };
}

/** One sample a problem; right means a reward of 1. */
function pass<P extends Numbered>(
  run: Run,
  engine: EngineLike,
  task: RlvrTask<P>,
  problems: readonly P[],
  { sampling, seed }: { readonly sampling: SamplingSettings; readonly seed: number },
): Promise<PassResult> {
  return passAt1(engine, {
    problems,
    promptOf: task.promptOf,
    isCorrect: { all: task.areCorrect },
    sampling: taskSampling(engine, task, sampling),
    seed,
    signal: run.signal,
  });
}

function showTable(run: Run, before: Judged, after: Judged): void {
  const row = (name: string, { sampled, greedy }: Judged) => [name, showShare(sampled), showShare(greedy)];
  run.table({
    title: `Held-out pass@1 in % [95% interval], ${after.sampled.n} problems`,
    columns: ["policy", "sampled", "greedy"],
    rows: [row("before", before), row("after GRPO", after)],
  });
}

function parts({ grpo }: RlvrConfig, heldOut: number) {
  const sampled = grpo.steps * grpo.prompts * grpo.samplesPerPrompt;
  const training = 2; // a sample that is trained on costs about as much again
  const evaluation = { steps: 2, work: 2 * heldOut };
  const judged = heldOut > 0;
  return [
    ...(judged ? [{ name: "evaluate-before", title: "Held-out problems before GRPO", ...evaluation }] : []),
    { name: "grpo", title: "GRPO on the rewards", steps: grpo.steps, work: sampled * training },
    ...(judged ? [{ name: "evaluate-after", title: "Held-out problems after GRPO", ...evaluation }] : []),
  ];
}

async function foresee(config: RlvrConfig): Promise<string> {
  await requireStill("rlvr", config, grpoMove(config));
  const { model, lora, task, grpo, evaluation, maxPromptTokens, rewards, rewardWorkers } = config;
  const longest = ({ maxPositions }: ModelSpec) => mostTokens(maxPromptTokens, maxPositions - 1);
  const asked = rewards.length > 0 ? rewards : rewardList().parse([{ kind: "maths" }]); // the data's own verifier, like any
  return foreseeMemory({
    model: () => policyModel(model, lora),
    options: policyOptions(config),
    workload: (spec) => grpoWorkload(grpo, spec, longest(spec), evaluation),
    beside: async () => (task === "problems" ? foreseeRewards(asked, rewardWorkers || undefined) : []),
    bounded: true,
  });
}

function describePlan({ model, task, data, rewards, grpo, lora }: RlvrConfig): readonly string[] {
  return [
    `model: ${model}`,
    ...loraLines(lora),
    `task: ${task}${data === "" ? "" : `, problems from ${showSources(data)}`}`,
    ...(task === "problems" ? [`rewards: ${rewardWords(rewards)}`] : []),
    `GRPO: ${groupSteps(grpo)}, learning rate ${grpo.optimizer.learningRate}`,
    ...samplingLines(grpo),
  ];
}
