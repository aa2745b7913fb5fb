// Models with a scalar head: scores and values are those of transformers' sequence classifiers, the same bits however they are batched; a
// language model takes a new head; folders of peft; what a head has no use for is refused. test/fixtures/scalar_fixtures.py made the numbers.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine, planMemory } from "../../src/engine/engine.js";
import { writeModelConfig } from "../../src/engine/spec.js";
import type { EngineOptions, LoraOptions, ModelSpec } from "../../src/engine/types.js";
import * as help from "../helpers/engine.js";
import { difference, fixtureBatch, largest } from "../helpers/pytorch.js";
import { floats, readSafetensors } from "../helpers/safetensors.js";

const { bitsOf, fixtures, oddInit, oddSpec, pack, randomSequences, setups, unpack } = help;

/** As in pytorch.test.ts. */
const ABSOLUTE = 5e-5;
const FAMILIES = ["llama", "mistral", "qwen2", "qwen3"];
const scalarOdd: ModelSpec = { ...oddSpec, head: "scalar", padTokenId: 0 };
const classifier = (name: string) => join(fixtures, "scalar", name);

let folder: string;
beforeAll(() => {
  folder = help.temporaryFolder();
});
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(FAMILIES)("transformers' %s", (name) => {
  const tensors = readSafetensors(join(classifier(name), "expected.safetensors"));
  const expected = JSON.parse(readFileSync(join(classifier(name), "expected.json"), "utf8"));
  const batch = fixtureBatch(tensors);

  test.each(setups)("values and scores, $isa, threads: $threads", async (setup) => {
    await using engine = await Engine.load(classifier(name), { ...setup, microBatchTokens: 70, trainable: false });
    expect(engine.parameters).toBe(expected.parameters);
    expect(difference(await engine.values(batch), floats(tensors, "values"))).toBeLessThanOrEqual(ABSOLUTE);
    const scores = await engine.rewardScores(batch);
    expect(difference(scores, floats(tensors, "scores"))).toBeLessThanOrEqual(ABSOLUTE);
    expect(largest(scores)).toBeGreaterThan(0.5);
  });

  test("padding at the end counts for nothing", async () => {
    await using engine = await Engine.load(classifier(name), { trainable: false });
    expect(engine.spec.padTokenId).toBe(0);
    const sequences = unpack(batch.ids, batch.cuSeqlens);
    const padded = pack(sequences.map((ids, s) => [...ids, ...new Array<number>(s % 3).fill(0)]));
    expect(bitsOf(await engine.rewardScores(padded))).toBe(bitsOf(await engine.rewardScores(batch)));
  });

  test("what is saved is what was loaded", async () => {
    await using engine = await Engine.load(classifier(name), { trainable: false });
    await engine.save(folder);
    const [saved, loaded] = [folder, classifier(name)].map((place) =>
      readSafetensors(join(place, "model.safetensors")),
    ) as [ReturnType<typeof readSafetensors>, ReturnType<typeof readSafetensors>];
    expect([...saved.keys()].sort()).toEqual([...loaded.keys()].sort());
    for (const key of saved.keys()) expect(bitsOf(floats(saved, key))).toBe(bitsOf(floats(loaded, key)));
    const [written, read] = [folder, classifier(name)].map((place) =>
      JSON.parse(readFileSync(join(place, "config.json"), "utf8")),
    );
    for (const field of ["architectures", "id2label", "label2id", "pad_token_id", "vocab_size"])
      expect(written[field], field).toEqual(read[field]);
    await using again = await Engine.load(folder, { trainable: false });
    expect(again.spec).toEqual(engine.spec);
  });
});

describe.each<[string, EngineOptions]>([
  ["float32", {}],
  ["bfloat16", { dtype: "bfloat16" }],
])("%s: the bits of a score are its sequence's alone", (_name, types) => {
  const lengths = [1, 7, 63, 64, 65, 130, 2, 33, 129, 12, 90, 5];
  const sequences = randomSequences(lengths, oddSpec.vocabSize - 1, 2).map((ids) => ids.map((id) => id + 1)); // no padding
  const open = (options: EngineOptions) =>
    Engine.create(scalarOdd, oddInit, { ...types, trainable: false, ...options });
  const alone: string[] = [];
  const values: string[] = [];
  beforeAll(async () => {
    await using engine = await open({ threads: 1 });
    for (const sequence of sequences) {
      alone.push(bitsOf(await engine.rewardScores(pack([sequence]))));
      values.push(bitsOf(await engine.values(pack([sequence]))));
    }
    expect(new Set(alone).size).toBe(lengths.length);
  });

  test.each(setups)("$isa, threads: $threads", async (setup) => {
    for (const microBatchTokens of setup.isa === "portable" ? [70] : [1, 70, 4096]) {
      await using engine = await open({ ...setup, microBatchTokens });
      for (const size of setup.isa === "portable" ? [5] : [1, 2, 5, lengths.length]) {
        const order = Array.from({ length: size }, (_, place) => (place * 5 + size) % lengths.length);
        const packed = pack(order.map((s) => sequences[s]!));
        const scores = await engine.rewardScores(packed);
        expect(Array.from(scores, (_, i) => bitsOf(scores.slice(i, i + 1)))).toEqual(order.map((s) => alone[s]));
        const each = unpack(await engine.values(packed), packed.cuSeqlens);
        expect(each.map(bitsOf)).toEqual(order.map((s) => values[s]));
      }
    }
  });

  test("the score is the value at the last token", () => expect(values.map((bits) => bits.slice(-8))).toEqual(alone));

  test("in a new process, from a saved checkpoint, on the portable code", async () => {
    await using engine = await open({});
    await engine.save(folder);
    const packed = pack(sequences);
    const printed = await help.runScript(`
      const { Engine } = await import(dist + "engine/engine.js");
      const engine = await Engine.load(${JSON.stringify(folder)}, { isa: "portable", dtype: "${engine.dtype}", microBatchTokens: 100 });
      const request = { ids: Int32Array.of(${packed.ids}), cuSeqlens: Int32Array.of(${packed.cuSeqlens}) };
      console.log(Buffer.from((await engine.rewardScores(request)).buffer).toString("hex"));
    `);
    expect(printed).toBe(alone.join(""));
  });
});

describe("a language model takes a scalar head", () => {
  const language = (name: string) => join(fixtures, name);
  const scoreOf = async (engine: Engine) => {
    await engine.save(folder);
    return floats(readSafetensors(join(folder, "model.safetensors")), "score.weight");
  };

  test.each(["gqa", "mha", "qwen2", "qwen3", "mistral"])("%s keeps its body and loses its lm_head", async (name) => {
    await using engine = await Engine.load(language(name), { head: "scalar", trainable: false });
    expect(engine.spec).toMatchObject({ head: "scalar", tieWordEmbeddings: false, padTokenId: null });
    const score = await scoreOf(engine);
    const [saved, loaded] = [folder, language(name)].map((place) =>
      readSafetensors(join(place, "model.safetensors")),
    ) as [ReturnType<typeof readSafetensors>, ReturnType<typeof readSafetensors>];
    const body = [...loaded.keys()].filter((key) => key !== "lm_head.weight");
    expect([...saved.keys()].sort()).toEqual([...body, "score.weight"].sort());
    for (const key of body) expect(bitsOf(floats(saved, key))).toBe(bitsOf(floats(loaded, key)));
    expect(score.length).toBe(engine.spec.hiddenSize);
    const tokens = pack(randomSequences([9, 40, 3], engine.spec.vocabSize, 4));
    const before = await engine.rewardScores(tokens);
    await using again = await Engine.load(folder, { head: "scalar", headInit: { seed: 9 }, trainable: false });
    expect(bitsOf(await again.rewardScores(tokens))).toBe(bitsOf(before)); // its own head, not a new one
  });

  test("the head follows seed and std, and is normal", async () => {
    const drawn = async (headInit: EngineOptions["headInit"]) => {
      await using engine = await Engine.load(language("mha"), {
        head: "scalar",
        trainable: false,
        ...(headInit && { headInit }),
      });
      return await scoreOf(engine);
    };
    const first = await drawn({ seed: 1 });
    expect(bitsOf(await drawn({ seed: 1, padTokenId: 3 }))).toBe(bitsOf(first));
    expect(bitsOf(await drawn(undefined))).toBe(bitsOf(await drawn({ seed: 0, std: 0.02 })));
    expect(bitsOf(await drawn({ seed: 2 }))).not.toBe(bitsOf(first));
    const spread = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0) / values.length);
    expect(spread(first)).toBeGreaterThan(0.01);
    expect(spread(first)).toBeLessThan(0.03);
    expect(
      difference(
        (await drawn({ seed: 1, std: 0.2 })).map((x) => x / 10),
        first,
      ),
    ).toBeLessThan(1e-8);
    expect(largest(await drawn({ std: 0 }))).toBe(0);
  });

  test("the padding token is written", async () => {
    await using engine = await Engine.load(language("mha"), {
      head: "scalar",
      headInit: { padTokenId: 5 },
      trainable: false,
    });
    await engine.save(folder);
    expect(JSON.parse(readFileSync(join(folder, "config.json"), "utf8")).pad_token_id).toBe(5);
  });

  test("one from scratch", async () => {
    const options = { head: "scalar", trainable: false } as const;
    await using engine = await Engine.create({ ...oddSpec, tieWordEmbeddings: true }, oddInit, options);
    await using same = await Engine.create({ ...oddSpec, head: "scalar" }, oddInit, { trainable: false });
    const tokens = pack(randomSequences([20, 3], oddSpec.vocabSize, 4));
    expect(bitsOf(await engine.values(tokens))).toBe(bitsOf(await same.values(tokens)));
  });
});

describe("adapters", () => {
  const lora: LoraOptions = { rank: 3, alpha: 6, targets: "all-linear" };
  const tokens = pack(randomSequences([30, 7], oddSpec.vocabSize, 4));

  test("train the scalar head whole; the folder is one of peft", async () => {
    const base = join(folder, "base");
    await using plain = await Engine.create(oddSpec, oddInit, { trainable: false });
    await plain.save(base);
    await using engine = await Engine.load(base, { head: "scalar", headInit: { seed: 4 }, lora });
    expect(engine.lora?.modulesToSave).toEqual(["score"]);
    await engine.save(join(folder, "adapter"));
    const config = JSON.parse(readFileSync(join(folder, "adapter", "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({ task_type: "SEQ_CLS", modules_to_save: ["score"] });
    const saved = readSafetensors(join(folder, "adapter", "adapter_model.safetensors"));
    expect([...saved.keys()]).toContain("base_model.model.score.weight");
    await using again = await Engine.load(join(folder, "adapter"), { trainable: false });
    expect(bitsOf(await again.rewardScores(tokens))).toBe(bitsOf(await engine.rewardScores(tokens)));
    await engine.saveMerged(join(folder, "merged"));
    await using merged = await Engine.load(join(folder, "merged"), { trainable: false });
    expect(difference(await merged.values(tokens), await engine.values(tokens))).toBeLessThan(ABSOLUTE);
  });

  test("of a language model have no scalar head to take", async () => {
    const loaded = Engine.load(join(fixtures, "lora", "gqa"), { head: "scalar" });
    await expect(loaded).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: expect.stringContaining("saveMerged"),
    });
  });
});

describe("the memory plan", () => {
  const score = { tokens: 200, longest: 130, sequences: 4 };

  test("is what is held, and a second call takes nothing", async () => {
    const options = { dtype: "bfloat16", threads: 1, trainable: false } as const;
    await using engine = await Engine.create(scalarOdd, oddInit, options);
    const plan = await engine.reserve({ score });
    expect(planMemory(oddSpec, { ...options, head: "scalar" }, { score })).toEqual(plan);
    const held = engine.memory();
    expect(Math.abs(held.bytes / plan.bytes - 1)).toBeLessThan(0.1);
    const packed = pack(randomSequences([130, 20, 40, 10], oddSpec.vocabSize, 5));
    await engine.rewardScores(packed);
    await engine.values(packed);
    expect(engine.memory()).toEqual(held);
  });

  test("has no logits of a vocabulary", () => {
    const spec = { ...oddSpec, vocabSize: 50_000 };
    const [language, scalar] = [planMemory(spec, {}, { score }), planMemory(spec, { head: "scalar" }, { score })];
    expect(scalar.parts.head).toBeLessThan(language.parts.head / 50);
    expect(scalar.parts.weights).toBeLessThan(language.parts.weights * 0.55);
  });
});

describe("what the head has no use for", () => {
  const tokens = pack([[1, 2, 3]]);
  const weights = Float32Array.of(0, 1, 1);

  test("on a scalar head", async () => {
    await using engine = await Engine.create(scalarOdd, oddInit);
    const refused = { code: "WRONG_HEAD", message: expect.stringContaining("expected a language model") };
    await expect(engine.generate({ prompts: tokens, sampling: { maxTokens: 1 } })).rejects.toMatchObject(refused);
    const stream = engine.generateStream({ prompts: tokens, sampling: { maxTokens: 1 } });
    await expect(stream.next()).rejects.toMatchObject(refused);
    await expect(engine.logprobs(tokens)).rejects.toMatchObject(refused);
    await expect(engine.forwardBackward({ ...tokens, weights }, { kind: "sft" })).rejects.toMatchObject(refused);
  });

  test("on a language head", async () => {
    await using engine = await Engine.create(oddSpec, oddInit, { trainable: false });
    const refused = { code: "WRONG_HEAD", message: expect.stringContaining('open the model with head: "scalar"') };
    await expect(engine.rewardScores(tokens)).rejects.toMatchObject(refused);
    await expect(engine.values(tokens)).rejects.toMatchObject(refused);
  });

  test("bad arguments", async () => {
    await using engine = await Engine.create(scalarOdd, oddInit, { trainable: false });
    await expect(engine.rewardScores(pack([[1], []]))).rejects.toMatchObject({ code: "EMPTY_PROMPT" });
    await expect(engine.values(pack([[oddSpec.vocabSize]]))).rejects.toMatchObject({ code: "TOKEN_OUT_OF_RANGE" });
    expect(await engine.rewardScores(pack([]))).toEqual(new Float32Array(0));
    for (const options of [{ head: "vector" as "scalar" }, { head: "language" as "scalar" }])
      await expect(Engine.load(classifier("llama"), options)).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
    const headInit = (init: object) => Engine.load(join(fixtures, "mha"), { head: "scalar", headInit: init });
    await expect(headInit({ seed: -1 })).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
    await expect(headInit({ std: Number.NaN })).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
    await expect(headInit({ padTokenId: 1e6 })).rejects.toMatchObject({ code: "SPEC_INVALID" });
  });

  test("weights of the other head", async () => {
    await using engine = await Engine.create(oddSpec, oddInit, { trainable: false });
    await engine.save(folder);
    await writeModelConfig(folder, scalarOdd);
    await expect(Engine.load(folder)).rejects.toMatchObject({ code: "TENSOR_UNEXPECTED" });
  });

  test("an abort", async () => {
    await using engine = await Engine.create(scalarOdd, oddInit, { trainable: false });
    const packed = pack(randomSequences(new Array<number>(400).fill(130), oddSpec.vocabSize, 6));
    await expect(engine.rewardScores({ ...packed, signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "ABORTED",
    });
    const stop = new AbortController();
    const scored = engine.values({ ...packed, signal: stop.signal });
    setTimeout(() => stop.abort(), 5);
    await expect(scored).rejects.toMatchObject({ code: "ABORTED" });
    expect((await engine.rewardScores(tokens)).length).toBe(1); // and works on
  });
});
