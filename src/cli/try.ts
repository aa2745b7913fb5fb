// `zazen try`: a built-in trial by its short name. What it runs is a recipe; the flags are those of `zazen train`.
import { Command } from "commander";
import { InputError } from "../errors.js";
import { collect } from "./flags.js";
import { commonHelp } from "./output.js";
import { type TrainOptions, train } from "./train.js";

/** The recipe of each trial. */
const TRIALS: Readonly<Record<string, string>> = { rlmt: "try-rlmt", quickstart: "quickstart" };

export type TryOptions = Pick<TrainOptions, "set" | "out" | "dryRun" | "json">;

const help = `
Trials need nothing but this machine: models from random weights, data by program, no downloads.
  rlmt        thinking against no thinking, rewarded by a model that is trained on the way (recipe try-rlmt)
  quickstart  a policy learns Countdown on a verifier's reward (recipe quickstart)

Examples:
  zazen try rlmt
  zazen try rlmt --set seed=1 --out runs/second
  zazen try rlmt --set grpo.steps=20 --set rewardModel.steps=200
  zazen recipes try-rlmt

JSON: as of \`zazen train\`, {recipe, out, summary}. A trial that was stopped goes on by \`zazen train --resume DIR\`.`;

export function tryCommand(): Command {
  return new Command("try")
    .summary("see a method at work: a trial without downloads")
    .description("Runs a built-in trial and says what came out.")
    .argument("<TRIAL>", Object.keys(TRIALS).join(" or "))
    .option("--set <key=value>", "a setting of the recipe, dotted key and YAML value; repeatable", collect)
    .option("--out <DIR>", "run folder, empty or new (default: runs/<recipe>-<time>)")
    .option("--dry-run", "show what the trial would do and its settings, and write nothing")
    .option("--json", "print one JSON document; progress goes to stderr")
    .addHelpText("after", help + commonHelp)
    .action(async (trial: string, options: TryOptions) => {
      const { recipes } = await import("../methods/index.js");
      await train(recipes, await recipeOf(trial), options);
    });
}

/** The recipe of a trial. Throws InputError TRIAL_UNKNOWN. */
export async function recipeOf(trial: string): Promise<string> {
  const recipe = Object.hasOwn(TRIALS, trial) ? TRIALS[trial] : undefined;
  if (recipe !== undefined) return recipe;
  const { didYouMean } = await import("../config/nearest.js");
  const names = Object.keys(TRIALS);
  const advice = didYouMean(trial, names) || "; `zazen try --help` says what they are";
  throw new InputError("TRIAL_UNKNOWN", `[try] expected one of ${names.join(", ")}, got "${trial}"${advice}`);
}
