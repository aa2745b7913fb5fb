// `zazen judge`: a judge at an endpoint compares what two models wrote to the same prompts: whose responses are better, whose thoughts show
// more of which trait.
import { Command, Option } from "commander";
import type { Spent } from "../endpoint/meter.js";
import { InputError } from "../errors.js";
import type { FoundTraits } from "../reward/judge/find-traits.js";
import type { Judgement } from "../reward/judge/judge.js";
import type { JudgeSettings } from "../reward/judge/settings.js";
import type { Pair } from "../reward/judge/verdict.js";
import { collect } from "./flags.js";
import type { ToldPairs } from "./judge-files.js";
import type { OpenJudge } from "./open-judge.js";
import { commonHelp, printJson, printLines } from "./output.js";
import { abortOnSignal } from "./signals.js";

export interface JudgeCommandOptions {
  readonly by: "answers" | "traits" | "both";
  readonly set?: readonly string[];
  readonly keep?: string;
  readonly json?: boolean;
}

/** The JSON document of the command. */
export interface JudgeResult {
  readonly first: string;
  readonly second: string;
  readonly pairs: number;
  /** Prompts that only one of them has. */
  readonly unmatched: number;
  /** Null where it was not asked for. */
  readonly answers: Judgement | null;
  readonly traits: Readonly<Record<string, Judgement>> | null;
  /** What the judge found, where it was to find traits; they are compared on the other pairs. */
  readonly found: FoundTraits | null;
  readonly spent: Spent;
  /** The file of the judge's answers. */
  readonly kept: string;
}

const help = `
FIRST and SECOND are files with rows of {prompt, thinking, response}, or run folders: of a training run its last
held-out answers, of FOLDER#PART those of one of its parts, of recipe teach its demonstrations. Pairs are rows with the
same prompt. The order in which the judge sees a pair is drawn by seed. An answer without a verdict is counted, and
scores nothing. With traits.find the judge reads some pairs, says what tells their thoughts apart, and sums that up as
that many traits, which are compared on the other pairs. Answers are kept as they come: after an error or Ctrl-C the same
command asks for those that are missing.

Settings, by --set: endpoint.baseURL and endpoint.model (required), endpoint.apiKeyEnv (the variable with the key),
endpoint.concurrency, .retries, .deadlineSeconds, .price.input, .price.output, .extra, .omit (as of recipe teach);
seed, bothOrders, temperature, maxTokens, maxFailures, answers.template, traits.template, traits.list, traits.find,
traits.findPairs, traits.noteTemplate, traits.sumTemplate.

Examples:
  zazen judge runs/no-think runs/think --set endpoint.baseURL=http://localhost:8000/v1 --set endpoint.model=judge
  zazen judge before.jsonl after.jsonl --by traits --keep verdicts.jsonl --set endpoint.apiKeyEnv=JUDGE_KEY ...
  zazen judge 'runs/think#evaluate-before' runs/think --by traits --set traits.find=8 --set endpoint.model=...

JSON: {first, second, pairs, unmatched, answers, traits: {NAME: ...}, found, spent, kept}; each is {scores, n, wins, ties,
losses, unparsed, rate, interval}, of SECOND: rate 1 where it is always ahead, 0.5 where neither is.`;

export function judgeCommand(): Command {
  return new Command("judge")
    .summary("compare answers or thoughts by a judge at an endpoint")
    .description("Asks a judge whose answers are better, or whose thoughts show more of a trait.")
    .argument("<FIRST>", "file or run folder")
    .argument("<SECOND>", "file or run folder, which the figures are of")
    .addOption(new Option("--by <what>", "what is compared").choices(["answers", "traits", "both"]).default("answers"))
    .option("--set <key=value>", "a setting, dotted key and YAML value; repeatable", collect)
    .option("--keep <FILE>", "file of the judge's answers, which are not asked for again; default: beside SECOND")
    .option("--json", "print one JSON document")
    .addHelpText("after", help + commonHelp)
    .action(async (first: string, second: string, options: JudgeCommandOptions) => {
      const result = await judge(first, second, options, abortOnSignal());
      if (options.json === true) printJson(result);
      else printLines(await resultLines(result));
    });
}

/** @throws InputError of settings, files and rows, JUDGE_PAIRS, ZazenError JUDGE_TRAITS, and what an endpoint may throw */
export async function judge(
  first: string,
  second: string,
  { by, set = [], keep }: JudgeCommandOptions,
  signal: AbortSignal,
): Promise<JudgeResult> {
  const { applySets } = await import("../config/recipe-file.js");
  const { judgeSettings } = await import("../reward/judge/settings.js");
  const settings = judgeSettings(applySets({}, set));
  const { judging, openJudge } = await import("./open-judge.js");
  const opened = await openJudge(settings, { keep, judged: second }, signal);
  const { readPairs } = await import("./judge-files.js");
  const told = await readPairs(first, second);
  const { judgeAnswers } = await import("../reward/judge/judge.js");
  const responses = by === "traits" ? null : pairsOf(told, "answer");
  const thoughts = by === "answers" ? null : pairsOf(told, "thinking");
  const { endpoint, options, kept } = opened;
  const { template } = settings.answers;
  const judgements = await judging(opened, async () => ({
    answers: responses && (await judgeAnswers(endpoint, responses, { ...options, template })),
    ...(thoughts ? await compareTraits(opened, thoughts, settings) : { traits: null, found: null }),
  }));
  const { pairs, unmatched } = told;
  return { first, second, pairs: pairs.length, unmatched, ...judgements, spent: endpoint.spent, kept };
}

/** By the traits of the settings, or by those that the judge finds in some of the pairs; these are not compared again. */
async function compareTraits(
  { endpoint, options }: OpenJudge,
  thoughts: readonly Pair[],
  { seed, traits }: JudgeSettings,
): Promise<Pick<JudgeResult, "traits" | "found">> {
  const { judgeTraits } = await import("../reward/judge/judge.js");
  const { template, list, find, findPairs, noteTemplate, sumTemplate } = traits;
  const compare = (pairs: readonly Pair[], by: Readonly<Record<string, string>>) =>
    judgeTraits(endpoint, pairs, by, { ...options, template });
  if (find === 0) return { traits: await compare(thoughts, list), found: null };
  if (thoughts.length <= findPairs) throw noneLeft(thoughts.length, findPairs);
  const { epochOrder } = await import("../data/order.js");
  const drawn = new Set(epochOrder(thoughts.length, seed, 0).subarray(0, findPairs));
  const of = (isDrawn: boolean) => thoughts.filter((_, p) => drawn.has(p) === isDrawn);
  const { findTraits } = await import("../reward/judge/find-traits.js");
  const asked = { ...options, count: find, noteTemplate, sumTemplate };
  const found = await findTraits(endpoint, of(true), asked);
  return { traits: await compare(of(false), found.traits), found };
}

function noneLeft(pairs: number, findPairs: number): InputError {
  return new InputError(
    "JUDGE_PAIRS",
    `[judge] expected more pairs with thoughts than the ${findPairs} that traits are found in, got ${pairs}; lower traits.findPairs, or ` +
      "take more prompts",
  );
}

/** Pairs of which both have the text. @throws InputError JUDGE_PAIRS where there is none */
function pairsOf({ pairs }: ToldPairs, what: "answer" | "thinking"): readonly Pair[] {
  const found = pairs.flatMap(([one, other]) => {
    const [first, second] = [one[what], other[what]];
    return first === null || second === null ? [] : [{ prompt: one.prompt, first, second }];
  });
  if (found.length > 0) return found;
  throw noTexts(pairs.length, what);
}

function noTexts(pairs: number, what: "answer" | "thinking"): InputError {
  const other = what === "answer" ? "traits" : "answers";
  const expected = what === "answer" ? "responses in both" : "thoughts in both";
  return new InputError(
    "JUDGE_PAIRS",
    `[judge] expected rows with ${expected}, got none among ${pairs} pairs; take other files, or --by ${other}`,
  );
}

async function resultLines(result: JudgeResult): Promise<readonly string[]> {
  const { tableLines } = await import("../report/table.js");
  const { costText } = await import("./open-judge.js");
  const { first, second, pairs, unmatched, answers, found, traits, spent, kept } = result;
  const rows = [
    ...(answers === null ? [] : [rowOf("better answer", answers)]),
    ...Object.entries(traits ?? {}).map(([name, judgement]) => rowOf(`more of: ${name}`, judgement)),
  ];
  return [
    `first: ${first}`,
    `second: ${second}`,
    `${pairs} prompts that both have${unmatched === 0 ? "" : `, ${unmatched} that one has are left out`}`,
    ...(found === null ? [] : foundLines(found)),
    "",
    ...tableLines(["", "second, %", "second", "tie", "first", "no verdict"], rows),
    "",
    `${costText(spent)}; answers: ${kept}`,
  ];
}

function foundLines({ traits, pairs, notes, unparsed }: FoundTraits): readonly string[] {
  const silent = unparsed === 0 ? "" : `, ${unparsed} answers without one`;
  return [
    `traits found in ${pairs} pairs by ${notes} notes${silent}; compared on the others:`,
    ...Object.entries(traits).map(([name, what]) => `  ${name}: ${what}`),
  ];
}

function rowOf(name: string, { rate, interval, wins, ties, losses, unparsed }: Judgement): readonly string[] {
  const percent = (share: number) => (100 * share).toFixed(1);
  const spread = interval === null ? "" : ` [${interval.map(percent).join(", ")}]`;
  return [name, rate === null ? "-" : `${percent(rate)}${spread}`, ...[wins, ties, losses, unparsed].map(String)];
}
