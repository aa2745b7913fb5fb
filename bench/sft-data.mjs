// How fast supervised data becomes packed batches: rows read, rendered, encoded in the tokenizer's process, masked, stored, packed; of a warm
// start also filtered, its language told.
// node bench/sft-data.mjs --tokenizer DIR --questions FILE.jsonl [--tokens 1000000] [--json FILE]: rows of {question, answer}, as GSM8K has
// them, gone through until there are so many tokens. Needs a build and a chat template in the folder. The last line is one JSON document.
import { createReadStream, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { resolveSettings } from "../dist/config/resolve.js";
import { sftRecipe } from "../dist/methods/sft.js";
import { openDemonstrations } from "../dist/methods/sft-data.js";
import { warmStartShape } from "../dist/methods/warm-start-rows.js";
import { formatOf } from "../dist/prompt/thinking.js";
import { Tokenizer } from "../dist/prompt/tokenizer.js";
import { languageDetector, STRAY_TAGS } from "../dist/prompt/warm-start.js";
import { packDemonstrations } from "../dist/train/sft.js";
import { check, commit, finish, machine, printTable } from "./support.mjs";

const { values: flags } = parseArgs({
  options: {
    tokenizer: { type: "string" },
    questions: { type: "string" },
    tokens: { type: "string", default: "1000000" },
    json: { type: "string" },
  },
});
const { tokenizer: folder, questions } = flags;
check(folder && questions, "--tokenizer, --questions: expected a folder and a file, got less");
const LONGEST = 15; // seconds of a million tokens
const CHARACTERS_A_TOKEN = 3;
const TURNS = 4; // of the assistant, in a conversation
const POSITIONS = 4096;

const rows = [];
for await (const line of createInterface(createReadStream(questions))) rows.push(JSON.parse(line));

/** Files with about as many tokens as asked for: single answers, and conversations of several turns. */
function* plainRows() {
  for (let i = 0; ; i++) yield { prompt: rows[i % rows.length].question, completion: rows[i % rows.length].answer };
}

function* chatRows() {
  for (const source = plainRows(); ; ) {
    const turns = Array.from({ length: TURNS }, () => source.next().value);
    yield {
      messages: turns.flatMap(({ prompt, completion }) => [
        { role: "user", content: prompt },
        { role: "assistant", content: completion },
      ]),
    };
  }
}

/** As a teacher writes them: a thought about as long as the response, and every prompt another one. */
function* warmRows() {
  let i = 0;
  for (const { prompt, completion } of plainRows()) {
    yield { prompt: `${++i}. ${prompt}`, thinking: `${prompt}\n${completion}`, response: completion };
  }
}

const warmStart = async () => {
  const rules = { oneTurn: true, wellFormed: true, uniquePrompts: true, strayTags: STRAY_TAGS };
  return warmStartShape(formatOf("warm", true), { ...rules, languageOf: await languageDetector() });
};

function write(path, source) {
  const lines = [];
  for (let characters = 0; characters < CHARACTERS_A_TOKEN * Number(flags.tokens); ) {
    lines.push(JSON.stringify(source.next().value));
    characters += lines.at(-1).length;
  }
  writeFileSync(path, lines.join("\n"));
  return lines.length;
}

const seconds = (from) => (performance.now() - from) / 1000;

async function measure(path, count, shapeOf) {
  const loading = performance.now();
  const tokenizer = await Tokenizer.load(folder);
  const load = seconds(loading);
  const spec = { vocabSize: 2 ** 31, maxPositions: POSITIONS, eosTokenIds: [] };
  const config = resolveSettings("sft", sftRecipe.schema, { data: path });
  const host = { signal: new AbortController().signal, emit: () => {} };
  const opening = performance.now();
  const source = await openDemonstrations(config, { folder, tokenizer, spec }, host, await shapeOf?.());
  const open = seconds(opening);
  if (source.count !== count)
    throw new Error(`expected ${count} demonstrations, got ${JSON.stringify(source.reports)}`);
  const packing = performance.now();
  const batch = packDemonstrations(Array.from({ length: count }, () => source.next()));
  const pack = seconds(packing);
  const trained = batch.weights.reduce((sum, weight) => sum + (weight > 0 ? 1 : 0), 0);
  if (trained === 0 || batch.cuSeqlens.length !== count + 1) throw new Error("expected every row in the batch");
  const total = batch.ids.length;
  source[Symbol.dispose]();
  tokenizer[Symbol.dispose]();
  return { rows: count, tokens: total, trained, load, open, pack, tokensPerSecond: total / (open + pack) };
}

const scratch = mkdtempSync(join(tmpdir(), "zazen-bench-"));
const result = {};
const kinds = { plain: [plainRows()], chat: [chatRows()], warm: [warmRows(), warmStart] };
for (const [name, [source, shapeOf]] of Object.entries(kinds)) {
  const path = join(scratch, `${name}.jsonl`);
  result[name] = await measure(path, write(path, source), shapeOf);
}
rmSync(scratch, { recursive: true });
printTable(
  ["rows", "tokens", "open, s", "pack, s", "s a million", `at most ${LONGEST}`],
  Object.entries(result).map(([name, { tokens, open, pack, tokensPerSecond }]) => {
    const million = 1e6 / tokensPerSecond;
    return [
      name,
      tokens,
      open.toFixed(2),
      pack.toFixed(2),
      million.toFixed(2),
      million <= LONGEST ? "held" : "NOT HELD",
    ];
  }),
);
finish({ bench: "sft-data", longest: LONGEST, ...result, machine: machine(), commit: commit() }, flags.json);
