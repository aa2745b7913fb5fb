// The policy loss through the engine: whole sequences over several chunks of the head, the ratio to a filtered sampler, and what each
// variant does on policy.
import { describe, expect, test } from "vitest";
import { Engine, planMemory } from "../../src/engine/engine.js";
import type { ModelSpec, PolicyLoss, TrainBatch } from "../../src/engine/types.js";
import { bitsOf, oddInit, pack, policyAt, randomSequences, smallSpec } from "../helpers/engine.js";
import { tempFolder } from "../helpers/recipes.js";

const variants: readonly (readonly [string, Partial<PolicyLoss>])[] = [
  ["clip", {}],
  ["sequence ratio", { ratio: "sequence" }],
  ["cispo", { objective: "cispo" }],
  ["cispo, sequence ratio", { objective: "cispo", ratio: "sequence" }],
];
const HEAD = "lm_head.weight";

/** Weights 1 / T, one advantage a sequence, and the log-probs of the engine itself as the recorded ones. */
async function onPolicy(engine: Engine, lengths: readonly number[], temperature: number): Promise<TrainBatch> {
  const tokens = pack(randomSequences(lengths, engine.spec.vocabSize, 5));
  const { logprobs } = await engine.logprobs({ ...tokens, temperature });
  const starts = new Set(tokens.cuSeqlens);
  const sequenceOf = (t: number) => tokens.cuSeqlens.findIndex((end) => end > t);
  const fill = (value: (t: number) => number) =>
    Float32Array.from(tokens.ids, (_, t) => (starts.has(t) ? 0 : value(t)));
  return {
    ...tokens,
    weights: fill(() => 1 / tokens.ids.length),
    advantages: fill((t) => (sequenceOf(t) % 2 === 0 ? -0.7 : 1.3)),
    oldLogprobs: fill((t) => logprobs[t]!),
  };
}

const largestDifference = (a: Float32Array, b: Float32Array) =>
  a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0);
const largest = (a: Float32Array) => largestDifference(a, new Float32Array(a.length));

async function gradientOf(engine: Engine, batch: TrainBatch, loss: PolicyLoss) {
  const metrics = await engine.forwardBackward(batch, loss);
  const gradient = await engine.gradient(HEAD);
  await engine.optimStep({ learningRate: 0 }); // clears the gradient
  return { metrics, gradient };
}

describe.each(variants)("%s on policy", (_, variant) => {
  test("has ratio 1, mismatch 0, nothing clipped and the gradient of the plain policy gradient", async () => {
    await using engine = await Engine.create(smallSpec, oddInit, { threads: 1 });
    const batch = await onPolicy(engine, [9, 30, 2, 17], 0.7);
    const plain = await gradientOf(engine, batch, policyAt(0.7));
    const { metrics, gradient } = await gradientOf(engine, batch, { ...policyAt(0.7), ...variant });
    expect(metrics).toMatchObject({ ratio: 1, mismatchMaxAbs: 0, clipFraction: 0 });
    expect(largestDifference(gradient, plain.gradient)).toBeLessThan(1e-6 * largest(plain.gradient));
  });

  test("measures the mismatch against the policy's log-probs and the ratio against the sampler's", async () => {
    await using engine = await Engine.create(smallSpec, oddInit, { threads: 1 });
    const batch = await onPolicy(engine, [9, 30, 2, 17], 1);
    const samplerLogprobs = batch.oldLogprobs!.map((value) => value + Math.log(2)); // a sampler that kept half of the mass
    const loss = { ...policyAt(1), ...variant, clipLow: 0.9 };
    const { metrics } = await gradientOf(engine, { ...batch, samplerLogprobs }, loss);
    expect(metrics.mismatchMaxAbs).toBe(0);
    expect(metrics.ratio).toBeCloseTo(0.5, 6);
  });

  test("a factor of 0 takes a token's surrogate away, and no other", async () => {
    await using engine = await Engine.create(smallSpec, oddInit, { threads: 1 });
    const batch = await onPolicy(engine, [9, 30], 1);
    const halves = batch.weights.map((_, t) => t % 2);
    const masked = await gradientOf(engine, { ...batch, importance: halves }, { ...policyAt(1), ...variant });
    const { gradient } = await gradientOf(engine, batch, { ...policyAt(1), ...variant });
    expect(largest(masked.gradient)).toBeGreaterThan(0);
    expect(largestDifference(masked.gradient, gradient)).toBeGreaterThan(0.1 * largest(gradient));
    const none = { ...batch, importance: new Float32Array(batch.ids.length) };
    expect(largest((await gradientOf(engine, none, { ...policyAt(1), ...variant })).gradient)).toBe(0);
  });
});

describe("the reference", () => {
  const tokens = pack(randomSequences([40, 7], smallSpec.vocabSize, 6));
  const bitsAt = async (engine: Engine, reference: boolean) =>
    bitsOf((await engine.logprobs({ ...tokens, reference })).logprobs);
  const step = async (engine: Engine) => {
    const weights = Float32Array.from(tokens.ids, (_, t) => (t === 0 || t === 40 ? 0 : 0.1));
    await engine.forwardBackward({ ...tokens, weights }, { kind: "sft" });
    await engine.optimStep({ learningRate: 1e-3 });
  };

  test("stays as it was, moves a part of the way, or becomes the policy", async () => {
    await using engine = await Engine.create(smallSpec, oddInit, { threads: 2, reference: true });
    const before = await bitsAt(engine, true);
    await step(engine);
    await engine.syncReference(0);
    expect(await bitsAt(engine, true)).toBe(before);
    await engine.syncReference(0.5);
    expect([before, await bitsAt(engine, false)]).not.toContain(await bitsAt(engine, true));
    await engine.syncReference(1);
    expect(await bitsAt(engine, true)).toBe(await bitsAt(engine, false));
  });

  test("halfway is the mean of the weights", async () => {
    const pull = async (mix: number) => {
      await using engine = await Engine.create(smallSpec, oddInit, { threads: 1, reference: true });
      await step(engine);
      await engine.syncReference(mix);
      return (await engine.logprobs({ ...tokens, reference: true })).logprobs[5]!;
    };
    const [from, half, to] = [await pull(0), await pull(0.5), await pull(1)];
    expect((half - from) / (to - from)).toBeGreaterThan(0.45);
    expect((half - from) / (to - from)).toBeLessThan(0.55);
  });

  test.each(["float32", "bfloat16"] as const)(
    "many small moves in %s bring it to the policy, as one long move would",
    async (dtype) => {
      await using engine = await Engine.create(smallSpec, oddInit, { threads: 1, dtype, reference: "moving" });
      for (let n = 0; n < 10; n++) await step(engine);
      const logprobs = async (reference: boolean) => (await engine.logprobs({ ...tokens, reference })).logprobs;
      const distance = (a: Float32Array, b: Float32Array) =>
        a.reduce((sum, value, t) => sum + (Number.isNaN(value) ? 0 : Math.abs(value - b[t]!)), 0);
      const policy = await logprobs(false);
      const far = distance(policy, await logprobs(true));
      const [mix, moves] = [0.01, 100];
      for (let n = 0; n < moves; n++) await engine.syncReference(mix);
      const left = distance(policy, await logprobs(true)) / far;
      expect(left).toBeGreaterThan(0.8 * (1 - mix) ** moves); // 0.37 of the way in weights, and about that in log-probs
      expect(left).toBeLessThan(1.2 * (1 - mix) ** moves);
      await engine.syncReference(1);
      expect(await bitsAt(engine, true)).toBe(await bitsAt(engine, false));
      await engine.syncReference(0.5); // of what the reference is now, the policy
      expect(await bitsAt(engine, true)).toBe(await bitsAt(engine, false));
    },
  );

  test("its masters are part of the state: a loaded engine moves on with the same bits", async () => {
    const options = { threads: 1, dtype: "bfloat16", reference: "moving" } as const;
    const folder = tempFolder();
    await using engine = await Engine.create(smallSpec, oddInit, options);
    await step(engine);
    await engine.syncReference(0.01);
    await engine.save(folder);
    await engine.saveState(folder);
    await using again = await Engine.load(folder, options);
    await again.loadState(folder);
    const moved = async (one: Engine) => {
      for (let n = 0; n < 50; n++) await one.syncReference(0.02);
      return bitsAt(one, true);
    };
    expect(await moved(again)).toBe(await moved(engine));
  });

  test("parts of the way of bfloat16 weights ask for masters, which the plan of memory has", async () => {
    const dtype = "bfloat16";
    await using engine = await Engine.create(smallSpec, oddInit, { threads: 1, dtype, reference: true });
    await engine.syncReference(1);
    await expect(engine.syncReference(0.5)).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: expect.stringMatching(/"moving"/),
    });
    const parts = (reference: boolean | "moving") => planMemory(smallSpec, { dtype, reference }).parts;
    expect(parts("moving").reference).toBe(parts(true).reference + parts(true).masters);
    await using moving = await Engine.create(smallSpec, oddInit, { threads: 1, dtype, reference: "moving" });
    expect(moving.memory().bytes - engine.memory().bytes).toBe(parts("moving").reference - parts(true).reference);
    await expect(Engine.create(smallSpec, oddInit, { reference: "still" as "moving" })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
    });
  });

  test("bad mixes and engines without one are refused", async () => {
    await using engine = await Engine.create(smallSpec, oddInit, { threads: 1 });
    await expect(engine.syncReference(0.5)).rejects.toMatchObject({ code: "NO_REFERENCE", name: "InputError" });
    await expect(engine.syncReference(1.5)).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });
});

describe("a sequence longer than a chunk of the head", () => {
  const CHUNK = 4096; // rows of logits of a small vocabulary at a time
  const spec: ModelSpec = { ...smallSpec, maxPositions: CHUNK + 200 };
  const shift = 0.3;

  test("has one ratio: its gradient is that of its tokens, each times the sequence's ratio", async () => {
    await using engine = await Engine.create(spec, oddInit);
    const batch = await onPolicy(engine, [CHUNK + 150, 40], 1);
    const noise = batch.ids.map((id) => id % 3);
    const oldLogprobs = batch.oldLogprobs!.map((value, t) => value - shift * noise[t]!);
    const means = [...batch.cuSeqlens.subarray(0, -1)].map((start, s) => {
      const own = noise.subarray(start + 1, batch.cuSeqlens[s + 1]);
      return (shift * own.reduce((sum, value) => sum + value, 0)) / own.length;
    });
    const sequence = await gradientOf(
      engine,
      { ...batch, oldLogprobs },
      { ...policyAt(1), ratio: "sequence", clipHigh: 9 },
    );
    const importance = batch.weights.map((_, t) => Math.exp(means[t < batch.cuSeqlens[1]! ? 0 : 1]!));
    const tokens = await gradientOf(engine, { ...batch, importance }, policyAt(1));
    expect(largestDifference(sequence.gradient, tokens.gradient)).toBeLessThan(1e-5 * largest(tokens.gradient));
    expect(sequence.metrics.tokens).toBe(CHUNK + 150 + 40 - 2);
  });
});
