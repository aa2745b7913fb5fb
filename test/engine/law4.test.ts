// The update does not depend on how the batch was cut: gradients and the weights after a step are the same bits from one call or many,
// from large or small micro-batches, with any number of threads and any instruction set. Head tied to the embedding, and not; biases,
// windows and norms of the families.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { EngineOptions, LoraOptions, LossSpec, ModelSpec, TrainBatch } from "../../src/engine/types.js";
import { bitsOf, isas, oddInit, oddSpec, pack, policyAt, randomSequences, temporaryFolder } from "../helpers/engine.js";
import { floats, readSafetensors } from "../helpers/safetensors.js";

const LENGTHS = [67, 1, 9, 130, 2, 64, 31];
const sequences = randomSequences(LENGTHS, oddSpec.vocabSize, 4);

const losses: readonly (readonly [string, LossSpec])[] = [
  ["sft", { kind: "sft" }],
  ["policy", { ...policyAt(0.7), klCoefficient: 0.1, entropyCoefficient: 0.01 }],
  ["sequence ratio", { ...policyAt(0.7), ratio: "sequence", klCoefficient: 0.1, klEstimator: "k2" }],
  ["cispo", { ...policyAt(0.7), objective: "cispo", clipLow: 1, clipHigh: 3, entropyCoefficient: 0.01 }],
];

/** Sequences [first, last) with per-token numbers that depend on the place in the whole batch. */
function batchOf(first = 0, last = sequences.length): TrainBatch {
  const tokens = pack(sequences.slice(first, last));
  const before = LENGTHS.slice(0, first).reduce((sum, length) => sum + length, 0);
  const starts = new Set(tokens.cuSeqlens);
  const wave = (t: number, phase: number) => Math.sin(1.3 * (before + t) + phase);
  const fill = (value: (t: number) => number) =>
    Float32Array.from(tokens.ids, (_, t) => (starts.has(t) ? 0 : value(t)));
  return {
    ...tokens,
    weights: fill((t) => (wave(t, 0) > 0.8 ? 0 : 0.01 * (1.5 + wave(t, 1)))),
    advantages: fill((t) => wave(t, 2)),
    oldLogprobs: fill((t) => -5 + 0.3 * wave(t, 3)),
    refLogprobs: fill((t) => -5 + 0.3 * wave(t, 4)),
    samplerLogprobs: fill((t) => -5 + 0.3 * wave(t, 5)),
    importance: fill((t) => (wave(t, 6) > 0.9 ? 0 : 1 + 0.5 * wave(t, 6))),
  };
}

const cuts: Readonly<Record<string, readonly (readonly [number, number])[]>> = {
  "one call": [[0, 7]],
  "two calls": [
    [0, 3],
    [3, 7],
  ],
  "a call a sequence": LENGTHS.map((_, s) => [s, s + 1]),
};

/** The portable code is slow, so it gets one number of threads and the finest cut. */
const [, ...fast] = isas;
const everyCut = Object.keys(cuts);
const ways: readonly (readonly [string, EngineOptions, readonly string[]])[] = [
  ["portable", { isa: "portable", threads: 2 }, ["a call a sequence"]],
  ...fast.flatMap((isa) =>
    [1, 2, 3].map((threads) => [`${isa}, ${threads} threads`, { isa, threads }, everyCut] as const),
  ),
  ...[1, 70, 200].map((tokens) => [`micro-batches of ${tokens}`, { microBatchTokens: tokens }, everyCut] as const),
];

const bfloat16: EngineOptions = { dtype: "bfloat16", moments: "bfloat16" };
const lora: LoraOptions = { rank: 5, alpha: 9, targets: "all-linear", modulesToSave: ["lm_head", "input_layernorm"] };
const narrow: LoraOptions = {
  rank: 3,
  alpha: 2,
  rsLora: true,
  targets: ["o_proj", "up_proj"],
  modulesToSave: ["embed_tokens"],
};
const headed: LoraOptions = { rank: 5, alpha: 9, targets: ["lm_head", "v_proj"] };
/** An odd width has pairs that are half empty. */
const models: readonly (readonly [string, ModelSpec, EngineOptions])[] = [
  ["tied head", { ...oddSpec, tieWordEmbeddings: true }, {}],
  ["own head", { ...oddSpec, tieWordEmbeddings: false }, {}],
  ["biases, a window", { ...oddSpec, family: "qwen2", windows: [0, 50] }, {}],
  ["norms of queries and keys", { ...oddSpec, family: "qwen3" }, {}],
  ["tied head, bfloat16", { ...oddSpec, tieWordEmbeddings: true, hiddenSize: 71, intermediateSize: 103 }, bfloat16],
  ["biases, a window, bfloat16", { ...oddSpec, family: "qwen2", windows: [0, 50] }, bfloat16],
  ["norms of queries and keys, bfloat16", { ...oddSpec, family: "qwen3" }, { dtype: "bfloat16" }],
  ["LoRA, tied head", { ...oddSpec, tieWordEmbeddings: true }, { lora }],
  ["LoRA on some layers", oddSpec, { lora: narrow }],
  ["LoRA on a tied head", { ...oddSpec, tieWordEmbeddings: true }, { lora: headed }],
  ["LoRA on a head, bfloat16", { ...oddSpec, hiddenSize: 71 }, { ...bfloat16, lora: headed }],
  ["LoRA, bfloat16", { ...oddSpec, hiddenSize: 71, intermediateSize: 103 }, { ...bfloat16, lora }],
];

describe.each(models)("%s", (_name, spec, types) => {
  let folder: string;
  let names: readonly string[];
  beforeAll(async () => {
    folder = temporaryFolder();
    if (types.lora) await learnAdapters();
    await using engine = await open({ trainable: false });
    await engine.save(folder);
    names = savedNames();
    if (!types.lora) expect(names.includes("lm_head.weight")).toBe(!spec.tieWordEmbeddings);
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const adapters = () => join(folder, "adapters");
  const saved = () => readSafetensors(join(folder, types.lora ? "adapter_model.safetensors" : "model.safetensors"));
  const prefix = types.lora ? "base_model.model." : "";
  const savedNames = () => [...saved().keys()].map((key) => key.slice(prefix.length));

  /** Fresh adapters have no gradient of A, so they have learnt a little. */
  async function learnAdapters(): Promise<void> {
    const { lora: _, ...plain } = types;
    await using base = await Engine.create(spec, oddInit, { ...plain, trainable: false });
    await base.save(join(folder, "base"));
    await using engine = await Engine.create(spec, oddInit, types);
    await engine.forwardBackward(batchOf(), { kind: "sft" });
    await engine.optimStep({ learningRate: 0.1 });
    await engine.save(adapters());
  }

  function open(options: EngineOptions): Promise<Engine> {
    const { lora: adapted, ...others } = { ...types, ...options };
    if (!adapted) return Engine.create(spec, oddInit, others);
    return Engine.load(adapters(), { ...others, base: join(folder, "base") });
  }

  /** Bits of every gradient, then of every weight after a step. */
  async function update(loss: LossSpec, cut: readonly (readonly [number, number])[], options: EngineOptions) {
    await using engine = await open(options);
    let total = 0;
    for (const [first, last] of cut) total += (await engine.forwardBackward(batchOf(first, last), loss)).loss;
    const gradients: Record<string, string> = {};
    for (const name of names) gradients[name] = bitsOf(await engine.gradient(name));
    const { gradNorm } = await engine.optimStep({ learningRate: 1e-3, weightDecay: 0.1, maxGradNorm: 0.1 });
    await engine.save(folder);
    const tensors = saved();
    const weights = Object.fromEntries(names.map((name) => [name, bitsOf(floats(tensors, prefix + name))]));
    return { total, bits: { gradients, gradNorm, weights } };
  }

  describe.each(losses)("%s", (_name, loss) => {
    let wanted: Awaited<ReturnType<typeof update>>;
    beforeAll(async () => {
      wanted = await update(loss, cuts["one call"]!, { threads: 1 });
      const zero = /^0*$/;
      expect(Object.values(wanted.bits.gradients).filter((bits) => zero.test(bits))).toEqual([]);
    });

    test.each(ways)("%s", async (_way, options, cutNames) => {
      for (const name of cutNames) {
        const { total, bits } = await update(loss, cuts[name]!, options);
        expect(bits).toEqual(wanted.bits);
        if (name === "one call") expect(total).toBe(wanted.total); // sums of several calls are added here
        expect(total).toBeCloseTo(wanted.total, 9);
      }
    });

    test("the check sees sequences in another order", async () => {
      const { bits } = await update(
        loss,
        [
          [3, 7],
          [0, 3],
        ],
        { threads: 1 },
      );
      expect(bits.gradients).not.toEqual(wanted.bits.gradients);
    });
  });
});
