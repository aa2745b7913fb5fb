// PPO on a tiny engine with a critic: it raises the reward, the critic learns what is coming, every setting reaches its engine; and law 5:
// killed at any write and resumed, both engines are what they are when nothing stops the run.
import { describe, expect, test } from "vitest";
import { loss, optimizer } from "../../src/config/fragments.js";
import { Engine, planMemory } from "../../src/engine/engine.js";
import type { LossSpec, TrainBatch } from "../../src/engine/types.js";
import { ppoWorkloads } from "../../src/methods/memory.js";
import { ppoPart } from "../../src/methods/settings.js";
import { criticOptions, criticValues, openCritic } from "../../src/train/critic.js";
import { type PpoSettings, trainPpo } from "../../src/train/ppo.js";
import type { PolicyTask } from "../../src/train/reinforce.js";
import type { Numbered } from "../../src/train/rollout-log.js";
import type { RunHost } from "../../src/train/run.js";
import { eventsOf, readLines, testHost } from "../helpers/run-host.js";
import {
  column,
  halves,
  interruptedRun,
  meanSevens,
  runToy,
  sevens,
  someCuts,
  toySampling,
  toySpec,
  wholeRun,
} from "../helpers/toy-task.js";

const part = ppoPart({ steps: 1, prompts: 16, sampling: {} }).parse({});
const settings: PpoSettings = {
  ...part,
  sampling: toySampling,
  prompts: 32,
  optimizer: optimizer({ learningRate: 2e-3 }).parse({}),
  critic: { ...part.critic, coefficient: 0.5, optimizer: optimizer({ learningRate: 5e-3 }).parse({}) },
};

interface Change {
  readonly steps?: number;
  readonly settings?: Partial<PpoSettings>;
  readonly task?: Partial<PolicyTask<Numbered>>;
  readonly around?: (policy: Engine, critic: Engine) => Promise<void>;
}

const logging = { rolloutGroups: 1, showEvery: 4 };

function train(host: RunHost, change: Change = {}): Promise<void> {
  const all = { ...settings, ...change.settings };
  const { steps = 3 } = change;
  return runToy(host, {
    name: "ppo",
    steps,
    options: { reference: all.loss.klCoefficient > 0 },
    keeping: { every: 1, seconds: 0, keep: 2 },
    train: async (run, policy) => {
      const origin = { engines: Engine, from: { spec: toySpec, seed: 3 }, options: { threads: 1 } };
      const critic = (await openCritic(host, "ppo", origin, 4)) as Engine;
      await using _ = critic;
      await change.around?.(policy, critic);
      const plan = { phase: "ppo", steps, seed: 5, logging };
      await trainPpo(run, { policy, critic }, { ...sevens, ...change.task }, all, plan);
      await change.around?.(policy, critic);
    },
  });
}

async function metricsOf(change: Change = {}): Promise<Record<string, unknown>[]> {
  const host = testHost();
  await train(host, change);
  return readLines(host.out, "metrics.jsonl");
}

/** The batches that the engines were trained on. */
async function batchesOf(change: Change) {
  const seen = { policy: [] as [TrainBatch, LossSpec][], critic: [] as [TrainBatch, LossSpec][] };
  let isFirst = true;
  await train(testHost(), {
    ...change,
    around: async (policy, critic) => {
      if (!isFirst) return;
      isFirst = false;
      for (const [name, engine] of Object.entries({ policy, critic })) {
        const forwardBackward = engine.forwardBackward.bind(engine);
        engine.forwardBackward = (batch, spec) => {
          seen[name as keyof typeof seen].push([batch, spec]);
          return forwardBackward(batch, spec);
        };
      }
    },
  });
  return seen;
}

describe("the loop", () => {
  test("raises the reward, and both engines are exactly on-policy", async () => {
    const rewards: number[] = [];
    const host = testHost();
    const steps = 25;
    await train(host, { steps, around: async (policy) => void rewards.push(await meanSevens(policy)) });
    expect(rewards[1]).toBeGreaterThan(rewards[0]! + 1);
    const lines = readLines(host.out, "metrics.jsonl");
    expect(lines).toHaveLength(steps);
    for (const name of ["mismatch/max_abs", "value/mismatch/max_abs"])
      expect(column(lines, name)).toEqual(Array(steps).fill(0));
    for (const name of ["value/mean", "value/clip_fraction", "value/grad_norm", "value/lr", "returns/mean", "kl"])
      expect(column(lines, name), name).toHaveLength(steps);
    expect(lines[0]).not.toHaveProperty("groups/zero_spread");
    expect(column(lines, "task/groups")[0]).toBe(32);
  });

  test("says how answers go, and warns where they go wrong by the names of its own settings", async () => {
    const host = testHost();
    const read: typeof halves = (problem, sample) => ({ ...halves(problem, sample), malformed: true });
    await train(host, { steps: 6, settings: { samplesPerPrompt: 4, prompts: 8 }, task: { read } });
    const lines = readLines(host.out, "metrics.jsonl");
    for (const name of ["malformed", "length/thought", "length/answer", "watch/length_correlation", "style/steps"])
      expect(column(lines, name), name).toHaveLength(6);
    const notes = eventsOf(host, "note").map(({ text }) => text);
    expect(notes).toContainEqual(expect.stringMatching(/^100% of .* are malformed.* raise ppo\.sampling\.maxTokens/));
  });

  test("the critic learns what is coming", async () => {
    const still = { optimizer: optimizer({ learningRate: 1e-6 }).parse({}) };
    const lines = await metricsOf({ steps: 35, settings: still, task: { reward: ({ id }) => id % 4 } });
    expect(column(lines, "value/loss").at(-1)).toBeLessThan(0.2 * column(lines, "value/loss")[0]!);
    expect(column(lines, "value/explained_variance").at(-1)).toBeGreaterThan(0.6);
  });

  test("the critic says of a token what it thinks before it", async () => {
    await using critic = await Engine.create(toySpec, { seed: 1, std: 0.3 }, { threads: 1, head: "scalar" });
    const sample = {
      prompt: Int32Array.of(3, 4),
      completion: Int32Array.of(5, 6, 7),
      logprobs: new Float32Array(3),
      samplerLogprobs: new Float32Array(3),
      mask: new Uint8Array(3).fill(1),
      finish: "stop" as const,
    };
    const { signal } = new AbortController();
    const [values] = await criticValues(critic, [sample], signal);
    const all = await critic.values({ ids: Int32Array.of(3, 4, 5, 6, 7), cuSeqlens: Int32Array.of(0, 5) });
    expect([...values!]).toEqual([...all.slice(1, 4)]);
    expect(await criticValues(critic, [], signal)).toEqual([]);
  });

  test("without whitening, KL and discount an advantage is the score minus the value, and the return the score", async () => {
    const plain = { whitenAdvantages: false, loss: loss().parse({}) };
    const reward: PolicyTask<Numbered>["reward"] = () => 3;
    const { policy, critic } = await batchesOf({ steps: 1, settings: plain, task: { reward } });
    const [batch, spec] = critic[0]!;
    expect(spec).toEqual({ kind: "value", clip: 0.5 });
    const used = [...batch.weights.keys()].filter((t) => batch.weights[t] !== 0);
    expect(used.length).toBeGreaterThan(32);
    for (const t of used) {
      expect(batch.returns![t]).toBeCloseTo(3, 5);
      expect(policy[0]![0].advantages![t]).toBeCloseTo(3 - batch.oldValues![t]!, 5);
    }
    expect(used.reduce((sum, t) => sum + batch.weights[t]!, 0)).toBeCloseTo(0.5, 6); // the coefficient
  });

  test("whitened advantages have mean 0 and variance 1 over the rollout, before mini-batches", async () => {
    const { policy } = await batchesOf({ steps: 1, settings: { miniBatches: 2 } });
    const advantages = policy.flatMap(([batch]) => [...batch.advantages!].filter((_, t) => batch.weights[t] !== 0));
    const mean = advantages.reduce((sum, value) => sum + value, 0) / advantages.length;
    expect(mean).toBeCloseTo(0, 5);
    const squares = advantages.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    expect(squares / (advantages.length - 1)).toBeCloseTo(1, 4);
  });

  test("epochs and mini-batches are steps of both engines", async () => {
    const { policy, critic } = await batchesOf({ steps: 1, settings: { epochs: 3, miniBatches: 4 } });
    expect([policy.length, critic.length]).toEqual([12, 12]);
    expect(policy[0]![0].cuSeqlens).toEqual(critic[0]![0].cuSeqlens);
  });

  test("the KL is paid by tokens where it is in the reward, and a term of the loss where it is there", async () => {
    const inReward = await metricsOf({
      steps: 4,
      settings: { loss: loss({ klCoefficient: 0.5, klIn: "reward", klEstimator: "k1" }).parse({}) },
    });
    expect(column(inReward, "kl")[0]).toBe(0);
    expect(column(inReward, "kl").at(-1)).not.toBe(0);
    expect(column(inReward, "reward/kl")).toHaveLength(4);
    const inLoss = await batchesOf({ steps: 1, settings: { loss: loss({ klCoefficient: 0.5 }).parse({}) } });
    expect(inLoss.policy[0]![1]).toMatchObject({ klCoefficient: 0.5 });
    const none = await metricsOf({ steps: 1, settings: { loss: loss().parse({}) } });
    expect(none[0]).not.toHaveProperty("kl");
  });

  test("samples whose reward failed are in no batch", async () => {
    const reward: PolicyTask<Numbered>["reward"] = ({ id }) => (id % 2 === 0 ? Number.NaN : 1);
    const { policy } = await batchesOf({ steps: 1, settings: { maxErrorShare: 0.5 }, task: { reward } });
    expect(policy[0]![0].cuSeqlens).toHaveLength(17);
  });

  test("several samples a prompt, whitened rewards", async () => {
    const lines = await metricsOf({ steps: 2, settings: { prompts: 8, samplesPerPrompt: 4, whitenRewards: true } });
    expect(lines[0]).toHaveProperty("groups/zero_spread");
    expect(column(lines, "loss").every(Number.isFinite)).toBe(true);
  });
});

test("what the workloads foresee is all that both engines take", async () => {
  const allocations: number[][] = [];
  await train(testHost(), {
    around: async (...engines) => {
      const { policy, critic } = ppoWorkloads(settings, toySpec, 1);
      if (allocations.length === 0) {
        const plans = [await engines[0].reserve(policy), await engines[1].reserve(critic)];
        expect(plans[0]!.bytes).toBe(planMemory(toySpec, { threads: 1, reference: true }, policy).bytes);
        expect(plans[1]!.bytes).toBe(planMemory(toySpec, { threads: 1, ...criticOptions }, critic).bytes);
      }
      allocations.push(engines.map((engine) => engine.memory().allocations));
    },
  });
  expect(allocations[1]).toEqual(allocations[0]);
});

describe("law 5", () => {
  const change: Change = { steps: 4, settings: { prompts: 6, epochs: 2, miniBatches: 2 } };

  const run = (host: RunHost) => train(host, change);

  test("killed within writes, weights and moments of policy and critic are those of a run that is not", async () => {
    const { left, writes } = await wholeRun(run);
    expect((await wholeRun(run)).left).toEqual(left);
    const folders = Object.keys(left.files as Record<string, unknown>).map((path) => path.replace(/^.*step-\d+/, ""));
    expect(folders).toEqual(expect.arrayContaining(["/critic", "/critic/model"]));
    for (const cuts of someCuts(writes))
      expect(await interruptedRun(run, cuts), writes[cuts[0]!.at - 1]!).toEqual(left);
  });
});
