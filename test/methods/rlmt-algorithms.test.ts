// The algorithms of the rlmt recipe on either start, on the native engine: what they log, where their critic begins, the paper's defaults; and
// law 5: killed and resumed, each leaves what the run leaves that nothing stops.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import { makeRlmt } from "../../src/methods/rlmt.js";
import { makeWarmStart } from "../../src/methods/rlmt-warm-start.js";
import { llamaSpec } from "../../src/methods/settings.js";
import { TRIAL_VOCAB_SIZE, trialTokenizerFiles } from "../../src/tasks/countdown-trial.js";
import { readPastRun } from "../../src/train/past-run.js";
import type { RunHost } from "../../src/train/run.js";
import { fixture } from "../helpers/files.js";
import { eos, jsonl, notes, phases, summaryOf, tempFolder } from "../helpers/recipes.js";
import { modulePath } from "../helpers/rewards.js";
import { readLines, testHost } from "../helpers/run-host.js";
import { interruptedRun, someCuts, wholeRun } from "../helpers/toy-task.js";

const TEMPLATE =
  "{% for m in messages %}{% if m.role == 'user' %}<q> {{ m.content }} -> {% else %}{{ m.content }}{% endif %}{% endfor %}";
const rewards = [{ module: modulePath("answers.mjs"), name: "judge", isolate: "thread" }];
const shape = { width: 16, layers: 1, heads: 2, mlp: 16, maxPositions: 64 };
const names = ["grpo", "dpo", "ppo"] as const;
type Name = (typeof names)[number];

/** What records.mjs writes. */
type Seen = Readonly<Record<"completion" | "thinking" | "answer", string | null>> & { readonly completion: string };

const seenIn = (log: string): readonly Seen[] =>
  readFileSync(log, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

/** A folder with the trial's tokenizer and a chat template. */
async function folder(change: { readonly maxPositions?: number; readonly scalar?: boolean } = {}): Promise<string> {
  const { scalar = false, ...own } = change;
  const model = join(tempFolder(), "model");
  mkdirSync(model);
  const spec = llamaSpec({ vocabSize: TRIAL_VOCAB_SIZE, eosTokenId: eos, ...shape, ...own });
  const init = { seed: scalar ? 2 : 1, std: 0.2 };
  await using engine = await Engine.create(spec, init, scalar ? { head: "scalar" } : {});
  await engine.save(model);
  const files = { ...trialTokenizerFiles(shape.maxPositions), "chat_template.jinja": TEMPLATE };
  for (const [name, text] of Object.entries(files)) writeFileSync(join(model, name), text);
  return model;
}

const data = jsonl(...Array.from({ length: 40 }, (_, i) => ({ prompt: `${i} + 1` })));
const demonstrations = jsonl(
  ...Array.from({ length: 12 }, (_, i) => ({ prompt: `${i} + 1`, thinking: `${i}`, response: "1" })),
);

let model: string;
let classifier: string;
beforeAll(async () => {
  model = await folder();
  classifier = await folder({ scalar: true });
});

const learning = { prompts: 6, sampling: { maxTokens: 12 }, optimizer: { learningRate: 0.01 } };
const groups: Record<Name, Settings> = {
  grpo: { ...learning, steps: 3, samplesPerPrompt: 2 },
  dpo: { ...learning, rollouts: 2, samplesPerPrompt: 4, pairsPerStep: 3, epochs: 1, heldOutShare: 0 },
  ppo: { ...learning, steps: 3 },
};
const whole = { answerOpen: "", answerClose: "", completion: "{answer}" }; // every sample can be parsed

async function train(algorithm: Name, settings: Settings = {}, host: RunHost = testHost()): Promise<RunHost> {
  const recipe = makeRlmt(Engine);
  const common = { model, data, rewards, rewardWorkers: 1, thinking: false, evaluation: { every: 1 } };
  const all = { ...common, algorithm, [algorithm]: groups[algorithm], ...settings };
  await recipe.run(resolveSettings("rlmt", recipe.schema, all), host);
  return host;
}

const linesOf = (host: RunHost, phase: string) =>
  readLines(host.out, "metrics.jsonl").filter((line) => line.phase === phase);

/** Marks that the untrained model writes now and then, in the place of each start's own. */
const written = {
  warm: { thoughtClose: "1" },
  zero: { thoughtOpen: "2", thoughtClose: "1", answerOpen: "3", answerClose: "4" },
};
/** So many samples that some of them have the marks. */
const many: Record<Name, Settings> = {
  grpo: { ...groups.grpo, prompts: 8, samplesPerPrompt: 64 },
  dpo: { ...groups.dpo, minValid: 2, samplesPerPrompt: 256 },
  ppo: { ...groups.ppo, prompts: 256 },
};

describe("every algorithm with thinking, on either start, by the marks of the start", () => {
  test.each((["warm", "zero"] as const).flatMap((start) => names.map((name) => [start, name] as const)))(
    "%s, %s",
    async (start, algorithm) => {
      const host = testHost();
      await train(algorithm, { start, thinking: true, format: written[start], [algorithm]: many[algorithm] }, host);
      expect(phases(host)).toEqual(["evaluate-before", algorithm, "evaluate-after"]);
      const sampled = linesOf(host, algorithm).filter((line) => line["reward/mean"] !== undefined);
      expect(sampled.length).toBeGreaterThan(1);
      for (const line of sampled) {
        expect(line.malformed).toBeGreaterThan(0);
        expect(line.malformed).toBeLessThan(1);
        expect(line["reward/errors"]).toBe(0);
      }
      const thoughts = sampled.flatMap((line) => line["length/thought"] ?? []);
      expect(thoughts.length).toBeGreaterThan(0);
      for (const length of thoughts) expect(length).toBeGreaterThan(0);
    },
  );

  test.each(names)("%s: without thinking all else is equal", async (algorithm) => {
    const arm = async (thinking: boolean) => {
      const host = testHost();
      const own = { [algorithm]: many[algorithm], logging: { rolloutGroups: 100 } };
      await train(algorithm, { thinking, format: written.warm, ...own }, host);
      const asked = readLines(host.out, "rollouts.jsonl").filter(({ phase }) => phase === algorithm);
      const { seed, prompts, data } = summaryOf(host);
      const config = JSON.parse(readFileSync(join(host.out, "recipe.json"), "utf8")).config;
      return {
        asked: asked.map(({ step, problem, sample }) => [step, problem, sample]),
        same: { seed, prompts, data },
        config,
      };
    };
    const [think, plain] = [await arm(true), await arm(false)];
    expect(plain.asked).toEqual(think.asked);
    expect(plain.same).toEqual(think.same);
    expect(plain.config).toEqual({ ...think.config, thinking: false });
  });
});

describe("every algorithm without thinking, on either start", () => {
  test.each((["warm", "zero"] as const).flatMap((start) => names.map((name) => [start, name] as const)))(
    "%s, %s",
    async (start, algorithm) => {
      const host = testHost();
      await train(algorithm, { start, ...(start === "zero" && { format: whole }) }, host);
      expect(phases(host)).toEqual(["evaluate-before", algorithm, "evaluate-after"]);
      const lines = linesOf(host, algorithm);
      const sampled = lines.filter((line) => line["reward/mean"] !== undefined);
      expect(sampled.length).toBeGreaterThan(1);
      for (const line of sampled) {
        for (const field of ["reward/judge", "length/answer", "kl", "watch/repeated_4grams", "answers/empty"])
          expect(line, field).toHaveProperty([field]);
        expect(line).toMatchObject({ malformed: 0, "reward/errors": 0 });
      }
      for (const field of ["eval/reward", "eval/malformed", "eval/length/answer"])
        expect(lines.some((line) => Number.isFinite(line[field]))).toBe(true);
      const after = { before: { reward: { n: 4 } }, difference: { n: 4 } };
      expect(summaryOf(host)).toMatchObject({ algorithm, ...after });
      const { phase, steps, evaluations, notes } = await readPastRun(host.out);
      expect([phase, steps.length]).toEqual([algorithm, sampled.length]);
      expect(evaluations.map(({ when }) => when)).toEqual(expect.arrayContaining(["before", "while", "after"]));
      expect(notes.some((note) => /sampled before/.test(note))).toBe(algorithm === "dpo");
    },
  );
});

describe("prompts that DPO samples", () => {
  /** How often each of the 36 training prompts was sampled; what was said of it. */
  async function asked(own: Settings) {
    const host = testHost();
    const dpo = { ...groups.dpo, prompts: 8, ...own };
    await train("dpo", { format: whole, dpo, logging: { rolloutGroups: 8 } }, host);
    const firsts = readLines(host.out, "rollouts.jsonl").filter(({ phase, sample }) => phase === "dpo" && sample === 0);
    const times = new Map<unknown, number>();
    for (const { prompt } of firsts) times.set(prompt, (times.get(prompt) ?? 0) + 1);
    return { times: [...times.values()], said: notes(host).filter((text) => text.includes("to train on")) };
  }

  test("are all of them, once a round, by default", async () => {
    const once = "36 prompts to train on, 4 samples of each at a time: each comes once";
    expect(await asked({ rollouts: 0 })).toEqual({ times: Array(36).fill(1), said: [once] });
    const twice = await asked({ rollouts: 0, rounds: 2 });
    expect(twice.times).toEqual(Array(36).fill(2));
    expect(twice.said).toEqual([expect.stringMatching(/each comes 2 times$/)]);
  });

  test("are as many as the settings say else, and how often each comes is said", async () => {
    const few = await asked({ rollouts: 2 });
    expect(few.times).toEqual(Array(16).fill(1));
    expect(few.said).toEqual([expect.stringMatching(/: 16 prompts of them come once, 20 never$/)]);
    const many = await asked({ rollouts: 9 });
    expect(many.times.reduce((sum, n) => sum + n)).toBe(72);
    expect(many.said).toEqual([expect.stringMatching(/each comes 2 times$/)]);
  });
});

describe.each(names)("the rewards of %s", (algorithm) => {
  test("see the answer alone: after the first mark in training, after the last in evaluation", async () => {
    const logs = { training: join(tempFolder(), "log.jsonl"), evaluation: join(tempFolder(), "log.jsonl") };
    const rowsOf = (log: string) => jsonl(...Array.from({ length: 24 }, (_, i) => ({ prompt: `${i} + 1`, log })));
    const mark = "1"; // what the untrained model writes often
    const own = { ...groups[algorithm], ...(algorithm === "dpo" && { minValid: 2 }) };
    const host = await train(algorithm, {
      ...{ thinking: true, format: { thoughtClose: mark }, data: rowsOf(logs.training), [algorithm]: own },
      ...{ evaluation: { data: rowsOf(logs.evaluation) }, reward: { model: classifier } },
      rewards: [{ module: modulePath("records.mjs"), isolate: "thread" }],
    });
    const cut = ({ completion }: Seen, at: number) => (at < 0 ? null : completion.slice(at + 1).trimStart());
    const first = (one: Seen) => cut(one, one.completion.indexOf(mark));
    const last = (one: Seen) => cut(one, one.completion.lastIndexOf(mark));
    const [trained, evaluated] = [logs.training, logs.evaluation].map(seenIn);
    expect(trained!.map(({ answer }) => answer)).toEqual(trained!.map(first));
    expect(evaluated!.map(({ answer }) => answer)).toEqual(evaluated!.map(last));
    for (const seen of [trained!, evaluated!]) {
      expect(seen.some((one) => first(one) !== last(one))).toBe(true);
      expect(seen.some(({ thinking }) => thinking !== null && thinking !== "")).toBe(true);
    }
    const counts = linesOf(host, algorithm).map((line) => Number(line["reward_model/model/malformed"] ?? 0));
    const malformed = trained!.filter(({ answer }) => answer === null).length;
    expect(malformed).toBeGreaterThan(0);
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(malformed);
  });
});

test.each(names)(
  "%s says that the reward model's texts are cut, and not that the policy cannot begin",
  async (name) => {
    const host = testHost();
    const steps = name === "dpo" ? { rollouts: 5 } : { steps: 5 };
    const settings = { rewards: [], reward: { model: classifier, maxTokens: 2 }, format: whole };
    const ran = train(name, { ...settings, [name]: { ...groups[name], ...steps } }, host);
    await (name === "dpo" ? expect(ran).rejects.toMatchObject({ code: "NO_PAIRS" }) : ran); // all rewards are the same
    expect(notes(host).filter((text) => /^all rewards|of the texts/.test(text))).toEqual([
      expect.stringMatching(/^100% of the texts of steps 1 to 5 are longer than the reward model reads/),
    ]);
  },
);

describe("the critic of PPO", () => {
  test("begins as the policy, or as a reward model", async () => {
    const values = async (settings: Settings): Promise<number> => {
      const host = await train("ppo", { ppo: { ...groups.ppo, ...settings } });
      return linesOf(host, "ppo")[0]!["value/mean"] as number;
    };
    const [own, judge] = [await values({}), await values({ critic: { model: classifier } })];
    expect(own).not.toBe(judge);
    expect(await values({})).toBe(own);
  });

  test("has its memory in the plan", async () => {
    const recipe = makeRlmt(Engine);
    const ppo = { ...groups.ppo, critic: { model: classifier } };
    const config = resolveSettings("rlmt", recipe.schema, { model, data: "d.jsonl", algorithm: "ppo", ppo });
    expect(await recipe.memory!(config)).toMatch(/critic [\d.]+ GiB/);
    expect(recipe.plan(config).join("\n")).toContain(`critic: from ${classifier}, learning rate 0.00001`);
  });

  const wrong: [string, () => Promise<string>, string, RegExp][] = [
    [
      "another tokenizer",
      async () => fixture("reward/llama"),
      "CRITIC_TOKENIZER",
      /expected a model with the policy's tokens, since a critic reads the policy's ids, got .*, where id \d+ is .*; leave ppo\.critic\.model empty/,
    ],
    [
      "fewer positions",
      () => folder({ scalar: true, maxPositions: 32 }),
      "CRITIC_POSITIONS",
      /expected a model of at least the policy's 64 positions, got .* of 32/,
    ],
    ["no folder", async () => "/none", "MODEL_MISSING", /\/none/],
  ];
  test.each(wrong)("%s is refused", async (_, critic, code, message) => {
    const ppo = { ...groups.ppo, critic: { model: await critic() } };
    const error = { code, message: expect.stringMatching(message) };
    await expect(train("ppo", { ppo })).rejects.toMatchObject(error);
    const recipe = makeRlmt(Engine);
    const config = resolveSettings("rlmt", recipe.schema, { model, data: "d.jsonl", algorithm: "ppo", ppo });
    await expect(recipe.memory!(config)).rejects.toMatchObject(error); // what a dry run does
  });

  test("adapters: the policy's and the critic's, with the head trained whole", async () => {
    const host = await train("ppo", { lora: { rank: 2 } });
    expect(linesOf(host, "ppo").filter((line) => Number(line["value/grad_norm"]) > 0)).toHaveLength(3);
  });
});

test("the defaults of DPO and PPO are the paper's", () => {
  const { dpo, ppo } = resolveSettings("rlmt", makeRlmt(Engine).schema, { model: "m" });
  expect(dpo).toMatchObject({
    ...{
      rounds: 1,
      rollouts: 0,
      samplesPerPrompt: 8,
      minValid: 4,
      maxPairTokens: 8192,
      heldOutShare: 0.03,
      splitSeed: 42,
    },
    ...{ beta: 0.1, epochs: 2, pairsPerStep: 128, warmupShare: 0.05, reference: "initial" },
    optimizer: { learningRate: 3e-7, schedule: "cosine", weightDecay: 1e-4, beta1: 0.9, beta2: 0.95 },
    sampling: { temperature: 0.7 },
  });
  expect(ppo).toMatchObject({
    ...{ samplesPerPrompt: 1, gamma: 1, lambda: 1, whitenAdvantages: true, whitenRewards: false },
    sampling: { temperature: 0.7, maxTokens: 4096 },
    loss: { clipLow: 0.2, clipHigh: 0.2, klCoefficient: 0.001, entropyCoefficient: 0.001 },
    optimizer: { learningRate: 1e-6, weightDecay: 0.01, beta1: 0.9, beta2: 0.999, schedule: "constant" },
    critic: { model: "", valueClip: 0.5, coefficient: 1, optimizer: { learningRate: 1e-5, weightDecay: 0.01 } },
  });
});

describe("law 5: killed and resumed", () => {
  const checkpoint = { every: 1 };
  const judged: Settings = { reward: { model: "" }, checkpoint };
  const rounds = { rounds: 2, rollouts: 1 };

  const runs: Record<string, (host: RunHost) => Promise<unknown>> = {
    grpo: (host) => train("grpo", { ...judged, rewards: [], reward: { model: classifier } }, host),
    dpo: (host) => train("dpo", { ...judged, dpo: { ...groups.dpo, ...rounds } }, host),
    ppo: (host) => train("ppo", { ...judged, ppo: { ...groups.ppo, critic: { model: classifier } } }, host),
    "rlmt-warm-start": async (host) => {
      const recipe = makeWarmStart(Engine);
      const sft = { batch: 3, epochs: 2, optimizer: { learningRate: 0.01 } };
      const settings = { model, data: demonstrations, sft, checkpoint, filters: { english: false }, thinking: false };
      await recipe.run(resolveSettings("rlmt-warm-start", recipe.schema, settings), host);
    },
  };

  test.each(Object.entries(runs))("%s", { timeout: 120_000 }, async (_, run) => {
    const once = async (host: RunHost) => void (await run(host));
    const { left, writes } = await wholeRun(once);
    const [, early, , , late, , twice] = someCuts(writes);
    for (const cuts of [early!, late!, twice!])
      expect(await interruptedRun(once, cuts), writes[cuts[0]!.at - 1]!).toEqual(left);
  });
});
