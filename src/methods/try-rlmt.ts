// Recipe `try-rlmt`: RLMT (Bhaskar et al., "Language models that think, chat better", 2025) from nothing in minutes, both arms. A policy of
// random weights learns from demonstrations to think and answer, or to answer at once; a reward model learns from preferences which answers
// are good; GRPO on its scores improves either policy; held-out prompts say what thinking was worth. Each step is an ordinary run of the recipes
// rlmt-warm-start, reward-model and rlmt. The task is Countdown, whose verifier is in no reward: it is the second judge.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { counted } from "../config/counted.js";
import { Engine } from "../engine/engine.js";
import type { EngineSource } from "../engine/like.js";
import { scalarSpec } from "../engine/spec.js";
import { type Share, showShare } from "../objective/intervals.js";
import { foreseeNative } from "../reward/memory.js";
import { type ModelReward, rewardSpec } from "../reward/spec.js";
import { nodeDisk } from "../train/disk.js";
import { RunFolder } from "../train/run-folder.js";
import type { TrainCost } from "../train/steps.js";
import { foreseeMemory, grpoWorkload } from "./memory.js";
import { referenceOf } from "./policy-start.js";
import type { Recipe, RunContext, RunSummary } from "./recipe.js";
import { engineOptions } from "./settings.js";
import { trialSpec, trialTokenizer } from "./trial.js";
import { heldOutProblems, writeChatTemplate, writeTrialData } from "./try-rlmt-data.js";
import { compareJudgements, readArm } from "./try-rlmt-figures.js";
import { ARMS, baseFolder, dataFolder, modelOf, REWARD_MODEL, stagesOf } from "./try-rlmt-plan.js";
import { type Arms, conclusion, courseTable, figureTable, samplesToShow } from "./try-rlmt-report.js";
import { type TryRlmtConfig, trialSettings } from "./try-rlmt-settings.js";
import { type Stage, Stages } from "./try-rlmt-stages.js";
import { groupSteps, samplingLines, shellWord } from "./words.js";

const name = "try-rlmt";

/** The recipe on engines from `engines`. */
export function makeTryRlmt(engines: EngineSource): Recipe<TryRlmtConfig> {
  return {
    name,
    summary: "RLMT from nothing in minutes: thinking against no thinking on a reward model trained here.",
    schema: trialSettings,
    plan: describePlan,
    memory: foresee,
    standing: (out) => (existsSync(baseFolder(out)) ? `the runs in ${out}` : null),
    run: (config, context) => tryRlmt(engines, config, context),
  };
}

export const tryRlmtRecipe = makeTryRlmt(Engine);

async function tryRlmt(engines: EngineSource, config: TryRlmtConfig, context: RunContext): Promise<RunSummary> {
  const { out, resume, disk = nodeDisk } = context;
  const folder = new RunFolder(out, name, config, resume === undefined ? null : {}, disk);
  try {
    const stages = stagesOf(engines, config, out);
    await makeFiles(engines, config, context);
    const summaries = await runAll(stages, folder, context);
    const problems = heldOutProblems(config.evaluation.problems);
    const [plain, thinking] = await Promise.all(
      ARMS.map(({ name, title }) =>
        readArm(join(out, name), { name, title, train: trainOf(summaries.get(name)!) }, problems),
      ),
    );
    const arms = [plain!, thinking!] as const;
    const accuracy = accuracyOf(summaries.get(REWARD_MODEL)!);
    const summary = summaryOf(config, out, arms, summaries, tell(arms, accuracy, config.seed, context));
    folder.summary(summary);
    return summary;
  } finally {
    folder.close();
  }
}

/** The model that everything begins from, and the rows. The same for a seed, so a trial that goes on makes them again. */
async function makeFiles(engines: EngineSource, config: TryRlmtConfig, context: RunContext): Promise<void> {
  const { out, emit, signal } = context;
  const { seed, rows, demonstrations, evaluation, model } = config;
  const { preferences: pairs, heldOutPreferences: heldOut, preferenceWeights: weights } = rows;
  emit({ type: "note", level: "info", text: `\nWriting rows and a model of random weights: ${dataFolder(out)}` });
  writeTrialData(dataFolder(out), {
    seed,
    demonstrations: { ...demonstrations, count: rows.demonstrations },
    preferences: { pairs, heldOut, weights },
    evaluation,
  });
  signal.throwIfAborted();
  await using engine = await engines.create(trialSpec(model), { seed }, { ...engineOptions(config), trainable: false });
  const base = baseFolder(out);
  nodeDisk.makeFolder(base);
  await engine.save(base);
  await trialTokenizer(model.maxPositions)(base);
  writeChatTemplate(base);
}

type Summaries = ReadonlyMap<string, RunSummary>;

/** The summaries by stage. A line of metrics.jsonl for each says how long it trained. */
async function runAll(stages: readonly Stage[], folder: RunFolder, context: RunContext): Promise<Summaries> {
  const runner = new Stages(context, stages);
  const summaries = new Map<string, RunSummary>();
  for (const [at, stage] of stages.entries()) {
    const summary = await runner.run(stage);
    summaries.set(stage.name, summary);
    const { steps, seconds, tokens } = trainOf(summary);
    folder.metrics({ phase: stage.name, step: at + 1, "train/steps": steps, "train/tokens": tokens, seconds });
    if (stage.name !== REWARD_MODEL) continue;
    const accuracy = accuracyOf(summary);
    const text = `held-out pairs that the reward model puts in the right order: ${showShare(accuracy)} % of ${accuracy.n}`;
    context.emit({ type: "note", level: "info", text });
  }
  return summaries;
}

const trainOf = ({ train }: RunSummary): TrainCost => train as TrainCost;
const accuracyOf = ({ heldOut }: RunSummary): Share => (heldOut as { readonly accuracy: Share }).accuracy;

/** Shows samples, tables and conclusion, and what to run next. */
function tell(arms: Arms, accuracy: Share, seed: number, { out, emit }: RunContext) {
  const note = (text: string) => emit({ type: "note", level: "info", text });
  note("\nHeld-out prompts, answered by both arms after GRPO:");
  for (const event of samplesToShow(arms).flat()) emit(event);
  const course = courseTable(arms);
  if (course !== null) emit(course);
  emit(figureTable(arms));
  const words = conclusion(arms, accuracy, seed);
  note(`\n${words.join("\n")}`);
  const folders = ARMS.map((arm) => shellWord(join(out, arm.name)));
  const next = `npx zazen compare ${folders.join(" ")}`;
  note(`\nBoth arms side by side, with plots:\n  ${next} --out comparison.html\n`);
  return { conclusion: words, next };
}

function summaryOf(
  { seed }: TryRlmtConfig,
  out: string,
  arms: Arms,
  summaries: Summaries,
  said: ReturnType<typeof tell>,
): RunSummary {
  const [plain, thinking] = arms;
  const judge = summaries.get(REWARD_MODEL)!;
  const armOf = ({ name, train, before, course, after }: Arms[number]) => ({
    ...{ folder: join(out, name), model: modelOf(out, name), train, before: before.figures, after: after.figures },
    course: course.map(({ step, figures }) => ({ step, ...figures })),
  });
  return {
    recipe: name,
    seed,
    parameters: judge.parameters,
    rewardModel: { folder: join(out, REWARD_MODEL), model: modelOf(out, REWARD_MODEL), accuracy: accuracyOf(judge) },
    arms: { noThinking: armOf(plain), thinking: armOf(thinking) },
    difference: {
      before: compareJudgements(plain.before, thinking.before),
      after: compareJudgements(plain.after, thinking.after),
    },
    ...said,
  };
}

/** Of RLMT, the largest of the runs: a policy, and beside it the reward model, which has its shape. */
function foresee(config: TryRlmtConfig): Promise<string> {
  const { model, grpo, evaluation } = config;
  const judge = scalarSpec(trialSpec(model));
  return foreseeMemory({
    model: () => ({ spec: trialSpec(model) }),
    beside: async () => [foreseeNative(rewardSpec.parse({ kind: "model", model: REWARD_MODEL }) as ModelReward, judge)],
    options: { ...engineOptions(config), reference: referenceOf(grpo) },
    workload: (spec) => grpoWorkload(grpo, spec, spec.maxPositions - 1, evaluation),
    bounded: false,
  });
}

function describePlan({ model, rows, sft, rewardModel, grpo, evaluation }: TryRlmtConfig): readonly string[] {
  const count = (n: number) => n.toLocaleString("en-US");
  return [
    `task: Countdown with three numbers, answered at once or after thinking; ${count(evaluation.problems)} held-out prompts`,
    `models: Llama form, random weights, width ${model.width}, ${model.layers} layers: a policy an arm, a reward model for both`,
    `warm start of each arm: ${count(rows.demonstrations)} demonstrations, ${sft.epochs} times; without thinking their thoughts are dropped`,
    `reward model: ${rewardModel.start === "policy" ? "from the policy's weights" : "from random weights"}, ${counted(rewardModel.steps, "step")} of ${rewardModel.pairsPerStep} pairs of answers; it sees no thoughts, and no verifier is in the reward`,
    `RLMT of each arm: GRPO, ${groupSteps(grpo)}, learning rate ${grpo.optimizer.learningRate}`,
    ...samplingLines(grpo),
  ];
}
