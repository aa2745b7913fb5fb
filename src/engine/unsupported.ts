// What a config.json may ask for that this engine does not compute. Each is refused by name: a model that loads and is computed
// otherwise than its authors did would be worse.
import { isObject, type JsonObject } from "../config/files.js";
import { InputError } from "../errors.js";
import { FAMILIES, FAMILY_NAMES, type Family } from "./families.js";
import { ropeType } from "./rope.js";
import { shown } from "./spec-fault.js";
import type { Head, ModelFamily } from "./types.js";

interface Feature {
  readonly field: string;
  /** What the engine computes, in words. */
  readonly supported: string;
  /** Absent and null fields are not asked about. */
  readonly accepts: (value: unknown, config: JsonObject, family: ModelFamily) => boolean;
}

const DEFAULT_LABELS = 2;
const ROPE_TYPES: readonly unknown[] = ["default", "linear", "llama3", "yarn"];
const ROPE = `rope_type ${ROPE_TYPES.join(", ")}, the same for all layers`;

const FEATURES: readonly Feature[] = [
  { field: "hidden_act", supported: '"silu"', accepts: (value) => value === "silu" || value === "swish" },
  { field: "attention_bias", supported: "false", accepts: (value) => value === false },
  { field: "mlp_bias", supported: "false", accepts: (value) => value === false },
  { field: "attention_dropout", supported: "0", accepts: (value) => value === 0 },
  { field: "pretraining_tp", supported: "1", accepts: (value) => value === 1 },
  { field: "rope_interleaved", supported: "false", accepts: (value) => value === false },
  { field: "partial_rotary_factor", supported: "1", accepts: (value) => value === 1 },
  { field: "rope_scaling", supported: ROPE, accepts: isKnownRope },
  { field: "rope_parameters", supported: ROPE, accepts: isKnownRope },
  {
    field: "sliding_window",
    supported: "none in this family",
    accepts: (_value, config, family) => family !== "llama" || config.use_sliding_window === false,
  },
  { field: "layer_types", supported: "layers that this family has", accepts: areKnownLayers },
  { field: "quantization_config", supported: "none", accepts: () => false },
];

/** Throws UNSUPPORTED_FEATURE. */
export function rejectUnsupported(path: string, config: JsonObject, family: ModelFamily): void {
  for (const { field, supported, accepts } of FEATURES) {
    const value = config[field];
    if (value === undefined || value === null || accepts(value, config, family)) continue;
    throw new InputError(
      "UNSUPPORTED_FEATURE",
      `[${path}] ${field}: expected ${supported}, got ${shown(value)}; this is not supported, choose a model without it`,
    );
  }
}

/** Family and head by `architectures`, or by `model_type` where that is all there is. Throws UNSUPPORTED_ARCHITECTURE, UNSUPPORTED_FEATURE. */
export function readArchitecture(path: string, config: JsonObject): { family: ModelFamily; head: Head } {
  const { architectures, model_type: type } = config;
  const named = (Array.isArray(architectures) ? architectures[0] : architectures) ?? undefined;
  const isOf = ({ architecture, classifier }: Family) => architecture === named || classifier === named;
  const family = FAMILY_NAMES.find((name) => (named === undefined ? name === type : isOf(FAMILIES[name])));
  if (family && (type ?? family) === family) {
    const head = FAMILIES[family].classifier === named ? "scalar" : "language";
    if (head === "scalar") requireOneLabel(path, config);
    return { family, head };
  }
  const got = family ? `${shown(named)} with model_type ${shown(type)}` : shown(named ?? type);
  const known = FAMILY_NAMES.map((name) => `${FAMILIES[name].architecture} (model_type "${name}")`).join(", ");
  throw new InputError(
    "UNSUPPORTED_ARCHITECTURE",
    `[${path}] expected one of ${known}, or its ForSequenceClassification, got ${got}; this architecture is not supported`,
  );
}

/** transformers takes two labels where nothing says otherwise. */
function requireOneLabel(path: string, { num_labels: stated, id2label: names }: JsonObject): void {
  const count = stated ?? (isObject(names) ? Object.keys(names).length : DEFAULT_LABELS);
  if (count === 1) return;
  throw new InputError(
    "UNSUPPORTED_FEATURE",
    `[${path}] num_labels: expected 1, a score, got ${shown(count)}; choose a reward model`,
  );
}

/** The same angles in every layer, in one of the known ways. */
function isKnownRope(value: unknown): boolean {
  if (!isObject(value) || Object.values(value).some(isObject)) return false;
  return ROPE_TYPES.includes(ropeType(value)) && (value.partial_rotary_factor ?? 1) === 1;
}

function areKnownLayers(value: unknown, config: JsonObject, family: ModelFamily): boolean {
  if (!Array.isArray(value) || value.length !== config.num_hidden_layers) return false;
  const windows = family.startsWith("qwen") && config.use_sliding_window === true;
  return value.every((type) => type === "full_attention" || (windows && type === "sliding_attention"));
}
