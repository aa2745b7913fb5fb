// Weights in one file and in several, and indexes that are not as they should be.
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { weightFiles } from "../../src/engine/weights.js";
import { bitsOf, temporaryFolder } from "../helpers/engine.js";
import { type Tensor, writeSafetensors } from "../helpers/safetensors.js";
import { TINY_CONFIG, tinyTensors, writeConfig, writeTinyModel } from "../helpers/tiny-model.js";

let folder: string;
beforeEach(() => {
  folder = temporaryFolder();
});
afterEach(() => rmSync(folder, { recursive: true }));

const INDEX = "model.safetensors.index.json";
const FIRST = "model-00001-of-00002.safetensors";
const SECOND = "model-00002-of-00002.safetensors";

/** The tiny model in two files; `of` chooses the file of each tensor. */
function writeShards(
  tensors: Map<string, Tensor>,
  of = (name: string) => (name.includes("mlp") ? SECOND : FIRST),
): void {
  writeConfig(folder, TINY_CONFIG);
  for (const file of [FIRST, SECOND]) {
    writeSafetensors(join(folder, file), new Map([...tensors].filter(([name]) => of(name) === file)));
  }
  const weight_map = Object.fromEntries([...tensors.keys()].map((name) => [name, of(name)]));
  writeFileSync(join(folder, INDEX), JSON.stringify({ metadata: { total_size: 1 }, weight_map }));
}

async function logprobsOf(path: string): Promise<string> {
  await using engine = await Engine.load(path, { trainable: false });
  const { logprobs } = await engine.logprobs({ ids: Int32Array.of(1, 5, 7, 2), cuSeqlens: Int32Array.of(0, 4) });
  return bitsOf(logprobs);
}

test("two files give the bits of one", async () => {
  writeShards(tinyTensors());
  const whole = temporaryFolder();
  writeTinyModel(whole);
  expect(await logprobsOf(folder)).toBe(await logprobsOf(whole));
  rmSync(whole, { recursive: true });
});

test("model.safetensors goes before an index", async () => {
  writeShards(tinyTensors());
  writeTinyModel(folder);
  expect(await weightFiles(folder)).toEqual([join(folder, "model.safetensors")]);
});

test("a file of the index that is not there", async () => {
  writeShards(tinyTensors());
  rmSync(join(folder, SECOND));
  await expect(Engine.load(folder)).rejects.toMatchObject({
    code: "FILE_MISSING",
    message: expect.stringContaining(SECOND),
  });
});

test("a tensor in no file", async () => {
  const tensors = tinyTensors();
  tensors.delete("model.layers.1.mlp.up_proj.weight");
  writeShards(tensors);
  const message = expect.stringContaining('"model.layers.1.mlp.up_proj.weight"');
  await expect(Engine.load(folder)).rejects.toMatchObject({ code: "TENSOR_MISSING", message });
});

test("a tensor in two files", async () => {
  const tensors = tinyTensors();
  writeShards(tensors);
  writeSafetensors(join(folder, SECOND), tensors);
  const message = expect.stringContaining("expected every tensor in one file");
  await expect(Engine.load(folder)).rejects.toMatchObject({ code: "TENSOR_UNEXPECTED", message });
});

describe("an index that is refused", () => {
  test.each([
    ["{", "expected JSON"],
    ["{}", "expected weight_map with the file of every tensor, got nothing"],
    ['{"weight_map": {}}', "got {}"],
    ['{"weight_map": {"a": 7}}', "names of safetensors files in this folder, got 7"],
    ['{"weight_map": {"a": "../model.safetensors"}}', 'got "../model.safetensors"'],
    ['{"weight_map": {"a": "C:\\\\model.safetensors"}}', "names of safetensors files"],
    ['{"weight_map": {"a": "model.bin"}}', "names of safetensors files"],
  ])("%s", async (text, message) => {
    writeFileSync(join(folder, INDEX), text);
    await expect(weightFiles(folder)).rejects.toMatchObject({
      code: "INDEX_INVALID",
      message: expect.stringContaining(message),
    });
  });
});

test.each(["pytorch_model.bin", "pytorch_model.bin.index.json"])("%s alone", async (name) => {
  writeFileSync(join(folder, name), "{}");
  await expect(weightFiles(folder)).rejects.toMatchObject({
    code: "UNSUPPORTED_CHECKPOINT",
    message: expect.stringContaining("pickled"),
  });
  writeFileSync(join(folder, "model.safetensors"), "");
  expect(await weightFiles(folder)).toHaveLength(1);
});
