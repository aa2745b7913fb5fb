// Small tokenizers of every kind that model folders bring, as the contents of tokenizer.json: seeds of the fuzz.
import { trialTokenizerFiles } from "../../src/tasks/countdown-trial.js";

/** Letters of GPT-2's byte-level spelling that are needed here: printable ASCII, and the one for a space. */
const LETTERS = [...Array.from({ length: 94 }, (_, i) => String.fromCharCode(0x21 + i)), "\u0120", "\u010a"];
const BYTES = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);

const numbered = (tokens: readonly string[]) => Object.fromEntries(tokens.map((token, id) => [token, id]));
const special = (id: number, content: string) => ({
  ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
});

const QWEN_SPLIT =
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

const byteLevel = {
  added_tokens: [special(LETTERS.length + 3, "<|end|>")],
  normalizer: { type: "NFC" },
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [
      { type: "Split", pattern: { Regex: QWEN_SPLIT }, behavior: "Isolated", invert: false },
      { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
    ],
  },
  post_processor: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
  decoder: { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
  model: {
    type: "BPE",
    vocab: numbered([...LETTERS, "he", "ll", "hell"]),
    merges: ["h e", "l l", "he ll"],
    unk_token: null,
    byte_fallback: false,
    ignore_merges: false,
  },
};

const byteFallback = {
  added_tokens: [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
  normalizer: {
    type: "Sequence",
    normalizers: [
      { type: "Prepend", prepend: "\u2581" },
      { type: "Replace", pattern: { String: " " }, content: "\u2581" },
    ],
  },
  pre_tokenizer: null,
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
    special_tokens: { "<s>": { id: "<s>", ids: [1], tokens: ["<s>"] } },
  },
  decoder: {
    type: "Sequence",
    decoders: [
      { type: "Replace", pattern: { String: "\u2581" }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ],
  },
  model: {
    type: "BPE",
    vocab: numbered(["<unk>", "<s>", "</s>", ...BYTES, "\u2581", "a", "b", "l", "o", "lo", "\u2581a"]),
    merges: [
      ["l", "o"],
      ["\u2581", "a"],
    ],
    unk_token: "<unk>",
    fuse_unk: true,
    byte_fallback: true,
  },
};

const unigram = {
  added_tokens: [special(0, "<unk>")],
  normalizer: { type: "Sequence", normalizers: [{ type: "NFKC" }, { type: "Lowercase" }, { type: "StripAccents" }] },
  pre_tokenizer: { type: "Metaspace", replacement: "\u2581", prepend_scheme: "always", split: true },
  post_processor: null,
  decoder: { type: "Metaspace", replacement: "\u2581", prepend_scheme: "always", split: true },
  model: {
    type: "Unigram",
    unk_id: 0,
    vocab: ["<unk>", "\u2581", "h", "e", "l", "o", "he", "\u2581he", "llo"].map((token, i) => [token, -0.5 * i]),
  },
};

const parsed = (text: string | undefined): object => JSON.parse(text ?? "");
const trial = trialTokenizerFiles(64);

export const TRIAL_CONFIG = parsed(trial["tokenizer_config.json"]);
export const TOKENIZERS: readonly object[] = [parsed(trial["tokenizer.json"]), byteLevel, byteFallback, unigram];

/** Texts that need every part of a tokenizer. */
export const TEXTS = [
  "hello, hell",
  "caf\u00e9 \u65e5\u672c \ud83d\ude00",
  " a  b\n\tlo\r\n",
  "<|end|></s><unk>",
  "12 + 3",
  "\ud800",
  "",
].concat(["lo".repeat(300), "<q> 9 5 3 -> 11 <think>"]);

/** Names of parts that the library knows and the seeds do not use. */
export const PARTS = [
  "WordLevel",
  "BertNormalizer",
  "Precompiled",
  "NFD",
  "NFKD",
  "BertPreTokenizer",
  "Whitespace",
  "Punctuation",
]
  .concat([
    "Digits",
    "FixedLength",
    "Removed",
    "MergedWithPrevious",
    "RobertaProcessing",
    "BertProcessing",
    "WordPiece",
    "CTC",
  ])
  .concat([
    "BPEDecoder",
    "Regex",
    "String",
    "(a+)+$",
    "[",
    "(?<=x",
    "\\p{Foo}",
    "precompiled_charsmap",
    "end_of_word_suffix",
  ]);
