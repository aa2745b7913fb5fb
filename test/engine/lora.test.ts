// LoRA against peft and transformers: adapter folders that peft wrote give its log-probs, gradients and ten optimizer steps; the base is
// the reference; what is written here is what peft writes; merged models compute the same. test/fixtures/lora_fixtures.py made the numbers.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { EngineOptions, LoraOptions } from "../../src/engine/types.js";
import {
  bitsOf,
  fixtures,
  oddInit,
  oddSpec,
  pack,
  randomSequences,
  setups,
  temporaryFolder,
} from "../helpers/engine.js";
import { difference, fixtureBatch, largest, optimStepOf, type TorchOptimizer } from "../helpers/pytorch.js";
import { floats, readSafetensors, writeSafetensors } from "../helpers/safetensors.js";

/** As in pytorch.test.ts. */
const ABSOLUTE = 5e-5;
const RELATIVE = 1e-5;
const ADAPTER = "adapter_model.safetensors";
const PREFIX = "base_model.model.";
/** peft writes the weight of a head with an adapter again. */
const REPEATED = `${PREFIX}lm_head.base_layer.weight`;
const everything: LoraOptions = {
  rank: 5,
  alpha: 7,
  targets: "all-linear",
  modulesToSave: ["embed_tokens", "lm_head"],
};

interface Expected {
  readonly base: string;
  readonly trained: number;
  readonly losses: readonly number[];
  readonly grad_norms: readonly number[];
  readonly optimizer: TorchOptimizer;
}

let folder: string;
beforeAll(() => {
  folder = temporaryFolder();
  vi.spyOn(process, "emitWarning").mockImplementation(() => {});
});
afterAll(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true });
});

describe.each(["gqa", "qwen2", "qwen3", "mistral", "tied", "head", "tied-head"])("peft's %s", (name) => {
  const adapter = join(fixtures, "lora", name);
  const expected = JSON.parse(readFileSync(join(adapter, "expected.json"), "utf8")) as Expected;
  const tensors = readSafetensors(join(adapter, "expected.safetensors"));
  const names = [...readSafetensors(join(adapter, ADAPTER)).keys()]
    .filter((key) => key !== REPEATED)
    .map((key) => key.slice(PREFIX.length));
  const batch = fixtureBatch(tensors);

  describe.each(setups)("$isa, threads: $threads", (setup) => {
    const open = () => Engine.load(adapter, { ...setup, microBatchTokens: 100 });

    test("log-probs with adapters and without", async () => {
      await using engine = await open();
      expect(engine.trainedParameters).toBe(expected.trained);
      const [own, base] = [floats(tensors, "logprobs"), floats(tensors, "base_logprobs")];
      expect(difference((await engine.logprobs(batch)).logprobs, own)).toBeLessThanOrEqual(ABSOLUTE);
      const reference = (await engine.logprobs({ ...batch, reference: true })).logprobs;
      expect(difference(reference, base)).toBeLessThanOrEqual(ABSOLUTE);
      expect(difference(own, base)).toBeGreaterThan(0.01);
      await using plain = await Engine.load(join(fixtures, expected.base), setup);
      expect(bitsOf(reference)).toBe(bitsOf((await plain.logprobs(batch)).logprobs));
    });

    test("every gradient, then ten steps of AdamW", async () => {
      await using engine = await open();
      const settings = optimStepOf(expected.optimizer);
      for (const [step, loss] of expected.losses.entries()) {
        const result = await engine.forwardBackward(batch, { kind: "sft" });
        expect(Math.abs(result.loss / loss - 1)).toBeLessThanOrEqual(RELATIVE);
        if (step === 0) await expectGradients(engine);
        const { gradNorm } = await engine.optimStep(settings);
        expect(Math.abs(gradNorm / expected.grad_norms[step]! - 1)).toBeLessThanOrEqual(RELATIVE);
      }
      await engine.save(folder);
      const saved = readSafetensors(join(folder, ADAPTER));
      expect([...saved.keys()].sort()).toEqual(names.map((each) => PREFIX + each).sort());
      for (const each of names)
        expect(difference(floats(saved, PREFIX + each), floats(tensors, `step10.${each}`)), each).toBeLessThanOrEqual(
          ABSOLUTE,
        );
    });
  });

  async function expectGradients(engine: Engine): Promise<void> {
    for (const each of names) {
      const wanted = floats(tensors, `grad.${each}`);
      expect(largest(wanted), each).toBeGreaterThan(0);
      expect(difference(await engine.gradient(each), wanted), each).toBeLessThanOrEqual(RELATIVE * largest(wanted));
    }
  }

  test("what is saved is what was loaded, and names the same base", async () => {
    await using engine = await Engine.load(adapter, { trainable: false });
    await engine.save(folder);
    const [saved, loaded] = [readSafetensors(join(folder, ADAPTER)), readSafetensors(join(adapter, ADAPTER))];
    expect([...saved.keys()].sort()).toEqual(names.map((each) => PREFIX + each).sort());
    for (const key of saved.keys()) expect(bitsOf(floats(saved, key))).toBe(bitsOf(floats(loaded, key)));
    await using again = await Engine.load(folder, { trainable: false });
    const [first, second] = [await engine.logprobs(batch), await again.logprobs(batch)];
    expect(bitsOf(second.logprobs)).toBe(bitsOf(first.logprobs));
  });

  test("merged into a model of its own", async () => {
    await using engine = await Engine.load(adapter, { trainable: false });
    const merged = join(folder, `merged-${name}`);
    await engine.saveMerged(merged);
    await using plain = await Engine.load(merged, { trainable: false });
    expect(plain.lora).toBeUndefined();
    const { logprobs } = await plain.logprobs(batch);
    expect(difference(logprobs, floats(tensors, "logprobs"))).toBeLessThanOrEqual(ABSOLUTE);
  });
});

describe.each<[string, EngineOptions]>([
  ["float32", {}],
  ["bfloat16", { dtype: "bfloat16" }],
])("%s", (_name, types) => {
  const tokens = pack(randomSequences([67, 3, 20], oddSpec.vocabSize, 6));
  const batch = {
    ...tokens,
    weights: Float32Array.from(tokens.ids, (_, t) => (tokens.cuSeqlens.includes(t) ? 0 : 0.01)),
  };

  test("adapters that are fresh change no bit, and the base stays when they learn", async () => {
    await using base = await Engine.create(oddSpec, oddInit, { ...types, trainable: false });
    await using engine = await Engine.create(oddSpec, oddInit, { ...types, lora: everything, reference: true });
    const wanted = bitsOf((await base.logprobs(tokens)).logprobs);
    const bits = async (reference: boolean) => bitsOf((await engine.logprobs({ ...tokens, reference })).logprobs);
    expect(await bits(false)).toBe(wanted);
    const losses: number[] = [];
    for (let step = 0; step < 8; step++) {
      losses.push((await engine.forwardBackward(batch, { kind: "sft" })).loss);
      await engine.optimStep({ learningRate: 0.01 });
    }
    expect(losses.at(-1)).toBeLessThan(losses[0]! - 0.1);
    expect(await bits(true)).toBe(wanted);
    expect(await bits(false)).not.toBe(wanted);
  });

  test("adapters learn the same bits where activations are computed again", async () => {
    const learnt = async (options: EngineOptions) => {
      const settings = { ...types, ...options, lora: { ...everything, modulesToSave: ["norm"] } };
      await using engine = await Engine.create({ ...oddSpec, layers: 5 }, oddInit, settings);
      for (let step = 0; step < 3; step++) {
        await engine.forwardBackward(batch, { kind: "sft" });
        await engine.optimStep({ learningRate: 0.01 });
      }
      await engine.save(folder);
      const saved = readSafetensors(join(folder, ADAPTER));
      return [...saved.keys()].map((key) => `${key} ${bitsOf(floats(saved, key))}`);
    };
    const wanted = await learnt({});
    expect(await learnt({ recompute: true, threads: 2 })).toEqual(wanted);
    expect(await learnt({ recompute: true, microBatchTokens: 1 })).toEqual(wanted);
  });

  test("moments of adapters are saved and restored", async () => {
    const open = (options: EngineOptions = {}) =>
      Engine.create(oddSpec, oddInit, { ...types, lora: everything, ...options });
    const learn = async (engine: Engine) => {
      await engine.forwardBackward(batch, { kind: "sft" });
      await engine.optimStep({ learningRate: 0.01 });
    };
    const [base, adapter, state] = ["base", "adapter", "state"].map((name) => join(folder, `state-${name}`)) as [
      string,
      string,
      string,
    ];
    await using plain = await Engine.create(oddSpec, oddInit, { ...types, trainable: false });
    await plain.save(base);
    await using engine = await open();
    await learn(engine);
    await engine.save(adapter);
    await engine.saveState(state);
    await using again = await Engine.load(adapter, { ...types, base });
    await again.loadState(state);
    await learn(engine);
    await learn(again);
    const bits = async (each: Engine) => bitsOf((await each.logprobs(tokens)).logprobs);
    expect(await bits(again)).toBe(await bits(engine));
    const late = await bits(engine);
    await learn(engine);
    expect(await bits(engine)).not.toBe(late);
    await again.save(adapter);
    await engine.loadWeights(adapter);
    expect(await bits(engine)).toBe(late);
  });

  test("a run goes on from saved adapters", async () => {
    await using engine = await Engine.create(oddSpec, oddInit, { ...types, lora: everything });
    await engine.forwardBackward(batch, { kind: "sft" });
    await engine.optimStep({ learningRate: 0.01 });
    await using plain = await Engine.create(oddSpec, oddInit, { ...types, trainable: false });
    const [base, adapter] = [join(folder, "base"), join(folder, "adapter")];
    await plain.save(base);
    await engine.save(adapter);
    await using again = await Engine.load(adapter, { ...types, base });
    const [first, second] = [await engine.logprobs(tokens), await again.logprobs(tokens)];
    expect(bitsOf(second.logprobs)).toBe(bitsOf(first.logprobs));
    await engine.saveMerged(join(folder, "merged"));
    await using merged = await Engine.load(join(folder, "merged"), { ...types, trainable: false });
    const apart = difference((await merged.logprobs(tokens)).logprobs, first.logprobs);
    expect(apart).toBeLessThan(types.dtype === "bfloat16" ? 0.2 : ABSOLUTE);
  });
});

test("A is uniform within 1 / sqrt(inputs), B zero, and both follow the seed", async () => {
  const adapters = async (seed: number) => {
    await using engine = await Engine.create(oddSpec, oddInit, { lora: { ...everything, seed }, trainable: false });
    await engine.save(folder);
    return readSafetensors(join(folder, ADAPTER));
  };
  const first = await adapters(1);
  const key = `${PREFIX}model.layers.1.mlp.down_proj`;
  const a = floats(first, `${key}.lora_A.weight`);
  const bound = 1 / Math.sqrt(oddSpec.intermediateSize);
  expect(largest(a)).toBeLessThanOrEqual(bound);
  expect(largest(a)).toBeGreaterThan(0.95 * bound);
  expect(Math.abs(a.reduce((sum, value) => sum + value, 0) / a.length)).toBeLessThan(0.1 * bound);
  expect(largest(floats(first, `${key}.lora_B.weight`))).toBe(0);
  expect(bitsOf(floats(await adapters(1), `${key}.lora_A.weight`))).toBe(bitsOf(a));
  expect(bitsOf(floats(await adapters(2), `${key}.lora_A.weight`))).not.toBe(bitsOf(a));
});

test("a frozen weight has no gradient", async () => {
  await using engine = await Engine.create(oddSpec, oddInit, { lora: everything });
  const gradient = engine.gradient("model.layers.0.self_attn.q_proj.weight");
  await expect(gradient).rejects.toMatchObject({ code: "PARAMETER_FROZEN" });
  expect((await engine.gradient("lm_head.weight")).length).toBe(oddSpec.vocabSize * oddSpec.hiddenSize);
});

describe("bad input", () => {
  const adapter = join(fixtures, "lora", "gqa");
  const copied = () => join(folder, "copy");
  const stated = () => JSON.parse(readFileSync(join(adapter, "adapter_config.json"), "utf8"));
  const write = (config: object) => {
    mkdirSync(copied(), { recursive: true });
    writeFileSync(join(copied(), ADAPTER), readFileSync(join(adapter, ADAPTER)));
    writeFileSync(join(copied(), "adapter_config.json"), JSON.stringify(config));
  };
  const load = (options: EngineOptions = {}) => Engine.load(copied(), { base: join(fixtures, "gqa"), ...options });
  afterEach(() => rmSync(copied(), { recursive: true, force: true }));

  test.each([
    [{ use_dora: true }, "UNSUPPORTED_FEATURE", "use_dora"],
    [{ bias: "all" }, "UNSUPPORTED_FEATURE", "bias"],
    [{ rank_pattern: { q_proj: 2 } }, "UNSUPPORTED_FEATURE", "rank_pattern"],
    [{ alpha_pattern: { q_proj: 2 } }, "UNSUPPORTED_FEATURE", "alpha_pattern"],
    [{ use_qalora: true }, "UNSUPPORTED_FEATURE", "use_qalora"],
    [{ init_lora_weights: "pissa" }, "UNSUPPORTED_FEATURE", "init_lora_weights"],
    [{ layers_to_transform: [0] }, "UNSUPPORTED_FEATURE", "layers_to_transform"],
    [{ some_coming_feature: 3 }, "UNSUPPORTED_FEATURE", "some_coming_feature"],
    [{ target_modules: "(a+)+$" }, "UNSUPPORTED_FEATURE", "target_modules"],
    [{ peft_type: "IA3" }, "UNSUPPORTED_FEATURE", "peft_type"],
    [{ r: 0 }, "ADAPTER_INVALID", "r: expected"],
    [{ lora_alpha: "8" }, "ADAPTER_INVALID", "lora_alpha"],
    [{ target_modules: ["c_attn"] }, "LORA_TARGET", "c_attn"],
    [{ target_modules: ["embed_tokens"] }, "LORA_TARGET", "modulesToSave"],
    [{ target_modules: ["lm_head"], modules_to_save: ["lm_head"] }, "LORA_TARGET", "name it once"],
    [{ modules_to_save: ["score"] }, "LORA_TARGET", "score"],
    [{ r: 4 }, "TENSOR_SHAPE", "lora_A"],
    [{ modules_to_save: null }, "TENSOR_UNEXPECTED", "lm_head"],
  ])("%j", async (change, code, message) => {
    write({ ...stated(), ...change });
    await expect(load()).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
  });

  test("a head written again that is not the base's", async () => {
    const head = join(fixtures, "lora", "head");
    mkdirSync(copied(), { recursive: true });
    const tensors = readSafetensors(join(head, ADAPTER));
    (tensors.get(REPEATED)!.data as Float32Array)[3]! += 0.5;
    writeSafetensors(join(copied(), ADAPTER), tensors);
    writeFileSync(join(copied(), "adapter_config.json"), readFileSync(join(head, "adapter_config.json")));
    const message = expect.stringContaining("lm_head.base_layer.weight");
    await expect(load()).rejects.toMatchObject({ code: "TENSOR_UNEXPECTED", message });
  });

  test("an adapter for another shape", async () => {
    write(stated());
    await expect(load({ base: join(fixtures, "mha") })).rejects.toMatchObject({ code: "TENSOR_SHAPE" });
  });

  test("no base, and one that is not there", async () => {
    write({ ...stated(), base_model_name_or_path: null });
    await expect(Engine.load(copied())).rejects.toMatchObject({ code: "BASE_MISSING" });
    write({ ...stated(), base_model_name_or_path: "meta-llama/none" });
    const message = expect.stringContaining("--base");
    await expect(Engine.load(copied())).rejects.toMatchObject({ code: "BASE_MISSING", message });
  });

  test("adapters on adapters, and a base without adapters", async () => {
    await expect(Engine.load(adapter, { lora: everything })).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
    await expect(Engine.load(join(fixtures, "gqa"), { base: "x" })).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });

  test("dropout is said to be read as 0", async () => {
    await using _engine = await Engine.load(join(fixtures, "lora", "mistral"), { trainable: false });
    const text = expect.stringContaining("lora_dropout 0.1");
    expect(process.emitWarning).toHaveBeenCalledWith(text, { code: "LORA_DROPOUT" });
  });

  test.each([{ rank: 0 }, { rank: 1.5 }, { alpha: 0 }, { targets: [] }, { seed: -1 }])("%j", async (change) => {
    const lora = { ...everything, ...change } as LoraOptions;
    await expect(Engine.create(oddSpec, oddInit, { lora })).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });

  test("a module trained whole that is a target too", async () => {
    const lora = { ...everything, modulesToSave: ["q_proj"] };
    await expect(Engine.create(oddSpec, oddInit, { lora })).rejects.toMatchObject({ code: "LORA_TARGET" });
  });
});
