// Prompts that are longer than a micro-batch are computed in pieces: the samples are the same bits wherever the pieces end, and memory is
// that of a piece.
import { describe, expect, test } from "vitest";
import { Engine, planMemory } from "../../src/engine/engine.js";
import { DTYPES, type EngineOptions, type GenerateRequest, type ModelSpec } from "../../src/engine/types.js";
import { bitsOf, oddInit, oddSpec, pack, randomSequences, setups } from "../helpers/engine.js";

const windowed: ModelSpec = { ...oddSpec, family: "mistral", windows: new Array<number>(oddSpec.layers).fill(40) };
const models: readonly (readonly [string, ModelSpec])[] = [
  ["every key", oddSpec],
  ["a window", windowed],
];
/** Of 130 tokens and fewer, in and around blocks of 64 keys. */
const prompts = pack(randomSequences([130, 3, 65, 128], oddSpec.vocabSize, 5));
const request: GenerateRequest = {
  prompts,
  samplesPerPrompt: 2,
  sampling: { maxTokens: 9, stopTokenIds: [] },
  seed: 3,
};

async function sampled(spec: ModelSpec, options: EngineOptions) {
  await using engine = await Engine.create(spec, oddInit, { trainable: false, ...options });
  const { tokens, logprobs, samplerLogprobs } = await engine.generate(request);
  return [tokens.join(), bitsOf(logprobs), bitsOf(samplerLogprobs)];
}

describe.each(models)("%s", (_name, spec) => {
  describe.each(DTYPES)("%s", (dtype) => {
    test.each([1, 7, 63, 64, 65, 129])("pieces of %d tokens", async (microBatchTokens) => {
      const whole = await sampled(spec, { dtype, threads: 1 });
      for (const setup of setups) expect(await sampled(spec, { dtype, ...setup, microBatchTokens })).toEqual(whole);
    });
  });
});

test("with adapters too", async () => {
  const lora = { rank: 3, alpha: 5, targets: "all-linear", modulesToSave: ["lm_head"] } as const;
  expect(await sampled(oddSpec, { lora, microBatchTokens: 50 })).toEqual(await sampled(oddSpec, { lora }));
});

describe("the memory of a long prompt", () => {
  const long: ModelSpec = { ...oddSpec, maxPositions: 100_000 };
  const options: EngineOptions = { trainable: false, microBatchTokens: 256, threads: 1 };
  const of = (promptTokens: number) => ({
    generate: [{ prompts: 1, promptTokens, samplesPerPrompt: 1, maxTokens: 1 }],
  });

  test("grows by its keys and values and the tables of angles alone", () => {
    const [short, twice] = [planMemory(long, options, of(20_000)).parts, planMemory(long, options, of(40_000)).parts];
    expect(twice.activations).toBe(short.activations);
    expect(twice.keysAndValues).toBeGreaterThan(1.9 * short.keysAndValues);
  });

  test("is the plan", async () => {
    await using engine = await Engine.create(long, oddInit, options);
    const plan = engine.planMemory(of(3000));
    await engine.generate({ prompts: pack(randomSequences([3000], long.vocabSize)), sampling: { maxTokens: 1 } });
    const { peakBytes } = engine.memory();
    expect(peakBytes).toBeLessThanOrEqual(plan.bytes * 1.1);
    expect(peakBytes).toBeGreaterThanOrEqual(plan.bytes * 0.9);
  });
});
