// A language model of our own, for tests that need a whole model folder and not what a pretrained model knows: GPT-2's byte-level BPE with a few
// merges, and a Llama form of 55,000 weights that the engine draws from a seed and teaches a few sentences. Any text can be spelled, the greedy
// text from the begin token is known, and samples are mostly letters. Leaves out everything that makes a language model good.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Engine } from "../../src/engine/engine.js";
import { llamaSpec } from "../../src/methods/settings.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { pack } from "./engine.js";
import { temporaryFolder } from "./temporary.js";

/** What the model says from its begin token alone, greedily. */
export const TOY_STORY = "A small dog ran down to the sea. It saw a red ball, and it was glad.";

const SENTENCES = [
  TOY_STORY,
  TOY_STORY, // twice as likely as any other
  "The cat had no hat. Then she sat in the sun and slept, and the rain did not come.",
  "On the hill lived an old man. He made bread for all who came, one day after another.",
];

const SPECIAL = ["<pad>", "<s>", "</s>"] as const;
/** Ids of `SPECIAL`. */
export const TOY_BOS = 1;
export const TOY_EOS = 2;
const BYTES = 256;
const MERGES = ["h e", "i n", "a n", "Ġ t", "Ġ a", "Ġt he", "an d", "Ġ s", "r e", "o n"];

/** How GPT-2 spells each byte: itself where it is a visible character of Latin-1, else a letter from U+0100 on. */
function byteLetters(): string[] {
  const visible = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let hidden = 0;
  return Array.from({ length: BYTES }, (_, byte) => String.fromCodePoint(visible(byte) ? byte : 0x100 + hidden++));
}

/** By id. */
const VOCABULARY = [...SPECIAL, ...byteLetters(), ...MERGES.map((pair) => pair.replace(" ", ""))];

/** Ids of tokens as the vocabulary spells them, such as "Ġs" for " s". */
export const toyIds = (...tokens: readonly string[]): number[] => tokens.map((token) => VOCABULARY.indexOf(token));

const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: true };

/** Contents of tokenizer.json: the begin token in front of every text, as Llama has it. */
const toyTokenizer = {
  version: "1.0",
  truncation: null,
  padding: null,
  added_tokens: SPECIAL.map((content, id) => ({
    ...{ id, content, special: true },
    ...{ single_word: false, lstrip: false, rstrip: false, normalized: false },
  })),
  normalizer: null,
  pre_tokenizer: byteLevel,
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
    special_tokens: { "<s>": { id: "<s>", ids: [TOY_BOS], tokens: ["<s>"] } },
  },
  decoder: byteLevel,
  model: {
    ...{ type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null, end_of_word_suffix: null },
    ...{ fuse_unk: false, byte_fallback: false, ignore_merges: false },
    vocab: Object.fromEntries(VOCABULARY.map((token, id) => [token, id])),
    merges: MERGES,
  },
};

/** A chat template: each turn under its role, the assistant's closed by the end token. */
const TOY_TEMPLATE =
  "{% for m in messages %}{{ m.role }}:\n{{ m.content }}{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}\n{% endfor %}" +
  "{% if add_generation_prompt %}assistant:\n{% endif %}";

/** Of prompt and completion together. */
export const TOY_POSITIONS = 1024;
const SPEC = {
  ...llamaSpec({
    ...{ vocabSize: VOCABULARY.length, bosTokenId: TOY_BOS, eosTokenId: TOY_EOS },
    ...{ width: 48, layers: 2, heads: 4, mlp: 96, maxPositions: TOY_POSITIONS },
  }),
  kvHeads: 2,
  tieWordEmbeddings: true,
};

const tokenizerFiles = {
  "tokenizer.json": JSON.stringify(toyTokenizer),
  "tokenizer_config.json": JSON.stringify({
    ...{ tokenizer_class: "PreTrainedTokenizerFast", bos_token: "<s>", eos_token: "</s>", pad_token: "<pad>" },
    ...{ model_max_length: TOY_POSITIONS, clean_up_tokenization_spaces: false },
  }),
};

/** A folder with the tokenizer alone. */
export function toyTokenizerFolder(): string {
  const folder = join(temporaryFolder("toy"), "toy");
  mkdirSync(folder);
  for (const [name, text] of Object.entries(tokenizerFiles)) writeFileSync(join(folder, name), text);
  return folder;
}

/** A folder with the whole model, taught; with `chat`, it has a chat template too. Which bits it has depends on neither machine nor call. */
export async function toyModel({ chat = false }: { readonly chat?: boolean } = {}): Promise<string> {
  const folder = toyTokenizerFolder();
  if (chat) writeFileSync(join(folder, "chat_template.jinja"), TOY_TEMPLATE);
  using tokenizer = await Tokenizer.load(folder);
  const lessons = pack(SENTENCES.map((text) => [...tokenizer.encode(text), TOY_EOS]));
  await using engine = await Engine.create(SPEC, { seed: 1, std: 0.1 }, { threads: 1 });
  await teach(engine, lessons);
  await engine.save(folder);
  return folder;
}

const STEPS = 60;
const LEARNING_RATE = 0.01;

async function teach(engine: Engine, lessons: ReturnType<typeof pack>): Promise<void> {
  const weights = new Float32Array(lessons.ids.length).fill(1 / (lessons.ids.length - SENTENCES.length));
  for (const start of lessons.cuSeqlens.subarray(0, -1)) weights[start] = 0;
  for (let step = 0; step < STEPS; step++) {
    await engine.forwardBackward({ ...lessons, weights }, { kind: "sft" });
    await engine.optimStep({ learningRate: LEARNING_RATE, maxGradNorm: 1 });
  }
}
