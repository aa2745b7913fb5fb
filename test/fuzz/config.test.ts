// Fuzz of the JSON files of a model folder: config.json of every family, generation_config.json, the index of the weights. An accepted
// spec, written and read again, is the same, and its rotary frequencies are numbers.
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { writeJsonObject } from "../../src/config/files.js";
import type { Random } from "../../src/data/random.js";
import { recommendedSampling } from "../../src/engine/generation-config.js";
import { ropeFrequencies } from "../../src/engine/rope.js";
import { checkSpec, readModelSpec, writeModelConfig } from "../../src/engine/spec.js";
import { weightFiles } from "../../src/engine/weights.js";
import { fixture } from "../helpers/files.js";
import { TINY_CONFIG, TINY_SPEC } from "../helpers/tiny-model.js";
import { fuzzTests } from "./define.js";
import { asJson, type Files, type Target } from "./fuzz.js";
import { mutateJsonFile, wordsOf } from "./mutate.js";
import { READERS } from "./readers.js";

const json = (path: string) => JSON.parse(readFileSync(fixture(path), "utf8")) as object;
const CONFIGS = [
  TINY_CONFIG,
  ...["gqa", "llama3", "mistral", "qwen2", "qwen3", "scalar/qwen2"].map((name) => json(`${name}/config.json`)),
];
const GENERATION = { ...json("gqa/generation_config.json"), temperature: 0.7, top_k: 20, top_p: 0.8, do_sample: true };
const INDEX = {
  metadata: { total_size: 10 },
  weight_map: { "model.norm.weight": "a.safetensors", "lm_head.weight": "b.safetensors" },
};
const ROPE = [
  "rope_scaling",
  "linear",
  "llama3",
  "yarn",
  "dynamic",
  "mscale",
  "attention_factor",
  "beta_fast",
  "truncate",
];
const WORDS = [
  ...wordsOf([...CONFIGS, GENERATION, INDEX]),
  ...ROPE,
  "sliding_attention",
  "quantization_config",
  "../x.safetensors",
];

function make(stream: Random): Files {
  const plain = stream.int(6) > 0;
  const files = {
    "config.json": plain ? mutateJsonFile(stream.choice(CONFIGS), stream, WORDS) : JSON.stringify(TINY_CONFIG),
    ...(stream.int(4) === 0 && { "generation_config.json": mutateJsonFile(GENERATION, stream, WORDS) }),
    ...(!plain && { "model.safetensors.index.json": mutateJsonFile(INDEX, stream, WORDS) }),
  };
  return files;
}

async function read(folder: string): Promise<void> {
  const spec = await readModelSpec(folder);
  await weightFiles(folder);
  await recommendedSampling(folder);
  const { frequencies, scale } = ropeFrequencies(spec);
  if (![...frequencies, scale].every(Number.isFinite)) throw new Error(`rotary frequencies ${frequencies}, ${scale}`);
  const again = join(folder, "again");
  mkdirSync(again);
  await writeModelConfig(again, spec);
  const second = await readModelSpec(again);
  if (!isDeepStrictEqual(second, asJson(spec)))
    throw new Error(`${JSON.stringify(spec)} that reads back as ${JSON.stringify(second)}`);
}

const good = JSON.stringify(TINY_CONFIG);
const changed = (change: object): Files => ({ "config.json": JSON.stringify({ ...TINY_CONFIG, ...change }) });
const tooLong = "x".repeat(300); // for a name of a file

const target: Target = {
  name: "config",
  inputs: { quick: 400, full: 8_000 },
  readers: READERS.config,
  make,
  read,
  directed: [
    ["CONFIG_INVALID", changed({ vocab_size: "11" })],
    ["CONFIG_INVALID", { "config.json": "[1]" }],
    ["CONFIG_INVALID", { "config.json": good, "generation_config.json": '{"top_k": "20"}' }],
    ["CONFIG_INVALID", { "config.json": " ".repeat(17 * 2 ** 20) }],
    ["CONFIG_MISSING", {}],
    ["MODEL_MISSING", (folder) => readModelSpec(join(folder, "none"))],
    ["FILE_IO", (folder) => readModelSpec(join(folder, tooLong))],
    ["FILE_IO", (folder) => writeJsonObject(join(folder, tooLong), {})],
    ["UNSUPPORTED_ARCHITECTURE", changed({ architectures: ["GPT2LMHeadModel"] })],
    ["UNSUPPORTED_FEATURE", changed({ hidden_act: "gelu" })],
    [
      "INDEX_INVALID",
      { "config.json": good, "model.safetensors.index.json": '{"weight_map": {"a": "../a.safetensors"}}' },
    ],
    ["UNSUPPORTED_CHECKPOINT", { "config.json": good, "pytorch_model.bin": "x" }],
    ["SPEC_INVALID", () => checkSpec({ ...TINY_SPEC, layers: 0 })],
  ],
};

fuzzTests("config", () => target);
