// What LoRA is asked for, as the native side has it: the linear layers that get adapters and the modules that are trained whole, by their
// full names. Names are matched as peft matches them, so that the same settings mean the same model there.
import { FAMILIES } from "./families.js";
import { checkKeys, KEYS } from "./known.js";
import type { Head, LoraOptions, ModelSpec } from "./types.js";
import { checkNumber, fail } from "./validate.js";

const ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"];
const MLP = ["gate_proj", "up_proj", "down_proj"];
const LINEAR = [...ATTENTION, ...MLP];
/** Is a target by name alone, not of `all-linear`. */
const OUTPUT = "lm_head";
const CORRECT = "correct the name";

/** Far above any rank of use, and no size overflows. */
export const MOST_RANK = 65_536;
export const MOST_ALPHA = 1e6;
/** As peft spells every linear layer but the head. */
export const ALL_LINEAR = "all-linear" as const;

export type FilledLora = Required<LoraOptions>;

/** Of the head that is no copy of the embedding. */
const HEAD_MODULES: { readonly [head in Head]: string } = { language: OUTPUT, scalar: "score" };

/** A scalar head is trained whole beside the adapters, as peft does it. Throws InputError BAD_ARGUMENT, LORA_TARGET. */
export function fillLora(options: LoraOptions, { head = "language" }: Pick<ModelSpec, "head">): FilledLora {
  checkKeys("lora", options, KEYS.lora);
  const { modulesToSave = [] } = options;
  const added = head === "scalar" && Array.isArray(modulesToSave) && !modulesToSave.includes(HEAD_MODULES.scalar);
  const lora = added ? { ...options, modulesToSave: [...modulesToSave, HEAD_MODULES.scalar] } : options;
  const filled = { rsLora: false, modulesToSave: [], seed: 0, ...lora };
  checkNumber("lora rank", filled.rank, 1, MOST_RANK, true);
  checkNumber("lora alpha", filled.alpha, Number.MIN_VALUE, MOST_ALPHA);
  checkNumber("lora seed", filled.seed, 0, Number.MAX_SAFE_INTEGER, true);
  if (typeof filled.rsLora !== "boolean") fail("BAD_ARGUMENT", "lora rsLora", "true or false", filled.rsLora);
  if (filled.targets !== ALL_LINEAR) checkNames("lora targets", filled.targets, 1);
  checkNames("lora modulesToSave", filled.modulesToSave, 0);
  return filled;
}

/** The fields of the native spec. Throws InputError LORA_TARGET for a name that no module has. */
export function nativeLora(spec: ModelSpec, lora: FilledLora | undefined, adapter: string): object {
  if (!lora) return { loraRank: 0, loraScale: 0, loraTargets: [], loraSaved: [], loraSeed: 0, adapter };
  const { rank, alpha, rsLora, seed } = lora;
  const loraTargets = targetModules(spec, lora);
  const loraSaved = savedModules(spec, lora);
  const both = loraSaved.find((name) => loraTargets.includes(name));
  if (both !== undefined)
    fail(
      "LORA_TARGET",
      "lora modulesToSave",
      "modules that have no adapter",
      `"${both}", which is in targets too`,
      "name it once",
    );
  return { loraRank: rank, loraScale: loraScale(rank, alpha, rsLora), loraTargets, loraSaved, loraSeed: seed, adapter };
}

/** alpha / rank; of rsLoRA alpha / sqrt(rank). */
function loraScale(rank: number, alpha: number, rsLora: boolean): number {
  return alpha / (rsLora ? Math.sqrt(rank) : rank);
}

/** Whether embedding or head of a tied model are trained apart, or the head alone has an adapter: either unties them. */
export function isUntied(spec: ModelSpec, lora: FilledLora): boolean {
  const apart = [...targetModules(spec, lora), ...savedModules(spec, lora)];
  return apart.some((name) => name === OUTPUT || name === "model.embed_tokens");
}

/** The targets as a list of names. */
export function targetNames({ targets }: FilledLora): readonly string[] {
  return targets === ALL_LINEAR ? LINEAR : (targets as readonly string[]);
}

/** A name is a whole name or ends one, behind a dot. */
function targetModules(spec: ModelSpec, lora: FilledLora): string[] {
  const modules = blocks(spec).flatMap((block) => [
    ...ATTENTION.map((name) => `${block}.self_attn.${name}`),
    ...MLP.map((name) => `${block}.mlp.${name}`),
  ]);
  if (headModule(spec) === OUTPUT) modules.push(OUTPUT);
  const names = targetNames(lora);
  const matches = (module: string, name: string) => module === name || module.endsWith(`.${name}`);
  const known = `${LINEAR.join(", ")}, ${OUTPUT}, or ${ALL_LINEAR}`;
  for (const name of names) {
    if (modules.some((module) => matches(module, name))) continue;
    const other = savable(spec).some((module) => matches(module, name));
    fail(
      "LORA_TARGET",
      "lora targets",
      known,
      `"${name}"`,
      other ? "train it whole: name it in modulesToSave" : CORRECT,
    );
  }
  return modules.filter((module) => names.some((name) => matches(module, name)));
}

/** A name ends the name of a module: "norm" is every norm. */
function savedModules(spec: ModelSpec, { modulesToSave }: FilledLora): string[] {
  const modules = savable(spec);
  for (const name of modulesToSave) {
    if (modules.some((module) => module.endsWith(name))) continue;
    const known = `the end of a module's name, such as embed_tokens, ${headModule(spec)}, norm or q_proj`;
    fail("LORA_TARGET", "lora modulesToSave", known, `"${name}"`, CORRECT);
  }
  return modules.filter((module) => modulesToSave.some((name) => module.endsWith(name)));
}

/** Modules with weights of their own. */
function savable(spec: ModelSpec): string[] {
  const norms = FAMILIES[spec.family ?? "llama"].qkNorm ? ["self_attn.q_norm", "self_attn.k_norm"] : [];
  const inside = [
    "input_layernorm",
    "post_attention_layernorm",
    ...norms,
    ...ATTENTION.map((name) => `self_attn.${name}`),
    ...MLP.map((name) => `mlp.${name}`),
  ];
  const layers = blocks(spec).flatMap((block) => inside.map((name) => `${block}.${name}`));
  return ["model.embed_tokens", "model.norm", headModule(spec), ...layers];
}

const headModule = ({ head = "language" }: ModelSpec): string => HEAD_MODULES[head];

function blocks(spec: ModelSpec): string[] {
  return Array.from({ length: spec.layers }, (_, i) => `model.layers.${i}`);
}

function checkNames(where: string, names: unknown, least: number): void {
  const valid = Array.isArray(names) && names.length >= least && names.every((n) => typeof n === "string" && n !== "");
  if (!valid) fail("BAD_ARGUMENT", where, `a list of at least ${least} names`, JSON.stringify(names) ?? "nothing");
}
