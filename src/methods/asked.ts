// Problems from rows of data: what each row asks, its text and its ids by a format of thinking, and the limit on its length. Leaves out how
// answers are graded.
import { createHash } from "node:crypto";
import { isObject } from "../config/files.js";
import type { LoadedSource } from "../data/records.js";
import { drop, type SourceReport } from "../data/source.js";
import { InputError } from "../errors.js";
import type { Message } from "../prompt/chat.js";
import type { ThinkingFormat } from "../prompt/thinking.js";
import type { Tokenizer } from "../prompt/tokenizer.js";
import type { Numbered } from "../train/rollout-log.js";
import { type ChatSettings, templateOptions } from "./data-settings.js";
import { askRecord, type ProblemRecord, promptTexts } from "./problems.js";

/** A row and what it asks. */
export interface AskedRow {
  readonly record: ProblemRecord;
  readonly asked: readonly Message[];
}

/** A problem from a row with its prompt, as text and as ids. */
export interface AskedProblem extends Numbered, AskedRow {
  readonly promptText: string;
  readonly prompt: Int32Array; // [P]
}

/** How rows become prompts. */
export interface Asking {
  /** Folder of the tokenizer and the chat template. */
  readonly tokenizer: string;
  readonly chat: ChatSettings;
  readonly format: ThinkingFormat;
  /** Longest prompt; 0 is no limit. */
  readonly maxPromptTokens: number;
  /** What becomes of a longer one: the row is left out, or the prompt keeps its last tokens. Both are counted. */
  readonly tooLong: "drop" | "truncate";
  /** How the arm that this one is compared with asks: what is too long there is left out here too, so that both have the same rows. */
  readonly otherPrompt?: ThinkingFormat["prompt"];
}

/** What a row asks, by a template of its fields or its own prompt. Throws an Error for one that asks nothing. */
export function askRow(value: unknown, question: string): AskedRow {
  if (!isObject(value)) throw new Error(`expected an object, got ${JSON.stringify(value)}; correct the line`);
  return { record: value, asked: askRecord(value, question) };
}

/** Which prompts a run trains on, whatever the format that they are asked in; plain JSON. */
export interface PromptsUsed {
  readonly count: number;
  /** Of what they ask, row by row. */
  readonly sha256: string;
}

export function promptsUsed(sources: readonly { readonly records: readonly AskedRow[] }[]): PromptsUsed {
  const asked = sources.flatMap(({ records }) => records.map(({ asked }) => JSON.stringify(asked)));
  const hash = createHash("sha256");
  for (const each of asked) hash.update(`${each}\n`);
  return { count: asked.length, sha256: hash.digest("hex") };
}

/** A source's problems, and those that its limit left out. */
export interface AskedSource extends LoadedSource<AskedProblem> {
  readonly left: readonly AskedProblem[];
}

/** The problems of each source with their prompts, numbered through all of them. */
export async function askSources(
  sources: readonly LoadedSource<AskedRow>[],
  asking: Asking,
  tokenizer: Tokenizer,
  warn: (text: string) => void,
): Promise<AskedSource[]> {
  const problems: AskedSource[] = [];
  const { maxPromptTokens: limit, tooLong } = asking;
  let count = 0;
  for (const source of sources) {
    const asked = await askAll(source.records, count, asking, tokenizer);
    count += source.records.length;
    if (limit === 0 || tooLong === "truncate") {
      const records = limit === 0 ? asked : withLongCut(asked, source.report, limit, { tokenizer, warn });
      problems.push({ ...source, records, left: [] });
      continue;
    }
    const lengths = await longerLengths(asked, asking, tokenizer);
    const isLong = asked.map((_, i) => lengths[i]! > limit);
    const records = withoutLong(asked, isLong, source.report, limit, warn);
    problems.push({ ...source, records, left: asked.filter((_, i) => isLong[i]) });
  }
  return problems;
}

/** Tokens of each prompt, or of the other arm's where that is longer. */
async function longerLengths(asked: readonly AskedProblem[], asking: Asking, tokenizer: Tokenizer): Promise<number[]> {
  const { otherPrompt: prompt, format } = asking;
  const own = asked.map((problem) => problem.prompt.length);
  if (prompt === undefined || JSON.stringify(prompt) === JSON.stringify(format.prompt)) return own;
  const other = await askAll(asked, 0, { ...asking, format: { ...format, prompt } }, tokenizer);
  return own.map((length, i) => Math.max(length, other[i]!.prompt.length));
}

interface Limiter {
  readonly tokenizer: Tokenizer;
  readonly warn: (text: string) => void;
}

function withoutLong(
  asked: readonly AskedProblem[],
  isLong: readonly boolean[],
  report: SourceReport,
  limit: number,
  warn: (text: string) => void,
): readonly AskedProblem[] {
  const kept = asked.filter((_, i) => !isLong[i]);
  const left = asked.length - kept.length;
  const { source } = report;
  if (kept.length === 0) {
    throw new InputError(
      "DATA_EMPTY",
      `[${source}] expected prompts of at most ${limit} tokens, got none among ${left}; raise maxPromptTokens`,
    );
  }
  for (let i = 0; i < left; i++) drop(report, `prompt longer than ${limit} tokens`);
  if (left > 0)
    warn(`${source}: ${left} of ${asked.length} problems are left out: prompts of more than ${limit} tokens`);
  return kept;
}

/** Long prompts lose their beginning. */
function withLongCut(
  asked: readonly AskedProblem[],
  report: SourceReport,
  limit: number,
  { tokenizer, warn }: Limiter,
): readonly AskedProblem[] {
  const cut = asked.map((problem) => {
    if (problem.prompt.length <= limit) return problem;
    report.truncated++;
    const prompt = problem.prompt.slice(-limit);
    return { ...problem, prompt, promptText: tokenizer.decode(prompt) };
  });
  const { source, truncated } = report;
  if (truncated > 0)
    warn(`${source}: ${truncated} of ${asked.length} prompts are cut to their last ${limit} tokens (maxPromptTokens)`);
  return cut;
}

async function askAll(
  rows: readonly AskedRow[],
  firstId: number,
  { tokenizer: folder, format, chat }: Asking,
  tokenizer: Tokenizer,
): Promise<AskedProblem[]> {
  const texts = await promptTexts(
    rows.map(({ asked }) => asked),
    format,
    folder,
    templateOptions(chat),
  );
  const addSpecialTokens = format.prompt.style === "plain"; // a chat template writes its own
  const prompts = await tokenizer.encodeAll(texts, { addSpecialTokens });
  return rows.map((row, i) => ({ ...row, id: firstId + i, promptText: texts[i]!, prompt: prompts[i]! }));
}
