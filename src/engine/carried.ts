// What a model folder says beside what is computed: the begin, end and padding tokens of each of its files, and what its
// generation_config.json recommends. A model that is loaded and saved keeps it by transformers' names, so that it is sampled as its base is.
import { join } from "node:path";
import { type JsonObject, readJsonObject } from "../config/files.js";

/** As the files have it. */
export interface Carried {
  /** Of config.json, those that are there: bos_token_id, eos_token_id, pad_token_id. */
  readonly tokens: JsonObject;
  /** Null where there is no generation_config.json. */
  readonly generation: JsonObject | null;
}

const TOKENS = ["bos_token_id", "eos_token_id", "pad_token_id"];

/** Of a folder whose spec was read. Throws InputError CONFIG_INVALID, FILE_IO. */
export async function readCarried(folder: string): Promise<Carried> {
  const [config, generation] = await Promise.all(
    ["config.json", "generation_config.json"].map((name) =>
      readJsonObject(join(folder, name), { code: "CONFIG_INVALID" }),
    ),
  );
  const stated = TOKENS.filter((name) => config !== undefined && Object.hasOwn(config, name));
  return {
    tokens: Object.fromEntries(stated.map((name) => [name, config![name]])),
    generation: generation ?? null,
  };
}
