// What a reward model's folder holds: a sequence classifier that the engine computes, or an ONNX file. Anything else is refused by name. Reads
// small files alone.
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { exists, isObject, readJsonObject, requireModelFolder } from "../../config/files.js";
import { modelFolders } from "../../engine/peft.js";
import { readModelSpec, scalarSpec } from "../../engine/spec.js";
import { InputError } from "../../errors.js";
import type { ModelFolder, OnnxConfig } from "./scorer.js";
import type { RewardModelSettings } from "./settings.js";

const ONNX_FILES = ["model.onnx", join("onnx", "model.onnx")];
const SAFETENSORS = ["model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"];
/** Files beside a graph that are none of its weights, which may be called anything: model.onnx_data, weights.bin, onnx__MatMul_12, ... */
const NO_WEIGHTS = /\.(onnx|json|jinja|txt|md|model|py|safetensors|gguf|h5|pt|pth|msgpack)$|^pytorch_model/;

/**
 * Throws InputError MODEL_MISSING, REWARD_MODEL_MISSING (no weights), REWARD_MODEL_KIND (a language model), and as Engine.load for a
 * classifier that the engine does not compute.
 */
export async function inspectFolder(settings: RewardModelSettings, where: string): Promise<ModelFolder> {
  const { model, runtime, file } = settings;
  await requireModelFolder(model);
  const native = runtime !== "onnx" && file === "" && (await firstThere(model, SAFETENSORS)) !== null;
  if (native) return inspectClassifier(model, where);
  const found = runtime === "native" ? null : await firstThere(model, file === "" ? ONNX_FILES : [file]);
  if (found !== null) return inspectOnnx(model, join(model, found));
  const expected = { auto: "model.safetensors or an ONNX file", native: "model.safetensors", onnx: "an ONNX file" }[
    runtime
  ];
  const sought = file === "" ? "" : ` called ${file}`;
  throw new InputError(
    "REWARD_MODEL_MISSING",
    `[${where}] expected ${expected}${sought} in ${model}, got none; set model to the folder of a reward model, or file to its ONNX file`,
  );
}

async function inspectClassifier(model: string, where: string): Promise<ModelFolder> {
  const { base, adapter, tokenizer } = await modelFolders(model);
  const spec = await readModelSpec(base);
  const { maxPositions: positions, vocabSize } = spec;
  if (spec.head === "scalar" || adapter?.head === "scalar") {
    return { runtime: "native", spec: scalarSpec(spec), lora: adapter?.lora ?? null, positions, vocabSize, tokenizer };
  }
  throw new InputError(
    "REWARD_MODEL_KIND",
    `[${where}] expected a sequence classifier (architectures: ...ForSequenceClassification, with score.weight), got the language model ` +
      `${model}, which has no score; train a reward model from it on pairs of answers, or choose one`,
  );
}

async function inspectOnnx(model: string, file: string): Promise<ModelFolder> {
  const config = (await readJsonObject(join(model, "config.json"), { code: "CONFIG_INVALID" })) ?? {};
  const size = (...names: readonly string[]) => {
    const value = names.map((name) => config[name]).find((each) => Number.isInteger(each) && (each as number) >= 0);
    return (value ?? null) as number | null;
  };
  const read: OnnxConfig = {
    bytes: await bytesOf(file),
    padTokenId: size("pad_token_id"),
    padToken: await padTokenOf(model),
    hiddenSize: size("hidden_size", "dim"),
    intermediateSize: size("intermediate_size", "hidden_dim"),
    heads: size("num_attention_heads", "n_heads"),
  };
  const positions = size("max_position_embeddings");
  return { runtime: "onnx", file, config: read, positions, vocabSize: size("vocab_size"), tokenizer: model };
}

async function padTokenOf(model: string): Promise<string | null> {
  const config = await readJsonObject(join(model, "tokenizer_config.json"), { code: "TOKENIZER_INVALID" });
  const token = isObject(config?.pad_token) ? config.pad_token.content : config?.pad_token;
  return typeof token === "string" ? token : null;
}

/** The graph and, beside it, what may be its weights. */
async function bytesOf(file: string): Promise<number> {
  const folder = dirname(file);
  const beside = (await readdir(folder)).filter((name) => !NO_WEIGHTS.test(name)).map((name) => join(folder, name));
  const files = await Promise.all([file, ...beside].map((path) => stat(path).catch(() => null)));
  return files.reduce((sum, found) => sum + (found?.isFile() ? found.size : 0), 0);
}

async function firstThere(folder: string, names: readonly string[]): Promise<string | null> {
  for (const name of names) if (await exists(join(folder, name))) return name;
  return null;
}
