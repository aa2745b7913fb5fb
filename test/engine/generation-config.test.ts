// What a model folder says about generation: recommendations as they are, which of them a sampling does otherwise, end tokens of all files.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  endTokens,
  namedValues,
  notFollowed,
  recommendedSampling,
  unknownSampling,
} from "../../src/engine/generation-config.js";
import { readModelSpec } from "../../src/engine/spec.js";
import { temporaryFolder } from "../helpers/engine.js";
import { TINY_CONFIG, writeConfig } from "../helpers/tiny-model.js";

function folderWith(generation: object): string {
  const folder = temporaryFolder();
  writeConfig(folder, { ...TINY_CONFIG, eos_token_id: 2 });
  writeFileSync(join(folder, "generation_config.json"), JSON.stringify(generation));
  return folder;
}

describe("recommendations", () => {
  test("are read by the file's names; null and what is no sampling are none", async () => {
    const file = { temperature: 0.7, top_k: 20, top_p: 0.8, min_p: null, repetition_penalty: 1.05, max_length: 9 };
    const wanted = { temperature: 0.7, topK: 20, topP: 0.8, repetitionPenalty: 1.05 };
    expect(await recommendedSampling(folderWith(file))).toEqual(wanted);
    expect(await recommendedSampling(folderWith({ ...file, do_sample: false }))).toEqual({ ...wanted, temperature: 0 });
    expect(await recommendedSampling(temporaryFolder())).toEqual({});
  });

  test("that are no numbers are refused by file and name", async () => {
    const folder = folderWith({ top_p: "0.9" });
    await expect(recommendedSampling(folder)).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: `[${join(folder, "generation_config.json")}] expected a number as top_p, got "0.9"; mend the file`,
    });
  });

  test("that this engine does not do are named with their values, neutral ones and other fields are not", async () => {
    const asked = {
      typical_p: 0.9,
      no_repeat_ngram_size: 3,
      min_new_tokens: 10,
      suppress_tokens: [5],
      epsilon_cutoff: 0.01,
    };
    const neutral = { eta_cutoff: 0, num_beams: 1, guidance_scale: null, bad_words_ids: [], forced_eos_token_id: null };
    const known = { temperature: 0.6, top_p: 0.95, max_new_tokens: 99, do_sample: true, eos_token_id: 2 };
    expect(await unknownSampling(folderWith({ ...known, ...neutral, ...asked }))).toEqual(asked);
    expect(await unknownSampling(folderWith({ ...known, ...neutral }))).toEqual({});
    expect(await unknownSampling(temporaryFolder())).toEqual({});
    const long = { suppress_tokens: Array.from({ length: 100 }, (_, i) => i) };
    expect(namedValues({ typical_p: 0.9, ...long })).toMatch(/^typical_p 0\.9, suppress_tokens \[0,1,[\d,]{55}\.\.\.$/);
  });

  test("that a sampling follows are not among those that it does not", () => {
    const plain = { temperature: 1, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1 };
    expect(notFollowed({ temperature: 1, topP: 0.8, minP: 0.1 }, plain)).toEqual({ top_p: 0.8, min_p: 0.1 });
    expect(notFollowed({ temperature: 0, topK: 0 }, plain)).toEqual({ temperature: 0 });
    expect(notFollowed({}, plain)).toEqual({});
  });
});

describe("end tokens", () => {
  test("are those of config.json, generation_config.json, the tokenizer and the settings, each once", async () => {
    const spec = await readModelSpec(folderWith({ eos_token_id: [5, 2, 4] }));
    expect(endTokens(spec, 7, [9, 5])).toEqual([2, 4, 5, 7, 9]);
    expect(endTokens(spec, null)).toEqual([2, 4, 5]);
  });

  test("of a tokenizer that has more tokens than the model are left out; of the settings they are refused", () => {
    const spec = { vocabSize: 11, eosTokenIds: [2] };
    expect(endTokens(spec, 11)).toEqual([2]);
    expect(() => endTokens(spec, null, [3, 11])).toThrow(
      expect.objectContaining({
        code: "TOKEN_OUT_OF_RANGE",
        message: "[eosTokenIds] expected token ids in 0 .. 10, got 11 at place 1",
      }),
    );
  });
});
