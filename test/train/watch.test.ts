// What the watch sees in a rollout, figure by figure on samples made by hand; what the policy loop writes of it; and when it warns.
import { describe, expect, test } from "vitest";
import { loss } from "../../src/config/fragments.js";
import type { Group, Sample } from "../../src/rollout/types.js";
import { Diagnosis } from "../../src/train/diagnosis.js";
import type { HeldOut } from "../../src/train/held-out.js";
import { type PolicyTask, reinforce } from "../../src/train/reinforce.js";
import type { Numbered } from "../../src/train/rollout-log.js";
import { Run } from "../../src/train/run.js";
import { type ReadSample, watchMetrics } from "../../src/train/watch.js";
import { FakeEngine, fakeSpec } from "../helpers/fake-engine.js";
import { reinforceSettings } from "../helpers/reinforce-settings.js";
import { readLines, testHost } from "../helpers/run-host.js";

const sample = (...ids: readonly number[]): Sample => ({
  prompt: Int32Array.of(1),
  completion: Int32Array.from(ids),
  logprobs: new Float32Array(ids.length),
  samplerLogprobs: new Float32Array(ids.length),
  mask: new Uint8Array(ids.length).fill(1),
  finish: "stop",
});
const ofLength = (length: number) => sample(...Array.from({ length }, (_, t) => t));
const group = (samples: readonly Sample[], rewards: readonly number[]): Group<number> => ({
  problem: 0,
  samples,
  rewards: Float64Array.from(rewards),
});

/** A sample of C tokens: a thought of half of them; malformed where C is odd. */
const halves = (_: number, { completion: { length } }: Sample): ReadSample =>
  length % 2 === 1
    ? { thinking: null, answer: "[NULL]", malformed: true, thoughtTokens: null, answerTokens: null }
    : {
        thinking: "Wait, what?\n\n- a",
        answer: "b",
        malformed: false,
        thoughtTokens: length / 2,
        answerTokens: length / 2,
      };

describe("the figures of a rollout", () => {
  test("reward follows length within groups, whatever the groups' levels", () => {
    const groups = [
      group([ofLength(2), ofLength(4), ofLength(6)], [10, 11, 12]),
      group([ofLength(20), ofLength(22), ofLength(24)], [0, 1, 2]),
    ];
    expect(watchMetrics(groups)["watch/length_correlation"]).toBeCloseTo(1, 12);
    const against = groups.map(({ samples, rewards }) => group(samples, [...rewards].reverse()));
    expect(watchMetrics(against)["watch/length_correlation"]).toBeCloseTo(-1, 12);
  });

  test("malformed samples are counted and have no answer's length", () => {
    const groups = [group([ofLength(2), ofLength(4), ofLength(99)], [1, 2, 0]), group([ofLength(7)], [5])];
    const figures = watchMetrics(groups, halves);
    expect(figures).toMatchObject({ malformed: 0.5, "length/thought": 1.5, "length/answer": 1.5 });
    expect(figures["watch/length_correlation"]).toBeCloseTo(1, 12); // 99 tokens and no reward, of a malformed one, are not in it
  });

  test("malformed samples' lead is within groups that have both, or over all where groups have one sample", () => {
    const groups = [
      group([ofLength(2), ofLength(4), ofLength(3)], [10, 12, 14]), // 14 is malformed, against a mean of 11
      group([ofLength(2), ofLength(3)], [100, 101]),
      group([ofLength(3), ofLength(5)], [500, 500]),
    ];
    expect(watchMetrics(groups, halves)["watch/malformed_lead"]).toBe((3 + 1) / 2);
    const single = [group([ofLength(2)], [1]), group([ofLength(3)], [5])];
    expect(watchMetrics(single, halves)["watch/malformed_lead"]).toBe(4);
  });

  test("style is the mean over thoughts; without thoughts there is none", () => {
    const figures = watchMetrics([group([ofLength(2), ofLength(3)], [0, 1])], halves);
    expect(figures).toMatchObject({
      "style/revisions": 1,
      "style/questions": 1,
      "style/list_items": 1,
      "style/paragraphs": 2,
    });
    const plain = watchMetrics([group([ofLength(2)], [1])], () => ({
      thinking: null,
      answer: "a",
      malformed: false,
      thoughtTokens: 0,
      answerTokens: 2,
    }));
    expect(Object.keys(plain).filter((name) => name.startsWith("style/"))).toEqual([]);
    expect(plain["length/thought"]).toBeNaN();
    expect(plain["length/answer"]).toBe(2);
  });

  test("repeated 4-grams: the mean over samples that are long enough", () => {
    const groups = [group([sample(1, 2, 1, 2, 1, 2, 1), ofLength(4), ofLength(3)], [0, 0, 0])];
    expect(watchMetrics(groups)["watch/repeated_4grams"]).toBe((0.5 + 0) / 2);
  });

  test("a rollout whose rewards all failed has no figures, and none that break a file", () => {
    for (const value of Object.values(watchMetrics([group([], [])], halves))) expect(value).toBeNaN();
  });
});

const settings = reinforceSettings({ maxTokens: 12, temperature: 1 }, { learningRate: 0.1, warmupSteps: 0 });

/** Pays for every token: the fault that the watch is for. */
const paysLength: PolicyTask<Numbered> = {
  problems: (_, count) => Array.from({ length: count }, (_, id) => ({ id })),
  promptOf: ({ id }) => Int32Array.from([1 + (id % 2)]),
  reward: (_, { completion }) => completion.length,
  describe: () => ({ prompt: "", thinking: null, answer: "" }),
  read: (_, { completion }) => ({
    thinking: null,
    answer: "",
    malformed: false,
    thoughtTokens: 0,
    answerTokens: completion.length,
  }),
  metrics: () => ({}),
};

async function train(task: PolicyTask<Numbered>, steps: number, heldOut?: HeldOut) {
  const host = testHost();
  using run = new Run(host, "test", {}, [{ name: "grpo", title: "GRPO", steps, work: 1 }]);
  run.begin("grpo");
  const part = { phase: "grpo", steps, seed: 7, logging: { rolloutGroups: 0, showEvery: 100 }, heldOut };
  await reinforce(run, new FakeEngine(fakeSpec(6, 0)), task, settings, part);
  const notes = host.events.flatMap((event) => (event.type === "note" ? [event.text] : []));
  return { notes, metrics: readLines(host.out, "metrics.jsonl") as Record<string, number>[] };
}

describe("a policy that is paid for length", () => {
  test("grows its answers, and the run says that reward follows length", async () => {
    const { notes, metrics } = await train(paysLength, 20);
    expect(metrics[0]!["watch/length_correlation"]).toBeCloseTo(1, 12);
    expect(metrics.at(-1)!["length/answer"]).toBeGreaterThan(1.2 * metrics[0]!["length/answer"]!);
    expect(notes).toContainEqual(expect.stringMatching(/^answers grow and reward follows length: r = 1\.00 in steps/));
    expect(notes.filter((note) => note.startsWith("answers grow"))).toHaveLength(1);
  });

  test("one that is paid for something else is not accused", async () => {
    const { notes } = await train({ ...paysLength, reward: (_, { completion }) => (completion[0] === 3 ? 1 : 0) }, 20);
    expect(notes.filter((note) => /answers grow|malformed|repeat|far from/.test(note))).toEqual([]);
  });

  test("ends early on a held-out figure that stops rising, while its reward still rises", async () => {
    const judged = [0.5, 0.6, 0.55, 0.5, 0.4, 0.3];
    let evaluation = 0;
    const heldOut: HeldOut = {
      every: 2,
      patience: 2,
      figure: "eval/reward",
      better: "higher",
      measure: async () => ({ "eval/reward": judged[evaluation++]! }),
    };
    const { metrics } = await train(paysLength, 20, heldOut);
    const steps = metrics.filter((line) => "reward/mean" in line);
    expect(steps).toHaveLength(8); // the best of step 4 was not met at 6 and 8
    expect(steps.at(-1)!["reward/mean"]).toBeGreaterThan(steps[3]!["reward/mean"]!);
    expect(metrics.filter((line) => "eval/reward" in line).map((line) => line["eval/reward/best"])).toEqual([
      0.5, 0.6, 0.6, 0.6,
    ]);
  });
});

test("what trains on earlier samples warns by its KL alone, once", () => {
  const diagnosis = new Diagnosis({ group: "dpo", maxTokens: 4, loss: null, beta: 0.1 });
  expect([0.1, Number.NaN, 0.7, 0.9].map((kl, i) => diagnosis.seeKl(i + 1, kl))).toEqual([
    [],
    [],
    [
      expect.stringMatching(
        /^the policy is far from its reference: a KL of 0\.70 nats a token in step 3; .*dpo\.beta \(0\.1\)/,
      ),
    ],
    [],
  ]);
});

test("a checkpoint without figures of the watch is gone on from, which is said once", () => {
  const diagnosis = new Diagnosis({ maxTokens: 4, loss: null });
  diagnosis.restore(null);
  expect(diagnosis.seeKl(1, 0)).toEqual([expect.stringMatching(/^the checkpoint is of a version .*begin anew/)]);
  expect(diagnosis.seeKl(2, 0)).toEqual([]);
});

describe("when the watch warns", () => {
  const quiet = {
    "groups/total": 3,
    "groups/zero_spread": 0,
    "reward/mean": 1,
    "reward/std": 1,
    "completion_length/truncated": 0,
    "completion_length/mean": 50,
  };
  /** What is said of five quiet steps and five others. */
  const said = (before: Record<string, number>, after: Record<string, number>) => {
    const diagnosis = new Diagnosis({ maxTokens: 4, loss: loss().parse({}) });
    const steps = [...Array(5).fill(before), ...Array(5).fill(after)] as Record<string, number>[];
    return steps.flatMap((figures, i) => diagnosis.see(i + 1, { ...quiet, ...figures }, 1));
  };
  const follows = (r: number, length: number) => ({ "watch/length_correlation": r, "length/answer": length });
  const leads = (lead: number) => ({ "watch/malformed_lead": lead });
  const cuts = (texts: number, truncated: number) => ({
    ...{ "reward/std": 0, "reward/mean": -1 }, // as all texts end alike, all rewards are the same
    ...{ "reward_model/model/texts": texts, "reward_model/model/truncated": truncated },
  });
  const repeats = (share: number) => ({ "watch/repeated_4grams": share });

  test.each<[string, Record<string, number>, Record<string, number>]>([
    [
      "answers grow and reward follows length: r = 0.80 in steps 5 to 9, answers of 124 tokens where they had 100",
      follows(0.8, 100),
      follows(0.8, 130),
    ],
    ["62% of the completions of steps 5 to 9 are malformed", { malformed: 0.1 }, { malformed: 0.75 }],
    [
      "completions repeat themselves: 34% of their 4-grams in steps 5 to 9 came before, 10% at first",
      repeats(0.1),
      repeats(0.4),
    ],
    [
      "75% of the texts of steps 1 to 5 are longer than the reward model reads: they are cut on the right",
      cuts(16, 12),
      cuts(16, 12),
    ],
    ["the policy is far from its reference: a KL of 0.60 nats a token", { kl: 0.6 }, { kl: 0.6 }],
    [
      "malformed answers earn more than well-formed ones to the same prompts, by 0.300 in steps 6 to 10",
      leads(-1),
      leads(0.3),
    ],
  ])("%s", (text, before, after) => {
    const found = said(before, after);
    expect(found).toHaveLength(1);
    expect(found[0]!.startsWith(text), found[0]).toBe(true);
  });

  test.each<[string, Record<string, number>, Record<string, number>]>([
    ["answers that grow where reward does not follow", follows(0.2, 100), follows(0.3, 200)],
    ["reward that follows length where answers stay", follows(0.9, 100), follows(0.9, 110)],
    ["a task that repeats by its nature", repeats(0.6), repeats(0.65)],
    ["a little repetition more", repeats(0.01), repeats(0.2)],
    ["few texts that are cut", { ...cuts(16, 2), "reward/std": 1 }, { ...cuts(16, 2), "reward/std": 1 }],
    ["some malformed", {}, { malformed: 0.4 }],
    ["malformed answers that earn less", leads(-0.3), leads(-0.1)],
    ["a KL of some hundredths", { kl: 0.01 }, { kl: 0.06 }],
    ["no figures at all", {}, {}],
  ])("not: %s", (_, before, after) => expect(said(before, after)).toEqual([]));
});
