// The engine against PyTorch and transformers on small models of every family: log-probs, entropies, best tokens, losses, every gradient, ten
// optimizer steps, on every instruction set and with 1 and 2 threads. test/fixtures/README.md says how the numbers were made.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Engine } from "../../src/engine/engine.js";
import type { PolicyLoss, TrainBatch } from "../../src/engine/types.js";
import { fixtures, setups, temporaryFolder } from "../helpers/engine.js";
import { fixtureBatch, optimStepOf, type TorchOptimizer } from "../helpers/pytorch.js";
import { floats, ints, readSafetensors, type Tensor } from "../helpers/safetensors.js";

/** Plain float32 transformers is within 3e-6 of the logits and, where Adam divides by a tiny gradient, 8e-6 of the weights. */
const ABSOLUTE = 5e-5;
const RELATIVE = 1e-5;
const STEPS = 10;

interface PolicyFigures {
  readonly temperature: number;
  readonly clip_low: number;
  readonly clip_high: number;
  readonly dual_clip: number;
  readonly kl_coef: number;
  readonly entropy_coef: number;
  readonly loss: number;
  readonly tokens: number;
  readonly ratio: number;
  readonly kl: number;
  readonly entropy: number;
  readonly clipped: number;
  readonly max_abs_drift: number;
}

interface Expected {
  readonly parameters: number;
  readonly loss: number;
  readonly losses: readonly number[];
  readonly grad_norms: readonly number[];
  readonly optimizer: TorchOptimizer;
  readonly policy?: PolicyFigures;
}

describe.each(["tiny", "mha", "gqa", "wide", "llama3", "mistral", "qwen2", "qwen3"])("%s", (name) => {
  const expected = JSON.parse(readFileSync(join(fixtures, name, "expected.json"), "utf8")) as Expected;
  const tensors = readSafetensors(join(fixtures, name, "expected.safetensors"));
  const parameters = [...readSafetensors(join(fixtures, name, "model.safetensors")).keys()];
  const batch = fixtureBatch(tensors);
  let folder: string;
  beforeAll(() => {
    folder = temporaryFolder();
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  describe.each(setups)("$isa, threads: $threads", (setup) => {
    let engine: Engine;
    beforeEach(async () => {
      engine = await Engine.load(join(fixtures, name), { ...setup, microBatchTokens: 100 });
    });
    afterEach(() => engine.dispose());

    test("parameters", () => expect(engine.parameters).toBe(expected.parameters));

    test.each([
      [1, "t1"],
      [0.7, "t07"],
    ])("log-probs and entropies at temperature %d", async (temperature, suffix) => {
      const { logprobs, entropy } = await engine.logprobs({ ...batch, temperature });
      expectClose(logprobs, floats(tensors, `logprobs_${suffix}`), ABSOLUTE);
      expectClose(entropy, floats(tensors, `entropy_${suffix}`), ABSOLUTE);
    });

    test("the best tokens after each, from the logits", async () => {
      const top = 5;
      const { topIds, topLogprobs } = await engine.logprobs({ ...batch, top });
      const rows = ints(tensors, "logit_rows");
      const logits = tensors.get("logits") as Tensor;
      const width = logits.shape[1]!;
      rows.forEach((row, r) => {
        const best = bestOf(logSoftmax(Array.from(logits.data.slice(r * width, (r + 1) * width) as Float32Array)), top);
        expect(Array.from(topIds.slice(row * top, (row + 1) * top))).toEqual(best.map(([id]) => id));
        const expectedBest = Float32Array.from(best, ([, logprob]) => logprob);
        expectClose(topLogprobs.slice(row * top, (row + 1) * top), expectedBest, ABSOLUTE);
      });
      expect(rows.length).toBeGreaterThan(3);
    });

    test("loss and every gradient of SFT", async () => {
      const { loss } = await engine.forwardBackward(batch, { kind: "sft" });
      expectRelative(loss, expected.loss);
      await expectGradients(engine, tensors, parameters, "grad.");
    });

    const figures = expected.policy;
    const policyTest = "loss, metrics and every gradient of the policy loss";
    if (figures) test(policyTest, () => expectPolicy(figures));

    test("ten steps of AdamW", async () => {
      const settings = optimStepOf(expected.optimizer);
      for (let step = 1; step <= STEPS; step++) {
        expectRelative((await engine.forwardBackward(batch, { kind: "sft" })).loss, expected.losses[step - 1]!);
        const result = await engine.optimStep(settings);
        expect(result.step).toBe(step);
        expectRelative(result.gradNorm, expected.grad_norms[step - 1]!);
        if (tensors.has(`step${step}.${parameters[0]}`)) await expectWeights(step);
      }
      expectRelative((await engine.forwardBackward(batch, { kind: "sft" })).loss, expected.losses[STEPS]!);
    });

    async function expectPolicy(figures: PolicyFigures): Promise<void> {
      const metrics = await engine.forwardBackward(policyBatch(batch, tensors), policyLoss(figures));
      expectRelative(metrics.loss, figures.loss);
      expect(metrics.tokens).toBe(figures.tokens);
      expectRelative(metrics.ratio, figures.ratio / figures.tokens);
      expectRelative(metrics.kl, figures.kl / figures.tokens);
      expectRelative(metrics.entropy, figures.entropy / figures.tokens);
      expect(metrics.clipFraction).toBe(figures.clipped / figures.tokens);
      expect(Math.abs(metrics.mismatchMaxAbs - figures.max_abs_drift)).toBeLessThan(ABSOLUTE);
      await expectGradients(engine, tensors, parameters, "policy.grad.");
    }

    async function expectWeights(step: number): Promise<void> {
      await engine.save(folder);
      const saved = readSafetensors(join(folder, "model.safetensors"));
      expect([...saved.keys()].sort()).toEqual([...parameters].sort());
      for (const parameter of parameters) {
        expectClose(floats(saved, parameter), floats(tensors, `step${step}.${parameter}`), ABSOLUTE);
      }
    }
  });
});

test("the comparisons see a difference", () => {
  const row = Float32Array.of(1, Number.NaN, 3);
  expectClose(row, row, 0);
  expect(() => expectClose(Float32Array.of(1, Number.NaN, 3.001), row, ABSOLUTE)).toThrow();
  expect(() => expectClose(Float32Array.of(1, 2, 3), row, ABSOLUTE)).toThrow();
  expect(() => expectClose(Float32Array.of(1, Number.NaN), row, ABSOLUTE)).toThrow();
  expect(() => expectRelative(1.0001, 1)).toThrow();
});

function policyBatch(batch: TrainBatch, tensors: ReadonlyMap<string, Tensor>): TrainBatch {
  return {
    ...batch,
    advantages: floats(tensors, "policy.advantages"),
    oldLogprobs: floats(tensors, "policy.old_logprobs"),
    refLogprobs: floats(tensors, "policy.ref_logprobs"),
  };
}

function policyLoss(figures: PolicyFigures): PolicyLoss {
  const { temperature, clip_low: clipLow, clip_high: clipHigh, dual_clip: dualClip } = figures;
  const { kl_coef: klCoefficient, entropy_coef: entropyCoefficient } = figures;
  return { kind: "policy", temperature, clipLow, clipHigh, dualClip, klCoefficient, entropyCoefficient };
}

/** Largest difference of a tensor over its largest element. */
async function expectGradients(
  engine: Engine,
  tensors: ReadonlyMap<string, Tensor>,
  names: readonly string[],
  prefix: string,
) {
  for (const name of names) {
    const [actual, wanted] = [await engine.gradient(name), floats(tensors, prefix + name)];
    const largest = wanted.reduce((max, value) => Math.max(max, Math.abs(value)), 0);
    expect(largest, name).toBeGreaterThan(0);
    expectClose(actual, wanted, RELATIVE * largest, name);
  }
}

/** Equal lengths, NaN where NaN is expected, and no difference above `tolerance`. */
function expectClose(actual: Float32Array, wanted: Float32Array, tolerance: number, name = ""): void {
  expect(actual.length, name).toBe(wanted.length);
  const differences = Array.from(actual, (value, i) =>
    Object.is(value, wanted[i]) ? 0 : Math.abs(value - wanted[i]!),
  );
  const worst = differences.reduce((max, value) => (value > max || Number.isNaN(value) ? value : max), 0);
  expect(worst, name).toBeLessThanOrEqual(tolerance);
}

function expectRelative(actual: number, wanted: number): void {
  expect(Math.abs(actual - wanted) / Math.abs(wanted)).toBeLessThanOrEqual(RELATIVE);
}

function logSoftmax(logits: readonly number[]): number[] {
  const max = Math.max(...logits);
  const logSum = max + Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
  return logits.map((logit) => logit - logSum);
}

function bestOf(row: readonly number[], count: number): [number, number][] {
  const pairs = row.map((value, id): [number, number] => [id, value]);
  return pairs.sort((a, b) => b[1] - a[1]).slice(0, count);
}
