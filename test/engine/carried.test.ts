// What a model's files say of tokens and sampling goes through a load and a save as it is, under transformers' names.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { recommendedSampling } from "../../src/engine/generation-config.js";
import { readModelSpec } from "../../src/engine/spec.js";
import type { EngineOptions } from "../../src/engine/types.js";
import { oddInit, oddSpec } from "../helpers/engine.js";
import { temporaryFolder } from "../helpers/temporary.js";

const FILES = ["config.json", "generation_config.json"] as const;
type Json = Record<string, unknown>;

const root = temporaryFolder("carried");
let made = 0;

const json = (folder: string, name: string): Json => JSON.parse(readFileSync(join(folder, name), "utf8")) as Json;
const text = (folder: string) => FILES.map((name) => readFileSync(join(folder, name), "utf8"));

/** A model's folder, with fields of its files as they are given; undefined: none. */
async function modelFolder(config: Json = {}, generation?: Json): Promise<string> {
  const folder = join(root, `model-${made++}`);
  await using engine = await Engine.create({ ...oddSpec, eosTokenIds: [2] }, oddInit, { trainable: false });
  await engine.save(folder);
  const changed = { ...json(folder, "config.json"), ...config };
  writeFileSync(join(folder, "config.json"), JSON.stringify(changed));
  if (generation) writeFileSync(join(folder, "generation_config.json"), JSON.stringify(generation));
  return folder;
}

async function saved(from: string, options: EngineOptions = {}): Promise<string> {
  const folder = join(root, `saved-${made++}`);
  await using engine = await Engine.load(from, options);
  await engine.saveMerged(folder);
  return folder;
}

const recommends = {
  bos_token_id: 1,
  do_sample: true,
  eos_token_id: [2, 3],
  pad_token_id: 5,
  temperature: 0.6,
  top_k: 20,
  top_p: 0.95,
  repetition_penalty: 1.05,
  transformers_version: "4.51.0",
};
const lora = { rank: 2, alpha: 4, targets: "all-linear" } as const;

describe("a model that is loaded and saved", () => {
  test.each<[string, EngineOptions]>([
    ["trained", {}],
    ["in bfloat16", { dtype: "bfloat16" }],
    ["with adapters that were merged", { lora }],
  ])("keeps its recommendations and the tokens of each file, %s", async (_, options) => {
    const from = await modelFolder({ pad_token_id: 5, eos_token_id: 2 }, recommends);
    const to = await saved(from, options);
    expect(json(to, "generation_config.json")).toEqual(recommends);
    expect(json(to, "config.json")).toMatchObject({
      bos_token_id: oddSpec.bosTokenId,
      eos_token_id: 2,
      pad_token_id: 5,
    });
    expect(await recommendedSampling(to)).toEqual(await recommendedSampling(from));
    expect((await readModelSpec(to)).eosTokenIds).toEqual([2, 3]);
    expect(text(await saved(to, options))).toEqual(text(to));
  });

  test("has no token that its files leave out, and keeps one that the model does not have", async () => {
    const from = await modelFolder({ eos_token_id: undefined, pad_token_id: -1 }, { eos_token_id: 3 });
    const to = await saved(from);
    expect(json(to, "config.json")).not.toHaveProperty("eos_token_id");
    expect(json(to, "config.json").pad_token_id).toBe(-1);
    expect(json(to, "generation_config.json")).toEqual({ eos_token_id: 3 });
  });

  test("made here has the files that it had", async () => {
    const from = await modelFolder();
    expect(json(await saved(from), "generation_config.json")).toEqual({
      bos_token_id: oddSpec.bosTokenId,
      eos_token_id: 2,
    });
    expect(json(await saved(from), "config.json")).toEqual(json(from, "config.json"));
  });

  test("as a classifier has the padding token that it scores by", async () => {
    const from = await modelFolder({ pad_token_id: 5 }, recommends);
    const to = await saved(from, { head: "scalar", headInit: { padTokenId: 4 } });
    expect(json(to, "config.json").pad_token_id).toBe(4);
    expect(json(to, "generation_config.json")).toEqual(recommends);
  });
});
