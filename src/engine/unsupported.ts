// What a config.json may ask for that this engine does not compute. Each is refused by name: a model that loads and is computed
// otherwise than its authors did would be worse.
import { isObject, type JsonObject } from "../config/files.js";
import { InputError } from "../errors.js";

const ARCHITECTURE = "LlamaForCausalLM";

interface Feature {
  readonly field: string;
  /** What the engine computes, in words. */
  readonly supported: string;
  /** Absent and null fields are not asked about. */
  readonly accepts: (value: unknown, config: JsonObject) => boolean;
}

const FEATURES: readonly Feature[] = [
  { field: "hidden_act", supported: '"silu"', accepts: (value) => value === "silu" || value === "swish" },
  { field: "attention_bias", supported: "false", accepts: (value) => value === false },
  { field: "mlp_bias", supported: "false", accepts: (value) => value === false },
  { field: "attention_dropout", supported: "0", accepts: (value) => value === 0 },
  { field: "pretraining_tp", supported: "1", accepts: (value) => value === 1 },
  { field: "rope_interleaved", supported: "false", accepts: (value) => value === false },
  { field: "partial_rotary_factor", supported: "1", accepts: (value) => value === 1 },
  { field: "rope_scaling", supported: "none, or rope_type default", accepts: isPlainRope },
  { field: "rope_parameters", supported: "rope_type default for all layers", accepts: isPlainRope },
  {
    field: "sliding_window",
    supported: "none",
    accepts: (_value, config) => config.use_sliding_window === false,
  },
  {
    field: "layer_types",
    supported: "full_attention everywhere",
    accepts: (value) => Array.isArray(value) && value.every((type) => type === "full_attention"),
  },
  { field: "quantization_config", supported: "none", accepts: () => false },
];

/** Throws UNSUPPORTED_ARCHITECTURE or UNSUPPORTED_FEATURE. */
export function rejectUnsupported(path: string, config: JsonObject): void {
  checkArchitecture(path, config);
  for (const { field, supported, accepts } of FEATURES) {
    const value = config[field];
    if (value === undefined || value === null || accepts(value, config)) continue;
    throw new InputError(
      "UNSUPPORTED_FEATURE",
      `[${path}] ${field}: expected ${supported}, got ${shown(value)}; this is not supported, choose a model without it`,
    );
  }
}

/** A value of the file in few characters. */
export function shown(value: unknown): string {
  const text = json(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

function json(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "nothing";
  } catch {
    return "a value nested too deeply to show"; // JSON.parse reads deeper than stringify writes
  }
}

function checkArchitecture(path: string, config: JsonObject): void {
  const { architectures, model_type: type } = config;
  const named = Array.isArray(architectures) ? architectures[0] : architectures;
  // Without `architectures`, `model_type` alone says what the model is.
  if ((named ?? ARCHITECTURE) === ARCHITECTURE && (type ?? (named && "llama")) === "llama") return;
  const got = named === ARCHITECTURE ? `model_type ${shown(type)}` : shown(named ?? type);
  throw new InputError(
    "UNSUPPORTED_ARCHITECTURE",
    `[${path}] expected architecture ${ARCHITECTURE} (model_type "llama"), got ${got}; this architecture is not supported`,
  );
}

/** Angles from theta alone, the same in every layer. `type` is the older name of `rope_type`. */
function isPlainRope(value: unknown): boolean {
  if (!isObject(value) || Object.values(value).some(isObject)) return false;
  const type = value.rope_type ?? value.type ?? "default";
  return type === "default" && (value.partial_rotary_factor ?? 1) === 1;
}
