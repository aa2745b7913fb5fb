// The rlvr recipe from settings to run folder, on table models.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { FakeSource } from "../helpers/fake-engine.js";
import { jsonl, modelFolder, phases } from "../helpers/recipes.js";
import { eventsOf, readLines, testHost } from "../helpers/run-host.js";

describe("rlvr", () => {
  const grpo = { steps: 2, prompts: 3, samplesPerPrompt: 2, sampling: { maxTokens: 8 } };

  async function run(settings: Settings) {
    const host = testHost();
    const source = new FakeSource();
    const recipe = makeRlvr(source);
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
