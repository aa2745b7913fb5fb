// The texts that a judge compares, from two files or run folders: pairs that answer the same prompt, and the answers of the judge so far.
import { createHash } from "node:crypto";
import { appendFileSync, existsSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { isObject, type JsonObject } from "../config/files.js";
import { loadRecords } from "../data/records.js";
import { InputError } from "../errors.js";
import { messagesText } from "../prompt/messages.js";
import type { JudgeAnswer } from "../reward/judge/ask.js";
import type { JudgeSettings } from "../reward/judge/settings.js";
import { attempt, nodeDisk } from "../train/disk.js";
import { wholeBytes } from "../train/run-folder.js";

/** What was written to a prompt. */
interface Told {
  readonly prompt: string;
  readonly thinking: string | null;
  readonly answer: string | null;
}

export interface ToldPairs {
  /** Prompts that both have, in the order of the first. */
  readonly pairs: readonly (readonly [first: Told, second: Told])[];
  /** Prompts that only one of them has. */
  readonly unmatched: number;
}

/** Separates a run folder from the part of it whose evaluation is meant. */
const PART_MARK = "#";
/** Of a run folder: the last evaluation's answers, or the demonstrations of a teacher. */
const FOLDER_FILES = ["held-out.jsonl", "demonstrations.jsonl"];
const FORM = "expected {prompt, thinking, response}, or messages in the place of prompt and answer in that of response";

/** Throws InputError of files and rows, and JUDGE_PAIRS where no prompt is in both. */
export async function readPairs(first: string, second: string): Promise<ToldPairs> {
  const [one, other] = [await readTold(first), await readTold(second)];
  const pairs = [...one].flatMap(([prompt, told]) => {
    const counterpart = other.get(prompt);
    return counterpart === undefined ? [] : [[told, counterpart] as const];
  });
  if (pairs.length > 0) return { pairs, unmatched: one.size + other.size - 2 * pairs.length };
  throw new InputError(
    "JUDGE_PAIRS",
    `[judge] expected a prompt that both ${first} and ${second} have, got none among ${one.size} and ${other.size}; name files on the same prompts`,
  );
}

/** By prompt; of several texts to a prompt the first. */
async function readTold(path: string): Promise<ReadonlyMap<string, Told>> {
  const told = new Map<string, Told>();
  const { place, part } = placeOf(path);
  const rows = await loadRecords(fileOf(place), (row) => (isObject(row) ? row : {}));
  for (const row of lastEvaluation(
    ofPart(
      rows.flatMap(({ records }) => records),
      place,
      part,
    ),
  )) {
    const one = toldIn(row, path);
    if (!told.has(one.prompt)) told.set(one.prompt, one);
  }
  return told;
}

function placeOf(path: string): { readonly place: string; readonly part: string | null } {
  const at = path.lastIndexOf(PART_MARK);
  if (at < 0 || existsSync(path)) return { place: path, part: null };
  return { place: path.slice(0, at), part: path.slice(at + 1) };
}

/** The rows of one part of a run. */
function ofPart(rows: readonly JsonObject[], place: string, part: string | null): readonly JsonObject[] {
  const found = part === null ? rows : rows.filter(({ phase }) => phase === part);
  if (found.length > 0 || rows.length === 0) return found;
  const parts = [...new Set(rows.flatMap(({ phase }) => (typeof phase === "string" ? [phase] : [])))].join(", ");
  const expected = parts === "" ? "rows of a run, which name their part" : `one of the parts ${parts}`;
  throw new InputError(
    "JUDGE_PAIRS",
    `[${place}${PART_MARK}${part}] expected ${expected}, got ${part}; correct its name`,
  );
}

function fileOf(path: string): string {
  if (!existsSync(path) || !statSync(path).isDirectory()) return path;
  const file = FOLDER_FILES.map((name) => join(path, name)).find((each) => existsSync(each));
  if (file !== undefined) return file;
  const message = `[${path}] expected a run folder with ${FOLDER_FILES.join(" or ")}, got neither; name a file of rows`;
  throw new InputError("JUDGE_PAIRS", message);
}

/** Rows of held-out answers say which evaluation they are of: the last one counts, the sampled one of two. */
function lastEvaluation(rows: readonly JsonObject[]): readonly JsonObject[] {
  const last = rows.findLast(({ decoded }) => decoded === "sampled") ?? rows.at(-1);
  if (last?.decoded === undefined) return rows;
  return rows.filter((row) => ["phase", "step", "decoded"].every((name) => row[name] === last[name]));
}

function toldIn(row: JsonObject, path: string): Told {
  const prompt = promptIn(row);
  const [thinking, answer] = [row.thinking ?? null, row.response ?? row.answer ?? null];
  const isText = (value: unknown): value is string | null => value === null || typeof value === "string";
  if (prompt !== null && isText(thinking) && isText(answer) && (thinking ?? answer) !== null)
    return { prompt, thinking, answer };
  throw new InputError("JUDGE_PAIRS", `[${path}] ${FORM}, got ${Object.keys(row).join(", ")}; correct the rows`);
}

function promptIn({ messages, prompt }: JsonObject): string | null {
  const asked = messages ?? prompt;
  if (typeof asked === "string") return asked === "" ? null : asked;
  if (!Array.isArray(asked) || asked.length === 0) return null;
  const turns = asked.filter(isObject).map(({ role, content }) => ({ role: String(role), content: String(content) }));
  return messagesText(turns);
}

/** Answers of a judge that are kept in a file, and added to it as they come. */
export interface Kept {
  readonly path: string;
  /** Those that were there already, by key. */
  readonly known: ReadonlyMap<string, string>;
  add(answer: JudgeAnswer): void;
}

const HASH_CHARACTERS = 8;

/** Where answers are kept that no file is named for: beside what is judged, a file for each judge that might answer otherwise. */
export function keptBeside(judged: string, { endpoint, temperature, maxTokens }: JudgeSettings): string {
  const { baseURL, model, extra, omit } = endpoint;
  const judge = JSON.stringify([baseURL, model, extra, omit, temperature, maxTokens]);
  const hash = createHash("sha256").update(judge).digest("hex").slice(0, HASH_CHARACTERS);
  const { place } = placeOf(judged);
  const folder = existsSync(place) ? (statSync(place).isDirectory() ? place : dirname(place)) : ".";
  return join(folder, `verdicts-${hash}.jsonl`);
}

/** Throws InputError of files and rows. */
export async function openKept(path: string): Promise<Kept> {
  const whole = wholeBytes(path);
  if (existsSync(path)) nodeDisk.cut(path, whole); // a line that a killed process was writing
  const isThere = whole > 0;
  const rows = isThere ? (await loadRecords(path, keptAnswer)).flatMap(({ records }) => records) : [];
  return {
    path,
    known: new Map(rows.map(({ key, text }) => [key, text])),
    add: (answer) => attempt(path, () => appendFileSync(path, `${JSON.stringify(answer)}\n`)),
  };
}

function keptAnswer(row: unknown): JudgeAnswer {
  const { key, text } = isObject(row) ? row : {};
  if (typeof key === "string" && typeof text === "string") return { key, text };
  throw new Error("expected {key, text}, as the judge's answers are kept; name another file");
}
