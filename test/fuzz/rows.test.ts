// Fuzz of data files: JSON Lines and JSON lists, compressed ones too, read through column maps and filters into records of problems and a
// mixture. Accepted rows, written as JSON Lines, read back the same, and a mixture goes on from its saved place.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { SourceSettings } from "../../src/config/data.js";
import { loadJsonl } from "../../src/data/jsonl.js";
import { Mixture } from "../../src/data/mixture.js";
import { OrderedSource } from "../../src/data/order.js";
import type { Random } from "../../src/data/random.js";
import { loadRecords } from "../../src/data/records.js";
import { readRows } from "../../src/data/rows.js";
import { openSource } from "../../src/data/source.js";
import { askRecord, type ProblemRecord } from "../../src/methods/problems.js";
import { rewardList } from "../../src/reward/spec.js";
import { recordCheck } from "../../src/reward/verifiers.js";
import { fuzzTests } from "./define.js";
import type { Files, Target } from "./fuzz.js";
import { damageBytes, mutateValue, wordsOf } from "./mutate.js";
import { READERS } from "./readers.js";

const ROWS = [
  { prompt: "What is 1 + 1?", completion: "2", answer: "2" },
  { question: "Half of 7?", answer: "\\frac{7}{2}", choices: ["1", "3.5"] },
  {
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: "caf\u00e9 \ud83d\ude00?" },
    ],
    answer: 4.5,
  },
  {
    problem: "x",
    solution: "y",
    answer: "A",
    choices: ["one", "two"],
    info: { split: "train", level: [1, 2.5, -3e-7] },
  },
  { numbers: [2, 3, 4], target: 14, answer: "2 + 3 * 4" },
  {
    id: 12345678901234,
    ok: true,
    none: null,
    text: 'tabs\tand "quotes"\n',
    prompt: "deep",
    answer: { a: [{ b: {} }] },
  },
];
const WORDS = wordsOf(ROWS);
const MOST_ROWS = 5;
const SETTINGS: readonly Partial<SourceSettings>[] = [
  { columns: { prompt: "question" } },
  { columns: { answer: "info.level", __proto__x: "prompt" } },
  { where: { answer: ["2", "A"], prompt: "deep" } },
  { where: { ok: true }, limit: 1 },
  { columns: { prompt: "text", answer: "info.answer.value" }, where: { ok: [true, null] } },
];
const KINDS = ["maths", "choice", "exact", "countdown"];

function lines(stream: Random): Buffer {
  const rows = Array.from({ length: 1 + stream.int(MOST_ROWS) }, () => {
    const row = stream.choice(ROWS);
    return stream.int(2) === 0 ? mutateValue(row, stream, WORDS) : JSON.stringify(row);
  });
  return Buffer.from(rows.join(stream.choice(["\n", "\n", "\r\n", "\n\n"])) + stream.choice(["", "\n"]));
}

function list(stream: Random): Buffer {
  const rows = Array.from({ length: stream.int(MOST_ROWS) }, () => stream.choice(ROWS));
  return Buffer.from(stream.int(3) === 0 ? JSON.stringify(rows, null, 1) : mutateValue(rows, stream, WORDS));
}

const sometimes = (bytes: Buffer, stream: Random): Buffer =>
  stream.int(3) === 0 ? damageBytes(bytes, stream, WORDS) : bytes;

function dataFile(stream: Random): Files {
  const kind = stream.int(9);
  if (kind < 5) return { "rows.jsonl": sometimes(lines(stream), stream) };
  if (kind === 5) return { "rows.jsonl.gz": sometimes(gzipSync(lines(stream)), stream) };
  if (kind < 8) return { "rows.json": sometimes(list(stream), stream) };
  return { "rows.json.gz": sometimes(gzipSync(list(stream)), stream) };
}

function make(stream: Random): Files {
  const settings = stream.int(3) === 0 ? stream.choice(SETTINGS) : {};
  return { ...dataFile(stream), "settings.json": JSON.stringify({ ...settings, reward: stream.choice(KINDS) }) };
}

async function read(folder: string): Promise<void> {
  const name = readdirSync(folder).find((each) => each.startsWith("rows."));
  const { reward, ...settings } = JSON.parse(readFileSync(join(folder, "settings.json"), "utf8"));
  const path = join(folder, name!);
  const whole = { hub: "", revision: "main", file: "", split: "train", weight: 1, columns: {}, where: {}, limit: 0 };
  const source: SourceSettings = { ...whole, ...settings, source: path };
  await roundTrip(await valuesOf((await openSource(source)).rows()), join(folder, "written.jsonl"));
  const check = recordCheck(rewardList().parse([{ kind: reward }]));
  const parse = (record: unknown) => {
    check(record as ProblemRecord);
    return askRecord(record as ProblemRecord, "");
  };
  goOn(await loadRecords([source, { ...source, weight: 3 }], parse));
}

async function valuesOf(rows: AsyncIterable<{ value: unknown }>): Promise<string[]> {
  const values: string[] = [];
  for await (const { value } of rows) values.push(JSON.stringify(value));
  return values;
}

async function roundTrip(rows: readonly string[], path: string): Promise<void> {
  writeFileSync(path, rows.join("\n"));
  const again = await valuesOf(readRows(path));
  if (again.join("\n") !== rows.join("\n")) throw new Error(`rows that read back as ${again.join("\n")}`);
}

/** A mixture from its saved place gives what the first one gives. */
function goOn(parts: ConstructorParameters<typeof Mixture>[0]): void {
  const first = new Mixture(parts, { seed: 1 });
  first.next(3);
  const second = new Mixture(parts, { seed: 1 });
  second.restore(JSON.parse(JSON.stringify(first.save())));
  const [a, b] = [first.next(9), second.next(9)];
  if (a.some((record, i) => record !== b[i])) throw new Error("a mixture that goes on with other records");
}

const settings = (reward: string, more: object = {}) => JSON.stringify({ reward, ...more });

const target: Target = {
  name: "rows",
  inputs: { quick: 400, full: 16_000 },
  readers: READERS.rows,
  make,
  read,
  directed: [
    ["JSONL_LINE", { "rows.jsonl": '{"prompt":', "settings.json": settings("maths") }],
    [
      "JSONL_LINE",
      { "rows.jsonl": `{"prompt": ${"[".repeat(9_999)}${"]".repeat(9_999)}}`, "settings.json": settings("maths") },
    ],
    ["JSONL_GZIP", { "rows.jsonl.gz": "no gzip", "settings.json": settings("maths") }],
    ["JSONL_MISSING", (folder) => valuesOf(readRows(join(folder, "none.jsonl")))],
    ["JSONL_EMPTY", (folder) => loadJsonl(written(folder, "empty.jsonl", "\n"), (value) => value)],
    ["JSON_LIST", { "rows.json": "[1", "settings.json": settings("maths") }],
    ["DATA_ROW", { "rows.json": '[{"prompt": 3}]', "settings.json": settings("exact") }],
    ["DATA_EMPTY", { "rows.json": "[]", "settings.json": settings("maths") }],
    ["SOURCE_EMPTY", () => new Mixture([], { seed: 1 })],
    ["SOURCE_EMPTY", () => new OrderedSource([], { seed: 1, epoch: 0, position: 0 })],
    ...[null, 1, {}, { seed: 1 }, { seed: 1, draws: 0, sources: [null] }, { seed: 1, draws: 0.5, sources: [] }].map(
      (state) => ["CURSOR_RANGE", () => oneRecord().restore(state as never)] as const,
    ),
    ["CURSOR_RANGE", () => oneRecord().restore(stateAt(2, Number.MAX_SAFE_INTEGER) as never)],
    ...[-1, 0.5, 3, null].map(
      (position) => ["CURSOR_RANGE", () => oneRecord().restore(stateAt(position) as never)] as const,
    ),
  ],
};

const oneRecord = () => new Mixture([{ records: ["a", "b"], weight: 1 }], { seed: 1 });
const stateAt = (position: unknown, epoch = 0) => ({
  seed: 1,
  draws: 0,
  sources: [{ seed: 1, epoch, position, records: 2 }],
});

function written(folder: string, name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

fuzzTests("rows", () => target);
