// `zazen compare`: runs side by side, from their folders alone: what differs in their settings, figures with intervals, and plots.
import { Command } from "commander";
import { InputError } from "../errors.js";
import type { Comparison } from "../eval/comparison/compare.js";
import type { RunRecord } from "../eval/comparison/record.js";
import type { SettingDifference } from "../eval/comparison/settings.js";
import { collect } from "./flags.js";
import { commonHelp, log, printJson, printLines } from "./output.js";
import { abortOnSignal } from "./signals.js";

export interface CompareOptions {
  readonly out?: string;
  /** A second judge: the folder of a reward model, or the address of an endpoint. */
  readonly judge?: string;
  /** Its settings. */
  readonly set?: readonly string[];
  /** File of an endpoint's answers. */
  readonly keep?: string;
  readonly json?: boolean;
}

const help = `
Reads recipe.json, metrics.jsonl and held-out.jsonl of each run; nothing is trained. The first run is the one that the others are
compared with. FOLDER#PART takes another part of a run than the first that trained a policy.

Figures are means of the first or last tenth of the steps, 5 to 20 of them, and of the last held-out evaluation, with 95% intervals:
Student's over steps and rewards, Wilson's over right and wrong answers, as in the runs' own tables; none over fewer than 5 values. A
difference of held-out figures is over the problems that both runs answered, paired, where there are any; else it is not paired, which is
said.

Examples:
  zazen compare runs/think runs/no-think
  zazen compare runs/grpo runs/ppo runs/dpo --out comparison.html
  zazen compare runs/no-think runs/think --judge my-second-reward-model
  zazen compare runs/no-think runs/think --judge http://localhost:8000/v1 --set endpoint.model=judge --keep verdicts.jsonl
  zazen compare runs/trial 'runs/trial#no-thinking-grpo' --json

--judge is a second judge of the held-out answers: a reward model's folder, whose scores of the two answers to a problem
are compared, or an endpoint as of \`zazen judge\`, which sees both. Its wins against the first run count ties half, with
an interval over problems. --set sets a reward model's maxTokens, dtype, template, kwargs, threads, runtime, file and
the like, or an endpoint's settings as of \`zazen judge\`.

JSON: {runs, settings: [{key, values}], notes, measures: [{name, title, section, values, differences}], judge}; a value
is {mean, interval, n}, a difference has how besides; judge is null or {name, wins: [null, {n, wins, ties, losses, rate,
interval}]}.`;

export function compareCommand(): Command {
  return new Command("compare")
    .summary("compare runs")
    .description("Compares runs: the settings that differ, figures with intervals, and plots.")
    .argument("<RUN...>", "two or more run folders")
    .option("--out <FILE>", "write the comparison with plots as one HTML file")
    .option("--judge <DIR|URL>", "judge held-out answers by a reward model, or at an endpoint")
    .option("--set <key=value>", "a setting of the judge, dotted key and YAML value; repeatable", collect)
    .option("--keep <FILE>", "file of an endpoint's answers, not asked for again; default: beside the second run")
    .option("--json", "print one JSON document")
    .addHelpText("after", help + commonHelp)
    .action(async (names: readonly string[], options: CompareOptions) => {
      const { runs, comparison } = await compare(names, options, abortOnSignal());
      if (options.out !== undefined) await writePage(options.out, runs, comparison);
      if (options.json === true) printJson(comparison);
      else printLines(await comparisonLines(comparison));
    });
}

/** @throws InputError COMPARE_RUNS, COMPARE_FOLDER, COMPARE_METRICS, and what reading files and `secondOpinion` may throw */
export async function compare(
  names: readonly string[],
  { judge, set, keep }: Pick<CompareOptions, "judge" | "set" | "keep">,
  signal: AbortSignal,
): Promise<{ readonly runs: readonly RunRecord[]; readonly comparison: Comparison }> {
  const { compareRuns, requireSeveral } = await import("../eval/comparison/compare.js");
  const { readPastRun } = await import("../train/past-run.js");
  const runs = await Promise.all(names.map(readPastRun));
  requireSeveral(runs);
  if (judge === undefined) {
    if (set === undefined && keep === undefined) return { runs, comparison: compareRuns(runs) };
    throw new InputError("USAGE", "[compare] expected --judge with --set and --keep, got none; name the judge");
  }
  const { secondOpinion } = await import("./compare-judge.js");
  const flags = { judge, ...(set && { set }), ...(keep !== undefined && { keep }) };
  return { runs, comparison: compareRuns(runs, await secondOpinion(runs, flags, signal)) };
}

async function comparisonLines(comparison: Comparison): Promise<readonly string[]> {
  const { comparisonTables, letter, settingWords } = await import("./compare-words.js");
  const { sectionLines } = await import("../report/table.js");
  const { counted } = await import("../config/counted.js");
  const tables = comparisonTables(comparison);
  return [
    ...comparison.runs.map(
      ({ name, recipe, phase, steps }, r) => `${letter(r)}  ${name}: ${recipe}, ${phase}, ${counted(steps, "step")}`,
    ),
    "",
    ...settingLines(comparison.settings, settingWords),
    ...comparison.notes.map((note) => `note: ${note}`),
    ...tables.flatMap(({ columns, sections }) => ["", ...sectionLines(columns, sections)]),
  ];
}

function settingLines(
  settings: readonly SettingDifference[],
  words: (values: readonly unknown[]) => string,
): readonly string[] {
  if (settings.length === 0) return ["All settings are equal."];
  const count = settings.length === 1 ? "1 setting differs" : `${settings.length} settings differ`;
  return [`${count}, all others are equal:`, ...settings.map(({ key, values }) => `  ${key}: ${words(values)}`)];
}

/** Throws InputError FILE_IO where the page cannot be written. */
async function writePage(path: string, runs: readonly RunRecord[], comparison: Comparison): Promise<void> {
  const { pageOf } = await import("./compare-words.js");
  const { comparePage } = await import("../report/compare-page.js");
  const { plotAssets, writePageFile } = await import("./compare-files.js");
  await writePageFile(path, comparePage(pageOf(runs, comparison), await plotAssets()));
  log(`comparison with plots: ${path}`);
}
