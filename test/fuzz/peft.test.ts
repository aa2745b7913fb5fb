// Fuzz of peft folders: adapter_config.json and adapter_model.safetensors of seven models. An accepted folder, loaded and saved, loads again
// and saves the same bytes.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { vi } from "vitest";
import type { Random } from "../../src/data/random.js";
import { Engine } from "../../src/engine/engine.js";
import { fixture } from "../helpers/files.js";
import { fuzzTests } from "./define.js";
import type { Files, Target } from "./fuzz.js";
import { mutateSafetensors, requireSame } from "./model-folders.js";
import { mutateJsonFile, wordsOf } from "./mutate.js";
import { READERS } from "./readers.js";

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";

const SEEDS = ["gqa", "qwen2", "qwen3", "mistral", "tied", "head", "tied-head"].map((name) => {
  const config = JSON.parse(readFileSync(fixture(`lora/${name}/${CONFIG}`), "utf8")) as Record<string, unknown>;
  const base = fixture(`lora/${name}/${config.base_model_name_or_path}`);
  return {
    config: { ...config, base_model_name_or_path: base },
    weights: readFileSync(fixture(`lora/${name}/${WEIGHTS}`)),
  };
});
const MODULES = ["q_proj", "down_proj", "lm_head", "embed_tokens", "norm", "all-linear", "pissa", "gaussian", "DORA"];
const WORDS = [...wordsOf(SEEDS.map(({ config }) => config)), ...MODULES];

function make(stream: Random): Files {
  const { config, weights } = stream.choice(SEEDS);
  if (stream.int(3) > 0) return { [CONFIG]: mutateJsonFile(config, stream, WORDS), [WEIGHTS]: weights };
  return { [CONFIG]: JSON.stringify(config), [WEIGHTS]: mutateSafetensors(weights, stream) };
}

async function read(folder: string): Promise<void> {
  const [a, b] = ["a", "b"].map((name) => join(folder, name)) as [string, string];
  await saveAgain(folder, a);
  await saveAgain(a, b);
  requireSame(a, b, [CONFIG, WEIGHTS]);
}

async function saveAgain(from: string, to: string): Promise<void> {
  await using engine = await Engine.load(from, { threads: 1, trainable: false });
  await engine.save(to);
}

const [{ config, weights }] = SEEDS as [(typeof SEEDS)[number]];
const changed = (change: object): Files => ({ [CONFIG]: JSON.stringify({ ...config, ...change }), [WEIGHTS]: weights });

const target: Target = {
  name: "peft",
  inputs: { quick: 200, full: 4_000 },
  readers: READERS.peft,
  beneath: [...READERS.weights, "src/config/files.ts"],
  make,
  read,
  directed: [
    ["ADAPTER_INVALID", changed({ r: "5" })],
    ["ADAPTER_INVALID", changed({ r: 1e9 })],
    ["ADAPTER_INVALID", changed({ lora_alpha: 1e300 })],
    ["ADAPTER_INVALID", { [CONFIG]: "{" }],
    ["UNSUPPORTED_FEATURE", changed({ use_dora: true })],
    ["BASE_MISSING", changed({ base_model_name_or_path: "nowhere" })],
    ["LORA_TARGET", changed({ target_modules: ["x_proj"] })],
    ["LORA_TARGET", changed({ modules_to_save: ["q_proj"] })],
    ["BAD_ARGUMENT", () => Engine.load(fixture("gqa"), { base: fixture("gqa") })],
  ],
};

fuzzTests("peft", () => {
  vi.spyOn(process, "emitWarning").mockImplementation(() => {}); // dropout is read as 0, which is said
  return target;
});
