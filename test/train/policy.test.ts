// The policy loop on a bigram table: it learns, skips groups without spread, notices when log-probs are not the recorded ones.
import { describe, expect, test } from "vitest";
import { loss } from "../../src/config/fragments.js";
import { type PolicyTask, type ReinforceSettings, reinforce } from "../../src/train/reinforce.js";
import type { Numbered } from "../../src/train/rollout-log.js";
import { Run } from "../../src/train/run.js";
import { FakeEngine, type FakeFaults, fakeSpec } from "../helpers/fake-engine.js";
import { reinforceSettings } from "../helpers/reinforce-settings.js";
import { eventsOf, readLines, type TestHost, testHost } from "../helpers/run-host.js";

const wanted = 3;

/** Problem i asks to begin with token 3; the last problem is one that nobody can get wrong. */
const task: PolicyTask<Numbered> = {
  problems: (_, count) => Array.from({ length: count }, (_, id) => ({ id })),
  promptOf: ({ id }) => Int32Array.from([1 + (id % 2)]),
  reward: ({ id }, sample) => (id === 3 || sample.completion[0] === wanted ? 1 : 0),
  describe: ({ id }, sample) => ({ prompt: `problem ${id}`, thinking: null, answer: [...sample.completion].join(" ") }),
  metrics: (groups) => ({ "task/groups": groups.length }),
};

/** The reward of problem 0 fails. */
const faulty: PolicyTask<Numbered> = { ...task, reward: ({ id }) => (id === 0 ? Number.NaN : id % 2) };

const settings = reinforceSettings({ maxTokens: 3, temperature: 0.9 }, { learningRate: 0.1, warmupSteps: 2 });

interface Ran {
  readonly host: TestHost;
  readonly engine: FakeEngine;
  readonly metrics: Record<string, number>[];
}

async function train(
  steps: number,
  change: Partial<ReinforceSettings> = {},
  faults: FakeFaults = {},
  policyTask = task,
): Promise<Ran> {
  const host = testHost();
  const engine = new FakeEngine(fakeSpec(6, 0), faults);
  using run = new Run(host, "test", {}, [{ name: "grpo", title: "GRPO", steps, work: 1 }]);
  run.begin("grpo");
  const part = { phase: "grpo", steps, seed: 7, logging: { rolloutGroups: 2, showEvery: 5 } };
  await reinforce(run, engine, policyTask, { ...settings, ...change }, part);
  return { host, engine, metrics: readLines(host.out, "metrics.jsonl") as Record<string, number>[] };
}

describe("the loop", () => {
  test("raises the reward, with mismatch 0 at every step", async () => {
    const { metrics, host } = await train(25);
    expect(metrics).toHaveLength(25);
    expect(metrics[0]!["reward/mean"]).toBeLessThan(0.6);
    expect(metrics.at(-1)!["reward/mean"]).toBeGreaterThan(0.9);
    for (const step of metrics) if ("mismatch/max_abs" in step) expect(step["mismatch/max_abs"]).toBe(0);
    const notes = eventsOf(host, "note").map(({ text }) => text);
    expect(notes).toEqual([expect.stringMatching(/^\d+% of the completions of steps 1 to 5 were cut off at 3 tokens/)]);
  });

  test("same seed, same metrics; time apart", async () => {
    const timeless = (ran: Ran) =>
      ran.metrics.map((step) => Object.entries(step).filter(([name]) => !/second/.test(name)));
    expect(timeless(await train(4))).toEqual(timeless(await train(4)));
  });

  test("leaves groups without spread out of the batch and counts them", async () => {
    const { metrics, engine } = await train(1);
    const zero = metrics[0]!["groups/zero_spread"]!;
    expect(zero).toBeGreaterThanOrEqual(1); // the problem that nobody gets wrong
    expect(engine.batches[0]!.batch.cuSeqlens).toHaveLength((4 - zero) * 6 + 1);
    expect(metrics[0]!["groups/total"]).toBe(4);
  });

  test("keeps groups without spread where the KL or the entropy has a gradient, and still counts them", async () => {
    for (const change of [{ klCoefficient: 0.1 }, { entropyCoefficient: 0.01 }]) {
      const { metrics, engine } = await train(1, { loss: loss(change).parse({}) });
      const { batch } = engine.batches[0]!;
      expect(metrics[0]!["groups/zero_spread"]).toBeGreaterThanOrEqual(1);
      expect(batch.cuSeqlens).toHaveLength(4 * 6 + 1);
      const solved = batch.cuSeqlens.slice(3 * 6); // the problem that nobody gets wrong
      expect([...batch.advantages!.subarray(solved[0])].every((advantage) => advantage === 0)).toBe(true);
      expect(batch.weights.subarray(solved[0]).some((weight) => weight > 0)).toBe(true);
    }
  });

  test("a group whose rewards all failed has nothing to train on, with KL too", async () => {
    const pulled = { maxErrorShare: 0.25, loss: loss({ klCoefficient: 0.1 }).parse({}), miniBatches: 4 };
    const { engine } = await train(1, pulled, {}, faulty);
    expect(engine.batches).toHaveLength(3);
  });

  test("a step in which no group has spread makes no update and has no loss", async () => {
    const always = { ...task, reward: () => 1 };
    const host = testHost();
    const engine = new FakeEngine(fakeSpec(6, 0));
    using run = new Run(host, "test", {}, [{ name: "grpo", title: "GRPO", steps: 1, work: 1 }]);
    run.begin("grpo");
    const part = { phase: "grpo", steps: 1, seed: 7, logging: { rolloutGroups: 0, showEvery: 1 } };
    await reinforce(run, engine, always, settings, part);
    expect(engine.calls).toEqual(["generate"]);
    const [step] = readLines(host.out, "metrics.jsonl");
    expect(step).toMatchObject({ "groups/zero_spread": 4, "reward/mean": 1 });
    expect(step).not.toHaveProperty("loss");
  });

  test("gives the engine the temperature of the rollout, and weights with sum 1", async () => {
    const { engine } = await train(1);
    const { batch, loss: spec } = engine.batches[0]!;
    expect(spec).toMatchObject({ kind: "policy", temperature: 0.9, clipLow: 0.2 });
    expect([...batch.weights].reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 6);
  });

  test("a mismatch on the first update is a warning that says how large", async () => {
    const { metrics, host } = await train(1, {}, { drift: 0.25 });
    expect(metrics[0]!["mismatch/max_abs"]).toBeCloseTo(0.25, 5);
    const [note] = eventsOf(host, "note");
    expect(note).toMatchObject({ level: "warning", text: expect.stringMatching(/step 1: .* up to 0\.25.*expected 0/) });
  });

  test("epochs and mini-batches go through the same rollout; later drift is logged, not warned of", async () => {
    const { engine, metrics, host } = await train(1, { epochs: 2, miniBatches: 2 });
    expect(engine.calls.filter((call) => call === "optimStep")).toHaveLength(4);
    expect(metrics[0]!["mismatch/max_abs"]).toBe(0);
    expect(metrics[0]!["drift/max_abs"]).toBeGreaterThan(0);
    expect(eventsOf(host, "note")).toEqual([]);
  });

  test("KL asks for the reference's log-probs once an update and pulls towards it", async () => {
    const pulled = await train(12, { loss: loss({ klCoefficient: 5 }).parse({}) });
    expect(pulled.engine.calls).toContain("reference");
    const free = await train(12);
    expect(free.engine.calls).not.toContain("reference");
    expect(free.metrics[0]).not.toHaveProperty("kl");
    expect(pulled.metrics.at(-1)!["reward/mean"]!).toBeLessThan(free.metrics.at(-1)!["reward/mean"]!);
    expect(pulled.metrics.at(-1)!.kl).toBeGreaterThan(0);
  });

  test("a loss that is not finite stops before the weights are touched; what was written stays", async () => {
    const host = testHost();
    const engine = new FakeEngine(fakeSpec(6, 0), { nanFrom: 3 });
    using run = new Run(host, "test", {}, [{ name: "grpo", title: "GRPO", steps: 5, work: 1 }]);
    run.begin("grpo");
    const part = { phase: "grpo", steps: 5, seed: 7, logging: { rolloutGroups: 1, showEvery: 9 } };
    const training = reinforce(run, engine, task, settings, part);
    await expect(training).rejects.toMatchObject({
      code: "LOSS_NOT_FINITE",
      message: expect.stringMatching(/\[policy step 3\] expected a finite loss, got NaN; .*learning rate/),
    });
    expect(engine.calls.at(-1)).toBe("forwardBackward");
    expect(readLines(host.out, "metrics.jsonl")).toHaveLength(2);
  });

  test("failed rewards are counted and said; above the share they stop the run", async () => {
    const { host, metrics } = await train(1, { maxErrorShare: 0.25 }, {}, faulty);
    expect(metrics[0]).toMatchObject({ "reward/errors": 6, "groups/zero_spread": 4 });
    expect(eventsOf(host, "note")[0]).toMatchObject({
      level: "warning",
      text: expect.stringContaining("6 rewards failed"),
    });
    await expect(train(1, {}, {}, faulty)).rejects.toMatchObject({ code: "REWARD_ERRORS" });
  });

  test("an abort ends the loop between steps", async () => {
    const host = testHost();
    host.controller.abort(new Error("interrupted"));
    using run = new Run(host, "test", {}, [{ name: "grpo", title: "GRPO", steps: 1, work: 1 }]);
    run.begin("grpo");
    const part = { phase: "grpo", steps: 1, seed: 7, logging: { rolloutGroups: 1, showEvery: 9 } };
    await expect(reinforce(run, new FakeEngine(fakeSpec(6, 0)), task, settings, part)).rejects.toThrow("interrupted");
  });
});

describe("what it tells", () => {
  test("the fields of metrics.jsonl", async () => {
    const { metrics } = await train(1);
    expect(Object.keys(metrics[0]!).sort()).toEqual(
      [
        "phase step seconds advantages/max advantages/mean advantages/min clip_ratio/high_mean clip_ratio/low_mean frac_reward_zero_std",
        "reward/mean reward/std reward/errors completion_length/mean completion_length/max",
        "completion_length/truncated groups/total groups/zero_spread loss mismatch/max_abs ratio clip_fraction entropy",
        "grad_norm lr tokens_per_second tokens_per_second/rollout tokens_per_second/train seconds/rollout seconds/train",
        "kv/preemptions kv/recomputed_tokens kv/blocks kv/peak_blocks",
        "task/groups watch/length_correlation",
      ]
        .join(" ")
        .split(" ")
        .sort(),
    );
    expect(metrics[0]!.lr).toBeCloseTo(0.05, 12); // the first of two warm-up steps
  });

  test("rollouts.jsonl has the first groups of each step; the screen gets one sample now and then", async () => {
    const { host } = await train(6);
    const rollouts = readLines(host.out, "rollouts.jsonl");
    expect(rollouts).toHaveLength(6 * 2 * 6);
    expect(rollouts[7]).toMatchObject({ phase: "grpo", step: 1, problem: 1, sample: 1, prompt: "problem 1" });
    expect(eventsOf(host, "rollout").map((event) => event.step)).toEqual([1, 6]);
  });

  test("step events carry the metrics of the file", async () => {
    const { host, metrics } = await train(3);
    const events = eventsOf(host, "step");
    expect(events.map((event) => [event.phase, event.step, event.steps])).toEqual([1, 2, 3].map((s) => ["grpo", s, 3]));
    expect(metrics[2]).toMatchObject(events[2]!.metrics);
  });
});
