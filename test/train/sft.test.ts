// Supervised steps: packing by tokens, weights on completions only, and a table that learns its demonstrations.
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { optimizer } from "../../src/config/fragments.js";
import { Run } from "../../src/train/run.js";
import {
  type Demonstration,
  type DemonstrationSource,
  packDemonstrations,
  type SftPlan,
  trainSft,
} from "../../src/train/sft.js";
import { FakeEngine, type FakeFaults, fakeSpec } from "../helpers/fake-engine.js";
import { eventsOf, readLines, testHost } from "../helpers/run-host.js";

/** A source without a place. */
const endless = (next: () => Demonstration): DemonstrationSource => ({ next, save: () => null, restore: () => {} });

async function train(plan: Partial<SftPlan>, faults: FakeFaults = {}) {
  const host = testHost();
  const engine = new FakeEngine(fakeSpec(5, 0), faults);
  const steps = plan.steps ?? 3;
  using run = new Run(host, "test", {}, [{ name: "sft", title: "SFT", steps, work: 1 }]);
  run.begin("sft");
  const next = (): Demonstration => ({ prompt: [1, 2], completion: [3, 4, 0] });
  const rule = optimizer({ learningRate: 0.2, schedule: "cosine", floor: 0.1 }).parse({});
  const cost = await trainSft(run, engine, {
    steps,
    tokensPerStep: 12,
    optimizer: rule,
    demonstrations: endless(next),
    ...plan,
  });
  return { cost, engine, metrics: readLines(host.out, "metrics.jsonl") };
}

describe("packDemonstrations", () => {
  test("counts completion tokens alike and prompts not at all", () => {
    const batch = packDemonstrations([
      { prompt: [1, 2], completion: [3] },
      { prompt: Int32Array.from([4]), completion: [5, 6, 7] },
    ]);
    expect([...batch.ids]).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect([...batch.cuSeqlens]).toEqual([0, 3, 7]);
    expect([...batch.weights]).toEqual([0, 0, 0.25, 0, 0.25, 0.25, 0.25]);
  });
});

test("an abort during a step ends the run after it, not within it", async () => {
  const host = testHost();
  const engine = new FakeEngine(fakeSpec(5, 0));
  using run = new Run(host, "test", {}, [{ name: "sft", title: "SFT", steps: 9, work: 1 }]);
  run.begin("sft");
  const rule = optimizer().parse({});
  const next = (): Demonstration => {
    if (engine.batches.length === 2) host.controller.abort(new Error("enough"));
    return { prompt: [1, 2], completion: [3, 4, 0] };
  };
  const training = trainSft(run, engine, {
    steps: 9,
    tokensPerStep: 5,
    optimizer: rule,
    demonstrations: endless(next),
  });
  await expect(training).rejects.toThrow("enough");
  expect(engine.batches.every(({ batch }) => batch.signal?.aborted === false)).toBe(true);
  expect(readLines(host.out, "metrics.jsonl")).toHaveLength(3);
  expect(run.signal.aborted).toBe(true);
});

describe("trainSft", () => {
  test("learns its demonstrations", async () => {
    const { metrics, cost, engine } = await train({ steps: 60 });
    expect(metrics[0]!.loss).toBeCloseTo(Math.log(5), 5);
    expect(metrics.at(-1)!.loss).toBeLessThan(0.02);
    expect(cost).toMatchObject({ steps: 60, tokens: 60 * 10 });
    expect(engine.batches[0]!.loss).toEqual({ kind: "sft" });
  });

  test("follows the schedule to its floor", async () => {
    const { metrics } = await train({ steps: 10 });
    expect(metrics.at(-1)!.lr).toBeCloseTo(0.02, 12);
  });

  test("a step holds what fits; no demonstration is dropped, and one that is too long goes alone", async () => {
    const lengths = [4, 5, 6, 20, 3, 3, 3, 3, 3];
    let at = 0;
    const next = (): Demonstration => ({ prompt: [at], completion: new Array(lengths[at++ % 9]! - 1).fill(1) });
    const { engine } = await train({ steps: 4, demonstrations: endless(() => ({ ...next(), prompt: [2] })) });
    const seen = engine.batches.map(({ batch: { cuSeqlens } }) =>
      [...cuSeqlens].slice(1).map((end, s) => end - cuSeqlens[s]!),
    );
    expect(seen).toEqual([[4, 5], [6], [20], [3, 3, 3, 3]]);
  });

  test("ends after its seconds, with the schedule at its floor by then", async () => {
    const host = testHost();
    const engine = new FakeEngine(fakeSpec(5, 0));
    let now = 0;
    vi.spyOn(performance, "now").mockImplementation(() => ++now); // a millisecond a look: an even pace on any machine
    onTestFinished(() => void vi.restoreAllMocks());
    using run = new Run(host, "test", {}, [{ name: "sft", title: "SFT", steps: 100_000, work: 1 }]);
    run.begin("sft", 0.3);
    const next = (): Demonstration => ({ prompt: [1, 2], completion: [3, 4, 0] });
    const rule = optimizer({ learningRate: 0.2, schedule: "cosine", floor: 0.1 }).parse({});
    const cost = await trainSft(run, engine, {
      steps: 100_000,
      tokensPerStep: 12,
      optimizer: rule,
      demonstrations: endless(next),
    });
    const rates = readLines(host.out, "metrics.jsonl").map(({ lr }) => lr as number);
    expect(cost.seconds).toBeGreaterThanOrEqual(0.3);
    expect(cost.steps).toBe(rates.length);
    expect(cost.steps).toBeGreaterThan(2);
    expect(cost.steps).toBeLessThan(100_000);
    expect(rates.at(-1)).toBeLessThan(0.05);
    expect(eventsOf(host, "step").at(-1)!.steps).toBeLessThanOrEqual(cost.steps + 1);
  });

  test("a gradient that the engine refuses stops the run with advice", async () => {
    await expect(train({}, { gradientNotFinite: true })).rejects.toMatchObject({
      name: "TrainError",
      code: "GRADIENT_NOT_FINITE",
      message: expect.stringMatching(/expected a finite gradient.*lower the learning rate/),
    });
  });

  test("a loss that is not finite stops the run by name", async () => {
    await expect(train({}, { nanFrom: 2 })).rejects.toMatchObject({
      code: "LOSS_NOT_FINITE",
      message: expect.stringContaining("[sft step 2]"),
    });
  });
});
