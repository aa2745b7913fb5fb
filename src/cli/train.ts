// `zazen train`: runs a recipe, shows its progress, and leaves a run folder.
import { Command } from "commander";
import type { Recipe, RunSummary } from "../methods/recipe.js";
import { duration } from "../report/format.js";
import type { RecipeRun } from "./find-recipe.js";
import { collect } from "./flags.js";
import { commonHelp, InterruptedError, log, printJson, printLines } from "./output.js";
import { makeRunFolder, requireEmpty } from "./run-folder.js";
import { abortOnSignal } from "./signals.js";

export interface TrainOptions {
  readonly set?: readonly string[];
  readonly out?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** The JSON document of a run. */
export interface TrainResult {
  readonly recipe: string;
  readonly out: string;
  readonly summary: RunSummary;
}

const help = `
RECIPE is a name that \`zazen recipes\` lists. FILE is YAML or JSON: \`recipe: NAME\`, then settings.

Examples:
  zazen train quickstart
  zazen train quickstart --set grpo.steps=20 --set seed=1 --out runs/short
  zazen train my-recipe.yaml --dry-run

JSON: {recipe, out, summary}; with --dry-run {recipe, config, plan}.
SIGINT or SIGTERM once: the run stops after the step in hand and keeps what it has written.`;

export function trainCommand(): Command {
  return new Command("train")
    .summary("train a model by a recipe")
    .description("Trains a model by a recipe, and leaves a run folder with metrics, rollouts and weights.")
    .argument("<RECIPE|FILE>", "name of a recipe, or a recipe file")
    .option("--set <key=value>", "a setting, dotted key and YAML value; repeatable, overrides the file", collect)
    .option("--out <DIR>", "run folder, empty or new (default: runs/<recipe>-<time>)")
    .option("--dry-run", "show what the run would do and its settings, and write nothing")
    .option("--json", "print one JSON document; progress goes to stderr")
    .addHelpText("after", help + commonHelp)
    .action(async (target: string, options: TrainOptions) => {
      const { recipes } = await import("../methods/index.js");
      await train(recipes, target, options);
    });
}

export async function train(recipes: readonly Recipe[], target: string, options: TrainOptions): Promise<void> {
  const { resolveTarget } = await import("./find-recipe.js");
  const found = await resolveTarget(recipes, target, options.set ?? []);
  if (options.out !== undefined) await requireEmpty(options.out);
  if (options.dryRun === true) return showPlan(found, options.json === true);
  const result = await run(found, options, abortOnSignal());
  if (options.json === true) printJson(result);
}

/** Runs the recipe in its folder. */
async function run({ recipe, config }: RecipeRun, options: TrainOptions, signal: AbortSignal): Promise<TrainResult> {
  const { terminalReporter } = await import("../report/terminal.js");
  const out = await makeRunFolder(options.out, recipe.name, new Date());
  const reporter = terminalReporter({ output: options.json === true ? process.stderr : process.stdout });
  const say = (text: string) => reporter.emit({ type: "note", level: "info", text });
  const began = performance.now();
  try {
    say((await opening(recipe, config, out)).join("\n"));
    const summary = await recipe.run(config, { out, signal, emit: (event) => reporter.emit(event) });
    signal.throwIfAborted();
    say(`Done in ${duration((performance.now() - began) / 1000)}. Run folder: ${out}`);
    return { recipe: recipe.name, out, summary };
  } catch (error) {
    if (!(signal.reason instanceof InterruptedError)) {
      log(`the run failed; what was written is in ${out}`);
      throw error;
    }
    throw new InterruptedError(signal.reason.signal, `${signal.reason.message}; what was written is in ${out}`);
  } finally {
    reporter.close();
  }
}

/** What will happen, on which machine, and where it is kept. */
async function opening(recipe: Recipe, config: unknown, out: string): Promise<readonly string[]> {
  const { cpuInfo } = await import("../engine/doctor.js");
  const { isa, cores } = cpuInfo();
  const threads = (config as { threads?: number }).threads || cores; // 0, or no such setting: all cores
  return [
    `${recipe.name}: ${recipe.summary}`,
    ...recipe.plan(config),
    `machine: ${threads} ${threads === 1 ? "thread" : "threads"}, ${isa} kernels`,
    `run folder: ${out}`,
  ];
}

async function showPlan({ recipe, config }: RecipeRun, json: boolean): Promise<void> {
  const plan = recipe.plan(config);
  if (json) return printJson({ recipe: recipe.name, config, plan });
  const { formatRecipe } = await import("../config/recipe-file.js");
  printLines([
    ...plan.map((line) => `# ${line}`),
    formatRecipe(recipe.name, config as Record<string, unknown>).trimEnd(),
  ]);
  log("dry run: nothing was trained or written");
}
