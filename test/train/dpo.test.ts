// On-policy DPO on a tiny engine: it raises the reward, once or round after round; what gives no pair is counted; and law 5: killed at any
// write and resumed, it leaves what it leaves when nothing stops it.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { optimizer } from "../../src/config/fragments.js";
import type { Engine } from "../../src/engine/engine.js";
import type { EngineOptions } from "../../src/engine/types.js";
import { dpoWorkload } from "../../src/methods/memory.js";
import { dpoPart } from "../../src/methods/settings.js";
import { type DpoSettings, trainDpo } from "../../src/train/dpo.js";
import { dpoSteps } from "../../src/train/pair-course.js";
import type { PolicyTask } from "../../src/train/reinforce.js";
import type { Numbered } from "../../src/train/rollout-log.js";
import type { RunHost } from "../../src/train/run.js";
import type { SampleReader } from "../../src/train/watch.js";
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
  wholeRun,
} from "../helpers/toy-task.js";

const settings: DpoSettings = {
  ...dpoPart({ rollouts: 4, prompts: 8, sampling: {}, optimizer: {} }).parse({ maxPairTokens: 64 }),
  sampling: toySampling,
  pairsPerStep: 8,
  epochs: 3,
  heldOutShare: 0.1,
  optimizer: optimizer({ learningRate: 2e-3, schedule: "cosine" }).parse({}),
};

const logging = { rolloutGroups: 1, showEvery: 4 };
const keeping = { every: 2, seconds: 0, keep: 2 };

interface Change {
  readonly settings?: Partial<DpoSettings>;
  readonly task?: Partial<PolicyTask<Numbered>>;
  readonly options?: EngineOptions;
  readonly heldOut?: () => Promise<Record<string, number>>;
  /** Called before and after. */
  readonly around?: (engine: Engine) => Promise<void>;
}

function train(host: RunHost, change: Change = {}): Promise<void> {
  const all = { ...settings, ...change.settings };
  return runToy(host, {
    name: "dpo",
    steps: dpoSteps(all),
    options: { reference: true, ...change.options },
    keeping,
    train: async (run, engine) => {
      const heldOut = change.heldOut && {
        every: 1,
        patience: 0,
        figure: "eval/reward",
        better: "higher" as const,
        measure: change.heldOut,
      };
      await change.around?.(engine);
      await trainDpo(run, engine, { ...sevens, ...change.task }, all, { phase: "dpo", seed: 5, logging, heldOut });
      await change.around?.(engine);
    },
  });
}

async function metricsOf(change: Change = {}): Promise<Record<string, unknown>[]> {
  const host = testHost();
  await train(host, change);
  return readLines(host.out, "metrics.jsonl");
}

/** Mean reward of fresh samples before and after. */
async function rewardsOf(change: Change): Promise<{ before: number; after: number }> {
  const rewards: number[] = [];
  await train(testHost(), { ...change, around: async (engine) => void rewards.push(await meanSevens(engine)) });
  return { before: rewards[0]!, after: rewards[1]! };
}

describe("the loop", () => {
  test("samples, pairs best with worst, and raises the reward", async () => {
    const once = { rollouts: 6, prompts: 24, pairsPerStep: 16, epochs: 4, beta: 0.5 };
    const { before, after } = await rewardsOf({ settings: once });
    expect(after).toBeGreaterThan(before + 0.3);
  });

  test("round after round the reward of what is sampled rises", async () => {
    const rounds = { rollouts: 2, rounds: 4, reference: "round" as const };
    const sampled = column(await metricsOf({ settings: rounds }), "reward/mean");
    expect(sampled).toHaveLength(8);
    expect(sampled.at(-1)).toBeGreaterThan(sampled[0]! + 0.5);
  });

  test("begins at a loss of log 2 and says what becomes of the pairs, trained on and held out", async () => {
    const lines = await metricsOf();
    const losses = column(lines, "loss");
    expect(losses[0]).toBeCloseTo(Math.log(2), 6);
    const pairs = column(lines, "pairs/made").reduce((a, b) => a + b);
    expect(losses.length % 3).toBe(0);
    expect(losses.length / 3).toBeLessThanOrEqual(Math.ceil((pairs - Math.round(0.1 * pairs)) / 8)); // a prompt's pairs go together
    const last = lines.at(-1)!;
    for (const name of ["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"])
      expect(last[name]).toEqual(expect.any(Number));
    for (const name of ["logps/chosen", "logps/rejected", "entropy", "grad_norm", "lr", "epoch"])
      expect(last[name]).toEqual(expect.any(Number));
    expect(column(lines, "rewards/margins").at(-1)).toBeGreaterThan(0.05);
    expect(column(lines, "heldout/loss")).toHaveLength(3);
    expect(column(lines, "heldout/rewards/margins").at(-1)).toBeGreaterThan(0);
    expect(column(lines, "task/groups")).toEqual([8, 8, 8, 8]);
  });

  test("says of every rollout how its answers go, as the other loops do", async () => {
    const lines = await metricsOf({ task: { read: halves } });
    for (const name of ["reward/mean", "malformed", "length/thought", "length/answer", "watch/length_correlation"])
      expect(column(lines, name), name).toHaveLength(4);
    expect(lines[0]).toMatchObject({ malformed: expect.any(Number), "style/questions": expect.any(Number) });
  });

  test("warns once in the first round where all answers are malformed, even of one that comes to no pair", async () => {
    const read: SampleReader<Numbered> = (problem, sample) => ({ ...halves(problem, sample), malformed: true });
    for (const isValid of [() => true, () => false]) {
      const host = testHost();
      const ran = train(host, { task: { read, isValid }, settings: { rollouts: 2, rounds: 2 } });
      await (isValid() ? ran : expect(ran).rejects.toMatchObject({ code: "NO_PAIRS" }));
      const said = eventsOf(host, "note").flatMap(({ text }) => (text.includes("malformed") ? [text] : []));
      expect(said).toEqual([expect.stringMatching(/^100% of the completions of steps 1 to 2 are .*dpo\.sampling/)]);
    }
  });

  test("writes the pairs that it trains on, each the best and the worst of a problem", async () => {
    const host = testHost();
    await train(host);
    const pairs = readLines(host.out, "pairs.jsonl");
    expect(pairs.length).toBe(column(readLines(host.out, "metrics.jsonl"), "pairs/made").reduce((a, b) => a + b));
    const count = (side: { completion: number[] }) => side.completion.filter((token) => token === 7).length;
    for (const { chosen, rejected } of pairs as { chosen: Side; rejected: Side }[]) {
      expect(chosen.reward).toBeGreaterThan(rejected.reward);
      expect([count(chosen), count(rejected)]).toEqual([chosen.reward, rejected.reward]);
    }
  });
  type Side = { completion: number[]; reward: number };

  test("warms up over its share of the steps, then falls along the cosine", async () => {
    const lr = column(await metricsOf({ settings: { warmupShare: 0.3 } }), "lr");
    const warm = Math.ceil(0.3 * lr.length);
    expect(lr[warm - 1]).toBe(2e-3);
    expect(lr[0]).toBeCloseTo(2e-3 / warm, 12);
    expect(lr.at(-1)).toBeLessThan(1e-9);
    expect(lr.slice(warm).every((value, i) => value < lr[warm + i - 1]!)).toBe(true);
  });

  test("is evaluated after steps that train, and ends when the pairs do", async () => {
    const host = testHost();
    await train(host, { heldOut: async () => ({ "eval/reward": 1 }) });
    const lines = readLines(host.out, "metrics.jsonl");
    expect(column(lines, "eval/reward")).toHaveLength(column(lines, "loss").length);
    const steps = eventsOf(host, "step");
    expect(steps.length).toBe(column(lines, "loss").length + 4);
    expect(steps[0]!.steps).toBe(dpoSteps(settings)); // what they come to is known when all is sampled
    expect(new Set(steps.slice(4).map((event) => event.steps))).toEqual(new Set([steps.length]));
  });

  test("with adapters the base is the reference", async () => {
    const lora = { rank: 4, alpha: 8, targets: "all-linear" as const };
    const losses = column(await metricsOf({ options: { lora } }), "loss");
    expect(losses[0]).toBeCloseTo(Math.log(2), 6);
    expect(losses.at(-1)).toBeLessThan(Math.log(2));
  });
});

test("the KL is to the reference: none in the first round, some after it, none where the reference follows", async () => {
  const rounds = { rounds: 2, rollouts: 1, prompts: 16 };
  const kl = async (reference: "initial" | "round") =>
    column(
      (await metricsOf({ settings: { ...rounds, reference } })).filter((line) => "reward/mean" in line),
      "kl",
    );
  const [first, second] = await kl("initial");
  expect(first).toBe(0);
  expect(second).toBeGreaterThan(1e-4);
  expect(await kl("round")).toEqual([0, 0]);
});

test("of steps that train the KL is of the policy, on completions that the reference wrote", async () => {
  const trained = (lines: readonly Record<string, unknown>[], round: number) =>
    column(
      lines.filter((line) => "loss" in line && line.round === round),
      "kl",
    );
  const strong = {
    pairsPerStep: 64,
    epochs: 30,
    heldOutShare: 0,
    optimizer: optimizer({ learningRate: 5e-3 }).parse({}),
  };
  const [first, ...later] = trained(await metricsOf({ settings: strong }), 1);
  expect(first).toBeCloseTo(0, 6);
  expect(later.at(-1)).toBeGreaterThan(1e-3);
  const rounds = await metricsOf({ settings: { rounds: 2, rollouts: 1, prompts: 16 } });
  expect(trained(rounds, 1).length).toBeGreaterThan(0);
  expect(trained(rounds, 2)).toEqual([]); // another policy wrote those
  const lora = { rank: 4, alpha: 8, targets: "all-linear" as const };
  expect(trained(await metricsOf({ options: { lora } }), 1).length).toBeGreaterThan(0);
});

test("what the workload foresees is all that it takes", async () => {
  const allocations: number[] = [];
  await train(testHost(), {
    settings: { rounds: 2 },
    around: async (engine) => {
      if (allocations.length === 0) await engine.reserve(dpoWorkload(settings, engine.spec, 1));
      allocations.push(engine.memory().allocations);
    },
  });
  expect(allocations[1]).toBe(allocations[0]);
});

test("an engine without a reference, or with one that cannot follow, is refused before it samples", async () => {
  const host = testHost();
  await expect(train(host, { options: { reference: false } })).rejects.toMatchObject({ code: "NO_REFERENCE" });
  const lora = { rank: 4, alpha: 8, targets: "all-linear" as const };
  const adapted = train(testHost(), { options: { lora }, settings: { reference: "round" } });
  await expect(adapted).rejects.toMatchObject({ code: "NO_REFERENCE" });
  expect(readLines(host.out, "metrics.jsonl")).toEqual([]);
});

describe("what gives no pair", () => {
  test("samples that cannot be parsed, and too few that can", async () => {
    const isValid: PolicyTask<Numbered>["isValid"] = ({ id }) => id % 4 === 0;
    const lines = await metricsOf({ task: { isValid } });
    expect(column(lines, "pairs/few_valid")).toEqual([6, 6, 6, 6]);
    expect(column(lines, "pairs/made").reduce((a, b) => a + b)).toBeLessThanOrEqual(8);
  });

  test("equal rewards; rewards that failed", async () => {
    const reward: PolicyTask<Numbered>["reward"] = ({ id }, sample) =>
      id % 2 === 0 ? 1 : id % 4 === 1 ? Number.NaN : sample.completion.length + sample.completion[0]!;
    const lines = await metricsOf({ task: { reward }, settings: { maxErrorShare: 0.5 } });
    expect(column(lines, "pairs/tied").every((n) => n >= 4)).toBe(true);
    expect(column(lines, "pairs/few_valid")).toEqual([2, 2, 2, 2]);
    expect(column(lines, "reward/errors")).toEqual([16, 16, 16, 16]);
  });

  test("a side that is too long", async () => {
    const lines = await metricsOf({ settings: { maxPairTokens: 6 } });
    const long = column(lines, "pairs/too_long").reduce((a, b) => a + b);
    expect(long).toBeGreaterThan(0);
  });

  test("none at all ends the run, and says why", async () => {
    const host = testHost();
    await expect(train(host, { task: { reward: () => 1 } })).rejects.toMatchObject({
      name: "TrainError",
      code: "NO_PAIRS",
      message: expect.stringContaining("[dpo round 1] expected at least one pair to train on, got none of 32 problems"),
    });
    expect(readLines(host.out, "metrics.jsonl")).toHaveLength(4);
    expect(existsSync(join(host.out, "pairs.jsonl"))).toBe(false);
  });
});

describe("law 5", () => {
  const change: Change = {
    settings: { rounds: 2, rollouts: 2, prompts: 3, pairsPerStep: 3, epochs: 2, reference: "round" },
    heldOut: async () => ({ "eval/reward": 1 }),
  };

  const run = (host: RunHost) => train(host, change);

  test("two runs that nothing stops leave the same", async () => {
    expect((await wholeRun(run)).left).toEqual((await wholeRun(run)).left);
  });

  test("killed within writes, and again while it is resumed, it leaves what the run leaves that is not", async () => {
    const { left, writes } = await wholeRun(run);
    expect((left.pairs as unknown[]).length).toBeGreaterThan(6);
    for (const cuts of someCuts(writes))
      expect(await interruptedRun(run, cuts), writes[cuts[0]!.at - 1]!).toEqual(left);
  });
});
