// The settings of the policy part on a bigram table: dynamic sampling, several rewards, terms of the reward, what goes into a batch, a
// reference that moves, and what a run says that learns nothing.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { advantage, loss, optimizer, overlong, reference } from "../../src/config/fragments.js";
import { type PolicyTask, type ReinforceSettings, reinforce } from "../../src/train/reinforce.js";
import type { Numbered } from "../../src/train/rollout-log.js";
import { Run } from "../../src/train/run.js";
import { FakeEngine, type FakeFaults, fakeSpec } from "../helpers/fake-engine.js";
import { reinforceSettings } from "../helpers/reinforce-settings.js";
import { eventsOf, readLines, testHost } from "../helpers/run-host.js";

/** Problem i asks to begin with token 3; nobody can get an odd one wrong. */
const task: PolicyTask<Numbered> = {
  problems: (_, count, first) => Array.from({ length: count }, (_each, i) => ({ id: first + i })),
  promptOf: ({ id }) => Int32Array.from([1 + (id % 2)]),
  reward: ({ id }, sample) => (id % 2 === 1 || sample.completion[0] === 3 ? 1 : 0),
  describe: ({ id }, sample) => ({ prompt: `problem ${id}`, thinking: null, answer: [...sample.completion].join(" ") }),
  metrics: () => ({}),
};

const settings = reinforceSettings({ maxTokens: 4 }, { learningRate: 0.1 });

const fakeEngine = (faults: FakeFaults = {}) => new FakeEngine(fakeSpec(6, 0), faults);

async function train(
  change: Partial<ReinforceSettings>,
  { steps = 1, of = task, faults = {} as FakeFaults, host = testHost(), engine = fakeEngine(faults) } = {},
) {
  using run = new Run(host, "test", {}, [{ name: "grpo", title: "GRPO", steps, work: 1 }]);
  run.begin("grpo");
  const part = { phase: "grpo", steps, seed: 7, logging: { rolloutGroups: 4, showEvery: 5 } };
  await reinforce(run, engine, of, { ...settings, ...change }, part);
  const notes = eventsOf(host, "note").map(({ text }) => text);
  return { engine, notes, metrics: readLines(host.out, "metrics.jsonl") as Record<string, number>[] };
}

const sequencesOf = (engine: FakeEngine) => engine.batches[0]!.batch.cuSeqlens.length - 1;

describe("dynamic sampling", () => {
  test("replaces groups without spread by the next problems, in their order", async () => {
    const seen: (readonly [number, number])[] = [];
    const of = {
      ...task,
      problems: (step: number, count: number, first: number) => {
        seen.push([count, first]);
        return task.problems(step, count, first);
      },
    };
    const { engine, metrics } = await train({ dynamicSampling: { maxRefills: 20 } }, { of });
    expect(sequencesOf(engine)).toBe(4 * 6);
    expect(seen[0]).toEqual([4, 0]);
    expect(seen.length).toBeGreaterThan(1);
    const sampled = seen.reduce((sum, [count], i) => {
      expect(seen[i]![1]).toBe(sum);
      return sum + count;
    }, 0);
    const [step] = metrics;
    expect(step).toMatchObject({
      "dynamic_sampling/refills": seen.length - 1,
      "dynamic_sampling/dropped": sampled - 4,
      "dynamic_sampling/missing": 0,
      "groups/total": sampled,
    });
    expect(step!["groups/zero_spread"]).toBe(sampled - 4);
  });

  test("has its bound", async () => {
    const of = { ...task, reward: () => 1 };
    const { engine, metrics } = await train({ dynamicSampling: { maxRefills: 2 } }, { of });
    expect(engine.calls).toEqual(["generate", "generate", "generate"]);
    expect(metrics[0]).toMatchObject({ "dynamic_sampling/refills": 2, "dynamic_sampling/missing": 4 });
  });

  test("draws random numbers of its own for every problem of a step", async () => {
    const engine = fakeEngine();
    const { generate } = engine;
    const rounds: number[][] = [];
    engine.generate = (request) => {
      rounds.push([...request.problemIds!]);
      return generate.call(engine, request);
    };
    await train({ dynamicSampling: { maxRefills: 20 } }, { engine });
    expect(rounds.length).toBeGreaterThan(1);
    expect(rounds.flat()).toEqual([...rounds.flat().keys()]);
  });
});

describe("several rewards", () => {
  const of: PolicyTask<Numbered> = {
    ...task,
    reward: (_, { completion }) => ({ right: completion[0] === 3 ? 1 : 0, short: -completion.length }),
  };

  test("are weighted by name and logged apart", async () => {
    const { metrics } = await train({ rewardWeights: { short: 0.25 } }, { of });
    const { "reward/right": right, "reward/short": short, "reward/mean": mean } = metrics[0]!;
    expect(mean).toBeCloseTo(right! + 0.25 * short!, 12);
    expect(metrics[0]!["reward/short/std"]).toBeGreaterThan(0);
  });

  test("GDPO normalises each", async () => {
    const advantagesOf = async (estimator: "grpo" | "gdpo") => {
      const { engine } = await train(
        { advantage: advantage({ estimator }).parse({}), rewardWeights: { short: 9 } },
        { of },
      );
      return [...engine.batches[0]!.batch.advantages!];
    };
    expect(await advantagesOf("gdpo")).not.toEqual(await advantagesOf("grpo"));
  });

  test("a weight without its reward is refused", async () => {
    await expect(train({ rewardWeights: { shrt: 1 } }, { of })).rejects.toMatchObject({
      code: "REWARD_NAME",
      message: expect.stringContaining('expected weights of right, short, got one of "shrt"'),
    });
    await expect(train({ rewardWeights: { right: 1 } })).rejects.toMatchObject({ code: "REWARD_NAME" });
  });
});

describe("advantages", () => {
  test("without a baseline keep groups without spread", async () => {
    const { engine } = await train({ advantage: advantage({ estimator: "reinforce" }).parse({}) });
    expect(sequencesOf(engine)).toBe(4 * 6);
  });

  test("that whiten over the batch do so over the rollout, whatever the mini-batches", async () => {
    const plusPlus = advantage({ estimator: "reinforce++" }).parse({});
    const whole = await train({ advantage: plusPlus });
    const cut = await train({ advantage: plusPlus, miniBatches: 4 });
    const joined = cut.engine.batches.flatMap(({ batch }) => [...batch.advantages!]);
    expect(joined).toEqual([...whole.engine.batches[0]!.batch.advantages!]);
  });
});

describe("completions that ran out of room", () => {
  test("are masked: no sequence of the batch was cut off", async () => {
    const { engine, metrics } = await train({ overlong: overlong({ maskTruncated: true }).parse({}) });
    expect(metrics[0]!["completion_length/truncated"]).toBeGreaterThan(0);
    const { ids, cuSeqlens } = engine.batches[0]!.batch;
    for (const end of cuSeqlens.subarray(1)) expect(ids[end - 1]).toBe(0); // the end token
  });

  test("are penalised, which the logged reward leaves out", async () => {
    const { metrics, engine } = await train({ overlong: overlong({ cacheLength: 4 }).parse({}) });
    const plain = await train({});
    expect(metrics[0]!["reward/overlong"]).toBeLessThan(0);
    expect(metrics[0]!["reward/mean"]).toBe(plain.metrics[0]!["reward/mean"]);
    expect(sequencesOf(engine)).toBe(4 * 6); // lengths differ where the verdicts do not
  });
});

describe("the reference", () => {
  test("the KL in the reward is none in the loss", async () => {
    const { engine, metrics } = await train(
      { loss: loss({ klCoefficient: 0.5, klIn: "reward", klEstimator: "k1" }).parse({}) },
      { steps: 2 },
    );
    expect(engine.calls.slice(0, 3)).toEqual(["generate", "reference", "forwardBackward"]);
    expect(engine.batches[0]!.loss).toMatchObject({ klCoefficient: 0 });
    expect(engine.batches[0]!.batch.refLogprobs).toBeUndefined();
    expect(metrics[0]).toMatchObject({ kl: expect.closeTo(0, 6) });
    expect(metrics[1]!.kl).not.toBe(0);
  });

  test("moves every so many steps", async () => {
    const change = {
      loss: loss({ klCoefficient: 0.1 }).parse({}),
      reference: reference({ sync: { every: 2, mix: 0.5 } }).parse({}),
    };
    const { engine } = await train(change, { steps: 5 });
    expect(engine.calls.filter((name) => name === "syncReference")).toHaveLength(2);
  });
});

describe("what goes into a batch", () => {
  test("the loss of the engine, the sampler's log-probs, importance weights and tokens of high entropy", async () => {
    const variant = loss({ ratio: "sequence", objective: "cispo", clipLow: 1, oldPolicy: "sampler" }).parse({});
    const sampler = (await train({ loss: variant })).engine.batches[0]!;
    expect(sampler.loss).toMatchObject({ kind: "policy", ratio: "sequence", objective: "cispo", clipLow: 1 });
    expect(sampler.batch.samplerLogprobs).toEqual(sampler.batch.oldLogprobs);
    const weighed = await train({ loss: loss({ importanceCap: 2 }).parse({}) });
    const { importance, weights } = weighed.engine.batches[0]!.batch;
    expect(importance!.every((value, t) => value === (weights[t] === 0 ? 0 : 1))).toBe(true);
    expect(weighed.metrics[0]!["importance_sampling_ratio/mean"]).toBe(1);
    const high = await train({ loss: loss({ highEntropyShare: 0.2 }).parse({}) }, { steps: 2 });
    expect(high.metrics[1]!["high_entropy/threshold"]).toBeGreaterThan(0);
    const second = high.engine.batches[1]!.batch;
    const counted = second.weights.filter((weight) => weight !== 0).length;
    const kept = second.importance!.filter((value) => value === 1).length;
    expect(kept).toBeGreaterThan(0);
    expect(kept).toBeLessThan(counted);
  });
});

describe("a run that goes wrong", () => {
  test("leaves the batch of a loss that is not finite in its folder, and names it", async () => {
    const host = testHost();
    const file = join(host.out, "bad-batch.json");
    const failing = train({}, { steps: 3, faults: { nanFrom: 2 }, host });
    await expect(failing).rejects.toMatchObject({ code: "LOSS_NOT_FINITE", message: expect.stringContaining(file) });
    const saved = JSON.parse(readFileSync(file, "utf8"));
    expect(saved).toMatchObject({ where: "policy step 2", loss: { kind: "policy" } });
    expect(saved.ids).toHaveLength(saved.advantages.length);
  });

  test("leaves the batch of a gradient that is not finite", async () => {
    const host = testHost();
    const failing = train({}, { faults: { gradientNotFinite: true }, host });
    await expect(failing).rejects.toMatchObject({ code: "GRADIENT_NOT_FINITE" });
    expect(existsSync(join(host.out, "bad-batch.json"))).toBe(true);
  });

  test("says once that all rewards are 0, and at the end that nothing was learnt", async () => {
    const { notes } = await train({}, { steps: 12, of: { ...task, reward: () => 0 } });
    expect(
      notes.filter((text) => /^all rewards of steps 1 to 5 are 0: the policy cannot begin/.test(text)),
    ).toHaveLength(1);
    expect(notes.at(-1)).toMatch(/^nothing was learnt: in none of 12 steps did a group have spread/);
  });

  test("says what share of groups teaches nothing, and what to set", async () => {
    const of = {
      ...task,
      reward: ({ id }: Numbered, s: { completion: Int32Array }) => (id === 0 ? s.completion[0]! % 2 : 1),
    };
    const { notes } = await train({ prompts: 10 }, { steps: 6, of });
    expect(notes).toContainEqual(
      expect.stringMatching(
        /^9\d% of the 50 groups of steps 1 to 5 have no spread.*grpo\.dynamicSampling\.maxRefills=8/,
      ),
    );
  });

  test("says that the entropy collapsed", async () => {
    const of: PolicyTask<Numbered> = {
      ...task,
      reward: (_, { completion }) => completion.filter((id) => id === 3).length,
    };
    const change = {
      optimizer: optimizer({ learningRate: 0.5 }).parse({}),
      loss: loss({ entropyCoefficient: 1e-9 }).parse({}), // groups without spread are trained on, and measured
    };
    const { notes } = await train(change, { steps: 25, of });
    expect(notes).toContainEqual(expect.stringMatching(/^the entropy fell from 1\.\d+ to 0\.\d+ nats/));
  });
});
