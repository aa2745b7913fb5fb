// What tells the families of Llama-form models apart: their names in config.json, their parts, and what transformers takes for fields
// that a config.json leaves out.
import type { JsonObject } from "../config/files.js";
import type { ModelFamily } from "./types.js";

export interface Family {
  readonly architecture: string;
  /** With a head for each label. */
  readonly classifier: string;
  /** Biases of the projections to queries, keys and values. */
  readonly qkvBias: boolean;
  /** RMSNorm of every query and key head before rotation. */
  readonly qkNorm: boolean;
  readonly maxPositions: number;
  /** undefined: hidden size over heads. */
  readonly headDim: number | undefined;
  /** undefined: as many as query heads. */
  readonly kvHeads: number | undefined;
  /** The sliding window of a config, and the layers that have it; null: none. Values are as the file has them. */
  readonly window: (config: JsonObject) => { readonly size: unknown; readonly has: (layer: number) => boolean } | null;
}

const QWEN = {
  qkvBias: false,
  qkNorm: false,
  maxPositions: 32_768,
  headDim: undefined,
  kvHeads: 32,
  window: qwenWindow,
};

export const FAMILIES: { readonly [family in ModelFamily]: Family } = {
  llama: {
    architecture: "LlamaForCausalLM",
    classifier: "LlamaForSequenceClassification",
    qkvBias: false,
    qkNorm: false,
    maxPositions: 2048,
    headDim: undefined,
    kvHeads: undefined,
    window: () => null,
  },
  mistral: {
    architecture: "MistralForCausalLM",
    classifier: "MistralForSequenceClassification",
    qkvBias: false,
    qkNorm: false,
    maxPositions: 131_072,
    headDim: undefined,
    kvHeads: 8,
    window: mistralWindow,
  },
  qwen2: {
    ...QWEN,
    architecture: "Qwen2ForCausalLM",
    classifier: "Qwen2ForSequenceClassification",
    qkvBias: true,
  },
  qwen3: {
    ...QWEN,
    architecture: "Qwen3ForCausalLM",
    classifier: "Qwen3ForSequenceClassification",
    qkNorm: true,
    headDim: 128,
  },
};

export const FAMILY_NAMES = Object.keys(FAMILIES) as ModelFamily[];

const DEFAULT_WINDOW = 4096;
const DEFAULT_FULL_LAYERS = 28;

function mistralWindow(config: JsonObject) {
  const { sliding_window: size = DEFAULT_WINDOW } = config;
  return size === null ? null : { size, has: () => true };
}

/** layer_types names the layers with a window; without it all layers from max_window_layers on have one. */
function qwenWindow(config: JsonObject) {
  const { use_sliding_window: used = false, sliding_window: size = DEFAULT_WINDOW, layer_types: types } = config;
  if (used !== true || size === null) return null;
  const first = (config.max_window_layers ?? DEFAULT_FULL_LAYERS) as number;
  return {
    size,
    has: (layer: number) => (Array.isArray(types) ? types[layer] === "sliding_attention" : layer >= first),
  };
}
