// The arms that keep the trial honest: the same seconds spent on more SFT, no training at all but giving up forbidden while decoding,
// and the same recipe without thinking.
import { basename, join } from "node:path";
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
function sftContinued(trial: Trial, folder: string, first: TrainCost, seconds: number): Promise<Arm> {
  const { run } = trial;
  return run.once("arm sft-continued", async () => {
    await using engine = await savedPolicy(trial, "sft-continued", folder);
    const steps = Math.ceil((fasterContinued * seconds * first.steps) / first.seconds);
    const cost = await run.part("sft-continued", () => warmStart(trial, engine, true, 1, steps), seconds);
    const judged = await run.part("evaluate-sft-continued", () => judge(trial, engine, true));
    return { name: "sftContinued", title: "SFT continued", cost, judged, parameters: engine.parameters };
  });
}

/** The warm start as it is, without the token that gives up. */
function noGivingUp(trial: Trial, folder: string): Promise<Arm> {
  return trial.run.once("arm no-giving-up", async () => {
    await using engine = await savedPolicy(trial, "no-giving-up", folder);
    const judged = await trial.run.part("no-giving-up", () => judge(trial, engine, true, giveUpIds()));
    return { name: "noGivingUp", title: "SFT, no giving up", cost: null, judged, parameters: engine.parameters };
  });
}

/** The whole recipe on the same problems with answers only. */
async function withoutThinking(trial: Trial, seconds: number): Promise<Arm[]> {
  const folder = join(trial.run.folder.path, "model-no-thinking-sft");
  return [await unthinkingSft(trial, folder), await unthinkingGrpo(trial, folder, seconds)];
}

function unthinkingSft(trial: Trial, folder: string): Promise<Arm> {
  const { run } = trial;
  return run.once("arm no-thinking-sft", async () => {
    await using engine = await newPolicy(trial, "no-thinking-sft");
    const cost = await run.part("no-thinking-sft", () => warmStart(trial, engine, false));
    await run.folder.saveModel(basename(folder), engine, trialTokenizer(trial.settings.model.maxPositions));
    const judged = await run.part("evaluate-no-thinking-sft", () => judge(trial, engine, false));
    return { name: "noThinkingSft", title: "no thinking: SFT", cost, judged, parameters: engine.parameters };
  });
}

function unthinkingGrpo(trial: Trial, folder: string, seconds: number): Promise<Arm> {
  const { run, settings } = trial;
  const part = "no-thinking-grpo";
  return run.once("arm no-thinking-grpo", async () => {
    await using engine = await savedPolicy(trial, part, folder);
    const steps = settings.grpo.steps * shorterWithoutThoughts;
    const cost = await run.part(part, () => improve(trial, engine, part, false, steps), seconds);
    const judged = await run.part("evaluate-no-thinking-grpo", () => judge(trial, engine, false));
    return { name: "noThinkingGrpo", title: "no thinking: GRPO", cost, judged, parameters: engine.parameters };
  });
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
