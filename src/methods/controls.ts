// The arms that keep the trial honest: the same seconds spent on more SFT, no training at all but giving up forbidden while decoding,
// and the same recipe without thinking.
import { giveUpIds } from "../tasks/countdown-trial.js";
import type { PartPlan } from "../train/clock.js";
import type { TrainCost } from "../train/steps.js";
import type { QuickstartConfig } from "./quickstart.js";
import { improve, judge, newPolicy, savedPolicy, type Trial, trialTokenizer, warmStart } from "./trial.js";
import { type Arm, armWork } from "./trial-report.js";

/** A step without thoughts is at most this many times shorter: the steps that the seconds of GRPO can hold. */
const shorterWithoutThoughts = 40;
/** The second round of SFT has at most this many times the pace of the first: its seconds end it, not its steps. */
const fasterContinued = 4;

/** Runs every control from the warm start in `folder`, each with the seconds that GRPO took. */
export async function runControls(trial: Trial, folder: string, sft: Arm, grpo: Arm): Promise<Arm[]> {
  const seconds = grpo.cost?.seconds ?? 0;
  return [
    await sftContinued(trial, folder, sft.cost!, seconds),
    await noGivingUp(trial, folder),
    ...(await withoutThinking(trial, seconds)),
  ];
}

/** More of the same: a second round of SFT with its own schedule, over the seconds. */
async function sftContinued(trial: Trial, folder: string, first: TrainCost, seconds: number): Promise<Arm> {
  const { run } = trial;
  await using engine = await savedPolicy(trial, folder);
  run.begin("sft-continued", seconds);
  const steps = Math.ceil((fasterContinued * seconds * first.steps) / first.seconds);
  const cost = await warmStart(trial, engine, true, 1, steps);
  run.begin("evaluate-sft-continued");
  const judged = await judge(trial, engine, true);
  return { name: "sftContinued", title: "SFT continued", cost, judged, parameters: engine.parameters };
}

/** The warm start as it is, without the token that gives up. */
async function noGivingUp(trial: Trial, folder: string): Promise<Arm> {
  await using engine = await savedPolicy(trial, folder);
  trial.run.begin("no-giving-up");
  const judged = await judge(trial, engine, true, giveUpIds());
  return { name: "noGivingUp", title: "SFT, no giving up", cost: null, judged, parameters: engine.parameters };
}

/** The whole recipe on the same problems with answers only. */
async function withoutThinking(trial: Trial, seconds: number): Promise<Arm[]> {
  const { run, settings } = trial;
  await using engine = await newPolicy(trial);
  const parameters = engine.parameters;
  run.begin("no-thinking-sft");
  const warm = await warmStart(trial, engine, false);
  const folder = await run.folder.saveModel(
    "model-no-thinking-sft",
    engine,
    trialTokenizer(settings.model.maxPositions),
  );
  run.begin("evaluate-no-thinking-sft");
  const before = await judge(trial, engine, false);
  await using policy = await savedPolicy(trial, folder);
  run.begin("no-thinking-grpo", seconds);
  const cost = await improve(trial, policy, "no-thinking-grpo", false, settings.grpo.steps * shorterWithoutThoughts);
  run.begin("evaluate-no-thinking-grpo");
  const after = await judge(trial, policy, false);
  return [
    { name: "noThinkingSft", title: "no thinking: SFT", cost: warm, judged: before, parameters },
    { name: "noThinkingGrpo", title: "no thinking: GRPO", cost, judged: after, parameters },
  ];
}

/** The parts that the controls add to a run. */
export function controlParts(config: QuickstartConfig): PartPlan[] {
  const { sft, grpo, evaluation } = armWork(config);
  const steps = { continued: Math.ceil((fasterContinued * config.sft.steps * grpo) / sft), grpo: config.grpo.steps };
  return [
    { name: "sft-continued", title: "Control: SFT continued", steps: steps.continued, work: grpo },
    { name: "evaluate-sft-continued", title: "Held-out problems after SFT continued", steps: 2, work: evaluation },
    { name: "no-giving-up", title: "Control: SFT, giving up forbidden", steps: 2, work: evaluation },
    { name: "no-thinking-sft", title: "Control: SFT without thinking", steps: config.sft.steps, work: sft },
    { name: "evaluate-no-thinking-sft", title: "Held-out problems without thinking", steps: 2, work: evaluation },
    {
      name: "no-thinking-grpo",
      title: "Control: GRPO without thinking",
      steps: steps.grpo * shorterWithoutThoughts,
      work: grpo,
    },
    { name: "evaluate-no-thinking-grpo", title: "Held-out problems without thinking", steps: 2, work: evaluation },
  ];
}
