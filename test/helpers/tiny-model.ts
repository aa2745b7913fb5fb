// A checkpoint small enough to break in tests: a Llama-form model of a few hundred weights, as config.json and tensors.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ModelSpec } from "../../src/engine/types.js";
import { type Tensor, writeSafetensors } from "./safetensors.js";

export type Config = Record<string, unknown>;

/** 11 tokens, 8 wide, 12 in the MLP, 2 layers, 4 heads over 2 KV heads of 4. */
export const TINY_CONFIG: Config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 11,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: "silu",
  tie_word_embeddings: false,
  bos_token_id: 1,
  eos_token_id: 2,
};

/** What TINY_CONFIG says. */
export const TINY_SPEC: ModelSpec = {
  family: "llama",
  vocabSize: 11,
  hiddenSize: 8,
  intermediateSize: 12,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 4,
  maxPositions: 32,
  ropeTheta: 10000,
  rmsNormEps: 1e-5,
  tieWordEmbeddings: false,
  bosTokenId: 1,
  eosTokenIds: [2],
};

const LAYER_SHAPES: Readonly<Record<string, readonly number[]>> = {
  "input_layernorm.weight": [8],
  "self_attn.q_proj.weight": [16, 8],
  "self_attn.k_proj.weight": [8, 8],
  "self_attn.v_proj.weight": [8, 8],
  "self_attn.o_proj.weight": [8, 16],
  "post_attention_layernorm.weight": [8],
  "mlp.gate_proj.weight": [12, 8],
  "mlp.up_proj.weight": [12, 8],
  "mlp.down_proj.weight": [8, 12],
};

/** The weights of TINY_CONFIG: small numbers without a pattern. */
export function tinyTensors(): Map<string, Tensor> {
  const shapes = new Map<string, readonly number[]>([
    ["model.embed_tokens.weight", [11, 8]],
    ["model.norm.weight", [8]],
    ["lm_head.weight", [11, 8]],
  ]);
  for (const layer of [0, 1]) {
    for (const [name, shape] of Object.entries(LAYER_SHAPES)) shapes.set(`model.layers.${layer}.${name}`, shape);
  }
  return new Map([...shapes].map(([name, shape], index) => [name, filled(shape, index)]));
}

function filled(shape: readonly number[], phase: number): Tensor {
  const count = shape.reduce((product, extent) => product * extent, 1);
  return { shape, data: Float32Array.from({ length: count }, (_, i) => 0.3 * Math.sin(1.7 * i + phase)) };
}

export function writeConfig(folder: string, config: Config): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "config.json"), JSON.stringify(config));
}

/** Writes a model that loads; returns the folder. */
export function writeTinyModel(folder: string, config: Config = TINY_CONFIG, tensors = tinyTensors()): string {
  writeConfig(folder, config);
  writeSafetensors(join(folder, "model.safetensors"), tensors);
  return folder;
}
