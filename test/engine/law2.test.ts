// Exactly on-policy: the log-prob recorded when a token is sampled is, bit for bit, the one that training computes, whatever the batch,
// the place in it, the cut, the room for keys and values, the threads, the instruction set or the process.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { EngineOptions, GenerateResult, PackedTokens, SamplingParams } from "../../src/engine/types.js";
import * as help from "../helpers/engine.js";
import { toyVocabulary } from "../helpers/vocabulary.js";

const { bitsOf, fixtures, hasStories, isas, oddInit, oddSpec, pack, policyAt, setups, stories, unpack } = help;

const TEMPERATURES = [0.7, 1];
/** Around the 64 keys of an attention tile. */
const LENGTHS = [1, 7, 63, 64, 65, 130];
const LARGEST_BATCH = 64;
/** Windows, biases, norms of queries and keys, scaled rotation; with their sizes of vocabulary. */
const FAMILIES = [
  ["mistral", 59],
  ["qwen2", 73],
  ["qwen3", 67],
] as const;
/** Odd ranks, a head and norms trained whole, an adapter on a tied head, rsLoRA; with the sizes of vocabulary. */
const ADAPTERS = [
  ["gqa", 101],
  ["qwen3", 67],
  ["tied-head", 61],
] as const;

/** What makes the sampler another distribution than the policy. */
const SAMPLERS: readonly (readonly [string, Partial<SamplingParams>])[] = [
  ["min-p", { minP: 0.1 }],
  ["penalties", { repetitionPenalty: 1.4, presencePenalty: 0.5, frequencyPenalty: 0.2 }],
  ["a constraint", { constraint: { kind: "regex", pattern: "([a-m]+[ .,]){1,9}[0-9]*" } }],
  [
    "all of them",
    { minP: 0.05, topP: 0.9, repetitionPenalty: 0.8, constraint: { kind: "regex", pattern: "[^q]{4,}" } },
  ],
];

/** How much is sampled. The portable code multiplies and adds in software, so it gets a part of it. */
const work = (isa: string) =>
  isa === "portable" ? { lengths: [65, 7], samples: 2, maxTokens: 6 } : { lengths: LENGTHS, samples: 5, maxTokens: 20 };

interface Model {
  readonly name: string;
  readonly vocabSize: number;
  readonly present: boolean;
  open(options: EngineOptions): Promise<Engine>;
}

const float32: readonly Model[] = [
  {
    name: "odd sizes, random weights",
    vocabSize: oddSpec.vocabSize,
    present: true,
    open: (options) => Engine.create(oddSpec, oddInit, options),
  },
  {
    name: "stories260k",
    vocabSize: 512,
    present: hasStories,
    open: (options) => Engine.load(`${stories}/stories260k`, options),
  },
  ...ADAPTERS.map(([name, vocabSize]) => ({
    name: `LoRA on ${name}`,
    vocabSize,
    present: true,
    open: (options: EngineOptions) => Engine.load(join(fixtures, "lora", name), options),
  })),
  ...FAMILIES.map(([name, vocabSize]) => ({
    name,
    vocabSize,
    present: true,
    open: (options: EngineOptions) => Engine.load(join(fixtures, name), options),
  })),
];

const models = [
  ...float32,
  ...float32.map(({ name, open, ...model }) => ({
    ...model,
    name: `${name}, bfloat16`,
    open: (options: EngineOptions) => open({ ...options, dtype: "bfloat16" }),
  })),
];

/** The policy loss on samples as they were recorded: its mismatch is the law's figure. */
async function mismatch(engine: Engine, prompts: PackedTokens, result: GenerateResult, temperature: number) {
  const { tokens, spread } = help.joinSamples(prompts, result);
  const weights = spread(new Float32Array(result.tokens.length).fill(1 / result.tokens.length));
  const batch = { ...tokens, weights, advantages: weights, oldLogprobs: spread(result.logprobs) };
  const metrics = await engine.forwardBackward(batch, policyAt(temperature));
  expect(metrics.tokens).toBe(result.tokens.length);
  return metrics.mismatchMaxAbs;
}

/** Log-probs of the sampled tokens from a pass over whole sequences. */
async function rescored(engine: Engine, prompts: PackedTokens, result: GenerateResult, temperature: number) {
  const { tokens, spread } = help.joinSamples(prompts, result);
  const { logprobs } = await engine.logprobs({ ...tokens, temperature });
  const sampled = spread(new Float32Array(result.tokens.length).fill(1));
  return logprobs.filter((_, t) => sampled[t] === 1);
}

describe.each(models)("$name", (model) => {
  const requestOf = ({ lengths, samples, maxTokens }: ReturnType<typeof work>, temperature: number) => ({
    prompts: pack(help.randomSequences(lengths, model.vocabSize, 1)),
    samplesPerPrompt: samples,
    seed: 3,
    sampling: { temperature, maxTokens, stopTokenIds: [] },
  });
  const whole = work("any");
  const wholeRequest = requestOf(whole, 1);
  const { prompts } = wholeRequest;

  describe.skipIf(!model.present).each(setups)("$isa, threads: $threads", (setup) => {
    test.each(TEMPERATURES)("sampled and training log-probs are the same bits at T %d", async (temperature) => {
      await using engine = await model.open(setup);
      const share = work(setup.isa);
      const request = requestOf(share, temperature);
      const result = await engine.generate(request);
      expect(result.tokens.length).toBe(share.lengths.length * share.samples * share.maxTokens);
      expect(await mismatch(engine, request.prompts, result, temperature)).toBe(0);
      expect(bitsOf(await rescored(engine, request.prompts, result, temperature))).toBe(bitsOf(result.logprobs));
    });

    test.each(SAMPLERS)("another distribution to sample from changes nothing: %s", async (_, sampling) => {
      await using engine = await model.open(setup);
      await engine.useVocabulary(toyVocabulary(model.vocabSize));
      const request = requestOf(work(setup.isa), 0.8);
      const result = await engine.generate({ ...request, sampling: { ...request.sampling, ...sampling } });
      expect(await mismatch(engine, request.prompts, result, 0.8)).toBe(0);
      expect(bitsOf(await rescored(engine, request.prompts, result, 0.8))).toBe(bitsOf(result.logprobs));
      expect(bitsOf(result.samplerLogprobs)).not.toBe(bitsOf(result.logprobs));
    });

    test("nothing changes when prompts wait for room and micro-batches are small", async () => {
      const request = requestOf(work(setup.isa), 1);
      const kvBytes = await leastRoom(model, request);
      await using roomy = await model.open({});
      await using cramped = await model.open({ ...setup, microBatchTokens: 70, kvBytes });
      const wanted = await roomy.generate(request);
      const result = await cramped.generate(request);
      expect(result.tokens).toEqual(wanted.tokens);
      expect(bitsOf(result.logprobs)).toBe(bitsOf(wanted.logprobs));
      expect(await mismatch(cramped, request.prompts, result, 1)).toBe(0);
      expect(bitsOf(await rescored(cramped, request.prompts, result, 1))).toBe(bitsOf(wanted.logprobs));
    });
  });

  test.skipIf(!model.present)("a sample is the same alone, and with others of its prompt", async () => {
    await using engine = await model.open({});
    const together = await engine.generate(wholeRequest);
    const alone = await engine.generate({ ...wholeRequest, samplesPerPrompt: 1 });
    const first = (result: GenerateResult, each: number) =>
      unpack(result.logprobs, result.cuSeqlens)
        .filter((_, s) => s % each === 0)
        .map(bitsOf);
    expect(first(together, whole.samples)).toEqual(first(alone, 1));
  });

  test.skipIf(!model.present)("the checks see a temperature, a weight or a bit that differs", async () => {
    await using engine = await model.open({});
    const result = await engine.generate(wholeRequest);
    expect(await mismatch(engine, prompts, result, 1.0001)).toBeGreaterThan(0);
    expect(bitsOf(await rescored(engine, prompts, result, 1.0001))).not.toBe(bitsOf(result.logprobs));
    const oneBit = result.logprobs.slice();
    new Int32Array(oneBit.buffer)[5]! ^= 1;
    expect(await mismatch(engine, prompts, { ...result, logprobs: oneBit }, 1)).toBeGreaterThan(0);
    await engine.optimStep({ learningRate: 1e-6 });
    expect(await mismatch(engine, prompts, result, 1)).toBeGreaterThan(0);
  });
});

/** Bytes that the longest sample needs: the engine says so itself. */
async function leastRoom(model: Model, request: Parameters<Engine["generate"]>[0]): Promise<number> {
  await using engine = await model.open({ kvBytes: 1, trainable: false });
  const error: Error = await engine.generate(request).then(
    () => new Error("room for keys in one byte"),
    (reason: Error) => reason,
  );
  expect(error).toMatchObject({ code: "KV_TOO_SMALL", message: expect.stringContaining("raise kvBytes") });
  return Number(/longest sample, (\d+) bytes/.exec(error.message)?.[1]);
}

describe("every place in batches of 1 to 64", () => {
  const lengths = Array.from({ length: LARGEST_BATCH }, (_, p) => LENGTHS[(p * 5) % LENGTHS.length]!);
  const sequences = help.randomSequences(lengths, oddSpec.vocabSize, 2);

  /** Prompts `order` in this order; each keeps its problem number. */
  const sampleBatch = (engine: Engine, order: readonly number[], temperature: number) =>
    engine.generate({
      prompts: pack(order.map((p) => sequences[p]!)),
      problemIds: Int32Array.from(order),
      seed: 5,
      sampling: { temperature, maxTokens: 3 },
    });

  /** Tokens and bits of each prompt of a result. */
  const rows = ({ tokens, logprobs, cuSeqlens }: GenerateResult) => {
    const bits = unpack(logprobs, cuSeqlens).map(bitsOf);
    return unpack(tokens, cuSeqlens).map((row, s) => `${row.join(" ")}: ${bits[s]}`);
  };

  const alone = new Map<string, string>(); // by temperature and prompt
  beforeAll(async () => {
    await using engine = await Engine.create(oddSpec, oddInit, { threads: 1, trainable: false });
    for (const temperature of TEMPERATURES) {
      for (let p = 0; p < LARGEST_BATCH; p++)
        alone.set(`${temperature} ${p}`, rows(await sampleBatch(engine, [p], temperature))[0]!);
    }
    expect(new Set(alone.values()).size).toBe(TEMPERATURES.length * LARGEST_BATCH);
  });

  const batchesFor = (isa: string) => {
    if (isa === "portable") return [1, 3, 11];
    return isa === isas.at(-1) ? Array.from({ length: LARGEST_BATCH }, (_, i) => i + 1) : [1, 2, 3, 7, 16, 33, 64];
  };

  test.each(setups.map((setup) => ({ ...setup, batches: batchesFor(setup.isa) })))(
    "$isa, threads: $threads",
    async ({ isa, threads, batches }) => {
      await using engine = await Engine.create(oddSpec, oddInit, { isa, threads });
      for (const batch of batches) {
        for (const temperature of TEMPERATURES) {
          // Another prompt at each place for each batch size.
          const order = Array.from({ length: batch }, (_, place) => (place * 3 + batch) % LARGEST_BATCH);
          const result = await sampleBatch(engine, order, temperature);
          const name = `batch of ${batch} at T ${temperature}`;
          expect(rows(result), name).toEqual(order.map((p) => alone.get(`${temperature} ${p}`)));
          const prompts = pack(order.map((p) => sequences[p]!));
          const again = await rescored(engine, prompts, result, temperature);
          expect(bitsOf(again), name).toBe(bitsOf(result.logprobs));
          if (batch % 9 === 1) expect(await mismatch(engine, prompts, result, temperature), name).toBe(0);
        }
      }
    },
  );
});

describe("in a new process, from a saved checkpoint", () => {
  let folder: string;
  beforeAll(() => {
    folder = help.temporaryFolder();
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  test.each(TEMPERATURES)("T %d", async (temperature) => {
    await using engine = await Engine.create({ ...oddSpec, tieWordEmbeddings: temperature === 1 }, oddInit);
    const prompts = pack(help.randomSequences(LENGTHS, oddSpec.vocabSize, 3));
    await mismatch(engine, prompts, await engine.generate({ prompts, sampling: { maxTokens: 9 } }), 1);
    await engine.optimStep({ learningRate: 1e-3 });
    const result = await engine.generate({ prompts, samplesPerPrompt: 2, sampling: { temperature, maxTokens: 30 } });
    await engine.save(folder);
    const { tokens } = help.joinSamples(prompts, result);
    const { logprobs } = await engine.logprobs({ ...tokens, temperature });
    const request = `{ ids: Int32Array.of(${tokens.ids}), cuSeqlens: Int32Array.of(${tokens.cuSeqlens}), temperature: ${temperature} }`;
    const printed = await help.runScript(`
      const { Engine } = await import(dist + "engine/engine.js");
      const options = { isa: "portable", threads: 2, microBatchTokens: 100 };
      const engine = await Engine.load(${JSON.stringify(folder)}, options);
      const { logprobs } = await engine.logprobs(${request});
      console.log(Buffer.from(logprobs.buffer).toString("hex"));
    `);
    expect(printed).toBe(bitsOf(logprobs));
    expect(bitsOf(await rescored(engine, prompts, result, temperature))).toBe(bitsOf(result.logprobs));
  });
});
