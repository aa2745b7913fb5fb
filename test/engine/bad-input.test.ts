// Model folders that are damaged, foreign or hostile: loading them gives a typed error that names the place, and never a crash.
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import { InputError } from "../../src/errors.js";
import { type Tensor, writeRaw } from "../helpers/safetensors.js";
import { type Config, TINY_CONFIG, tinyTensors, writeConfig, writeTinyModel } from "../helpers/tiny-model.js";

interface Entry {
  dtype: string;
  shape: unknown;
  data_offsets: unknown;
}

const Q = "model.layers.1.self_attn.q_proj.weight";

let folder: string;
let weights: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "zazen-bad-"));
  weights = join(folder, "model.safetensors");
});
afterEach(() => rmSync(folder, { recursive: true }));

async function expectFault(code: string, message: string | RegExp): Promise<void> {
  const error = await Engine.load(folder).then(
    (engine) => engine.dispose(),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InputError);
  expect((error as InputError).code).toBe(code);
  expect((error as InputError).message).toContain(folder);
  expect((error as InputError).message).toMatch(message);
}

/** The good file again with its header changed. */
function rewrite(change: (header: Record<string, Entry>) => void, length?: bigint): void {
  const bytes = readFileSync(weights);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString("utf8", 8, start)) as Record<string, Entry>;
  change(header);
  writeRaw(weights, JSON.stringify(header), bytes.subarray(start), length);
}

/** A good model with some tensors changed, or taken out with undefined. */
function withTensors(changes: Readonly<Record<string, Tensor | undefined>>): void {
  const tensors = tinyTensors();
  for (const [name, tensor] of Object.entries(changes)) {
    if (tensor) tensors.set(name, tensor);
    else tensors.delete(name);
  }
  writeTinyModel(folder, TINY_CONFIG, tensors);
}

function zeros(...shape: number[]): Tensor {
  return { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) };
}

test("the good model loads", async () => {
  await using engine = await Engine.load(writeTinyModel(folder));
  expect(engine.spec.vocabSize).toBe(11);
  expect(engine.parameters).toBe(1560);
});

describe("the folder", () => {
  test("no folder", async () => {
    const promise = Engine.load(join(folder, "none"));
    await expect(promise).rejects.toMatchObject({ code: "MODEL_MISSING", message: /none\] expected a model folder/ });
  });

  test("no config.json", () => expectFault("CONFIG_MISSING", /config\.json/));

  test("no weights", async () => {
    writeConfig(folder, TINY_CONFIG);
    await expectFault("FILE_MISSING", /model\.safetensors\] expected to open the file, got: No such file/);
  });

  test("an index without files", async () => {
    writeConfig(folder, TINY_CONFIG);
    writeFileSync(join(folder, "model.safetensors.index.json"), "{}");
    await expectFault("INDEX_INVALID", /expected weight_map/);
  });

  test("another architecture", async () => {
    writeTinyModel(folder, { ...TINY_CONFIG, architectures: ["GPT2LMHeadModel"], model_type: "gpt2" });
    await expectFault("UNSUPPORTED_ARCHITECTURE", /expected one of LlamaForCausalLM .* got "GPT2LMHeadModel"/);
  });

  test("an unsupported feature", async () => {
    writeTinyModel(folder, { ...TINY_CONFIG, rope_scaling: { rope_type: "dynamic", factor: 8 } });
    await expectFault("UNSUPPORTED_FEATURE", /rope_scaling: expected rope_type default, linear, llama3, yarn/);
  });
});

describe("the file", () => {
  beforeEach(() => {
    writeTinyModel(folder);
  });

  test("data cut short", async () => {
    truncateSync(weights, readFileSync(weights).length - 1);
    await expectFault("FILE_TRUNCATED", /tensor ".*": expected \d+ bytes of tensors, as the header states, got \d+/);
  });

  test.each([0, 7])("%i bytes in all", async (bytes) => {
    truncateSync(weights, bytes);
    await expectFault("FILE_TRUNCATED", `expected a safetensors file, got ${bytes} bytes`);
  });

  test("cut within the header", async () => {
    truncateSync(weights, 100);
    await expectFault("SAFETENSORS_HEADER", /expected a header of \d+ bytes, got a file with 92 after the length/);
  });

  test.each([10n ** 7n, 2n ** 63n, 2n ** 64n - 1n])("a header of %i bytes", async (length) => {
    rewrite(() => {}, length);
    await expectFault("SAFETENSORS_HEADER", `${length}`);
  });

  test("a header cut off inside", async () => {
    rewrite(() => {}, 50n);
    await expectFault("SAFETENSORS_HEADER", /JSON: expected .* at byte 50/);
  });

  test("another format", async () => {
    writeFileSync(weights, "version https://git-lfs.github.com/spec/v1\n");
    await expectFault("SAFETENSORS_HEADER", "the file is not safetensors or damaged");
  });

  test("bytes after the last tensor", async () => {
    writeFileSync(weights, Buffer.concat([readFileSync(weights), Buffer.alloc(4)]));
    await expectFault("SAFETENSORS_OFFSETS", /expected \d+ bytes of tensors/);
  });
});

describe("the header", () => {
  beforeEach(() => {
    writeTinyModel(folder);
  });

  const entry = (change: Partial<Entry>) => rewrite((header) => Object.assign(header[Q]!, change));

  test("overlapping tensors", async () => {
    rewrite((header) => {
      const [begin, end] = header["model.norm.weight"]!.data_offsets as [number, number];
      header["lm_head.weight"]!.data_offsets = [begin + 4, begin + 4 + 352];
      expect(end - begin).toBe(32);
    });
    await expectFault("SAFETENSORS_OFFSETS", /tensor "lm_head\.weight": .*\(an overlap\)/);
  });

  test("offsets past the end", async () => {
    entry({ data_offsets: [2 ** 40, 2 ** 40 + 512] });
    await expectFault("SAFETENSORS_OFFSETS", /tensor ".*": expected data_offsets that begin at \d+, .*\(a gap\)/);
  });

  test("offsets in the wrong order", async () => {
    entry({ data_offsets: [512, 0] });
    await expectFault("SAFETENSORS_OFFSETS", `tensor "${Q}": expected data_offsets in order, got [512, 0]`);
  });

  test("offsets that do not fit the shape", async () => {
    entry({ shape: [16, 9] });
    await expectFault("SAFETENSORS_OFFSETS", `tensor "${Q}": expected F32 [16,9] to take 576 bytes`);
  });

  test("a shape whose product wraps around", async () => {
    entry({ shape: [2 ** 32, 2 ** 32] });
    await expectFault(
      "SAFETENSORS_OFFSETS",
      `tensor "${Q}": expected F32 [4294967296,4294967296] to take more than 2^63`,
    );
  });

  test.each([[[-1, 8]], [[1.5]], [null], ["x"], [[[16, 8]]]])("shape %j", async (shape) => {
    entry({ shape });
    await expectFault("SAFETENSORS_HEADER", /JSON: expected .* at byte \d+/);
  });

  test("an unknown dtype", async () => {
    entry({ dtype: "F8_E5M2" });
    await expectFault("SAFETENSORS_DTYPE", `tensor "${Q}": expected dtype F64`);
  });

  test("whole numbers for weights", async () => {
    withTensors({ [Q]: { shape: [16, 8], data: new Int32Array(128) } });
    await expectFault("SAFETENSORS_DTYPE", `tensor "${Q}": expected dtype F32, F16, BF16 or F64, got I32`);
  });

  test("a tensor twice", async () => {
    const bytes = readFileSync(weights);
    const start = 8 + Number(bytes.readBigUInt64LE(0));
    const header = bytes.toString("utf8", 8, start).replace('"lm_head.weight"', '"model.norm.weight"');
    writeRaw(weights, header, bytes.subarray(start));
    await expectFault("SAFETENSORS_HEADER", 'keys that differ, got "model.norm.weight" twice');
  });
});

describe("weights and config.json that disagree", () => {
  test("a tensor that is not there", async () => {
    withTensors({ [Q]: undefined });
    await expectFault("TENSOR_MISSING", `tensor "${Q}": expected a tensor of shape [16,8], got none of that name`);
  });

  test("a tensor of another shape", async () => {
    withTensors({ [Q]: zeros(8, 16) });
    await expectFault("TENSOR_SHAPE", `tensor "${Q}": expected shape [16,8], got [8,16]`);
  });

  test("a tensor of another rank", async () => {
    withTensors({ "model.norm.weight": zeros(1, 8) });
    await expectFault("TENSOR_SHAPE", 'tensor "model.norm.weight": expected shape [8], got [1,8]');
  });

  test("a tensor that the architecture does not have", async () => {
    withTensors({ "model.layers.0.self_attn.q_proj.bias": zeros(16) });
    await expectFault("TENSOR_UNEXPECTED", "model.layers.0.self_attn.q_proj.bias");
  });

  test.each<[Config, string]>([
    [{ vocab_size: 12 }, "expected shape [12,8], got [11,8]"],
    [{ num_key_value_heads: 4 }, "expected shape [16,8], got [8,8]"],
    [{ intermediate_size: 13 }, "expected shape [13,8], got [12,8]"],
    // A model of terabytes on paper: told by its shapes, before memory is asked for.
    [{ hidden_size: 2 ** 20, intermediate_size: 2 ** 20 }, "expected shape [11,1048576], got [11,8]"],
  ])("%j", async (changes, message) => {
    writeTinyModel(folder, { ...TINY_CONFIG, ...changes });
    await expectFault("TENSOR_SHAPE", message);
  });

  test("more layers than the file has", async () => {
    writeTinyModel(folder, { ...TINY_CONFIG, num_hidden_layers: 3 });
    await expectFault("TENSOR_MISSING", 'tensor "model.layers.2.');
  });

  test("fewer layers than the file has", async () => {
    writeTinyModel(folder, { ...TINY_CONFIG, num_hidden_layers: 1 });
    await expectFault("TENSOR_UNEXPECTED", "model.layers.1.");
  });
});

describe("tokens", () => {
  const packed = (...ids: number[]) => ({ ids: Int32Array.from(ids), cuSeqlens: Int32Array.of(0, ids.length) });
  const empty = { ids: Int32Array.of(1, 2), cuSeqlens: Int32Array.of(0, 2, 2) };
  const cases = [
    [
      "an id past the vocabulary",
      packed(1, 11),
      "TOKEN_OUT_OF_RANGE",
      "expected token ids in 0 .. 10, got 11 at place 1",
    ],
    ["a negative id", packed(-1), "TOKEN_OUT_OF_RANGE", "got -1 at place 0"],
    [
      "a sequence without tokens",
      empty,
      "EMPTY_PROMPT",
      "expected at least one token in a sequence, got none in sequence 1",
    ],
    ["more tokens than the context", packed(...Array(33).fill(1)), "SEQUENCE_TOO_LONG", "expected at most 32 tokens"],
  ] as const;

  test.each(cases)("%s", async (_name, prompts, code, message) => {
    await using engine = await Engine.load(writeTinyModel(folder));
    const fault = { code, message: expect.stringContaining(message) };
    await expect(engine.generate({ prompts, sampling: { maxTokens: 1 } })).rejects.toMatchObject(fault);
    await expect(engine.logprobs(prompts)).rejects.toMatchObject(fault);
    const weights = new Float32Array(prompts.ids.length);
    await expect(engine.forwardBackward({ ...prompts, weights }, { kind: "sft" })).rejects.toMatchObject(fault);
  });

  test("ids of sampling parameters", async () => {
    await using engine = await Engine.load(writeTinyModel(folder));
    const sampling = { maxTokens: 1, stopTokenIds: [2, 99] };
    const fault = { code: "TOKEN_OUT_OF_RANGE", message: expect.stringContaining("stopTokenIds") };
    await expect(engine.generate({ prompts: packed(1), sampling })).rejects.toMatchObject(fault);
  });
});
