// What tokens write: joined, it is what the tokenizer's own decoder says, for byte-level and sentencepiece-style vocabularies.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { random } from "../../src/data/random.js";
import { tokenBytes } from "../../src/prompt/token-bytes.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { toyTokenizerFolder } from "../helpers/toy-model.js";
import { textOf, written } from "../helpers/vocabulary.js";

const shared = fileURLToPath(new URL("../../../shared/", import.meta.url));

const BYTE_LEVEL_TEXTS = ["Hello, 世界! café 😀\n\tif x:\r\n  return  1", "<think>\nöäü</think>"];

describe.each([
  ["sentencepiece style", `${shared}models/stories260k`, ["Once upon a time, Lily said: “café 😀”\n  two  spaces"]],
  ["byte level, our own", toyTokenizerFolder(), BYTE_LEVEL_TEXTS],
  ["byte level", `${shared}tokenizers/qwen2.5`, BYTE_LEVEL_TEXTS],
])("%s", (_, folder, texts) => {
  test.skipIf(!existsSync(`${folder}/tokenizer.json`))(
    "texts come back, and random ids are read as by its decoder",
    async () => {
      using tokenizer = await Tokenizer.load(folder);
      const vocabulary = tokenizer.tokenBytes();
      expect(vocabulary.offsets.length).toBe(tokenizer.vocabSize + 1);
      for (const text of texts) {
        const ids = tokenizer.encode(text, { addSpecialTokens: false });
        expect(textOf(vocabulary, ids).replace(/^ /, "")).toBe(text);
      }
      const draw = random(1);
      for (let i = 0; i < 50; i++) {
        const ids = Array.from({ length: 12 }, () => 260 + draw.int(tokenizer.vocabSize - 260));
        const text = tokenizer.decode(ids, { skipSpecialTokens: true });
        if (!text.includes("\ufffd")) expect(textOf(vocabulary, ids).replace(/^ /, "")).toBe(text.replace(/^ /, ""));
      }
      expect(written(vocabulary, [tokenizer.eosId ?? 2]).length).toBe(0);
    },
  );
});

const noAdded = { added: [] };

test("every byte has a byte-level letter", () => {
  const letters = Array.from({ length: 0x200 }, (_, point) => String.fromCodePoint(point)).filter((letter) => {
    const { bytes } = tokenBytes({ tokens: [letter], decoder: { type: "ByteLevel" }, ...noAdded });
    return bytes.length === 1;
  });
  const { bytes } = tokenBytes({ tokens: letters, decoder: { type: "ByteLevel" }, ...noAdded });
  expect(new Set(bytes).size).toBe(256);
});

test("added tokens write their content, and special ones nothing", () => {
  const decoder = { type: "ByteLevel" };
  const added = [
    { id: 1, content: "<think> é", special: false },
    { id: 2, content: "<end>", special: true },
  ];
  const vocabulary = tokenBytes({ tokens: ["Ġa", "<think>", "<end>", null, "b"], decoder, added });
  expect([0, 1, 2, 3, 4].map((id) => textOf(vocabulary, [id]))).toEqual([" a", "<think> é", "", "", "b"]);
});

test("metaspace, bytes, and no decoder at all", () => {
  const steps = [{ type: "Metaspace", replacement: "▁" }, { type: "ByteFallback" }, { type: "Fuse" }];
  const decoder = { type: "Sequence", decoders: steps };
  const vocabulary = tokenBytes({ tokens: ["▁a▁b", "<0x0A>", "<0xE9>", "<0xZZ>"], decoder, ...noAdded });
  expect([...written(vocabulary, [0, 1, 2])]).toEqual([0x20, 0x61, 0x20, 0x62, 0x0a, 0xe9]);
  expect(textOf(vocabulary, [3])).toBe("<0xZZ>");
  expect(textOf(tokenBytes({ tokens: ["a", "b"], decoder: null, ...noAdded }), [0, 1])).toBe(" a b");
});

test.each([[{ type: "WordPiece" }], [{ type: "CTC" }], [{ type: "Replace", pattern: { Regex: "x" }, content: "" }]])(
  "%j is refused by its name",
  (decoder) => {
    expect(() => tokenBytes({ tokens: ["a"], decoder, ...noAdded })).toThrow(
      expect.objectContaining({
        code: "TOKENIZER_UNSUPPORTED",
        message: expect.stringContaining(`got ${decoder.type}`),
      }),
    );
  },
);
