import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { TokenizerProcess } from "../../src/prompt/tokenizer-process.js";
import {
  encodePrompt,
  encodeTrial,
  symbolId,
  TRIAL_TOKENS,
  trialSplit,
  trialTokenizerFiles,
} from "../../src/tasks/index.js";
import { TOY_BOS, TOY_EOS, toyIds, toyTokenizerFolder } from "../helpers/toy-model.js";

const shared = (path: string) => fileURLToPath(new URL(`../../../shared/${path}`, import.meta.url));
const stories260k = shared("models/stories260k");
const stories1m = shared("models/stories1m");
const qwen = shared("tokenizers/qwen2.5");

let root: string;
let trialFolder: string;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "zazen-tokenizer-"));
  trialFolder = await folder("trial", trialTokenizerFiles(256));
});

afterAll(() => rm(root, { recursive: true, force: true }));

async function folder(name: string, files: Readonly<Record<string, string>>): Promise<string> {
  const path = join(root, name);
  await mkdir(path, { recursive: true });
  for (const [file, content] of Object.entries(files)) await writeFile(join(path, file), content);
  return path;
}

describe("the trial's tokenizer", () => {
  test("gives the ids of encodePrompt, with or without special tokens", async () => {
    const tokenizer = await Tokenizer.load(trialFolder);
    const problem = { id: 0, numbers: [9, 5, 3], target: 11 } as const;
    const ids = encodePrompt(problem, { thinking: true });
    expect(tokenizer.encode("<q> 9 5 3 -> 11 <think>")).toEqual(ids);
    expect(tokenizer.encode("<q> 9 5 3 -> 11 <think>", { addSpecialTokens: false })).toEqual(ids);
    for (const asked of trialSplit().monitor.slice(0, 50)) {
      const prompt = encodePrompt(asked, { thinking: false });
      expect(tokenizer.encode(tokenizer.decode(prompt))).toEqual(prompt);
    }
  });

  test("knows the vocabulary and its special ids", async () => {
    const tokenizer = await Tokenizer.load(trialFolder);
    expect(tokenizer.vocabSize).toBe(121);
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([symbolId("<bos>"), symbolId("<eos>")]);
    expect(TRIAL_TOKENS.map((token) => tokenizer.tokenId(token))).toEqual(TRIAL_TOKENS.map((_, id) => id));
    expect(TRIAL_TOKENS.map((_, id) => tokenizer.token(id))).toEqual(TRIAL_TOKENS);
    expect(tokenizer.tokenId("100")).toBeNull();
  });

  test("unknown words become <unk>; skipping special tokens keeps the marks of the format", async () => {
    const tokenizer = await Tokenizer.load(trialFolder);
    expect(tokenizer.encode("1 100 +hello")).toEqual([1, symbolId("<unk>"), symbolId("<unk>")]);
    const ids = encodeTrial("ok </think> <answer> 1 + 2 </answer> <eos> <pad>");
    expect(tokenizer.decode(ids)).toBe("ok </think> <answer> 1 + 2 </answer> <eos> <pad>");
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe("ok </think> <answer> 1 + 2 </answer>");
  });
});

const TEXTS = [
  "Hello, world!",
  " leading and  double  blanks ",
  "caf\u00e9 \u65e5\u672c\u8a9e \u041f\u0440\u0438\u0432\u0435\u0442",
  "\ud83d\ude42\ud83d\udc69\u200d\ud83d\udcbb",
  "tabs\tand\nlines\r\n",
  "1234567890 + 0.5 = x^2",
];

describe("a byte-level vocabulary with a begin token", () => {
  test.each(TEXTS)("round trip of %j", async (text) => {
    using tokenizer = await Tokenizer.load(toyTokenizerFolder());
    expect(tokenizer.decode(tokenizer.encode(text), { skipSpecialTokens: true })).toBe(text);
  });

  test("merges in their order, special ids and plain ones", async () => {
    using tokenizer = await Tokenizer.load(toyTokenizerFolder());
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([TOY_BOS, TOY_EOS]);
    expect(tokenizer.encode("the inn and the hen")).toEqual([
      TOY_BOS,
      ...toyIds("t", "he", "Ġ", "in", "n", "Ġ", "and", "Ġthe", "Ġ", "he", "n"),
    ]);
    expect(tokenizer.encode("é</s>", { addSpecialTokens: false })).toEqual([...toyIds("Ã", "©"), TOY_EOS]);
  });
});

describe.skipIf(!existsSync(stories260k))("stories260k", () => {
  test("ids of the known sentence", async () => {
    const tokenizer = await Tokenizer.load(stories260k);
    const expected = [1, 317, 336, 313, 440, 411, 306, 414, 432, 274, 287, 443, 436, 269, 352, 303, 426];
    const text = 'Lily said "Hello, Tom!" and ran.';
    expect(tokenizer.encode(text)).toEqual(expected);
    expect(tokenizer.encode(text, { addSpecialTokens: false })).toEqual(expected.slice(1));
    expect(tokenizer.decode(expected, { skipSpecialTokens: true })).toBe(text);
    expect([tokenizer.vocabSize, tokenizer.bosId, tokenizer.eosId]).toEqual([512, 1, 2]);
  });

  test.each(TEXTS)("round trip of %j", async (text) => {
    const tokenizer = await Tokenizer.load(stories260k);
    expect(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false }))).toBe(text);
  });

  test("text of the known greedy ids", async () => {
    const tokenizer = await Tokenizer.load(stories260k);
    const ids =
      "1 403 407 261 378 432 383 286 261 376 298 315 421 395 317 426 338 401 396 267 337 410 408 419 292 411 322 265 " +
      "282 295 433 426 385 328 432 358 394 261 370 432 352 266 268 388 426 338 391 266 267 337 335 312 432 398 312 286 " +
      "267 414 270 333 415";
    expect(tokenizer.decode(ids.split(" ").map(Number), { skipSpecialTokens: true })).toBe(
      "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a " +
        "big, red ball. She wanted to play with it, but it was too high",
    );
  });
});

describe.skipIf(!existsSync(stories1m))("stories1m", () => {
  test("characters to ids and back", async () => {
    const tokenizer = await Tokenizer.load(stories1m);
    const text = "Once upon a time, there was a little girl named Lily.";
    const ids = tokenizer.encode(text);
    expect(tokenizer.vocabSize).toBe(105);
    expect(ids.length).toBe(text.length + 2); // BOS and the blank in front
    expect(ids[0]).toBe(1);
    expect(Math.max(...ids)).toBeLessThan(105);
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text);
  });
});

describe.skipIf(!existsSync(qwen))("qwen2.5", () => {
  let tokenizer: Tokenizer;

  beforeAll(async () => {
    tokenizer = await Tokenizer.load(qwen);
  });

  test.each(TEXTS)("round trip of %j", (text) => {
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  test("special ids and plain ones", () => {
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([null, tokenizer.tokenId("<|im_end|>")]);
    expect(tokenizer.encode("<|im_end|>")).toEqual([151645]);
    expect(tokenizer.encode("Hello")).toEqual([9707]);
  });
});

describe("bad input", () => {
  test("a folder without tokenizer.json, and no folder at all", async () => {
    const empty = await folder("empty", {});
    await expect(Tokenizer.load(empty)).rejects.toMatchObject({
      code: "TOKENIZER_MISSING",
      message: expect.stringContaining(join(empty, "tokenizer.json")),
    });
    for (const path of [join(root, "nowhere"), join(trialFolder, "tokenizer.json")]) {
      await expect(Tokenizer.load(path)).rejects.toMatchObject({
        code: "MODEL_MISSING",
        message: expect.stringContaining(`[${path}] expected a model folder`),
      });
    }
  });

  test.each([
    ["cut off", '{"model": '],
    ["a list", "[]"],
    ["null", "null"],
    ["no model", "{}"],
    ["unknown model", '{"model": {"type": "Magic"}}'],
    ["unknown normalizer", '{"model": {"type": "BPE", "vocab": {}, "merges": []}, "normalizer": {"type": "Magic"}}'],
  ])("a tokenizer.json that is %s", async (name, content) => {
    const path = await folder(`bad ${name}`, { "tokenizer.json": content });
    await expect(Tokenizer.load(path)).rejects.toMatchObject({
      name: "InputError",
      code: "TOKENIZER_INVALID",
      message: expect.stringContaining(join(path, "tokenizer.json")),
    });
  });

  test("a tokenizer_config.json that is not JSON names that file", async () => {
    const path = await folder("bad config", { ...trialTokenizerFiles(256), "tokenizer_config.json": "{" });
    await expect(Tokenizer.load(path)).rejects.toThrow(join(path, "tokenizer_config.json"));
  });

  test("a pipe and a file of gigabytes are refused without reading them", async () => {
    const path = await folder("not a file", trialTokenizerFiles(256));
    execFileSync("mkfifo", [join(path, "pipe")]);
    await rename(join(path, "pipe"), join(path, "tokenizer_config.json")); // in the place of the good one
    const refused = (message: RegExp) => ({ code: "TOKENIZER_INVALID", message: expect.stringMatching(message) });
    await expect(Tokenizer.load(path)).rejects.toMatchObject(refused(/tokenizer_config\.json\] expected a file, got/));
    await truncate(join(path, "tokenizer.json"), 2 ** 32);
    await expect(Tokenizer.load(path)).rejects.toMatchObject(
      refused(/expected at most 134217728 bytes, got 4294967296/),
    );
  });

  test("tokenizer_config.json may be missing", async () => {
    const path = await folder("bare", { "tokenizer.json": trialTokenizerFiles(256)["tokenizer.json"]! });
    const tokenizer = await Tokenizer.load(path);
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([null, null]);
    expect(tokenizer.decode(tokenizer.encode("<q> 1 , 2"))).toBe("<q> 1 <unk> 2");
  });

  test("ids outside the vocabulary", async () => {
    const tokenizer = await Tokenizer.load(trialFolder);
    for (const id of [-1, 0.5, 2 ** 31, Number.NaN]) {
      expect(() => tokenizer.decode([1, id])).toThrow(/expected ids of the vocabulary, 0..120, got/);
    }
    expect(() => tokenizer.token(121)).toThrow(/expected ids of the vocabulary, 0..120, got 121/);
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.encode("")).toEqual([]);
  });

  test("ids beyond the vocabulary, as padded embeddings have them, are shown by number", async () => {
    const tokenizer = await Tokenizer.load(trialFolder);
    expect(tokenizer.decode([1, 2, 121, 3])).toBe("1 2<|token 121|>3");
    expect(tokenizer.decode([127])).toBe("<|token 127|>");
  });

  describe("files from strangers end in a typed error, and only their own process ends", () => {
    const trial = () => JSON.parse(trialTokenizerFiles(256)["tokenizer.json"]!) as Record<string, unknown>;
    const write = (name: string, json: unknown) => folder(name, { "tokenizer.json": JSON.stringify(json) });
    const invalid = (message: RegExp) =>
      expect.objectContaining({ code: "TOKENIZER_INVALID", message: expect.stringMatching(message) });

    test("a pattern that backtracks without end is stopped; other texts still work", async () => {
      const split = { type: "Split", pattern: { Regex: "(a+)+$" }, behavior: "Isolated", invert: false };
      const path = await write("slow", { ...trial(), pre_tokenizer: split });
      const tokenizer = await Tokenizer.load(path, { deadlineMs: 1_500 });
      const spinning = `${"a".repeat(60)}b`;
      expect(() => tokenizer.encode(spinning)).toThrow(invalid(/slow.*took more than 1500 ms/));
      await expect(tokenizer.encodeAll(["1", spinning])).rejects.toEqual(invalid(/took more than 1500 ms/));
      expect(tokenizer.encode("1")).toEqual([1]);
    });

    test("a pattern that makes more text than fits", async () => {
      const grow = { type: "Replace", pattern: { String: "1" }, content: "1 ".repeat(1_000) };
      const json = { ...trial(), normalizer: { type: "Sequence", normalizers: [grow, grow] } };
      const tokenizer = await Tokenizer.load(await write("grow", json), { deadlineMs: 60_000 });
      expect(() => tokenizer.encode("1 ".repeat(400))).toThrow(invalid(/string length/));
      expect(tokenizer.encode("2")).toEqual([2]);
      // The process itself, with less memory: filling a whole heap takes seconds.
      using small = new TokenizerProcess(60_000, 64);
      await small.call("load", { text: JSON.stringify(json), config: {} });
      const encode = (text: string) => () => small.callSync("encode", { texts: [text], addSpecialTokens: false });
      expect([...encode("2")().ids]).toEqual([2]);
      expect(encode("1 ".repeat(20))).toThrow(/its process ended .* over 64 MB of memory/);
      expect(encode("2")).toThrow(/its process ended/);
    });

    test("a pattern that is none", async () => {
      const split = { type: "Split", pattern: { Regex: "([" }, behavior: "Isolated", invert: false };
      const path = await write("broken", { ...trial(), pre_tokenizer: split });
      await expect(Tokenizer.load(path)).rejects.toEqual(invalid(/character class/));
    });

    test("nesting that is deeper than the stack", async () => {
      const deep = `${'{"type":"Sequence","normalizers":['.repeat(50_000)}${"]}".repeat(50_000)}`;
      const file = JSON.stringify({ ...trial(), normalizer: 0 }).replace('"normalizer":0', `"normalizer":${deep}`);
      const path = await folder("deep", { "tokenizer.json": file });
      await expect(Tokenizer.load(path)).rejects.toEqual(invalid(/call stack/));
    });

    test("a file that is small and needs gigabytes and minutes to parse", async () => {
      const path = await folder("lists", { "tokenizer.json": `[${"[],".repeat(40_000_000)}0]` });
      await expect(Tokenizer.load(path, { deadlineMs: 2_000 })).rejects.toEqual(
        invalid(/memory|took more than 2000 ms/),
      );
    });

    test("a vocabulary of 300,000 tokens is large, not hostile", async () => {
      const vocab = Object.fromEntries(Array.from({ length: 300_000 }, (_, id) => [`w${id}`, id]));
      const path = await write("many", {
        ...trial(),
        added_tokens: [],
        model: { ...(trial().model as object), unk_token: "w0", vocab },
      });
      const tokenizer = await Tokenizer.load(path, { deadlineMs: 60_000 });
      expect(tokenizer.vocabSize).toBe(300_000);
      expect(tokenizer.encode("w299999")).toEqual([299_999]);
    });
  });
});

describe("the process of a tokenizer", () => {
  test("calls that wait and calls that do not give each their own answer", async () => {
    const tokenizer = await Tokenizer.load(trialFolder);
    const running = Array.from({ length: 20 }, (_, i) => tokenizer.encodeAll([String(i + 1), "<q>"]));
    expect(tokenizer.encode("9")).toEqual([9]); // answered after the ones that wait
    const all = await Promise.all(running);
    expect(all.map((lists) => lists.map((list) => [...list]))).toEqual(all.map((_, i) => [[i + 1], [104]]));
  });

  test("many texts come back in order, whatever batches they made", async () => {
    const tokenizer = await Tokenizer.load(trialFolder);
    const texts = Array.from({ length: 3_000 }, (_, i) => "7 ".repeat(i % 400));
    const all = await tokenizer.encodeAll(texts);
    expect(all.map((list) => list.length)).toEqual(texts.map((_, i) => i % 400));
    expect(await tokenizer.encodeAll([])).toEqual([]);
  });

  test("a closed one says so", async () => {
    const tokenizer = await Tokenizer.load(trialFolder);
    const running = tokenizer.encodeAll(["1"]);
    tokenizer[Symbol.dispose]();
    tokenizer[Symbol.dispose]();
    await expect(running).rejects.toThrow(/closed/);
    expect(() => tokenizer.encode("1")).toThrow(/closed/);
    await expect(tokenizer.encodeAll(["1"])).rejects.toThrow(/closed/);
  });
});
