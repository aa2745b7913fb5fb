// Training of scalar heads against PyTorch and TRL: the clipped value loss of critics and the Bradley-Terry loss of reward models, every
// gradient, ten steps of AdamW; the same bits however a batch is cut, in every type and with adapters. test/fixtures/scalar_fixtures.py
// made the numbers.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { EngineOptions, LossMetrics, LossSpec, ModelSpec, TrainBatch } from "../../src/engine/types.js";
import { bradleyTerryLoss, valueLoss } from "../../src/kernels.js";
import * as help from "../helpers/engine.js";
import { difference, fixtureBatch, largest, optimStepOf, type TorchOptimizer } from "../helpers/pytorch.js";
import { floats, readSafetensors } from "../helpers/safetensors.js";

const { bitsOf, fixtures, oddInit, oddSpec, pack, randomSequences, setups } = help;

/** As in pytorch.test.ts, but that a chain over 125 tokens in order rounds more than torch's blocks (3e-6): 1.1e-5 in the worst gradient. */
const ABSOLUTE = 5e-5;
const RELATIVE = 2e-5;
const STEPS = 10;
/** Of gradient norms once Adam has divided tiny gradients by their size: 1.1e-4 in the worst step, while losses stay within 3e-6. */
const NORM_RELATIVE = 2e-4;
const scalarOdd: ModelSpec = { ...oddSpec, head: "scalar", padTokenId: 0 };

interface Figures {
  readonly loss: number;
  readonly losses: readonly number[];
  readonly grad_norms: readonly number[];
  readonly clipped?: number;
  readonly tokens?: number;
}

interface Expected {
  readonly optimizer: TorchOptimizer;
  readonly value_clip: number;
  readonly center_coefficient: number;
  readonly value: Figures;
  readonly pair: Figures;
  readonly trl: Readonly<Record<"loss" | "accuracy" | "margin" | "mean_reward", number>>;
}

describe.each(["llama", "mistral", "qwen2", "qwen3"])("%s", (name) => {
  const folder = join(fixtures, "scalar", name);
  const expected = JSON.parse(readFileSync(join(folder, "expected.json"), "utf8")) as Expected;
  const tensors = readSafetensors(join(folder, "expected.safetensors"));
  const parameters = [...readSafetensors(join(folder, "model.safetensors")).keys()];
  const batch: TrainBatch = {
    ...fixtureBatch(tensors),
    returns: floats(tensors, "returns"),
    oldValues: floats(tensors, "old_values"),
    margins: floats(tensors, "margins"),
    pairWeights: floats(tensors, "pair_weights"),
  };
  const value: LossSpec = { kind: "value", clip: expected.value_clip };
  const pair: LossSpec = { kind: "bradley-terry", centerCoefficient: expected.center_coefficient };

  describe.each(setups)("$isa, threads: $threads", (setup) => {
    const open = () => Engine.load(folder, { ...setup, microBatchTokens: 70 });

    test.each([
      ["value", value],
      ["pair", pair],
    ] as const)("%s: loss, every gradient, ten steps of AdamW", async (of, loss) => {
      await using engine = await open();
      const settings = optimStepOf(expected.optimizer);
      for (let step = 1; step <= STEPS; step++) {
        const metrics = await engine.forwardBackward(batch, loss);
        expectRelative(metrics.loss, expected[of].losses[step - 1]!);
        if (step === 1) await expectGradients(engine, `${of}.grad.`);
        const { gradNorm } = await engine.optimStep(settings);
        expectRelative(gradNorm, expected[of].grad_norms[step - 1]!, step === 1 ? RELATIVE : NORM_RELATIVE);
      }
      expectRelative((await engine.forwardBackward(batch, loss)).loss, expected[of].losses[STEPS]!);
      const place = help.temporaryFolder();
      await engine.save(place);
      const saved = readSafetensors(join(place, "model.safetensors"));
      for (const each of parameters)
        expect(
          difference(floats(saved, each), floats(tensors, `${of}.step${STEPS}.${each}`)),
          each,
        ).toBeLessThanOrEqual(ABSOLUTE);
    });

    test("what the losses say beside", async () => {
      await using engine = await open();
      const metrics = await engine.forwardBackward(batch, value);
      expect(metrics.tokens).toBe(expected.value.tokens);
      expect(metrics.clipFraction).toBe(expected.value.clipped! / expected.value.tokens!);
      const used = Array.from(batch.weights.keys()).filter((t) => batch.weights[t] !== 0);
      const values = await engine.values(batch);
      expectValues(
        metrics,
        used.map((t) => values[t - 1]!),
        used.map((t) => batch.returns![t]!),
      );
      const pairs = (await engine.forwardBackward(batch, pair)).pairs!;
      const scores = await engine.rewardScores(batch);
      const mean = (s: number) => scores.reduce((sum, score, i) => sum + (i % 2 === s ? score : 0), 0) / pairs.count;
      expect(pairs.count).toBe(scores.length / 2);
      expect(pairs.chosenReward).toBeCloseTo(mean(0), 6);
      expect(pairs.margin).toBeCloseTo(mean(0) - mean(1), 6);
      expect([pairs.chosenLogprob, pairs.rejectedLogprob]).toEqual([Number.NaN, Number.NaN]);
    });

    test("TRL's RewardTrainer on the same pairs", async () => {
      await using engine = await open();
      const each = new Float32Array(batch.pairWeights!.length).fill(1 / batch.pairWeights!.length);
      const { loss, pairs } = await engine.forwardBackward({ ...batch, pairWeights: each }, pair);
      expectRelative(loss, expected.trl.loss);
      expect(pairs!.accuracy).toBe(expected.trl.accuracy);
      expect(Math.abs(pairs!.margin - expected.trl.margin)).toBeLessThan(ABSOLUTE);
      expect(Math.abs((pairs!.chosenReward + pairs!.rejectedReward) / 2 - expected.trl.mean_reward)).toBeLessThan(
        ABSOLUTE,
      );
    });
  });

  async function expectGradients(engine: Engine, prefix: string): Promise<void> {
    for (const each of parameters) {
      const wanted = floats(tensors, prefix + each);
      expect(largest(wanted), each).toBeGreaterThan(0);
      expect(difference(await engine.gradient(each), wanted), each).toBeLessThanOrEqual(RELATIVE * largest(wanted));
    }
  }
});

function expectRelative(actual: number, wanted: number, tolerance = RELATIVE): void {
  expect(Math.abs(actual - wanted) / Math.abs(wanted)).toBeLessThanOrEqual(tolerance);
}

function expectValues({ value }: LossMetrics, values: readonly number[], returns: readonly number[]): void {
  const mean = (numbers: readonly number[]) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;
  const variance = (numbers: readonly number[]) => mean(numbers.map((x) => (x - mean(numbers)) ** 2));
  const errors = returns.map((wanted, i) => wanted - values[i]!);
  expect(value!.mean).toBeCloseTo(mean(values), 6);
  expect(value!.returnMean).toBeCloseTo(mean(returns), 6);
  expect(value!.explainedVariance).toBeCloseTo(1 - variance(errors) / variance(returns), 6);
}

describe("the losses on tensors of their own", () => {
  const { pair, value } = JSON.parse(readFileSync(join(fixtures, "scalar", "kernels.json"), "utf8"));
  const of = (numbers: readonly number[]) => Float32Array.from(numbers);
  const CLOSE = 1e-6;

  test("Bradley-Terry: TRL's line", () => {
    const input = { scores: of(pair.scores), margins: of(pair.margins), pairWeights: of(pair.weights) };
    const result = bradleyTerryLoss(input, { centerCoefficient: pair.center });
    expect(Math.abs(result.loss / pair.loss - 1)).toBeLessThan(CLOSE);
    expect(difference(result.dScores, of(pair.gradient))).toBeLessThan(CLOSE * largest(of(pair.gradient)));
    expect(result.pairs.count).toBe(pair.weights.filter((weight: number) => weight !== 0).length);
  });

  test.each(value.cases as readonly { clip: number; loss: number; clip_fraction: number; gradient: number[] }[])(
    "the value loss, clip $clip: TRL's and verl's lines",
    ({ clip, loss, clip_fraction, gradient }) => {
      const input = { values: of(value.values), returns: of(value.returns), weights: of(value.weights) };
      const unclipped = clip > 1e6;
      const result = valueLoss({ ...input, oldValues: of(value.old) }, { clip: unclipped ? 0 : clip });
      expect(Math.abs(result.loss / loss - 1)).toBeLessThan(CLOSE);
      expect(difference(result.dValues, of(gradient))).toBeLessThan(CLOSE * largest(of(gradient)));
      expect(result.clipFraction).toBeCloseTo(clip_fraction, 12);
      if (!unclipped) expect(result.clipFraction).toBeGreaterThan(0);
    },
  );

  test("a tie of the two squares shares the gradient", () => {
    // Clipped to 0.5 below a return of 0.75: both are 0.25 away.
    const input = { values: of([1]), returns: of([0.75]), weights: of([1]), oldValues: of([0]) };
    expect(Array.from(valueLoss(input, { clip: 0.5 }).dValues)).toEqual([0.125]);
  });

  test("bad arguments", () => {
    const refused = expect.objectContaining({ code: "BAD_ARGUMENT" });
    expect(() => bradleyTerryLoss({ scores: of([1]), pairWeights: of([1]) })).toThrow(refused);
    expect(() => bradleyTerryLoss({ scores: of([1, 2]), pairWeights: of([1]), margins: of([]) })).toThrow(refused);
    expect(() => bradleyTerryLoss({ scores: of([1, 2]), pairWeights: of([1]) }, { centerCoefficient: -1 })).toThrow(
      refused,
    );
    const input = { values: of([1]), returns: of([1]), weights: of([1]) };
    expect(() => valueLoss(input, { clip: 0.1 })).toThrow(refused);
    expect(() => valueLoss({ ...input, returns: of([]) })).toThrow(refused);
    expect(() => valueLoss(input, { clip: Number.NaN })).toThrow(refused);
  });
});

const lengths = [5, 9, 67, 1, 12, 30, 3, 64, 20, 8];
const tokens = pack(
  randomSequences(lengths, oddSpec.vocabSize - 1, 5).map((ids, s) =>
    ids.map((id, i) => (s === 6 && i > 0 ? 0 : id + 1)),
  ),
);

function trainBatch(values: Float32Array): TrainBatch {
  const starts = new Set(tokens.cuSeqlens);
  const spread = (scale: number, phase: number) =>
    Float32Array.from(tokens.ids, (_, t) => scale * Math.sin(1.3 * t + phase));
  const perPair = (scale: number) => Float32Array.from({ length: lengths.length / 2 }, (_, p) => scale * (1 + (p % 3)));
  return {
    ...tokens,
    weights: Float32Array.from(tokens.ids, (_, t) => (starts.has(t) || t % 5 === 0 ? 0 : 0.01)),
    returns: spread(1, 0.3),
    oldValues: Float32Array.from(tokens.ids, (_, t) => (starts.has(t) ? 0 : values[t - 1]!)),
    pairWeights: perPair(0.1).map((weight, p) => (p === 2 ? 0 : weight)),
    margins: perPair(0.2),
  };
}

const losses: readonly LossSpec[] = [
  { kind: "value", clip: 0.2 },
  { kind: "bradley-terry", centerCoefficient: 0.01 },
];

describe.each<[string, EngineOptions]>([
  ["float32", {}],
  ["bfloat16", { dtype: "bfloat16" }],
  ["recomputed", { recompute: true }],
  ["adapters", { lora: { rank: 3, alpha: 6, targets: "all-linear", modulesToSave: ["norm"] } }],
  ["bfloat16 adapters", { dtype: "bfloat16", lora: { rank: 3, alpha: 6, targets: ["q_proj", "down_proj"] } }],
])("%s: the update does not depend on the cut", (_name, types) => {
  const open = (options: EngineOptions = {}) => Engine.create(scalarOdd, oddInit, { ...types, ...options });

  /** Scores after two steps, as bits, with the losses of both. */
  async function learn(engine: Engine, loss: LossSpec, cuts: readonly number[] = [lengths.length]): Promise<unknown> {
    const batch = trainBatch(await engine.values(tokens));
    const told: unknown[] = [];
    for (let step = 0; step < 2; step++) {
      let first = 0;
      for (const end of cuts) {
        const { loss: value, pairs, value: critic } = await engine.forwardBackward(slice(batch, first, end), loss);
        if (cuts.length === 1) told.push(value, pairs, critic);
        first = end;
      }
      const { gradNorm } = await engine.optimStep({ learningRate: 0.01, maxGradNorm: 1 });
      told.push(gradNorm);
    }
    return [...told.slice(-1), bitsOf(await engine.values(tokens)), ...(cuts.length === 1 ? told : [])];
  }

  test.each(losses)("$kind", async (loss) => {
    await using whole = await open();
    const wanted = (await learn(whole, loss)) as unknown[];
    const untouched = await open({ trainable: false });
    expect(wanted[1]).not.toBe(bitsOf(await untouched.values(tokens)));
    await untouched.dispose();
    for (const options of [{ microBatchTokens: 1 }, { microBatchTokens: 80, threads: 1 }, { isa: "avx2" as const }]) {
      if (options.isa && !help.isas.includes(options.isa)) continue;
      await using engine = await open(options);
      expect(await learn(engine, loss), JSON.stringify(options)).toEqual(wanted);
    }
    await using called = await open();
    expect(await learn(called, loss, [2, 4, 8, lengths.length])).toEqual(wanted.slice(0, 2));
  });

  test("recorded values are those of the training forward, bit for bit", async () => {
    await using engine = await open({ microBatchTokens: 80 });
    const batch = trainBatch(await engine.values(tokens));
    expect((await engine.forwardBackward(batch, losses[0]!)).mismatchMaxAbs).toBe(0);
    await engine.optimStep({ learningRate: 1e-3 });
    expect((await engine.forwardBackward(batch, losses[0]!)).mismatchMaxAbs).toBeGreaterThan(0);
  });

  test("scores learn the order of the pairs, and a pair of weight 0 teaches nothing", async () => {
    await using engine = await open();
    const { margins: _, ...batch } = trainBatch(await engine.values(tokens));
    const loss = losses[1]!;
    const before = (await engine.forwardBackward(batch, loss)).pairs!;
    await engine.optimStep({ learningRate: 0 });
    for (let step = 0; step < 30; step++) {
      await engine.forwardBackward(batch, loss);
      await engine.optimStep({ learningRate: 5e-3 });
    }
    const after = (await engine.forwardBackward(batch, loss)).pairs!;
    expect(before.count).toBe(lengths.length / 2 - 1);
    expect(after.accuracy).toBe(1);
    expect(after.margin).toBeGreaterThan(before.margin + 1);
    await engine.optimStep({ learningRate: 0 });
    await engine.forwardBackward({ ...batch, pairWeights: batch.pairWeights!.map(() => 0) }, loss);
    expect((await engine.optimStep({ learningRate: 0 })).gradNorm).toBe(0);
  });
});

/** Sequences [first, end) of a batch. */
function slice(batch: TrainBatch, first: number, end: number): TrainBatch {
  const [from, to] = [tokens.cuSeqlens[first]!, tokens.cuSeqlens[end]!];
  return {
    ids: batch.ids.slice(from, to),
    cuSeqlens: tokens.cuSeqlens.slice(first, end + 1).map((at) => at - from),
    weights: batch.weights.slice(from, to),
    returns: batch.returns!.slice(from, to),
    oldValues: batch.oldValues!.slice(from, to),
    pairWeights: batch.pairWeights!.slice(first / 2, end / 2),
    margins: batch.margins!.slice(first / 2, end / 2),
  };
}

describe("bad input", () => {
  const batch = trainBatch(new Float32Array(tokens.ids.length));
  const without = (...names: (keyof TrainBatch)[]) =>
    Object.fromEntries(Object.entries(batch).filter(([name]) => !names.includes(name as keyof TrainBatch))) as never;

  test.each<[string, LossSpec, TrainBatch]>([
    ["no returns", losses[0]!, without("returns")],
    ["a clip without recorded values", losses[0]!, without("oldValues")],
    ["a negative clip", { kind: "value", clip: -0.1 }, batch],
    ["no weights of pairs", losses[1]!, without("pairWeights")],
    ["too few margins", losses[1]!, { ...batch, margins: new Float32Array(1) }],
    ["an odd number of sequences", losses[1]!, { ...pack([[1], [2], [3]]), weights: new Float32Array(3) }],
    ["a negative coefficient", { kind: "bradley-terry", centerCoefficient: -1 }, batch],
    ["an unknown kind", { kind: "hinge" } as never, batch],
  ])("%s", async (_, loss, wrong) => {
    await using engine = await Engine.create(scalarOdd, oddInit);
    await expect(engine.forwardBackward(wrong, loss)).rejects.toMatchObject({ code: "BAD_ARGUMENT" });
  });

  test("no clip needs no recorded values", async () => {
    await using engine = await Engine.create(scalarOdd, oddInit);
    const metrics = await engine.forwardBackward(without("oldValues"), { kind: "value", clip: 0 });
    expect(metrics.mismatchMaxAbs).toBe(0);
    expect(metrics.clipFraction).toBe(0);
  });

  test.each(losses)("$kind on a language head", async (loss) => {
    await using engine = await Engine.create(oddSpec, oddInit);
    await expect(engine.forwardBackward(batch, loss)).rejects.toMatchObject({ code: "WRONG_HEAD" });
  });
});
