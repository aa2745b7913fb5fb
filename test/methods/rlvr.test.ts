// The rlvr recipe from settings to run folder, on table models.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import type { EngineSource } from "../../src/engine/like.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { FakeSource } from "../helpers/fake-engine.js";
import { jsonl, modelFolder, notes, phases } from "../helpers/recipes.js";
import { rewardFolder } from "../helpers/reward-models.js";
import { modulePath } from "../helpers/rewards.js";
import { eventsOf, readLines, testHost } from "../helpers/run-host.js";

/** Fakes for folders of fakes, the engine for others. */
function sourceWithReal(fakes: FakeSource): EngineSource {
  return {
    create: (...args) => fakes.create(...args),
    load: (folder, options) =>
      existsSync(join(folder, "table.json")) ? fakes.load(folder, options) : Engine.load(folder, options),
  };
}

describe("rlvr", () => {
  const grpo = { steps: 2, prompts: 3, samplesPerPrompt: 2, sampling: { maxTokens: 8 } };

  async function run(settings: Settings) {
    const host = testHost();
    const source = new FakeSource();
    const recipe = makeRlvr(sourceWithReal(source));
    const model = await modelFolder();
    const config = resolveSettings("rlvr", recipe.schema, { model, grpo, ...settings });
    const summary = await recipe.run(config, host);
    return { host, source, summary };
  }

  const problems = [
    { numbers: [3, 2, 1], target: 6 },
    { nums: [4, 4], target: 8 },
  ];

  test("runs the built-in trial on a model of its vocabulary, judged before and after", async () => {
    const { host, summary } = await run({ task: "countdown-trial", evaluation: { problems: 5 } });
    expect(phases(host)).toEqual(["evaluate-before", "grpo", "evaluate-after"]);
    expect(summary).toMatchObject({ before: { sampled: { n: 5 } }, after: { greedy: { n: 5 } }, train: { steps: 2 } });
    expect(eventsOf(host, "table")[0]!.rows).toHaveLength(2);
    expect(existsSync(join(host.out, "model", "tokenizer.json"))).toBe(true);
  });

  test("runs Countdown from a file, asked as the settings say", async () => {
    const question = "numbers {numbers} target {target}";
    const { host, source } = await run({ data: jsonl(...problems), question, format: "zero-plain" });
    expect(phases(host)).toEqual(["grpo"]);
    const [first] = readLines(host.out, "rollouts.jsonl");
    expect(first!.prompt).toMatch(/User: <query>numbers (3, 2, 1 target 6|4, 4 target 8)<\/query>\nAssistant:$/);
    expect(source.options[0]).toMatchObject({ reference: false });
  });

  const sums = [
    { question: "1 + 1?", answer: "1 + 1 = <<1+1=2>>2\n#### 2" },
    { question: "2 + 3?", answer: "#### 5" },
  ];

  test("runs on rows as GSM8K has them, graded by maths, and says that no group has spread", async () => {
    const evaluation = { data: jsonl(...sums), problems: 2 };
    const { host, summary } = await run({ data: jsonl(...sums), evaluation });
    expect(phases(host)).toEqual(["evaluate-before", "grpo", "evaluate-after"]);
    expect(summary).toMatchObject({ before: { sampled: { n: 2 } }, train: { steps: 2 } });
    const answers = readLines(host.out, "held-out.jsonl");
    expect(answers.map(({ phase, decoded, problem }) => [phase, decoded, problem])).toEqual(
      ["evaluate-before", "evaluate-after"].flatMap((phase) =>
        ["sampled", "greedy"].flatMap((decoded) => [0, 1].map((problem) => [phase, decoded, problem])),
      ),
    );
    expect(answers[1]).toMatchObject({
      ...{ figure: "pass@1", reward: 0, malformed: true, answer: "[NULL]", thinking: null, thoughtTokens: null },
      messages: [{ role: "user", content: "2 + 3?" }],
      tokens: expect.any(Number),
    });
    const steps = readLines(host.out, "metrics.jsonl").filter(({ phase }) => phase === "grpo");
    for (const step of steps) expect(step).toMatchObject({ "reward/maths": 0, "reward/mean": 0, "reward/errors": 0 });
    expect(notes(host).filter((text) => text.includes("spread"))).toEqual([
      expect.stringMatching(/^nothing was learnt: in none of 2 steps did a group have spread/),
    ]);
  });

  test("sums several rewards, a module among them, and logs each", async () => {
    const rewards = [
      { kind: "maths", weight: 2 },
      { module: modulePath("plain.mjs"), name: "length", isolate: "thread", weight: 0.5 },
    ];
    const { host, source } = await run({ data: jsonl(...sums), rewards, rewardWorkers: 1 });
    const [step] = readLines(host.out, "metrics.jsonl") as Record<string, number>[];
    expect(step).toMatchObject({ malformed: 1 }); // a table of random weights writes no marks
    expect(step!["reward/length"]).toBeGreaterThan(0);
    expect(step!["reward/mean"]).toBeCloseTo(2 * step!["reward/maths"]! + 0.5 * step!["reward/length"]!, 9);
    expect(source.options).toHaveLength(1);
    const [rollout] = readLines(host.out, "rollouts.jsonl");
    expect(rollout!.prompt).toMatch(/<query>(1 \+ 1|2 \+ 3)\?<\/query>/);
  });

  test.each(["native", "onnx"])("a reward model with another vocabulary than the policy's, %s", async (runtime) => {
    const model = rewardFolder(runtime === "onnx" ? { onnx: "llama/model" } : { safetensors: true });
    const rewards = [
      { kind: "model", model, weight: 2, maxTokens: 40 },
      { kind: "maths", weight: 0.5 },
    ];
    const evaluation = { data: jsonl(...sums), problems: 2 };
    const { host, summary } = await run({ data: jsonl(...sums), rewards, evaluation, format: "zero-plain" });
    const memory = /\(reward model 0\.\d+ GiB, reward threads 0\.\d+ GiB, process 0\.\d+ GiB\)/;
    expect(notes(host).find((text) => text.startsWith("memory:"))).toMatch(memory);
    const steps = readLines(host.out, "metrics.jsonl").filter(({ phase }) => phase === "grpo");
    expect(steps).toHaveLength(2);
    for (const step of steps as Record<string, number>[]) {
      expect(step["reward/mean"]).toBeCloseTo(2 * step["reward/model"]! + 0.5 * step["reward/maths"]!, 9);
      expect(step["reward/model"]).toBeLessThan(-0.5);
      expect(step).toMatchObject({ "reward_model/model/truncated": expect.any(Number), "reward/errors": 0 });
    }
    expect(summary).toMatchObject({ before: { sampled: { n: 2 } } });
  });

  test("reward models alone say no answer right: nothing can be evaluated by them", async () => {
    const rewards = [{ kind: "model", model: rewardFolder({ safetensors: true }) }];
    const evaluation = { data: jsonl(...sums), problems: 2 };
    await expect(run({ data: jsonl(...sums), rewards, evaluation })).rejects.toMatchObject({
      code: "RECIPE_VALUE",
      message: expect.stringMatching(/evaluation\.data: expected none with reward models alone/),
    });
    const { summary } = await run({ data: jsonl({ prompt: "Hi" }), rewards });
    expect(summary).toMatchObject({ before: null, train: { steps: 2 } });
  });

  test("asks through a template, and leaves long prompts out", async () => {
    const choices = { question: "7 ".repeat(400), choices: ["red", "blue"], answer: 1 };
    const rewards = [{ kind: "choice" }];
    const question = "{question}\n{choices}\nWhich one?";
    const asked = {
      data: jsonl({ ...choices, question: "Colour?" }, choices),
      rewards,
      question,
      format: "zero-plain",
    };
    const { host } = await run({ ...asked, maxPromptTokens: 300 });
    expect(readLines(host.out, "rollouts.jsonl")[0]!.prompt).toContain("Colour?\nA. red\nB. blue\nWhich one?");
    expect(notes(host)[0]).toMatch(/1 of 2 problems are left out: prompts of more than 300 tokens/);
  });

  test("a KL coefficient asks the engine for a reference", async () => {
    const { source } = await run({
      task: "countdown-trial",
      grpo: { ...grpo, loss: { klCoefficient: 0.1 } },
      evaluation: { problems: 0 },
    });
    expect(source.options[0]).toMatchObject({ reference: true });
  });

  test.each([
    ["no data", {}, "RECIPE_VALUE", /data: expected rows of/],
    [
      "a problem that is none",
      { data: jsonl(problems[0], { numbers: [1.5], target: 2 }) },
      "JSONL_LINE",
      /data\.jsonl:2\]/,
    ],
    ["numbers out of range", { data: jsonl({ numbers: [], target: 2 }) }, "JSONL_LINE", /:1\] \[countdown\]/],
    ["a row without a prompt", { data: jsonl({ answer: "2" }) }, "JSONL_LINE", /:1\] expected a prompt as text/],
    ["a row without an answer", { data: jsonl(sums[0], { question: "?" }) }, "JSONL_LINE", /:2\] .*field "answer"/],
    [
      "a template that shows the answer",
      { data: jsonl(...sums), question: "{question} {answer}" },
      "RECIPE_VALUE",
      /question: .*does not show the right answer, got \{answer\}/,
    ],
    [
      "a template with a field that is not there",
      { data: jsonl(...sums), question: "{qestion}" },
      "JSONL_LINE",
      /field \{qestion\} .*did you mean "question"/,
    ],
    [
      "a module that is not there",
      { data: jsonl(...sums), rewards: [{ module: "none.ts" }] },
      "REWARD_MODULE_MISSING",
      /none\.ts/,
    ],
    ["prompts that are all too long", { data: jsonl(...sums), maxPromptTokens: 2 }, "DATA_EMPTY", /maxPromptTokens/],
    [
      "a prompt without room for an answer",
      { data: jsonl({ question: "7 ".repeat(600), answer: "1" }) },
      "DATA_LENGTH",
      /512 positions/,
    ],
    [
      "several messages for a format of one",
      {
        data: jsonl({
          messages: [
            { role: "system", content: "s" },
            { role: "user", content: "u" },
          ],
          answer: "1",
        }),
      },
      "PROMPT_MESSAGES",
      /one user message/,
    ],
    [
      "a chat format without a template",
      { data: jsonl(...problems), format: "warm-plain" },
      "CHAT_TEMPLATE_MISSING",
      /format/,
    ],
  ])("%s is an error by name", async (_, settings, code, message) => {
    await expect(run(settings)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test.each([
    [{ loss: { klCoefficient: 1e7 } }, /klCoefficient/],
    [{ loss: { dualClip: 1 } }, /dualClip/],
    [{ sampling: { temperature: 1e-7 } }, /temperature/],
    [{ optimizer: { eps: 1e-60 } }, /eps/],
  ])("what the engine would refuse at the first step is refused before: %j", (grpo, message) => {
    const { schema } = makeRlvr(new FakeSource());
    expect(() => resolveSettings("rlvr", schema, { model: "m", grpo })).toThrow(message);
  });

  test("a greedy policy cannot be trained", () => {
    const { schema } = makeRlvr(new FakeSource());
    const settings = { model: "m", grpo: { sampling: { temperature: 0 } } };
    expect(() => resolveSettings("rlvr", schema, settings)).toThrow(/temperature > 0/);
  });
});
