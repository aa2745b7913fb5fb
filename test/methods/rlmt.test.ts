// The rlmt recipe from settings to run folder, on table models.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { makeRlmt } from "../../src/methods/rlmt.js";
import type { Message } from "../../src/prompt/chat.js";
import { FakeSource } from "../helpers/fake-engine.js";
import { jsonl, modelFolder, notes, phases, summaryOf, tempFolder } from "../helpers/recipes.js";
import { modulePath } from "../helpers/rewards.js";
import { eventsOf, readLines, testHost } from "../helpers/run-host.js";

const TEMPLATE =
  "{% for m in messages %}{{ m.role == 'user' and '<q> ' or '<answer> ' }}{{ m.content }} {% endfor %}" +
  "{% if add_generation_prompt %}-> {% endif %}";
const rewards = [{ module: modulePath("answers.mjs"), name: "judge", isolate: "thread" }];
const grpo = { steps: 2, prompts: 3, samplesPerPrompt: 4, sampling: { maxTokens: 12 } };
const questions = Array.from({ length: 40 }, (_, i) => ({ prompt: `${i} + ${i + 1}` }));

async function chatModel(): Promise<string> {
  const model = await modelFolder();
  writeFileSync(join(model, "chat_template.jinja"), TEMPLATE);
  return model;
}

async function run(settings: Settings, model?: string) {
  const host = testHost();
  const source = new FakeSource();
  const recipe = makeRlmt(source);
  const base = { data: jsonl(...questions), rewards, rewardWorkers: 1, grpo };
  const config = resolveSettings("rlmt", recipe.schema, { model: model ?? (await chatModel()), ...base, ...settings });
  await recipe.run(config, host);
  return { host, engine: source.made[0]!, options: source.options[0]!, summary: summaryOf(host) };
}

const metricsOf = (host: ReturnType<typeof testHost>, phase: string) =>
  readLines(host.out, "metrics.jsonl").filter((line) => line.phase === phase) as Record<string, number>[];
const heldOutOf = (host: ReturnType<typeof testHost>, phase: string) =>
  readLines(host.out, "held-out.jsonl").filter((line) => line.phase === phase);
const rolloutsOf = (host: ReturnType<typeof testHost>, phase: string) =>
  readLines(host.out, "rollouts.jsonl").filter((line) => line.phase === phase);

describe("a run", () => {
  test("judges held-out prompts before, while and after, and says what came of it", async () => {
    const { host, options, summary } = await run({ evaluation: { every: 1 } });
    expect(phases(host)).toEqual(["evaluate-before", "grpo", "evaluate-after"]);
    expect(options).toMatchObject({ reference: true });
    const lines = metricsOf(host, "grpo");
    const steps = lines.filter((line) => line["reward/mean"] !== undefined);
    expect(steps).toHaveLength(2);
    for (const step of steps) {
      expect(step).toMatchObject({ "reward/judge": expect.any(Number), kl: expect.any(Number), "mismatch/max_abs": 0 });
      expect(step.malformed).toBeGreaterThan(0);
      expect(step.malformed).toBeLessThanOrEqual(1);
    }
    expect(lines.filter((line) => line["eval/reward"] !== undefined)).toHaveLength(2);
    expect(summary).toMatchObject({
      recipe: "rlmt",
      thinking: true,
      start: "warm",
      train: { steps: 2 },
      before: {
        reward: { n: 4, interval: [expect.any(Number), expect.any(Number)] },
        malformed: { rate: expect.any(Number), n: 4 },
      },
      after: { reward: { n: 4 } },
      difference: { n: 4 },
    });
    expect(eventsOf(host, "table")[0]!.rows.map(([name]) => name)).toEqual([
      "before",
      "after GRPO",
      "difference, paired",
    ]);
  });

  test("a rollout that is malformed says what was graded in its place, others do not", async () => {
    const many = { ...grpo, samplesPerPrompt: 16 };
    const { host } = await run({ logging: { rolloutGroups: 3 }, grpo: many });
    const lines = rolloutsOf(host, "grpo");
    expect(new Set(lines.map(({ graded }) => graded))).toEqual(new Set([undefined, "[NULL]"]));
    for (const { reward, graded } of lines) if (graded !== undefined) expect(reward).toBe(-1);
    for (const line of metricsOf(host, "grpo")) expect(line["watch/malformed_lead"]).toBeLessThan(0);
  });

  test("keeps held-out prompts out of training, and every held-out answer in held-out.jsonl", async () => {
    const logging = { rolloutGroups: 3 };
    const { host } = await run({ logging, data: jsonl(...questions, ...questions), evaluation: { problems: 5 } });
    const asked = (phase: string) => heldOutOf(host, phase).map(({ messages }) => messages as readonly Message[]);
    const judged = asked("evaluate-after");
    expect(judged).toHaveLength(5);
    expect(asked("evaluate-before")).toEqual(judged);
    expect(heldOutOf(host, "evaluate-after")[0]).toMatchObject({
      figure: "reward",
      reward: expect.any(Number),
      step: 1,
    });
    const held = new Set<unknown>(judged.map(([message]) => `<q> ${message!.content} -> `));
    const trained = rolloutsOf(host, "grpo").map(({ prompt }) => prompt);
    expect(trained).toHaveLength(2 * 3 * 4);
    expect(trained[0]).toMatch(/^<q> .+ -> $/);
    expect(trained.filter((prompt) => held.has(prompt))).toEqual([]);
  });

  test("learns what the reward likes: the held-out reward rises", { timeout: 60_000 }, async () => {
    const learning = {
      steps: 40,
      prompts: 8,
      samplesPerPrompt: 8,
      sampling: { temperature: 1, maxTokens: 12 },
      optimizer: { learningRate: 0.1 },
    };
    const { summary } = await run({
      grpo: learning,
      data: jsonl(...questions, ...questions.map(({ prompt }) => ({ prompt: `( ${prompt} )` }))),
      evaluation: { every: 0, data: jsonl(...questions) },
    });
    expect(summary.difference.interval[0]).toBeGreaterThan(0);
    expect(summary.after.malformed.rate).toBeLessThan(summary.before.malformed.rate);
  });

  test.each([
    ["one held-out prompt", 1, { n: 1, mean: expect.any(Number), interval: null }, /^-?\d+\.\d{3}$/],
    ["two, of which none could be graded", 2, { n: 0, mean: null, interval: null }, /^-$/],
  ])("says what it can of %s", async (_, problems, reward, shown) => {
    const log = join(tempFolder(), "log.jsonl"); // rows without it cannot be graded
    const { host, summary } = await run({
      ...{ data: jsonl(...questions.map((row) => ({ ...row, log }))), grpo: { ...grpo, maxErrorShare: 1 } },
      rewards: [{ module: modulePath("records.mjs"), isolate: "thread" }],
      evaluation: { problems, every: 1, data: jsonl({ prompt: "7", ...(problems === 1 && { log }) }, { prompt: "8" }) },
    });
    expect(summary).toMatchObject({ before: { reward }, after: { reward }, difference: null });
    expect(eventsOf(host, "table")[0]!.rows.map(([, text]) => text)).toEqual(
      Array(2).fill(expect.stringMatching(shown)),
    );
  });

  const table = (folder: string) => readFileSync(join(folder, "table.json"), "utf8");
  const rewardsOf = (host: ReturnType<typeof testHost>) =>
    metricsOf(host, "grpo").flatMap((line) => line["eval/reward"] ?? []);

  test("stops early by the held-out reward, and ends with its best step's weights and figures", async () => {
    const long = { ...grpo, steps: 30, optimizer: { learningRate: 0.05 } };
    const digits = [{ module: modulePath("digits.mjs"), isolate: "thread" }];
    const settings = { thinking: false, rewards: digits, grpo: long, evaluation: { every: 1, patience: 2 } };
    const { host, summary } = await run(settings);
    const rewards = rewardsOf(host);
    const { steps, best } = summary.train;
    expect(steps).toBeLessThan(30);
    expect(best).toEqual({ figure: "eval/reward", step: steps - 2, value: Math.max(...rewards), kept: true });
    expect(rewards.at(-1)).toBeLessThan(best.value);
    expect(summary.after.reward.mean).toBeCloseTo(best.value, 12);
    expect(table(summary.model)).toBe(table(join(host.out, "checkpoints", "best", "model")));
    const value = best.value.toPrecision(4);
    expect(notes(host)).toContain(
      `stopped after step ${steps}, eval/reward being no better in 2 evaluations: eval/reward ${value} of step ${steps - 2} is the best, ` +
        `the run ends with the weights of step ${steps - 2}`,
    );
  });

  test("without patience it ends with the last weights, and says which step was the best", async () => {
    const { host, summary } = await run({ grpo: { ...grpo, steps: 4 }, evaluation: { every: 1 } });
    const rewards = rewardsOf(host);
    const { best } = summary.train;
    expect(best).toEqual({
      figure: "eval/reward",
      step: 1 + rewards.indexOf(best.value),
      value: best.value,
      kept: false,
    });
    expect(best.value).toBe(Math.max(...rewards));
    expect(summary.after.reward.mean).toBeCloseTo(rewards.at(-1)!, 12);
    expect(table(summary.model)).not.toBe(table(join(host.out, "checkpoints", "best", "model")));
    expect(notes(host)).toContainEqual(
      expect.stringMatching(new RegExp(`of step ${best.step} is the best: the run ends with the weights of step 4, `)),
    );
  });

  test("patience needs checkpoints, which have the best weights", () => {
    const settings = { model: "m", evaluation: { patience: 2 }, checkpoint: { every: 0 } };
    expect(() => resolveSettings("rlmt", makeRlmt(new FakeSource()).schema, settings)).toThrow(
      /evaluation\.patience: expected 0 without checkpoints .*, got 2/,
    );
  });
});

describe("the paper's arms and starts", () => {
  test("defaults are the paper's GRPO", () => {
    const config = resolveSettings("rlmt", makeRlmt(new FakeSource()).schema, { model: "m" });
    expect(config).toMatchObject({ thinking: true, start: "warm", maxPromptTokens: 1024, longPrompts: "truncate" });
    expect(config.grpo).toMatchObject({
      ...{ prompts: 64, samplesPerPrompt: 8, epochs: 1, miniBatches: 1, aggregate: "token-mean" },
      sampling: { temperature: 0.7, topP: 1, maxTokens: 4096, stopStrings: [] },
      advantage: { estimator: "grpo", scaleByStd: true, eps: 1e-6 },
      loss: {
        ratio: "token",
        clipLow: 0.2,
        clipHigh: 0.2,
        dualClip: 3,
        klCoefficient: 0.001,
        klEstimator: "k3",
        klMaxLogRatio: 20,
        klMax: 10,
        klIn: "loss",
      },
      optimizer: {
        learningRate: 1e-6,
        schedule: "constant",
        weightDecay: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        maxGradNorm: 1,
      },
    });
    expect(config.grpo.loss.entropyCoefficient).toBe(0.001);
  });

  test.each(["warm", "zero"])("%s: without thinking all else is equal", async (start) => {
    const model = await chatModel();
    const data = jsonl(...questions);
    const zero = { format: { template: "{query} {instruction}", instruction: "ok" } };
    const arm = (thinking: boolean) =>
      run({ start, thinking, data, logging: { rolloutGroups: 3 }, ...(start === "zero" && zero) }, model);
    const [think, plain] = [await arm(true), await arm(false)];
    const asked = ({ engine }: typeof think) =>
      engine.requests.map(({ prompts, seed, step, problemIds, samplesPerPrompt }) => ({
        ...{ ids: [...prompts.ids], cuts: [...prompts.cuSeqlens], seed, step, samplesPerPrompt },
        problems: problemIds && [...problemIds],
      }));
    expect(asked(plain)).toEqual(asked(think));
    const problems = ({ host }: typeof think) =>
      readLines(host.out, "rollouts.jsonl").map(({ phase, step, problem }) => [phase, step, problem]);
    expect(problems(plain)).toEqual(problems(think));
    expect(plain.summary).toMatchObject({ thinking: false, data: think.summary.data });
    const settings = ({ host }: typeof think) => JSON.parse(readFileSync(join(host.out, "recipe.json"), "utf8")).config;
    expect(settings(plain)).toEqual({ ...settings(think), thinking: false });
    if (start === "warm") expect(plain.summary.before.malformed.rate).toBe(0); // the whole text is the answer
  });

  test("zero: evaluation stops where the answer closes, training does not; both end with the turn", async () => {
    const format = { answerOpen: "<answer>", answerClose: "</answer>", endOfTurn: ["<nothing>", "stop"] };
    const { engine, host } = await run({ start: "zero", format, evaluation: { every: 1 } });
    const [before, first, , , , after] = engine.samplings;
    const stop = engine.samplings[1]!.stopTokenIds!;
    expect(stop).toEqual([102, 119]); // <eos> and stop
    expect(first).toMatchObject({ stopStrings: [], topP: 1, stopTokenIds: stop });
    expect(before).toMatchObject({ stopStrings: ["</answer>"], topP: 0.95, stopTokenIds: stop });
    expect(after).toEqual(before);
    const closed = rolloutsOf(host, "evaluate-before").filter(({ answer }) => answer !== "[NULL]");
    for (const { answer } of closed) expect(answer).not.toContain("</answer>");
  });

  test("an answer that a stop string closed is one", async () => {
    const sampling = { maxTokens: 200 };
    const format = { answerOpen: "<answer>", answerClose: "</answer>", completion: "<answer> {answer} </answer>" };
    const { summary } = await run({ start: "zero", thinking: false, format, grpo: { ...grpo, sampling } });
    expect(summary.before.malformed.rate).toBeLessThan(1);
  });

  test("the instruction of a warm start is a system message", async () => {
    const { host } = await run({ format: { instruction: "9" } });
    expect(rolloutsOf(host, "grpo")[0]!.prompt).toMatch(/^<answer> 9 <q> \d+ \+ \d+ -> $/);
  });
});

describe("prompts", () => {
  const long = { prompt: "7 ".repeat(40).trim() };

  test("too long ones keep their end, and are counted", async () => {
    const { engine, host, summary } = await run({
      data: jsonl(...questions, long),
      maxPromptTokens: 6,
      grpo: { ...grpo, steps: 14 },
      evaluation: { problems: 0 },
    });
    expect(summary.data[0]).toMatchObject({ rows: 41, truncated: 1, dropped: {} });
    expect(notes(host)[0]).toMatch(/1 of 41 prompts are cut to their last 6 tokens/);
    const prompts = engine.requests.flatMap(({ prompts: { ids, cuSeqlens } }) =>
      Array.from({ length: cuSeqlens.length - 1 }, (_, p) =>
        [...ids.subarray(cuSeqlens[p], cuSeqlens[p + 1])].join(" "),
      ),
    );
    expect(prompts).toContain("7 7 7 7 7 105"); // and the arrow that asks
    expect(phases(host)).toEqual(["grpo"]);
  });

  test("or are left out, and are counted", async () => {
    const { host, summary } = await run({ data: jsonl(...questions, long), maxPromptTokens: 6, longPrompts: "drop" });
    expect(summary.data[0]).toMatchObject({ rows: 41, truncated: 0, dropped: { "prompt longer than 6 tokens": 1 } });
    expect(notes(host)[0]).toMatch(/1 of 41 problems are left out/);
  });

  test("are left out of both arms alike, which train on and hold out the same rows", async () => {
    const rows = Array.from({ length: 40 }, (_, i) => ({
      prompt: Array(i + 1)
        .fill("7")
        .join(" "),
    }));
    const model = await chatModel();
    const short = "{instruction} {query} ->";
    const arm = async (thinking: boolean, settings: Settings = {}) => {
      const { host, summary } = await run(
        {
          ...{ data: jsonl(...rows), start: "zero", thinking, format: { template: short } },
          ...{ maxPromptTokens: 60, longPrompts: "drop", logging: { rolloutGroups: 3 }, ...settings },
        },
        model,
      );
      const sevens = (line: Record<string, unknown>) => String(line.prompt).match(/7/g)!.length;
      return {
        left: summary.data[0].dropped["prompt longer than 60 tokens"],
        heldOut: heldOutOf(host, "evaluate-after").map(({ problem }) => problem),
        trained: rolloutsOf(host, "grpo").map(sevens),
      };
    };
    const think = await arm(true);
    expect(think.left).toBeGreaterThan(0);
    expect(think.left).toBeLessThan(40);
    expect(think.heldOut.length).toBeGreaterThan(0);
    expect(await arm(false)).toEqual(think);
  });

  test("empty answers are graded like any other, and counted", async () => {
    const format = { thoughtClose: "1" }; // 41 is a thought without an answer
    const learning = { steps: 1, prompts: 16, samplesPerPrompt: 4, sampling: { maxTokens: 1 } };
    const { host } = await run({ format, grpo: learning, logging: { rolloutGroups: 16 }, evaluation: { problems: 0 } });
    const read = rolloutsOf(host, "grpo").filter(({ thinking, answer }) => thinking !== null && answer === "");
    expect(read.length).toBeGreaterThan(0);
    for (const { reward } of read) expect(reward).toBe(0);
    const [step] = metricsOf(host, "grpo");
    expect(step!["answers/empty"]).toBe(read.length / 64);
  });
});

describe("bad input is an error by name", () => {
  const turns = [
    { role: "user", content: "1" },
    { role: "assistant", content: "2" },
    { role: "user", content: "3" },
  ];
  const jinja = "{% for m in messages %}<|im_start|>{{ m.content }}{% endfor %}";
  const wrong: [string, Settings, string, RegExp][] = [
    ["no reward", { rewards: [] }, "RECIPE_VALUE", /reward\.model: expected a reward model or other rewards, got none/],
    ["no data", { data: "" }, "RECIPE_VALUE", /data: expected rows of prompts/],
    [
      "rows without a prompt",
      { data: jsonl(questions[0], { text: "1" }) },
      "JSONL_LINE",
      /:2\] expected a prompt as text/,
    ],
    ["prompts that are all too long", { maxPromptTokens: 2, longPrompts: "drop" }, "DATA_EMPTY", /maxPromptTokens/],
    [
      "a prompt without room for an answer",
      { data: jsonl({ prompt: "7 ".repeat(600) }) },
      "DATA_LENGTH",
      /512 positions/,
    ],
    [
      "several turns for a zero start",
      { start: "zero", data: jsonl({ messages: turns }) },
      "PROMPT_MESSAGES",
      /one user message/,
    ],
    [
      "an instruct template for a zero start",
      { start: "zero", format: { template: jinja } },
      "FORMAT",
      /\{query\} once/,
    ],
    [
      "settings of a chat template for a zero start",
      { start: "zero", chat: { kwargs: { enable_thinking: true } } },
      "RECIPE_VALUE",
      /chat: expected no settings .* set start=warm/,
    ],
    ["a module that is not there", { rewards: [{ module: "none.ts" }] }, "REWARD_MODULE_MISSING", /none\.ts/],
    [
      "a source with nothing but held-out prompts",
      { question: "1", evaluation: { problems: 1 } },
      "DATA_EMPTY",
      /beside the held-out ones/,
    ],
  ];
  test.each(wrong)("%s", async (_, settings, code, message) => {
    await expect(run(settings)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test("a warm start without a chat template", async () => {
    const refused = { code: "CHAT_TEMPLATE_MISSING", message: expect.stringMatching(/start: .*set start=zero/) };
    const base = await modelFolder();
    await expect(run({}, base)).rejects.toMatchObject(refused);
    const { check, schema } = makeRlmt(new FakeSource());
    const dry = (settings: Settings) => check!(resolveSettings("rlmt", schema, { model: base, ...settings }));
    await expect(dry({})).rejects.toMatchObject(refused);
    await dry({ start: "zero" });
  });

  test("a model without a tokenizer, in a dry run too", async () => {
    const { check, schema } = makeRlmt(new FakeSource());
    const base = await modelFolder();
    rmSync(join(base, "tokenizer.json"));
    const refused = { code: expect.stringMatching(/^TOKENIZER_/) };
    await expect(run({ start: "zero" }, base)).rejects.toMatchObject(refused);
    const config = resolveSettings("rlmt", schema, { model: base, start: "zero" });
    await expect(check!(config)).rejects.toMatchObject(refused);
  });
});
