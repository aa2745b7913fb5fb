// Where an answer begins in tokens, against decoding every prefix.

import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { tokensThrough } from "../../src/prompt/token-split.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { shared } from "../helpers/files.js";
import { toyTokenizerFolder } from "../helpers/toy-model.js";

const pieces = ["", "a", "</th", "ink>", "</think>", ">b", "é</", "think"];
const encoder = new TextEncoder();
const parts = pieces.map((piece) => encoder.encode(piece));
const offsets = Int32Array.from([
  0,
  ...parts.map((_, i) => parts.slice(0, i + 1).reduce((sum, part) => sum + part.length, 0)),
]);
const written = { bytes: Uint8Array.from(parts.flatMap((part) => [...part])), offsets };

describe("tokens through a mark", () => {
  test.each<[string, number[], "first" | "last", number | null]>([
    ["one token", [1, 4, 1], "first", 2],
    ["across tokens", [1, 2, 3, 1], "first", 3],
    ["a token that writes its end and more", [6, 7, 5, 1], "first", 3],
    ["the first of two", [1, 4, 1, 4, 1], "first", 2],
    ["the last of two", [1, 4, 1, 4, 1], "last", 4],
    ["tokens that write nothing", [0, 0, 4, 0, 1], "first", 3],
    ["ids beyond the vocabulary", [99, 4, 1], "first", 2],
    ["no mark", [1, 2, 1, 3], "first", null],
    ["no tokens", [], "last", null],
  ])("%s", (_, ids, which, wanted) => expect(tokensThrough(ids, "</think>", which, written)).toBe(wanted));
});

describe.each([
  ["our own", toyTokenizerFolder(), "</s>"],
  ["qwen2.5", shared("tokenizers/qwen2.5"), "<|im_end|>"],
])("the tokenizer: %s", (_, folder, end) => {
  test.skipIf(!existsSync(folder))(
    "agrees with the shortest prefix whose text has the mark; special tokens write too",
    async () => {
      using tokenizer = await Tokenizer.load(folder);
      const mark = "<response>";
      for (const text of [
        `Héllo, wörld.\n<think> 日本 </think> <response> yes </response>${end}`,
        "x<response>y<response>",
      ]) {
        const ids = tokenizer.encode(text, { addSpecialTokens: false });
        const prefix = ids.findIndex((_, i) => tokenizer.decode(ids.slice(0, i + 1)).includes(mark)) + 1;
        expect(tokensThrough(ids, mark, "first", tokenizer.writtenBytes())).toBe(prefix);
      }
      const ids = tokenizer.encode(`a${end}b`, { addSpecialTokens: false });
      expect(tokensThrough(ids, end, "last", tokenizer.writtenBytes())).toBe(2);
    },
  );
});
