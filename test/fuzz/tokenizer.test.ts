// Fuzz of tokenizer files. Most inputs go to one tokenizer process after another, as the Tokenizer sends them, some through the whole of
// it: the process answers or ends within its deadline, ids and texts are what they should be, and a copy of the files gives the same ids.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readJsonObject } from "../../src/config/files.js";
import type { Random } from "../../src/data/random.js";
import { InputError } from "../../src/errors.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { TokenizerProcess } from "../../src/prompt/tokenizer-process.js";
import { copyTokenizer } from "../../src/train/run-folder.js";
import { fuzzTests } from "./define.js";
import type { Files, Target } from "./fuzz.js";
import { mutateJsonFile, wordsOf } from "./mutate.js";
import { READERS } from "./readers.js";
import { PARTS, TEXTS, TOKENIZERS, TRIAL_CONFIG } from "./tokenizers.js";

const FILE = "tokenizer.json";
const CONFIG = "tokenizer_config.json";
/** An input that has it is read by the class. */
const WHOLE = "whole";
const WORDS = [...wordsOf([...TOKENIZERS, TRIAL_CONFIG]).filter((word) => !word.startsWith("<0x")), ...PARTS];
const DEADLINE_MS = 3_000;
const HEAP_MB = 256;
const MOST_TOKENS = 2 ** 24;

function make(stream: Random): Files {
  const isConfig = stream.int(8) === 0;
  const seed = stream.choice(TOKENIZERS);
  return {
    [FILE]: isConfig ? JSON.stringify(seed) : mutateJsonFile(seed, stream, WORDS),
    [CONFIG]: isConfig ? mutateJsonFile(TRIAL_CONFIG, stream, WORDS) : JSON.stringify(TRIAL_CONFIG),
    ...(stream.int(20) === 0 && { [WHOLE]: "" }),
  };
}

async function read(folder: string): Promise<void> {
  const whole = readable(join(folder, WHOLE));
  const config = (await readJsonObject(join(folder, CONFIG), { code: "TOKENIZER_INVALID" })) ?? {};
  return whole ? readWhole(folder) : readByProcess(readFileSync(join(folder, FILE), "utf8"), config);
}

function readable(path: string): boolean {
  try {
    return readFileSync(path) !== null;
  } catch {
    return false;
  }
}

async function readWhole(folder: string): Promise<void> {
  using tokenizer = await Tokenizer.load(folder, { deadlineMs: DEADLINE_MS });
  const ids = await tokenizer.encodeAll(TEXTS);
  for (const list of ids) {
    for (const id of list) requireText(tokenizer.token(id));
    requireText(tokenizer.decode(list));
  }
  tokenizer.tokenBytes();
  const copy = join(folder, "copy");
  mkdirSync(copy);
  copyTokenizer(folder)(copy);
  using second = await Tokenizer.load(copy, { deadlineMs: DEADLINE_MS });
  requireSame(await second.encodeAll(TEXTS), ids);
}

let shared = new TokenizerProcess(DEADLINE_MS, HEAP_MB);

/** The calls of a Tokenizer; what it says of its process is said here. */
async function readByProcess(text: string, config: object): Promise<void> {
  try {
    const { vocabSize, bosId, eosId } = await shared.call("load", { text, config });
    const isId = (id: number) => Number.isInteger(id) && id >= 0 && id < vocabSize;
    if (!Number.isInteger(vocabSize) || vocabSize < 0 || vocabSize > MOST_TOKENS) throw fault(`${vocabSize} tokens`);
    for (const id of [bosId, eosId]) if (id !== null && !isId(id)) throw fault(`the special id ${id}`);
    const request = { texts: TEXTS, addSpecialTokens: true };
    const { ids, ends, unknown } = await shared.call("encode", request);
    requireSame([(await shared.call("encode", request)).ids], [ids]);
    if (ends.length !== TEXTS.length || ends.at(-1) !== ids.length) throw fault("ends that do not end");
    if (unknown < 0 && !ids.every(isId)) throw fault(`ids ${ids} of ${vocabSize} tokens`);
    requireText(await shared.call("decode", { ids: [...ids.map(Math.abs), vocabSize], skipSpecialTokens: true }));
    const { tokens } = await shared.call("spelling", {});
    if (!tokens.every((token) => token === null || typeof token === "string")) throw fault("a token that is no text");
  } catch (error) {
    if (error instanceof InvariantError) throw error;
    renew();
    const message = error instanceof Error ? error.message : String(error);
    throw new InputError("TOKENIZER_INVALID", `[tokenizer] expected a tokenizer, got: ${message}. Fetch it again.`);
  }
}

/** Another process in the place of one that may have ended, or that has had many files. */
function renew(): void {
  if (++renewed % 50 !== 0 && isAlive()) return;
  shared[Symbol.dispose]();
  shared = new TokenizerProcess(DEADLINE_MS, HEAP_MB);
}

let renewed = 0;

function isAlive(): boolean {
  try {
    shared.callSync("load", { text: JSON.stringify(TOKENIZERS[1]), config: {} });
    return true;
  } catch {
    return false;
  }
}

class InvariantError extends Error {}

const fault = (what: string): Error => new InvariantError(`an accepted tokenizer with ${what}`);

function requireText(value: unknown): void {
  if (typeof value !== "string") throw fault(`${JSON.stringify(value)} for a text`);
}

function requireSame(a: readonly Int32Array[], b: readonly Int32Array[]): void {
  if (a.join("|") !== b.join("|")) throw fault(`other ids at the second time: ${a.join("|")} and ${b.join("|")}`);
}

type Seed = { readonly model: object };
const json = JSON.stringify;
const [, byteLevel, , unigram] = TOKENIZERS as [object, Seed, object, Seed];
const changed = (change: object): Files => ({ [FILE]: json({ ...byteLevel, ...change }), [WHOLE]: "" });
const replace = (pattern: string, content: string) => ({ type: "Replace", pattern: { String: pattern }, content });
const doubling = { type: "Sequence", normalizers: Array.from({ length: 40 }, () => replace("l", "ll")) };
const slow = { type: "Split", pattern: { Regex: "(?:(?:l|o)+)+$" }, behavior: "Isolated", invert: false };

async function encodeWith(folder: string, change: object, text: string): Promise<void> {
  writeFileSync(join(folder, FILE), changed(change)[FILE]!);
  using tokenizer = await Tokenizer.load(folder, { deadlineMs: 500 });
  await tokenizer.encodeAll([text]);
}

const template = {
  type: "TemplateProcessing",
  single: [{ SpecialToken: { id: "<nowhere>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
  pair: [],
  special_tokens: {},
};

const target: Target = {
  name: "tokenizer",
  inputs: { quick: 150, full: 4_000 },
  readers: READERS.tokenizer,
  beneath: ["src/config/files.ts"],
  make,
  read,
  directed: [
    ["TOKENIZER_INVALID", { [FILE]: "{", [WHOLE]: "" }],
    ["TOKENIZER_INVALID", (folder) => encodeWith(folder, { pre_tokenizer: slow }, `${"lo".repeat(30)}!`)],
    ["TOKENIZER_INVALID", (folder) => encodeWith(folder, { normalizer: doubling }, "hello")],
    ["TOKENIZER_INVALID", changed({ model: { ...byteLevel.model, vocab: { a: 1.5 } } })],
    ["TOKENIZER_INVALID", changed({ model: { ...byteLevel.model, vocab: { a: 4_294_967_294 } } })],
    ["TOKENIZER_INVALID", changed({ added_tokens: [{ id: 3, content: 7, special: true }] })],
    ["TOKENIZER_MISSING", (folder) => Tokenizer.load(folder)],
    ["TOKENIZER_TEXT", changed({ post_processor: template, added_tokens: [] })],
    ["TOKENIZER_TEXT", { [FILE]: json({ ...unigram, model: { ...unigram.model, unk_id: -1 } }), [WHOLE]: "" }],
    ["TOKENIZER_ID", async (folder) => (await open(folder)).decode([-1])],
    [
      "TOKENIZER_UNSUPPORTED",
      changed({ decoder: { type: "CTC", pad_token: "x", word_delimiter_token: "|", cleanup: true } }),
    ],
  ],
};

function open(folder: string): Promise<Tokenizer> {
  writeFileSync(join(folder, FILE), json(byteLevel));
  return Tokenizer.load(folder);
}

fuzzTests("tokenizer", () => target);
