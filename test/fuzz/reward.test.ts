// Fuzz of the folders of reward models: config.json and safetensors of classifiers of four families, and what lies beside an ONNX file, which
// is not opened. What is accepted takes a known number of bytes and gives a text the same score in any company, and again from a copy that the
// engine saved.
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Random } from "../../src/data/random.js";
import { Engine } from "../../src/engine/engine.js";
import { inspectFolder } from "../../src/reward/model/folder.js";
import { modelMemory } from "../../src/reward/model/memory.js";
import { NativeScorer } from "../../src/reward/model/native.js";
import { fixture } from "../helpers/files.js";
import { modelReward, never } from "../helpers/reward-models.js";
import { TINY_CONFIG } from "../helpers/tiny-model.js";
import { fuzzTests } from "./define.js";
import type { Files, Target } from "./fuzz.js";
import { mutateSafetensors } from "./model-folders.js";
import { mutateJsonFile, wordsOf } from "./mutate.js";
import { READERS } from "./readers.js";

const WHERE = "reward";
const CONFIG = "config.json";
const WEIGHTS = "model.safetensors";
const GRAPH = "model.onnx";
const TOKENIZER = "tokenizer_config.json";
const MAX_TOKENS = 16;

interface Seed {
  readonly config: object;
  readonly weights: Buffer;
}

const json = (path: string) => JSON.parse(readFileSync(fixture(path), "utf8")) as object;
const SEEDS = ["reward/llama", "scalar/llama", "scalar/mistral", "scalar/qwen2", "scalar/qwen3"].map(
  (name): Seed => ({ config: json(`${name}/${CONFIG}`), weights: readFileSync(fixture(`${name}/${WEIGHTS}`)) }),
);
const tokenizerConfig = json(`reward/llama/${TOKENIZER}`);
const LABELS = [
  "num_labels",
  "id2label",
  "label2id",
  "LABEL_0",
  "LABEL_1",
  "score.weight",
  "problem_type",
  "pad_token_id",
];
const NAMES = [
  "LlamaForCausalLM",
  "Qwen2ForSequenceClassification",
  "dim",
  "n_heads",
  "hidden_dim",
  "content",
  "__type",
];
const WORDS = [...wordsOf([...SEEDS.map(({ config }) => config), tokenizerConfig]), ...LABELS, ...NAMES];

function make(stream: Random): Files {
  const { config, weights } = stream.choice(SEEDS);
  const kind = stream.int(8);
  if (kind < 4) return { [CONFIG]: mutateJsonFile(config, stream, WORDS), [WEIGHTS]: weights };
  if (kind < 6) return { [CONFIG]: JSON.stringify(config), [WEIGHTS]: mutateSafetensors(weights, stream) };
  const tokenizer = { [TOKENIZER]: mutateJsonFile(tokenizerConfig, stream, WORDS) };
  return { [CONFIG]: mutateJsonFile(config, stream, WORDS), [GRAPH]: "x", ...tokenizer };
}

const settingsOf = (model: string) => modelReward(model, { maxTokens: MAX_TOKENS, threads: 1 });

async function read(model: string): Promise<void> {
  const folder = await inspectFolder(settingsOf(model), WHERE);
  const { bytes } = modelMemory(folder, settingsOf(model), MAX_TOKENS);
  if (!Number.isFinite(bytes) || bytes <= 0) throw new Error(`a reward model of ${bytes} bytes`);
  if (folder.runtime === "onnx") return;
  const last = folder.spec.vocabSize - 1;
  const ids = [[0], [last, 0, last], [0, last]].map((list) => Int32Array.from(list.slice(0, folder.spec.maxPositions)));
  const scores = await scoresOf(model, ids);
  const copy = join(model, "copy");
  mkdirSync(copy);
  await using engine = await Engine.load(model, { threads: 1, trainable: false });
  await engine.saveMerged(copy);
  const again = await scoresOf(copy, ids);
  if (!scores.every((score, i) => Object.is(score, again[i])))
    throw new Error(`scores ${scores} that are ${again} when saved and loaded`);
}

/** Of the three texts, together and one by one. */
async function scoresOf(model: string, ids: readonly Int32Array[]): Promise<readonly number[]> {
  await using scorer = await NativeScorer.open(Engine, settingsOf(model), MAX_TOKENS);
  const scores = [...(await scorer.score(ids, never))];
  for (const [i, own] of ids.entries()) {
    const [alone] = await scorer.score([own], never);
    if (!Object.is(alone, scores[i])) throw new Error(`a score of ${scores[i]} that is ${alone} alone`);
  }
  return scores;
}

const [{ config, weights }] = SEEDS as [Seed];
const changed = (change: object): Files => ({
  [CONFIG]: JSON.stringify({ ...config, ...change }),
  [WEIGHTS]: weights,
});
const withGraph = (files: Files): Files => ({ [GRAPH]: "x", ...files });

const target: Target = {
  name: "reward",
  inputs: { quick: 200, full: 4_000 },
  readers: READERS.reward,
  beneath: [...READERS.config, ...READERS.peft, ...READERS.weights, "src/engine/memory.ts"],
  make,
  read,
  directed: [
    ["REWARD_MODEL_MISSING", { [CONFIG]: JSON.stringify(config) }],
    ["REWARD_MODEL_KIND", { [CONFIG]: JSON.stringify(TINY_CONFIG), [WEIGHTS]: weights }],
    ["UNSUPPORTED_FEATURE", changed({ num_labels: 2 })],
    ["UNSUPPORTED_FEATURE", changed({ id2label: { 0: "a", 1: "b" } })],
    ["UNSUPPORTED_FEATURE", changed({ id2label: undefined })],
    [
      "TENSOR_UNEXPECTED",
      {
        ...changed({}),
        [WEIGHTS]: Buffer.from(weights.toString("latin1").replace("score.weight", "scope.weight"), "latin1"),
      },
    ],
    ["CONFIG_INVALID", withGraph({ [CONFIG]: "[1]" })],
    ["TOKENIZER_INVALID", withGraph({ [CONFIG]: "{}", [TOKENIZER]: "{" })],
    ["MODEL_MISSING", (folder) => inspectFolder(settingsOf(join(folder, "none")), WHERE)],
  ],
};

fuzzTests("reward", () => target);
