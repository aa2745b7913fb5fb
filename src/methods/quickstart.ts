// Recipe `quickstart`: a small policy from random weights, warm-started on Countdown demonstrations, improved by GRPO on a verifier's
// reward, judged on held-out problems. With `controls` the arms that say what the gain is worth.
import { join } from "node:path";
import { z } from "zod";
import { counted } from "../config/counted.js";
import { evaluationSampling, group } from "../config/fragments.js";
import { Engine } from "../engine/engine.js";
import type { EngineSource } from "../engine/like.js";
import type { Workload } from "../engine/memory.js";
import type { ModelSpec } from "../engine/types.js";
import type { TokenizerWriter } from "../train/checkpoint.js";
import type { PartPlan } from "../train/clock.js";
import { TrainError } from "../train/guard.js";
import { taskSampling } from "../train/reinforce.js";
import { Run } from "../train/run.js";
import { controlParts, runControls } from "./controls.js";
import { foreseeMemory, grpoWorkload, sayMemory, sftWorkload } from "./memory.js";
import type { Recipe, RunContext, RunSummary } from "./recipe.js";
import { checkpoints, engineSettings, grpoPart, logging, scratchModel, seed, sftPart } from "./settings.js";
import {
  demonstrationPart,
  improve,
  judge,
  newPolicy,
  openTrial,
  policyOptions,
  savedPolicy,
  type Trial,
  type TrialSettings,
  trialProposals,
  trialSpec,
  trialTokenizer,
  warmStart,
} from "./trial.js";
import { type Arm, armJson, armTable, armWork, beforeAndAfter, whatWasLearnt } from "./trial-report.js";
import { groupSteps, samplingLines, sayNext, saySize, trialQuestion } from "./words.js";

const schema = z.strictObject({
  seed: seed(),
  controls: z.boolean().default(false).describe("Also run the arms that keep the comparison honest."),
  ...engineSettings,
  model: scratchModel(),
  demonstrations: demonstrationPart(),
  sft: sftPart({
    steps: 2300,
    tokensPerStep: 1536,
    optimizer: { learningRate: 3e-3, schedule: "cosine", floor: 0.05, warmupSteps: 50 },
  }),
  grpo: grpoPart({
    steps: 60,
    prompts: 24,
    samplesPerPrompt: 16,
    sampling: { temperature: 1, maxTokens: 144 },
    optimizer: { learningRate: 3e-4, warmupSteps: 5 },
  }),
  evaluation: group({
    problems: z.int().min(1).max(1024).default(1024).describe("Held-out problems."),
    sampling: evaluationSampling(),
    minimumPass: z
      .number()
      .min(0)
      .max(1)
      .default(0.15)
      .describe("Pass rate after SFT below which GRPO does not start."),
  }),
  checkpoint: checkpoints({ every: 0, seconds: 10 }),
  logging: logging(),
});

export type QuickstartConfig = z.output<typeof schema>;

/** The recipe on engines from `engines`. */
export function makeQuickstart(engines: EngineSource): Recipe<QuickstartConfig> {
  return {
    name: "quickstart",
    summary:
      "A small policy from scratch learns Countdown: SFT, then GRPO on a verifier's reward, with held-out figures.",
    schema,
    plan: describePlan,
    memory: foresee,
    run: (config, context) => quickstart(engines, config, context),
  };
}

export const quickstartRecipe = makeQuickstart(Engine);

async function quickstart(engines: EngineSource, config: QuickstartConfig, context: RunContext): Promise<RunSummary> {
  taskSampling({ spec: trialSpec(config.model) }, {}, config.grpo.sampling); // refused before the first step
  const tokenizer = trialTokenizer(config.model.maxPositions);
  using run = new Run(context, "quickstart", config, parts(config), { ...config.checkpoint, tokenizer });
  const trial = openTrial(context, run, engines, config);

  const warm = await warmArm(trial, tokenizer);
  const folder = join(context.out, "model-sft");
  const arms = [warm];
  const { minimumPass } = config.evaluation;
  const { rate } = warm.judged.sampled.score.pass;
  if (rate >= minimumPass) arms.push(await grpoArm(trial, folder, tokenizer));
  const seconds = await run.once("seconds", async () => run.elapsed);
  if (rate >= minimumPass && config.controls) arms.push(...(await runControls(trial, folder, arms[0]!, arms[1]!)));
  const summary = report(trial, context.out, arms, { main: seconds, total: run.elapsed });
  if (rate < minimumPass) throw tooWeak(rate, minimumPass);
  return summary;
}

/** From random weights by supervised training; the model is kept as model-sft. */
function warmArm(trial: Trial, tokenizer: TokenizerWriter): Promise<Arm> {
  const { run } = trial;
  return run.once("arm sft", async () => {
    await using engine = await newPolicy(trial, "sft");
    saySize(run, engine);
    sayMemory(run, engine, workload(trial.settings, engine.spec), trialProposals);
    const cost = await run.part("sft", () => warmStart(trial, engine, true));
    await run.folder.saveModel("model-sft", engine, tokenizer);
    const judged = await run.part("evaluate-sft", () => judge(trial, engine, true));
    return { name: "sft", title: "SFT", cost, judged, parameters: engine.parameters };
  });
}

/** From the warm start in `folder` by reinforcement. */
function grpoArm(trial: Trial, folder: string, tokenizer: TokenizerWriter): Promise<Arm> {
  const { run, settings } = trial;
  return run.once("arm grpo", async () => {
    await using engine = await savedPolicy(trial, "grpo", folder);
    const cost = await run.part("grpo", () => improve(trial, engine, "grpo", true, settings.grpo.steps));
    await run.folder.saveModel("model", engine, tokenizer);
    const judged = await run.part("evaluate-grpo", () => judge(trial, engine, true));
    return { name: "grpo", title: "SFT, then GRPO", cost, judged, parameters: engine.parameters };
  });
}

/** Seconds with and without the controls. */
interface Seconds {
  readonly main: number;
  readonly total: number;
}

function report(trial: Trial, out: string, arms: readonly Arm[], seconds: Seconds): RunSummary {
  const { run, settings } = trial;
  const [sft, grpo] = arms as [Arm, Arm | undefined];
  const learnt = grpo === undefined ? null : whatWasLearnt(sft, grpo);
  const example = grpo === undefined ? null : beforeAndAfter(trial, sft, grpo);
  const model = join(out, grpo === undefined ? "model-sft" : "model");
  run.table(armTable(settings.evaluation.problems, arms));
  if (example !== null) example.show();
  if (learnt !== null) {
    run.note("info", learnt);
    sayNext(run, model, trialQuestion(trial.heldOut[0]!, true));
  }
  const summary = {
    recipe: "quickstart",
    seed: settings.seed,
    parameters: sft.parameters,
    seconds,
    model,
    arms: Object.fromEntries(arms.map((arm) => [arm.name, armJson(arm)])),
    example: example?.json ?? null,
    learnt,
  };
  run.folder.summary(summary);
  return summary;
}

/** Too few right answers to reinforce: the run has not done what it is for. */
function tooWeak(rate: number, minimum: number): TrainError {
  const percent = (x: number) => `${(100 * x).toFixed(1)}%`;
  return new TrainError(
    "SFT_TOO_WEAK",
    `[quickstart] expected SFT to solve at least ${percent(minimum)} of the held-out problems, got ${percent(rate)}; ` +
      "GRPO was not started: raise sft.steps, or lower evaluation.minimumPass to start it anyway",
  );
}

function parts(config: QuickstartConfig): PartPlan[] {
  const work = armWork(config);
  return [
    { name: "sft", title: "SFT on demonstrations", steps: config.sft.steps, work: work.sft },
    { name: "evaluate-sft", title: "Held-out problems after SFT", steps: 2, work: work.evaluation },
    { name: "grpo", title: "GRPO on the verifier's reward", steps: config.grpo.steps, work: work.grpo },
    { name: "evaluate-grpo", title: "Held-out problems after GRPO", steps: 2, work: work.evaluation },
    ...(config.controls ? controlParts(config) : []),
  ];
}

/** Of both parts; they have an engine each, and this is for one that does all. */
function workload({ model, sft, grpo, evaluation }: TrialSettings, spec: ModelSpec): Workload {
  const { train: rollouts, ...rest } = grpoWorkload(grpo, spec, model.maxPositions - 1, evaluation);
  const { train: demonstrations } = sftWorkload(sft, model.maxPositions);
  return {
    ...rest,
    train: { tokens: Math.max(rollouts!.tokens, demonstrations!.tokens), longest: model.maxPositions },
  };
}

function foresee(config: QuickstartConfig): Promise<string> {
  return foreseeMemory({
    model: () => ({ spec: trialSpec(config.model) }),
    options: policyOptions(config),
    workload: (spec) => workload(config, spec),
    proposals: trialProposals,
    bounded: false,
  });
}

function describePlan(config: QuickstartConfig): readonly string[] {
  const { model, sft, grpo, evaluation } = config;
  return [
    `model: Llama form, random weights, width ${model.width}, ${model.layers} layers, ${model.heads} heads, MLP ${model.mlp}`,
    `SFT: ${counted(sft.steps, "step")} of ${counted(sft.tokensPerStep, "token")}, learning rate ${sft.optimizer.learningRate}`,
    `GRPO: ${groupSteps(grpo)}, learning rate ${grpo.optimizer.learningRate}`,
    ...samplingLines(grpo),
    `evaluation: ${evaluation.problems} held-out problems, sampled and greedy, after each part`,
    `controls: ${config.controls ? "SFT continued, giving up forbidden, no thinking" : "none; --set controls=true adds them"}`,
  ];
}
