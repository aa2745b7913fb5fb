// What supervised recipes have in common: demonstrations from files with held-out ones, and the run that learns them. Leaves out what a
// demonstration is made of.
import type { DataSettings } from "../config/data.js";
import type { SourceReport } from "../data/source.js";
import type { EngineLike } from "../engine/like.js";
import { InputError } from "../errors.js";
import { Tokenizer } from "../prompt/tokenizer.js";
import type { TokenizerWriter } from "../train/checkpoint.js";
import type { HeldOut, HeldOutSettings } from "../train/held-out.js";
import type { CheckpointSettings } from "../train/keeper.js";
import { Run } from "../train/run.js";
import { copyTokenizer } from "../train/run-folder.js";
import { type Demonstration, type DemonstrationSource, meanLoss, type SftPlan, trainSft } from "../train/sft.js";
import { sftWorkload, takeMemory } from "./memory.js";
import type { RunContext, RunSummary } from "./recipe.js";
import { type DemonstrationSettings, type Learner, openDemonstrations, type RowShape, reportLine } from "./sft-data.js";
import { plainQuestion, type Question, sayNext, saySize } from "./words.js";

export interface SupervisedData extends Disposable {
  readonly demonstrations: DemonstrationSource;
  /** Tokens of the longest demonstration. */
  readonly longest: number;
  /** None where the settings ask for no evaluation. */
  readonly heldOut: readonly Demonstration[];
  readonly tokenizer: TokenizerWriter;
  /** What a user may ask the trained model. */
  readonly question: Question;
  /** What became of the rows of each source; none of the built-in trial. */
  readonly reports: readonly SourceReport[];
}

/** The settings that say which files. */
export interface FileSettings extends DemonstrationSettings {
  readonly evaluation: HeldOutSettings & { readonly data: DataSettings; readonly demonstrations: number };
}

/** How rows become demonstrations where not as `sft` has them. */
export interface Shaping {
  readonly endId?: number | undefined;
  readonly question?: Question;
  /** A shape for a pass over training rows, or over held-out ones. */
  shape(): RowShape;
}

/** Demonstrations of files, for the model whose tokenizer is in `folder`. */
export async function fileData(
  recipe: string,
  config: FileSettings,
  { folder, engine }: { readonly folder: string; readonly engine: Pick<EngineLike, "spec"> },
  context: RunContext,
  shapingOf?: (tokenizer: Tokenizer) => Shaping,
): Promise<SupervisedData & { readonly count: number }> {
  using tokenizer = await Tokenizer.load(folder);
  const shaping = shapingOf?.(tokenizer);
  const learner = { folder, tokenizer, spec: engine.spec, endId: shaping?.endId };
  const watched = await loadHeldOut(recipe, config, learner, context, shaping);
  const demonstrations = await openDemonstrations(config, learner, context, shaping?.shape());
  return {
    demonstrations,
    count: demonstrations.count,
    longest: demonstrations.longest,
    heldOut: watched.demonstrations,
    tokenizer: copyTokenizer(folder),
    question: shaping?.question ?? plainQuestion,
    reports: [...demonstrations.reports, ...watched.reports],
    [Symbol.dispose]: () => demonstrations[Symbol.dispose](),
  };
}

async function loadHeldOut(
  recipe: string,
  config: FileSettings,
  learner: Learner,
  context: RunContext,
  shaping: Shaping | undefined,
) {
  const { data, every, demonstrations: count } = config.evaluation;
  if (every === 0) return { demonstrations: [], reports: [] };
  if (data === "") {
    throw new InputError(
      "RECIPE_VALUE",
      `[recipe ${recipe}] evaluation.data: expected held-out demonstrations, got nothing; set it, or evaluation.every to 0`,
    );
  }
  using held = await openDemonstrations({ ...config, data }, learner, context, shaping?.shape());
  return { demonstrations: held.first(count), reports: held.reports };
}

/** What is learnt, and how. */
export interface Lessons {
  readonly recipe: string;
  readonly config: {
    readonly seed: number;
    readonly evaluation: HeldOutSettings;
    readonly checkpoint: CheckpointSettings;
  };
  readonly data: SupervisedData;
  readonly plan: Pick<SftPlan, "steps" | "tokensPerStep" | "sequences" | "optimizer">;
}

/** The run, its model and its summary. Bad input comes before it, and leaves the folder empty: the corrected command may use it. */
export async function supervise(engine: EngineLike, lessons: Lessons, context: RunContext): Promise<RunSummary> {
  const { recipe, config, data, plan } = lessons;
  const { demonstrations, tokenizer, question, reports } = data;
  const parts = [{ name: "sft", title: "SFT on demonstrations", steps: plan.steps, work: 1 }];
  using run = new Run(context, recipe, config, parts, { ...config.checkpoint, tokenizer, data: reports });
  saySize(run, engine);
  await takeMemory(run, engine, sftWorkload(plan, data.longest, data.heldOut));
  for (const line of reports.map(reportLine)) if (line !== null) run.note("info", line);
  const heldOut = watch(run, engine, data.heldOut, config.evaluation);
  const cost = await run.part("sft", () => trainSft(run, engine, { ...plan, demonstrations, heldOut }));
  const model = await run.folder.saveModel("model", engine, tokenizer);
  sayNext(run, model, question);
  const summary = { recipe, seed: config.seed, parameters: engine.parameters, model, train: cost, data: reports };
  run.folder.summary(summary);
  return summary;
}

/** The loss on held-out demonstrations while training. */
function watch(
  run: Run,
  engine: EngineLike,
  demonstrations: readonly Demonstration[],
  evaluation: HeldOutSettings,
): HeldOut | undefined {
  if (demonstrations.length === 0) return undefined;
  const measure = async () => ({ "eval/loss": await meanLoss(engine, demonstrations, run.signal) });
  return { ...evaluation, figure: "eval/loss", better: "lower", measure };
}
