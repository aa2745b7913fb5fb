// `zazen train`: runs a recipe, shows its progress, and leaves a run folder.
import { Command } from "commander";
import { InputError, ZazenError } from "../errors.js";
import type { Recipe, RunContext, RunSummary } from "../methods/recipe.js";
import { duration } from "../report/format.js";
import type { RecipeRun } from "./find-recipe.js";
import { collect } from "./flags.js";
import { commonHelp, InterruptedError, log, printJson, printLines } from "./output.js";
import type { ResumeOptions } from "./resume.js";
import { firstMissing, makeRunFolder, RUNS, removeEmpty, requireEmpty } from "./run-folder.js";
import { abortOnSignal } from "./signals.js";

export interface TrainOptions extends ResumeOptions {
  readonly out?: string;
  /** A run folder; true: the newest one. */
  readonly resume?: string | true;
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
  zazen train --resume runs/short

JSON: {recipe, out, summary}; with --dry-run {recipe, config, plan}.
SIGINT or SIGTERM once: the run finishes the step in hand, saves a checkpoint and ends; twice: it ends at once.
--resume goes on from the last whole checkpoint and gives the run that would not have stopped, bit for bit. With it,
--set takes threads, memory (recompute, microBatchTokens, kvBytes), logging, checkpoint and endpoint settings, and more
steps where the learning rate is constant; \`zazen recipes RECIPE\` marks them.`;

export function trainCommand(): Command {
  return new Command("train")
    .summary("train a model by a recipe")
    .description("Trains a model by a recipe, and leaves a run folder with metrics, rollouts and weights.")
    .argument("[RECIPE|FILE]", "name of a recipe, or a recipe file")
    .option("--set <key=value>", "a setting, dotted key and YAML value; repeatable, overrides the file", collect)
    .option("--out <DIR>", "run folder, empty or new (default: runs/<recipe>-<time>)")
    .option("--resume [DIR]", "go on with the run in DIR, without DIR the newest under runs/")
    .option("--allow-inexact-resume", "resume although the build, the libraries or the rows are others")
    .option(
      "--dry-run",
      "show what the run would do and its settings, check that its files are there, and write nothing",
    )
    .option("--json", "print one JSON document; progress goes to stderr")
    .addHelpText("after", help + commonHelp)
    .action(async (target: string | undefined, options: TrainOptions) => {
      const { recipes } = await import("../methods/index.js");
      await (options.resume === undefined ? train(recipes, target, options) : resume(recipes, target, options));
    });
}

export async function train(
  recipes: readonly Recipe[],
  target: string | undefined,
  options: TrainOptions,
): Promise<void> {
  if (target === undefined) throw usage("expected RECIPE or FILE, or --resume, got neither");
  if (options.allowInexactResume === true) throw usage("expected --allow-inexact-resume with --resume, got it alone");
  const { resolveTarget } = await import("./find-recipe.js");
  const found = await resolveTarget(recipes, target, options.set ?? []);
  if (options.out !== undefined) await requireEmpty(options.out);
  if (options.dryRun === true) return showPlan(found, options.json === true);
  const made = firstMissing(options.out ?? RUNS);
  const isNew = options.out === undefined || made !== null;
  const out = await makeRunFolder(options.out, found.recipe.name, new Date());
  try {
    await run(found, { out }, options.json === true, []);
  } catch (error) {
    if (isNew) await removeEmpty(out, made ?? out);
    throw error;
  }
}

async function resume(recipes: readonly Recipe[], target: string | undefined, options: TrainOptions): Promise<void> {
  if (target !== undefined) throw usage(`expected --resume without a recipe, which the run folder has, got ${target}`);
  if (options.out !== undefined) throw usage("expected --resume without --out: the run goes on in its folder");
  const { findRun } = await import("./resume.js");
  const found = await findRun(recipes, options.resume ?? true, options);
  const { out, checkpoint, summary, remarks } = found;
  const standing = found.recipe.standing?.(out) ?? "its beginning; no checkpoint was written yet";
  const from = checkpoint === null ? standing : checkpoint.path;
  const lines = [...remarks, summary === null ? `goes on from ${from}` : "finished: there is nothing to do"];
  if (options.dryRun === true) return showPlan(found, options.json === true, lines);
  if (summary === null)
    return run(
      found,
      { out, resume: { checkpoint, allowInexact: options.allowInexactResume === true } },
      options.json === true,
      lines,
    );
  log(`the run in ${out} is finished; nothing was done`);
  if (options.json === true) printJson({ recipe: found.recipe.name, out, summary } satisfies TrainResult);
}

const usage = (message: string): InputError => new InputError("USAGE", `[train] ${message}`);

/** Runs the recipe in its folder, and prints its document where that is asked for. */
async function run(found: RecipeRun, place: Place, json: boolean, remarks: readonly string[]): Promise<void> {
  const result = await runRecipe(found, place, json, remarks, abortOnSignal());
  if (json) printJson(result);
}

type Place = Pick<RunContext, "out" | "resume">;

async function runRecipe(
  { recipe, config }: RecipeRun,
  place: Place,
  json: boolean,
  remarks: readonly string[],
  signal: AbortSignal,
): Promise<TrainResult> {
  const { terminalReporter } = await import("../report/terminal.js");
  const { out } = place;
  const { holdRun, lockFile } = await import("./run-lock.js");
  const { takeBack } = await import("../train/run-folder.js");
  using _ = holdRun(out);
  const reporter = terminalReporter({ output: json ? process.stderr : process.stdout });
  const say = (text: string) => reporter.emit({ type: "note", level: "info", text });
  const began = performance.now();
  try {
    say([...(await opening(recipe, config, out)), ...remarks].join("\n"));
    const summary = await recipe.run(config, { ...place, signal, emit: (event) => reporter.emit(event) });
    signal.throwIfAborted();
    say(`Done in ${duration((performance.now() - began) / 1000)}. Run folder: ${out}`);
    return { recipe: recipe.name, out, summary };
  } catch (error) {
    const kept = `what was written is in ${out}${await goOn(recipe, out)}`;
    if (signal.reason instanceof InterruptedError && isStop(error, signal)) {
      throw new InterruptedError(signal.reason.signal, `${signal.reason.message}; ${kept}`);
    }
    const isRefusal = error instanceof InputError && place.resume === undefined;
    if (isRefusal && takeBack(out, [lockFile]))
      log("the run was refused before its first step; nothing of it was kept");
    else log(`the run failed; ${kept}`);
    throw error;
  } finally {
    reporter.close();
  }
}

/** Whether a run ended as it was asked to, and not by a fault on its way, such as a disk that is full. */
function isStop(error: unknown, { reason }: AbortSignal): boolean {
  return error === reason || (error instanceof ZazenError && error.code === "ABORTED");
}

/** How to go on, where there is something to go on from. */
async function goOn(recipe: Recipe, out: string): Promise<string> {
  const { listCheckpoints } = await import("../train/checkpoint.js");
  const hasBegun = listCheckpoints(out).length > 0 || (recipe.standing?.(out) ?? null) !== null;
  return !hasBegun ? "" : `; go on with it: npx zazen train --resume ${out}`;
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

/** Throws as `requireNamedFiles`: a plan that cannot be carried out is none. */
async function showPlan({ recipe, config }: RecipeRun, json: boolean, remarks: readonly string[] = []): Promise<void> {
  const { requireNamedFiles } = await import("./named-files.js");
  await requireNamedFiles({ recipe, config });
  await recipe.check?.(config);
  const memory = await recipe.memory?.(config);
  const plan = [...recipe.plan(config), ...(memory === undefined ? [] : [memory]), ...remarks];
  if (json) return printJson({ recipe: recipe.name, config, plan });
  const { formatRecipe } = await import("../config/recipe-file.js");
  printLines([
    ...plan.map((line) => `# ${line}`),
    formatRecipe(recipe.name, config as Record<string, unknown>).trimEnd(),
  ]);
  log("dry run: nothing was trained or written");
}
