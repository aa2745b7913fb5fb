// What a reward model's folder holds: an ONNX file, and what its small files say. Anything else is refused by name.
import { readdir, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { exists, isObject, readJsonObject, requireModelFolder } from "../../config/files.js";
import { InputError } from "../../errors.js";
import type { ModelFolder, OnnxConfig } from "./scorer.js";
import type { RewardModelSettings } from "./settings.js";

const ONNX_FILES = ["model.onnx", join("onnx", "model.onnx")];
/** Weights that lie beside a graph: model.onnx_data, model.onnx.data, weights.bin, ... */
const NO_WEIGHTS = /\.(onnx|json|jinja|txt|md|model|py)$/;

/** Throws InputError MODEL_MISSING, REWARD_MODEL_MISSING (no ONNX file). */
export async function inspectFolder({ model, file }: RewardModelSettings, where: string): Promise<ModelFolder> {
  await requireModelFolder(model);
  const found = await firstThere(model, file === "" ? ONNX_FILES : [file]);
  if (found !== null) return inspectOnnx(model, join(model, found));
  const sought = file === "" ? "" : ` called ${file}`;
  throw new InputError(
    "REWARD_MODEL_MISSING",
    `[${where}] expected an ONNX file${sought} in ${model}, got none; set model to the folder of a reward model, or file to its ONNX file`,
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
  return { file, config: read, positions, vocabSize: size("vocab_size") };
}

async function padTokenOf(model: string): Promise<string | null> {
  const config = await readJsonObject(join(model, "tokenizer_config.json"), { code: "TOKENIZER_INVALID" });
  const token = isObject(config?.pad_token) ? config.pad_token.content : config?.pad_token;
  return typeof token === "string" ? token : null;
}

/** The graph and, beside it, what may be its weights. */
async function bytesOf(file: string): Promise<number> {
  const folder = dirname(file);
  const beside = (await readdir(folder)).filter((name) => !NO_WEIGHTS.test(name) && !name.endsWith(".safetensors"));
  const sizes = await Promise.all([file, ...beside.map((name) => join(folder, name))].map((path) => stat(path)));
  return sizes.reduce((sum, { size }) => sum + size, 0);
}

async function firstThere(folder: string, names: readonly string[]): Promise<string | null> {
  for (const name of names) if (await exists(join(folder, name))) return name;
  return null;
}
