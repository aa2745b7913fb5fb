// What a model folder says about generation: sampling parameters that its generation_config.json recommends, and its end tokens joined with
// those of others. `zazen generate` takes the recommendations where no flag says otherwise. Training never does, since its policy is
// softmax(logits / temperature) of the recipe; it says which it leaves out.
import { join } from "node:path";
import { readJsonObject } from "../config/files.js";
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

/** What the file says, `do_sample: false` as temperature 0. Throws InputError CONFIG_INVALID for values that are no numbers. */
export async function recommendedSampling(folder: string): Promise<Recommended> {
  const file = join(folder, "generation_config.json");
  const config = (await readJsonObject(file, { code: "CONFIG_INVALID" })) ?? {};
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
