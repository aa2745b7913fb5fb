// Sampling parameters that a model's generation_config.json recommends: `zazen generate` takes them where no flag says otherwise. Training
// never does, since its policy is softmax(logits / temperature) of the recipe.
import { join } from "node:path";
import { readJsonObject } from "../config/files.js";
import type { SamplingParams } from "../engine/types.js";
import { InputError } from "../errors.js";

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
