// `zazen judge`: a judge at an endpoint compares what two models wrote to the same prompts: whose responses are better, whose thoughts show
// more of which trait.
import { Command, Option } from "commander";
import type { Spent } from "../endpoint/meter.js";
import { InputError } from "../errors.js";
import type { Judgement } from "../reward/judge/judge.js";
import type { Pair } from "../reward/judge/verdict.js";
import { collect } from "./flags.js";
import type { ToldPairs } from "./judge-files.js";
import { commonHelp, log, printJson, printLines } from "./output.js";
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
  readonly spent: Spent;
}

const help = `
FIRST and SECOND are files with rows of {prompt, thinking, response}, or run folders: of a training run its last
held-out answers, of recipe teach its demonstrations. Pairs are rows with the same prompt. The order in which the
judge sees a pair is drawn by seed. An answer without a verdict is counted, and scores nothing.

Settings, by --set: endpoint.baseURL and endpoint.model (required), endpoint.apiKeyEnv (the variable with the key),
endpoint.concurrency, .retries, .deadlineSeconds, .price.input, .price.output, .extra, .omit (as of recipe teach);
seed, bothOrders, temperature, maxTokens, maxFailures, answers.template, traits.template, traits.list.

Examples:
  zazen judge runs/no-think runs/think --set endpoint.baseURL=http://localhost:8000/v1 --set endpoint.model=judge
  zazen judge before.jsonl after.jsonl --by traits --keep verdicts.jsonl --set endpoint.apiKeyEnv=JUDGE_KEY ...

JSON: {first, second, pairs, unmatched, answers, traits: {NAME: ...}, spent}; each is {scores, wins, ties, losses,
unparsed, rate, interval}, of SECOND: rate 1 where it is always ahead, 0.5 where neither is.`;

export function judgeCommand(): Command {
  return new Command("judge")
    .summary("compare answers or thoughts by a judge at an endpoint")
    .description("Asks a judge whose answers are better, or whose thoughts show more of a trait.")
    .argument("<FIRST>", "file or run folder")
    .argument("<SECOND>", "file or run folder, which the figures are of")
    .addOption(new Option("--by <what>", "what is compared").choices(["answers", "traits", "both"]).default("answers"))
    .option("--set <key=value>", "a setting, dotted key and YAML value; repeatable", collect)
    .option("--keep <FILE>", "keep the judge's answers in this file, and do not ask for those that it has")
    .option("--json", "print one JSON document")
    .addHelpText("after", help + commonHelp)
    .action(async (first: string, second: string, options: JudgeCommandOptions) => {
      const result = await judge(first, second, options, abortOnSignal());
      if (options.json === true) printJson(result);
      else printLines(await resultLines(result));
    });
}

const PROGRESS_MS = 10_000;

/** @throws InputError of settings, files and rows, JUDGE_PAIRS, and what an endpoint may throw */
export async function judge(
  first: string,
  second: string,
  { by, set = [], keep }: JudgeCommandOptions,
  signal: AbortSignal,
): Promise<JudgeResult> {
  const { applySets } = await import("../config/recipe-file.js");
  const { judgeSettings } = await import("../reward/judge/settings.js");
  const settings = judgeSettings(applySets({}, set));
  const { Endpoint } = await import("../endpoint/endpoint.js");
  const endpoint = await Endpoint.open(settings.endpoint, { seed: settings.seed, onRetry: log });
  const { openKept, readPairs } = await import("./judge-files.js");
  const told = await readPairs(first, second);
  const kept = await openKept(keep);
  const { judgeAnswers, judgeTraits } = await import("../reward/judge/judge.js");
  let [answered, at] = [0, performance.now()];
  const onAnswer: typeof kept.add = (answer) => {
    kept.add(answer);
    answered++;
    if (performance.now() - at < PROGRESS_MS) return;
    at = performance.now();
    log(`${answered} answers, ${costText(endpoint.spent)}`);
  };
  const { seed, bothOrders, temperature, maxTokens, maxFailures } = settings;
  const window = 2 * settings.endpoint.concurrency;
  const options = {
    seed,
    bothOrders,
    temperature,
    maxTokens,
    maxFailures,
    window,
    signal,
    known: kept.known,
    onAnswer,
  };
  const answers = by === "traits" ? null : pairsOf(told, "answer");
  const thoughts = by === "answers" ? null : pairsOf(told, "thinking");
  return {
    ...{ first, second, pairs: told.pairs.length, unmatched: told.unmatched },
    answers: answers && (await judgeAnswers(endpoint, answers, { ...options, template: settings.answers.template })),
    traits:
      thoughts &&
      (await judgeTraits(endpoint, thoughts, settings.traits.list, { ...options, template: settings.traits.template })),
    spent: endpoint.spent,
  };
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
  const { first, second, pairs, unmatched, answers, traits, spent } = result;
  const rows = [
    ...(answers === null ? [] : [rowOf("better answer", answers)]),
    ...Object.entries(traits ?? {}).map(([name, judgement]) => rowOf(`more of: ${name}`, judgement)),
  ];
  return [
    `first: ${first}`,
    `second: ${second}`,
    `${pairs} prompts that both have${unmatched === 0 ? "" : `, ${unmatched} that one has are left out`}`,
    "",
    ...tableLines(["", "second, %", "second", "tie", "first", "no verdict"], rows),
    "",
    costText(spent),
  ];
}

function rowOf(name: string, { rate, interval, wins, ties, losses, unparsed }: Judgement): readonly string[] {
  const percent = (share: number) => (100 * share).toFixed(1);
  const spread = interval === null ? "" : ` [${interval.map(percent).join(", ")}]`;
  return [name, rate === null ? "-" : `${percent(rate)}${spread}`, ...[wins, ties, losses, unparsed].map(String)];
}

function costText({ requests, promptTokens, completionTokens, cost }: Spent): string {
  const count = (n: number) => n.toLocaleString("en-US");
  const paid = cost > 0 ? `, cost ${cost.toFixed(4)}` : "";
  return `${count(requests)} requests, ${count(promptTokens)} tokens in, ${count(completionTokens)} out${paid}`;
}
