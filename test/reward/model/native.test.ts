// Native reward models: the engine against transformers, and folders that are no classifier of one label.
import { afterEach, describe, expect, test } from "vitest";
import { Engine, planMemory } from "../../../src/engine/engine.js";
import { readModelSpec } from "../../../src/engine/spec.js";
import { foreseeModel } from "../../../src/reward/model/model.js";
import type { ScoreEngine, ScoreEngines } from "../../../src/reward/model/scorer.js";
import type { ModelInput } from "../../../src/reward/model/text.js";
import { fixture } from "../../helpers/files.js";
import {
  closeModels,
  expected,
  modelReward,
  never,
  openModel,
  rewardFolder,
  soundCases,
} from "../../helpers/reward-models.js";

afterEach(closeModels);

/** Scores in float32 against float64. */
const TOLERANCE = 5e-6;
const ask = (answer: string, content = "Hi"): ModelInput => ({ messages: [{ role: "user", content }], answer });

/** Engines that keep what they are asked and answer with the sum of the ids. */
class FakeEngines implements ScoreEngines {
  readonly calls: number[][][] = [];
  disposed = 0;
  running = 0;

  async load(folder: string): Promise<ScoreEngine> {
    const spec = await readModelSpec(folder);
    return {
      spec,
      memory: () => ({ bytes: 0, peakBytes: 0, allocations: 0 }),
      planMemory: (workload) => planMemory(spec, {}, workload),
      reserve: async (workload) => planMemory(spec, {}, workload),
      rewardScores: async ({ ids, cuSeqlens }) => {
        expect(++this.running).toBe(1);
        const sequences = [...cuSeqlens.subarray(1)].map((end, s) => [...ids.subarray(cuSeqlens[s], end)]);
        this.calls.push(sequences);
        await new Promise((done) => setTimeout(done, 5));
        this.running--;
        return Float32Array.from(sequences, (own) => own.reduce((sum, id) => sum + id, 0));
      },
      [Symbol.asyncDispose]: async () => void this.disposed++,
    };
  }
}

describe("a native model", () => {
  test("reads the texts of transformers and gives its scores", async () => {
    const engines = new FakeEngines();
    const read = await openModel(fixture("reward/llama"), {}, { engines });
    await read.score(expected.cases, 0, never);
    expect(engines.calls).toEqual([expected.cases.map(({ ids }) => [...ids])]);
    const model = await openModel(fixture("reward/llama"));
    const { rewards, faults, truncated } = await model.score(expected.cases, 1, never);
    for (const [i, { score }] of expected.cases.entries()) {
      if (score === null) expect(faults.get(i)).toMatchObject({ code: "REWARD_VALUE" });
      else expect(Math.abs(rewards[i]! - score)).toBeLessThan(TOLERANCE);
    }
    expect([faults.size, truncated]).toEqual([1, 0]);
  });

  test("gives the bits of a text whatever else is scored with it", async () => {
    const model = await openModel(fixture("reward/llama"), { batchTokens: 64 });
    const together = await model.score(soundCases, 0, never);
    for (const [i, one] of soundCases.entries()) {
      expect((await model.score([one], 0, never)).rewards[0]).toBe(together.rewards[i]);
    }
  });

  test("runs in bfloat16 where asked", async () => {
    const model = await openModel(fixture("reward/llama"), { dtype: "bfloat16" });
    const { rewards } = await model.score(soundCases, 0, never);
    soundCases.forEach(({ score }, i) => void expect(Math.abs(rewards[i]! - score!)).toBeLessThan(0.1));
    expect(rewards[0]).not.toBe(soundCases[0]!.score);
  });

  test("does one call at a time, and few tokens a call", async () => {
    const engines = new FakeEngines();
    const model = await openModel(fixture("reward/llama"), {}, { engines });
    const many = Array.from({ length: 5000 }, (_, i) => ask("x".repeat(i % 30)));
    const [first, second] = await Promise.all([model.score(many, 0, never), model.score(many.slice(0, 2), 0, never)]);
    expect(first.rewards.slice(0, 2)).toEqual(second.rewards);
    expect(engines.calls.length).toBeGreaterThan(2);
    for (const call of engines.calls) {
      expect(call.length).toBeLessThanOrEqual(4096);
      expect(call.flat().length).toBeLessThanOrEqual(65_536);
    }
    await closeModels();
    expect(engines.disposed).toBe(1);
  });

  test("an abort rejects with its reason, and the model goes on", async () => {
    const model = await openModel(fixture("reward/llama"));
    const controller = new AbortController();
    const reason = new Error("enough");
    const many = Array.from({ length: 2000 }, (_, i) => ask("a story of sorts ".repeat(12) + i));
    const scoring = model.score(many, 0, controller.signal);
    setTimeout(() => controller.abort(reason), 300);
    await expect(scoring).rejects.toBe(reason);
    expect((await model.score(soundCases, 0, never)).faults.size).toBe(0);
  });

  test("takes its memory when it opens, as it was foreseen", async () => {
    const settings = modelReward(fixture("reward/llama"), { batchTokens: 128 });
    const { bytes, apart } = await foreseeModel(settings, { where: "reward model" });
    let engine: Engine | undefined;
    const engines = {
      load: async (...args: Parameters<typeof Engine.load>) => {
        engine = await Engine.load(...args);
        return engine;
      },
    };
    const model = await openModel(settings.model, { batchTokens: 128 }, { engines });
    expect(model.memory).toEqual({ bytes, apart });
    expect(apart).toBe(false);
    const taken = engine!.memory();
    expect(taken.bytes).toBeLessThanOrEqual(bytes);
    expect(taken.bytes).toBeGreaterThan(0.9 * bytes);
    await model.score(soundCases, 0, never);
    expect(engine!.memory().allocations).toBe(taken.allocations);
  });
});

describe("what the engine does not take is a typed error that says what to do", () => {
  const classifier = { safetensors: true } as const;

  test.each([
    [
      "no ONNX file",
      (): string => rewardFolder(classifier),
      { runtime: "onnx" },
      "REWARD_MODEL_MISSING",
      /an ONNX file in/,
    ],
    [
      "no safetensors",
      () => rewardFolder({ onnx: "llama/model" }),
      { runtime: "native" },
      "REWARD_MODEL_MISSING",
      /expected model\.safetensors in/,
    ],
    [
      "a language model",
      () => rewardFolder({ ...classifier, config: { architectures: ["LlamaForCausalLM"] } }),
      {},
      "REWARD_MODEL_KIND",
      /sequence classifier .*got the language model .*no score; train a reward model from it/,
    ],
    [
      "more than one label",
      () => rewardFolder({ ...classifier, config: { id2label: { 0: "a", 1: "b", 2: "c" } } }),
      {},
      "UNSUPPORTED_FEATURE",
      /num_labels: expected 1.* got 3/,
    ],
    [
      "an architecture that is not known",
      () =>
        rewardFolder({
          ...classifier,
          config: { architectures: ["BertForSequenceClassification"], model_type: "bert" },
        }),
      {},
      "UNSUPPORTED_ARCHITECTURE",
      /got "BertForSequenceClassification"/,
    ],
  ] as const)("%s", async (_, folder, change, code, message) => {
    await expect(openModel(folder(), change)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
});
