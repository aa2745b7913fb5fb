// The model spec: names of both transformers versions, every refusal by its name, and what is written reads back.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { checkSpec, readModelSpec, scalarSpec, specToConfig, writeModelConfig } from "../../src/engine/spec.js";
import type { ModelSpec } from "../../src/engine/types.js";
import { InputError } from "../../src/errors.js";
import { type Config, TINY_CONFIG, TINY_SPEC, writeConfig } from "../helpers/tiny-model.js";

const MODELS = fileURLToPath(new URL("../../../shared/models/", import.meta.url));

const CLASSIFIER: Config = { architectures: ["LlamaForSequenceClassification"] };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "zazen-spec-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** TINY_CONFIG with fields changed; undefined takes one out. */
function read(changes: Config = {}, generation?: Config): Promise<ModelSpec> {
  writeConfig(folder, { ...TINY_CONFIG, ...changes });
  if (generation) writeFileSync(join(folder, "generation_config.json"), JSON.stringify(generation));
  return readModelSpec(folder);
}

async function expectFault(promise: Promise<unknown>, code: string, message: string | RegExp): Promise<void> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InputError);
  expect((error as InputError).message).toMatch(message);
  expect((error as InputError).code).toBe(code);
}

describe("reading", () => {
  test("a config of transformers 4", async () => {
    expect(await read({ torch_dtype: "float32", rope_scaling: null, pretraining_tp: 1 })).toEqual(TINY_SPEC);
  });

  test("a config of transformers 5", async () => {
    const rope = { rope_theta: 5e5, rope_type: "default" };
    const changes = { dtype: "bfloat16", rope_theta: undefined, rope_parameters: rope, attention_dropout: 0.0 };
    expect(await read(changes)).toEqual({ ...TINY_SPEC, ropeTheta: 5e5 });
  });

  test("left-out fields take transformers' values", async () => {
    const names = ["num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta"];
    const left = Object.fromEntries([...names, "tie_word_embeddings", "hidden_act"].map((name) => [name, undefined]));
    const expected = { kvHeads: 4, headDim: 2, maxPositions: 2048, rmsNormEps: 1e-6, ropeTheta: 10000 };
    expect(await read(left)).toEqual({ ...TINY_SPEC, ...expected });
  });

  test("heads times head_dim may differ from the hidden size", async () => {
    expect(await read({ head_dim: 6 })).toEqual({ ...TINY_SPEC, headDim: 6 });
  });

  test("end tokens are the union of both files", async () => {
    expect((await read({ eos_token_id: 7 }, { eos_token_id: [3, 7, 1] })).eosTokenIds).toEqual([1, 3, 7]);
    expect((await read({ eos_token_id: [4, 2] }, { eos_token_id: null })).eosTokenIds).toEqual([2, 4]);
    expect((await read({ eos_token_id: null }, {})).eosTokenIds).toEqual([]);
  });

  test("the begin token may stand in generation_config.json alone, or nowhere", async () => {
    expect((await read({ bos_token_id: null }, { bos_token_id: 5 })).bosTokenId).toBe(5);
    expect((await read({ bos_token_id: undefined }, {})).bosTokenId).toBeNull();
  });

  test("model_type alone will do", async () => {
    expect(await read({ architectures: undefined })).toEqual(TINY_SPEC);
  });

  test.skipIf(!existsSync(MODELS))("pretrained models", async () => {
    expect(await readModelSpec(join(MODELS, "stories260k"))).toMatchObject({
      hiddenSize: 64,
      kvHeads: 4,
      headDim: 8,
      tieWordEmbeddings: true,
      eosTokenIds: [1, 2],
    });
  });
});

describe("families", () => {
  const mistral = { architectures: ["MistralForCausalLM"], model_type: "mistral" };
  const qwen2 = { architectures: ["Qwen2ForCausalLM"], model_type: "qwen2" };
  const qwen3 = { architectures: ["Qwen3ForCausalLM"], model_type: "qwen3" };

  test.each<[Config, Partial<ModelSpec>]>([
    [mistral, { family: "mistral", windows: [4096, 4096] }],
    [{ ...mistral, sliding_window: null }, { family: "mistral" }],
    [
      { ...mistral, sliding_window: 100 },
      { family: "mistral", windows: [100, 100] },
    ],
    [qwen2, { family: "qwen2" }],
    [{ ...qwen2, sliding_window: 16, max_window_layers: 0 }, { family: "qwen2" }],
    [{ ...qwen2, use_sliding_window: true }, { family: "qwen2" }],
    [
      { ...qwen2, use_sliding_window: true, sliding_window: 16, max_window_layers: 1 },
      { family: "qwen2", windows: [0, 16] },
    ],
    [
      { ...qwen3, use_sliding_window: true, layer_types: ["sliding_attention", "full_attention"] },
      { family: "qwen3", windows: [4096, 0] },
    ],
    [
      { ...qwen3, head_dim: undefined },
      { family: "qwen3", headDim: 128 },
    ],
    [
      { ...qwen2, architectures: undefined, head_dim: undefined },
      { family: "qwen2", headDim: 2 },
    ],
    [
      { ...mistral, max_position_embeddings: undefined, sliding_window: null },
      { family: "mistral", maxPositions: 131_072 },
    ],
  ])("%j", async (changes, expected) => expect(await read(changes)).toEqual({ ...TINY_SPEC, ...expected }));

  test.each([
    [{ ...mistral, sliding_window: 0 }, "windows that see something"],
    [{ ...mistral, sliding_window: 2.5 }, "sliding_window: expected a whole number"],
    [{ ...qwen2, use_sliding_window: true, max_window_layers: 0, sliding_window: "16" }, 'got "16"'],
  ])("%j is refused", async (changes, message) => expectFault(read(changes), "CONFIG_INVALID", message));

  test("layers with a window where nothing has one", () =>
    expectFault(
      read({ ...qwen2, layer_types: ["full_attention", "sliding_attention"] }),
      "UNSUPPORTED_FEATURE",
      "layer_types",
    ));
});

describe("sequence classifiers", () => {
  const scalar: ModelSpec = { ...TINY_SPEC, head: "scalar", padTokenId: null };

  test.each<[Config, Partial<ModelSpec>]>([
    [{ num_labels: 1 }, {}],
    [{ id2label: { 0: "LABEL_0" }, label2id: { LABEL_0: 0 }, pad_token_id: 3 }, { padTokenId: 3 }],
    [{ num_labels: 1, tie_word_embeddings: true, problem_type: "regression" }, {}],
  ])("%j", async (changes, expected) =>
    expect(await read({ ...CLASSIFIER, ...changes })).toEqual({ ...scalar, ...expected }),
  );

  test.each([
    [{ pad_token_id: 11 }, "pad_token_id: expected token ids from 0 to 10, got 11"],
    [{ pad_token_id: "<pad>" }, "pad_token_id: expected token ids"],
  ])("%j is refused", (changes, message) =>
    expectFault(read({ ...CLASSIFIER, num_labels: 1, ...changes }), "CONFIG_INVALID", message),
  );

  test("a language model's spec with another head", () => {
    expect(scalarSpec({ ...TINY_SPEC, tieWordEmbeddings: true })).toEqual(scalar);
    expect(scalarSpec({ ...scalar, padTokenId: 4 }, 5).padTokenId).toBe(4);
    expect(() => checkSpec({ ...scalar, tieWordEmbeddings: true })).toThrow("tieWordEmbeddings: expected false");
    expect(() => checkSpec({ ...scalar, head: "vector" as "scalar" })).toThrow("head: expected language or scalar");
    expect(() => scalarSpec(TINY_SPEC, 11)).toThrow("padTokenId: expected token ids from 0 to 10, got 11");
  });
});

describe("rotary scaling", () => {
  const llama3 = {
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 16,
  };

  test("of both versions", async () => {
    const ropeScaling = { type: "llama3", factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 16 };
    expect(await read({ rope_scaling: { rope_type: "llama3", ...llama3 } })).toEqual({ ...TINY_SPEC, ropeScaling });
    const rope = { rope_type: "llama3", rope_theta: 5e5, ...llama3 };
    const expected = { ...TINY_SPEC, ropeScaling, ropeTheta: 5e5 };
    expect(await read({ rope_theta: undefined, rope_parameters: rope })).toEqual(expected);
  });

  test("defaults of yarn", async () => {
    const { ropeScaling } = await read({ rope_scaling: { type: "yarn", factor: 4 } });
    expect(ropeScaling).toEqual({
      type: "yarn",
      factor: 4,
      originalMaxPositions: 32,
      attentionFactor: 0.1 * Math.log(4) + 1,
      betaFast: 32,
      betaSlow: 1,
      truncate: true,
    });
  });

  test.each([
    [{ type: "linear" }, "rope_parameters.factor: expected a number above 0, at most 1e9, got nothing"],
    [{ type: "linear", factor: 0.5 }, "factor: expected a number of at least 1, got 0.5"],
    [{ type: "yarn", factor: "4" }, 'got "4"'],
    [{ type: "yarn", factor: 4, truncate: 1 }, "truncate: expected true or false"],
    [{ type: "llama3", ...llama3, low_freq_factor: 4 }, "high_freq_factor: expected more than the low_freq_factor 4"],
    [{ type: "llama3", ...llama3, high_freq_factor: undefined }, "high_freq_factor: expected a number above 0"],
  ])("%j is refused", (rope_scaling, message) => expectFault(read({ rope_scaling }), "CONFIG_INVALID", message));
});

describe("files", () => {
  test("no folder", () =>
    expectFault(readModelSpec(join(folder, "none")), "MODEL_MISSING", /none\] expected a model fol/));

  test("a file for a folder", async () => {
    writeFileSync(join(folder, "file"), "");
    await expectFault(readModelSpec(join(folder, "file")), "MODEL_MISSING", "got a file");
  });

  test("no config.json", () =>
    expectFault(readModelSpec(folder), "CONFIG_MISSING", /config\.json\] expected the model's config/));

  test.each([
    ["{", "expected JSON"],
    ["", "expected JSON"],
    ["[1]", "expected a JSON object, got a list"],
    ["null", "expected a JSON object, got null"],
  ])("config.json holding %j", async (text, message) => {
    writeFileSync(join(folder, "config.json"), text);
    await expectFault(readModelSpec(folder), "CONFIG_INVALID", message);
  });

  test("config.json that is a folder", async () => {
    mkdirSync(join(folder, "config.json"));
    await expectFault(readModelSpec(folder), "CONFIG_INVALID", "expected a file");
  });

  test.skipIf(process.platform === "win32")("config.json that is a pipe does not hang", async () => {
    execFileSync("mkfifo", [join(folder, "config.json")]);
    await expectFault(readModelSpec(folder), "CONFIG_INVALID", "expected a file");
  });

  test("config.json of many megabytes", async () => {
    writeFileSync(join(folder, "config.json"), Buffer.alloc(17 * 1024 * 1024, " "));
    await expectFault(readModelSpec(folder), "CONFIG_INVALID", "expected at most 16777216 bytes");
  });

  test("values nested a million deep", async () => {
    const deep = "[".repeat(1e6) + "]".repeat(1e6);
    writeFileSync(join(folder, "config.json"), `{"model_type": "llama", "hidden_act": ${deep}}`);
    await expectFault(readModelSpec(folder), "CONFIG_INVALID", "expected values nested at most 128 levels deep");
  });

  test("bytes that are not UTF-8", async () => {
    writeFileSync(join(folder, "config.json"), Uint8Array.of(0x7b, 0xff, 0x7d));
    await expectFault(readModelSpec(folder), "CONFIG_INVALID", "expected UTF-8 text");
  });

  test("a broken generation_config.json", async () => {
    writeFileSync(join(folder, "generation_config.json"), "{");
    await expectFault(read(), "CONFIG_INVALID", "generation_config.json");
  });
});

describe("what is not supported is refused by name", () => {
  test.each([
    [{ architectures: ["GemmaForCausalLM"], model_type: "gemma" }, '"GemmaForCausalLM"'],
    [{ architectures: ["Qwen2ForCausalLM"], model_type: "qwen3" }, '"Qwen2ForCausalLM" with model_type "qwen3"'],
    [{ architectures: ["LlamaForTokenClassification"] }, '"LlamaForTokenClassification"'],
    [{ architectures: ["LlamaForSequenceClassification"], model_type: "qwen3" }, 'model_type "qwen3"'],
    [{ architectures: ["LlamaForCausalLM"], model_type: "mistral" }, 'model_type "mistral"'],
    [{ architectures: undefined, model_type: "mamba" }, '"mamba"'],
    [{ architectures: undefined, model_type: undefined }, "got nothing"],
    [{ architectures: 7 }, "got 7"],
  ])("architecture %j", async (changes, got) => {
    await expectFault(read(changes), "UNSUPPORTED_ARCHITECTURE", "expected one of LlamaForCausalLM");
    await expectFault(read(changes), "UNSUPPORTED_ARCHITECTURE", got);
  });

  test.each([
    ["hidden_act", "gelu"],
    ["attention_bias", true],
    ["mlp_bias", true],
    ["attention_dropout", 0.1],
    ["pretraining_tp", 2],
    ["rope_interleaved", true],
    ["partial_rotary_factor", 0.5],
    ["rope_scaling", { type: "dynamic", factor: 2 }],
    ["rope_parameters", { rope_type: "longrope", rope_theta: 10000, factor: 4 }],
    ["rope_parameters", { full_attention: { rope_type: "default" } }],
    ["rope_parameters", { rope_type: "default", partial_rotary_factor: 0.5 }],
    ["rope_parameters", "default"],
    ["sliding_window", 128],
    ["layer_types", ["full_attention", "sliding_attention"]],
    ["quantization_config", { quant_method: "gptq" }],
  ])("%s %j", (field, value) => expectFault(read({ [field]: value }), "UNSUPPORTED_FEATURE", `${field}: expected`));

  test.each([
    [{}, "got 2"],
    [{ num_labels: 3 }, "got 3"],
    [{ id2label: { 0: "BAD", 1: "GOOD" } }, "got 2"],
    [{ num_labels: "1" }, 'got "1"'],
  ])("a classifier of labels %j", (labels, got) =>
    expectFault(read({ ...CLASSIFIER, ...labels }), "UNSUPPORTED_FEATURE", `num_labels: expected 1, a score, ${got}`),
  );

  test("fields that ask for nothing are accepted", async () => {
    const rope = { rope_scaling: { type: "default" }, rope_parameters: { rope_type: "default" } };
    const types = ["full_attention", "full_attention"];
    const window = { sliding_window: 128, use_sliding_window: false, layer_types: types };
    expect(await read({ ...rope, ...window, quantization_config: null, hidden_act: "swish" })).toEqual(TINY_SPEC);
  });
});

describe("ranges", () => {
  test.each([
    ["vocab_size", undefined, "got nothing"],
    ["hidden_size", "8", 'got "8"'],
    ["intermediate_size", 0, "from 1 to 1048576, got 0"],
    ["num_hidden_layers", 1e9, "from 1 to 4096"],
    ["num_hidden_layers", 2.5, "got 2.5"],
    ["num_attention_heads", -4, "got -4"],
    ["num_attention_heads", 3, "num_key_value_heads: expected a divisor of the 3"],
    ["num_key_value_heads", 3, "expected a divisor of the 4"],
    ["head_dim", 3, "expected an even number, got 3"],
    ["head_dim", 258, "from 1 to 256"],
    ["max_position_embeddings", true, "got true"],
    ["rope_theta", 0, "a number above 0"],
    ["rope_theta", "10000", 'got "10000"'],
    ["rope_parameters", { rope_theta: 7 }, "rope_theta: expected the 7 of rope_parameters, got 10000"],
    ["rms_norm_eps", -1, "a number above 0"],
    ["rms_norm_eps", 2, "at most 1"],
    ["tie_word_embeddings", "yes", "expected true or false"],
    ["bos_token_id", 11, "expected token ids from 0 to 10, got 11"],
    ["eos_token_id", [2, -1], "got -1"],
    ["eos_token_id", "</s>", 'got "</s>"'],
  ])("%s %j", (field, value, message) =>
    expectFault(read({ [field]: value }), "CONFIG_INVALID", new RegExp(`config\\.json\\] .*${escaped(message)}`)),
  );

  test("without head_dim the heads must divide the hidden size", () =>
    expectFault(
      read({ head_dim: undefined, hidden_size: 10 }),
      "CONFIG_INVALID",
      "hidden_size: expected a multiple of",
    ));

  test("a spec made in code is told in its own names", () => {
    expect(checkSpec(TINY_SPEC)).toBe(TINY_SPEC);
    expect(() => checkSpec({ ...TINY_SPEC, kvHeads: 3 })).toThrow("[model spec] kvHeads: expected a divisor of the 4");
    expect(() => checkSpec({ ...TINY_SPEC, layers: 0 })).toThrow(expect.objectContaining({ code: "SPEC_INVALID" }));
    expect(() => checkSpec({ ...TINY_SPEC, windows: [9, 9] })).toThrow(
      "windows: expected what a llama model has (none)",
    );
    expect(() => checkSpec({ ...TINY_SPEC, family: "mistral", windows: [9, 0] })).toThrow("(all layers)");
    expect(() => checkSpec({ ...TINY_SPEC, family: "qwen2", windows: [9] })).toThrow("one for each of the 2 layers");
    expect(() => checkSpec({ ...TINY_SPEC, family: "qwen2", windows: [9, 8] })).toThrow("the same size in all layers");
  });
});

describe("writing", () => {
  test.each<Partial<ModelSpec>>([
    {},
    { eosTokenIds: [1, 5], tieWordEmbeddings: true, ropeTheta: 1e6 },
    { eosTokenIds: [], bosTokenId: null, headDim: 6, kvHeads: 1 },
    { family: "mistral", windows: [9, 9] },
    { family: "mistral" },
    { family: "qwen2", windows: [0, 9], ropeScaling: { type: "linear", factor: 2 } },
    { family: "qwen3", windows: [9, 0] },
    { family: "qwen3", head: "scalar", padTokenId: null },
    { head: "scalar", padTokenId: 7 },
    {
      family: "qwen3",
      ropeScaling: {
        type: "yarn",
        factor: 4,
        originalMaxPositions: 20,
        attentionFactor: 1.25,
        betaFast: 30,
        betaSlow: 2,
        truncate: false,
      },
    },
  ])("reads back with %j", async (changes) => {
    const spec = { ...TINY_SPEC, ...changes };
    await writeModelConfig(folder, spec);
    expect(await readModelSpec(folder)).toEqual(spec);
  });

  test("names of both transformers versions", () => {
    const { config, generationConfig } = specToConfig({ ...TINY_SPEC, eosTokenIds: [1, 2] });
    expect(config).toMatchObject({
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      rope_theta: 10000,
      rope_parameters: { rope_type: "default", rope_theta: 10000 },
      dtype: "float32",
      eos_token_id: [1, 2],
    });
    expect(generationConfig).toEqual({ bos_token_id: 1, eos_token_id: [1, 2] });
    const scalar = specToConfig({ ...TINY_SPEC, head: "scalar", padTokenId: 3 });
    expect(scalar.config).toMatchObject({
      architectures: ["LlamaForSequenceClassification"],
      id2label: { "0": "LABEL_0" },
      label2id: { LABEL_0: 0 },
      pad_token_id: 3,
    });
  });
});

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
