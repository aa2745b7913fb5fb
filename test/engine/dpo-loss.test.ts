// The DPO loss: equal to TRL's trainer and to PyTorch's gradients and steps, independent of the cut into calls and micro-batches, and the
// same over several chunks of the head. test/fixtures/README.md says how the numbers were made.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { DpoLoss, EngineOptions, ModelSpec, TrainBatch } from "../../src/engine/types.js";
import { dpoLoss } from "../../src/kernels.js";
import {
  bitsOf,
  fixtures,
  isas,
  oddInit,
  oddSpec,
  pack,
  randomSequences,
  setups,
  smallSpec,
  temporaryFolder,
} from "../helpers/engine.js";
import { fixtureBatch, optimStepOf, type TorchOptimizer } from "../helpers/pytorch.js";
import { floats, readSafetensors } from "../helpers/safetensors.js";

interface Case {
  readonly beta: number;
  readonly label_smoothing: number;
  readonly loss: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly dlogp: readonly number[];
}
interface Fixture {
  readonly lengths: readonly number[];
  readonly inputs: { readonly ref: readonly number[]; readonly logp: readonly number[] };
  readonly cases: readonly Case[];
  readonly model: {
    readonly folder: string;
    readonly beta: number;
    readonly label_smoothing: number;
    readonly optimizer: TorchOptimizer;
    readonly losses: readonly number[];
    readonly grad_norms: readonly number[];
  };
}
const fixture = JSON.parse(readFileSync(join(fixtures, "dpo.json"), "utf8")) as Fixture;

const offsets = (lengths: readonly number[]) => pack(lengths.map((length) => new Int32Array(length))).cuSeqlens;
const largest = (values: ArrayLike<number>) =>
  Array.from(values).reduce((max, value) => Math.max(max, Math.abs(value)), 0);
function expectClose(actual: ArrayLike<number>, wanted: ArrayLike<number>, tolerance: number): void {
  expect(actual.length).toBe(wanted.length);
  expect(largest(Array.from(wanted, (value, i) => actual[i]! - value))).toBeLessThanOrEqual(tolerance);
}

describe("the loss of TRL's DPOTrainer", () => {
  const { lengths, inputs } = fixture;
  const pairs = lengths.length / 2;
  const input = {
    logprobs: Float32Array.from(inputs.logp),
    refLogprobs: Float32Array.from(inputs.ref),
    weights: new Float32Array(inputs.logp.length).fill(1),
    cuSeqlens: offsets(lengths),
    pairWeights: new Float32Array(pairs).fill(1 / pairs),
  };

  test.each(fixture.cases)("beta $beta, label smoothing $label_smoothing", (one) => {
    const found = dpoLoss(input, { beta: one.beta, labelSmoothing: one.label_smoothing });
    expectClose([found.loss], [one.loss], 1e-6);
    expectClose(found.dLogprobs, one.dlogp, 1e-6);
    const { chosenReward, rejectedReward, margin, accuracy, chosenLogprob, rejectedLogprob, count } = found.pairs;
    const wanted = ["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"];
    const ours = [chosenReward, rejectedReward, margin, accuracy, chosenLogprob, rejectedLogprob];
    expectClose(
      ours,
      [...wanted, "logps/chosen", "logps/rejected"].map((name) => one.metrics[name]!),
      1e-6,
    );
    expect(count).toBe(pairs);
  });

  test.each<[string, object, object, string]>([
    ["few reference log-probs", { refLogprobs: new Float32Array(3) }, {}, "[dpoLoss refLogprobs] expected 86 elements"],
    ["no reference log-probs", { refLogprobs: undefined }, {}, "[dpoLoss refLogprobs] expected a Float32Array"],
    ["offsets that end early", { cuSeqlens: Int32Array.of(0, 3, 5) }, {}, "offsets from 0 to 86"],
    [
      "half a pair",
      { cuSeqlens: Int32Array.of(0, 86) },
      {},
      "an even number of sequences, chosen and rejected in turn",
    ],
    ["few weights of pairs", { pairWeights: new Float32Array(1) }, {}, "[dpoLoss pairWeights] expected a Float32Array"],
    ["beta 0", {}, { beta: 0 }, "[loss beta]"],
    [
      "label smoothing above a half",
      {},
      { labelSmoothing: 0.51 },
      "[loss labelSmoothing] expected a number in 0 .. 0.5",
    ],
  ])("%s", (_name, changes, options, message) => {
    const call = () => dpoLoss({ ...input, ...changes } as typeof input, options);
    expect(call).toThrow(expect.objectContaining({ code: "BAD_ARGUMENT", message: expect.stringContaining(message) }));
  });
});

describe.each(setups)("a model of PyTorch, $isa, threads: $threads", (setup) => {
  const { model } = fixture;
  const path = join(fixtures, model.folder);
  const tensors = readSafetensors(join(fixtures, "dpo.safetensors"));
  const parameters = [...readSafetensors(join(path, "model.safetensors")).keys()];
  const loss: DpoLoss = { kind: "dpo", beta: model.beta, labelSmoothing: model.label_smoothing };
  const batch: TrainBatch = {
    ...fixtureBatch(tensors),
    refLogprobs: floats(tensors, "ref_logprobs"),
    pairWeights: floats(tensors, "pair_weights"),
  };

  test("loss and every gradient, then ten steps of AdamW", async () => {
    await using engine = await Engine.load(path, { ...setup, microBatchTokens: 100 });
    const step = optimStepOf(model.optimizer);
    for (const [i, wanted] of model.losses.entries()) {
      const metrics = await engine.forwardBackward(batch, loss);
      expectClose([metrics.loss], [wanted], 1e-4 * wanted);
      if (i === 0) await expectGradients(engine);
      if (i === model.grad_norms.length) break;
      const { gradNorm } = await engine.optimStep(step);
      expectClose([gradNorm], [model.grad_norms[i]!], 1e-4 * model.grad_norms[i]!);
    }
    const folder = temporaryFolder();
    await engine.save(folder);
    const saved = readSafetensors(join(folder, "model.safetensors"));
    for (const name of parameters) expectClose(floats(saved, name), floats(tensors, `step10.${name}`), 5e-5);
    rmSync(folder, { recursive: true });
  });

  async function expectGradients(engine: Engine): Promise<void> {
    for (const name of parameters) {
      const wanted = floats(tensors, `grad.${name}`);
      expect(largest(wanted), name).toBeGreaterThan(0);
      expectClose(await engine.gradient(name), wanted, 2e-5 * largest(wanted));
    }
  }
});

const LENGTHS = [67, 5, 9, 130, 2, 64, 31, 31, 3, 4];
const sequences = randomSequences(LENGTHS, oddSpec.vocabSize, 8);
const loss: DpoLoss = { kind: "dpo", beta: 0.2, labelSmoothing: 0.1 };

/** Pairs [first, last) with numbers that depend on the place in the whole batch. */
function batchOf(first = 0, last = LENGTHS.length / 2): TrainBatch {
  const tokens = pack(sequences.slice(2 * first, 2 * last));
  const before = LENGTHS.slice(0, 2 * first).reduce((sum, length) => sum + length, 0);
  const starts = new Set(tokens.cuSeqlens);
  return {
    ...tokens,
    weights: Float32Array.from(tokens.ids, (_, t) => (starts.has(t) || (before + t) % 4 === 1 ? 0 : 1)),
    refLogprobs: Float32Array.from(tokens.ids, (_, t) => -5 + 0.3 * Math.sin(before + t)),
    pairWeights: Float32Array.from({ length: last - first }, (_, p) => 0.1 * (first + p + 1)),
  };
}

describe("the cut", () => {
  type Cut = readonly (readonly [number, number])[];
  async function update(cut: Cut, options: EngineOptions, spec: ModelSpec = oddSpec) {
    await using engine = await Engine.create(spec, oddInit, options);
    const metrics = [];
    for (const [first, last] of cut) metrics.push(await engine.forwardBackward(batchOf(first, last), loss));
    const names = ["lm_head.weight", "model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"];
    const gradients = [];
    for (const name of names) gradients.push(bitsOf(await engine.gradient(name)));
    await engine.optimStep({ learningRate: 1e-3 });
    const { logprobs } = await engine.logprobs(batchOf());
    return { metrics, bits: [...gradients, bitsOf(logprobs)] };
  }
  const whole: Cut = [[0, 5]];
  let wanted: Awaited<ReturnType<typeof update>>;
  beforeAll(async () => {
    wanted = await update(whole, { threads: 1 });
  });

  const ways: readonly (readonly [string, EngineOptions])[] = [
    ...isas.map((isa) => [isa, { isa, threads: 2 }] as const),
    ...[1, 70, 140, 200].map((tokens) => [`micro-batches of ${tokens}`, { microBatchTokens: tokens }] as const),
    ["recomputed", { recompute: true, microBatchTokens: 70 }],
  ];
  test.each(ways)("%s: the same bits", async (_name, options) => {
    expect(await update(whole, options)).toEqual(wanted);
  });

  test("several calls: the same bits", async () => {
    for (const cut of [[0, 1, 2, 3, 4].map((p) => [p, p + 1] as const), [[0, 3] as const, [3, 5] as const]]) {
      const { metrics, bits } = await update(cut, { threads: 1 });
      expect(bits).toEqual(wanted.bits);
      expect(metrics.reduce((sum, one) => sum + one.loss, 0)).toBeCloseTo(wanted.metrics[0]!.loss, 9);
    }
  });

  test("the check sees pairs in another order", async () => {
    const { bits } = await update(
      [
        [3, 5],
        [0, 3],
      ],
      { threads: 1 },
    );
    expect(bits).not.toEqual(wanted.bits);
  });
});

test("metrics are those of the pairs, and of the tokens of completions", async () => {
  await using engine = await Engine.create(oddSpec, oddInit, { threads: 1 });
  const batch = batchOf();
  const { logprobs, entropy } = await engine.logprobs(batch);
  const found = await engine.forwardBackward(batch, loss);
  const used = [...batch.weights.keys()].filter((t) => batch.weights[t] !== 0);
  const kernel = dpoLoss(
    { ...batch, logprobs, refLogprobs: batch.refLogprobs!, pairWeights: batch.pairWeights! },
    { beta: loss.beta, labelSmoothing: loss.labelSmoothing! },
  );
  expect(found).toMatchObject({ loss: kernel.loss, tokens: used.length, pairs: kernel.pairs });
  expect(found.entropy).toBeCloseTo(used.reduce((sum, t) => sum + entropy[t]!, 0) / used.length, 6);
});

describe("pairs longer than a chunk of the head", () => {
  const CHUNK = 4096; // rows of logits of a small vocabulary at a time
  const spec: ModelSpec = { ...smallSpec, maxPositions: CHUNK + 200 };
  let engine: Engine;
  beforeAll(async () => {
    engine = await Engine.create(spec, oddInit);
  });
  afterAll(() => engine.dispose());

  test("have the gradient of a policy loss whose advantages are the pair's slope", async () => {
    const tokens = pack(randomSequences([CHUNK + 150, 90, 7, 9], spec.vocabSize, 3));
    const starts = new Set(tokens.cuSeqlens);
    const { logprobs } = await engine.logprobs(tokens);
    const batch: TrainBatch = {
      ...tokens,
      weights: Float32Array.from(tokens.ids, (_, t) => (starts.has(t) ? 0 : 1)),
      refLogprobs: logprobs.map((value, t) => value + 0.2 * Math.sin(t)),
      pairWeights: Float32Array.of(0.5, 0.5),
    };
    const metrics = await engine.forwardBackward(batch, loss);
    expect(metrics.tokens).toBe(tokens.ids.length - 4);
    const found = await engine.gradient("lm_head.weight");
    await engine.optimStep({ learningRate: 0 }); // clears the gradient
    const kernel = dpoLoss(
      { ...batch, logprobs, refLogprobs: batch.refLogprobs!, pairWeights: batch.pairWeights! },
      { beta: loss.beta, labelSmoothing: loss.labelSmoothing! },
    );
    await engine.forwardBackward({ ...tokens, weights: kernel.dLogprobs.map((slope) => -slope) }, { kind: "sft" });
    const wanted = await engine.gradient("lm_head.weight");
    expect(metrics.loss).toBe(kernel.loss);
    expect(bitsOf(found)).toBe(bitsOf(wanted));
  });
});
