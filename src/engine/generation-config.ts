// What a model folder says about generation: sampling parameters that its generation_config.json recommends, and its end tokens joined with
// those of others. `zazen generate` takes the recommendations where no flag says otherwise. Training never does, since its policy is
// softmax(logits / temperature) of the recipe; it says which it leaves out.
import { join } from "node:path";
import { type JsonObject, readJsonObject } from "../config/files.js";
import { InputError } from "../errors.js";
import type { ModelSpec, SamplingParams } from "./types.js";
import { checkIds } from "./validate.js";

export type Recommended = Pick<SamplingParams, "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty">;

const NAMES = {
  temperature: "temperature",
  top_k: "topK",
  top_p: "topP",
  min_p: "minP",
  repetition_penalty: "repetitionPenalty",
} as const satisfies Readonly<Record<string, keyof Recommended>>;

/** Characters of a value in a message. */
const MOST_SHOWN = 60;

/** What else shapes samples in transformers' GenerationConfig (5), with the value that leaves them as they are; null and [] always do. */
const OTHERS: Readonly<Record<string, unknown>> = {
  typical_p: 1,
  epsilon_cutoff: 0,
  eta_cutoff: 0,
  top_h: 1,
  no_repeat_ngram_size: 0,
  encoder_no_repeat_ngram_size: 0,
  encoder_repetition_penalty: 1,
  presence_penalty: 0,
  frequency_penalty: 0,
  bad_words_ids: null,
  sequence_bias: null,
  suppress_tokens: null,
  begin_suppress_tokens: null,
  forced_bos_token_id: null,
  forced_eos_token_id: null,
  min_length: 0,
  min_new_tokens: 0,
  exponential_decay_length_penalty: null,
  stop_strings: null,
  num_beams: 1,
  num_beam_groups: 1,
  diversity_penalty: 0,
  penalty_alpha: 0,
  guidance_scale: 1,
  watermarking_config: null,
};

/** What the file asks of samples and this engine does not do, as it stands there: { typical_p: 0.9 }. Throws InputError CONFIG_INVALID. */
export async function unknownSampling(folder: string): Promise<Readonly<Record<string, unknown>>> {
  const config = await readConfig(folder);
  const asked = Object.entries(OTHERS).filter(([name, neutral]) => {
    const value = config[name] ?? null;
    return value !== null && value !== neutral && !(Array.isArray(value) && value.length === 0);
  });
  return Object.fromEntries(asked.map(([name]) => [name, config[name]]));
}

/** "top_p 0.8, suppress_tokens [5]"; long values lose their end. */
export function namedValues(values: Readonly<Record<string, unknown>>): string {
  const shown = Object.entries(values).map(([name, value]) => {
    const text = JSON.stringify(value);
    return `${name} ${text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}...` : text}`;
  });
  return shown.join(", ");
}

const fileOf = (folder: string): string => join(folder, "generation_config.json");

const readConfig = async (folder: string): Promise<JsonObject> =>
  (await readJsonObject(fileOf(folder), { code: "CONFIG_INVALID" })) ?? {};

/** What the file says, `do_sample: false` as temperature 0. Throws InputError CONFIG_INVALID for values that are no numbers. */
export async function recommendedSampling(folder: string): Promise<Recommended> {
  const file = fileOf(folder);
  const config = await readConfig(folder);
  const found = Object.entries(NAMES).filter(([name]) => config[name] !== undefined && config[name] !== null);
  for (const [name] of found) {
    if (typeof config[name] === "number") continue;
    const message = `[${file}] expected a number as ${name}, got ${JSON.stringify(config[name])}; mend the file`;
    throw new InputError("CONFIG_INVALID", message);
  }
  const values = Object.fromEntries(found.map(([name, field]) => [field, config[name]])) as Recommended;
  return config.do_sample === false ? { ...values, temperature: 0 } : values;
}

/** What is recommended and `sampling` does otherwise, by the file's names: { top_p: 0.8 }. */
export function notFollowed(
  recommended: Recommended,
  sampling: Required<Recommended>,
): Readonly<Record<string, number>> {
  const others = Object.entries(NAMES).flatMap(([name, field]) => {
    const value = recommended[field];
    return value === undefined || value === sampling[field] ? [] : [[name, value] as const];
  });
  return Object.fromEntries(others);
}

/**
 * Ids that end a sample, each once: the model's, of config.json and generation_config.json; the tokenizer's, where the model has that token
 * at all; and `more`. Throws InputError TOKEN_OUT_OF_RANGE for one of `more` that the model does not have.
 */
export function endTokens(
  spec: Pick<ModelSpec, "eosTokenIds" | "vocabSize">,
  ofTokenizer: number | null,
  more: readonly number[] = [],
): readonly number[] {
  checkIds("eosTokenIds", more, spec);
  const known = ofTokenizer !== null && ofTokenizer < spec.vocabSize ? [ofTokenizer] : [];
  return [...new Set([...spec.eosTokenIds, ...known, ...more])];
}
