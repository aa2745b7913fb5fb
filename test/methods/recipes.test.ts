// The recipes from settings to run folder, on table models: what they do in which order, what they tell, what they leave.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { describeSettings } from "../../src/config/describe.js";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { recipes } from "../../src/methods/index.js";
import { makeQuickstart } from "../../src/methods/quickstart.js";
import { makeRlvr } from "../../src/methods/rlvr.js";
import { makeSft } from "../../src/methods/sft.js";
import { TRIAL_VOCAB_SIZE, trialTokenizerFiles } from "../../src/tasks/countdown-trial.js";
import { FakeEngine, FakeSource, fakeSpec } from "../helpers/fake-engine.js";
import { eventsOf, readLines, type TestHost, testHost } from "../helpers/run-host.js";

const eos = 102;

function tempFolder(): string {
  return mkdtempSync(join(tmpdir(), "zazen-recipe-"));
}

function jsonl(...records: unknown[]): string {
  const path = join(tempFolder(), "data.jsonl");
  writeFileSync(path, records.map((record) => JSON.stringify(record)).join("\n"));
  return path;
}

/** A folder as the fake engine loads it, with the trial's tokenizer. */
async function modelFolder(): Promise<string> {
  const folder = join(tempFolder(), "model");
  mkdirSync(folder);
  await new FakeEngine(fakeSpec(TRIAL_VOCAB_SIZE, eos)).save(folder);
  for (const [name, text] of Object.entries(trialTokenizerFiles(64))) writeFileSync(join(folder, name), text);
  return folder;
}

const phases = (host: TestHost) => eventsOf(host, "phase").map((event) => event.name);
const notes = (host: TestHost) => eventsOf(host, "note").map((event) => event.text);
const summaryOf = (host: TestHost) => JSON.parse(readFileSync(join(host.out, "summary.json"), "utf8"));

describe("every recipe", () => {
  test("is listed once with a summary", () => {
    expect(recipes.map((recipe) => recipe.name)).toEqual(["quickstart", "sft", "rlvr"]);
    for (const recipe of recipes) expect(recipe.summary.length).toBeGreaterThan(20);
  });

  test("has help and a default for every setting; only rlvr's model must be given", () => {
    for (const recipe of recipes) {
      const settings = describeSettings(recipe.schema);
      expect(settings.filter((setting) => setting.help === "").map((setting) => setting.key)).toEqual([]);
      const required = settings.filter((setting) => setting.default === undefined).map((setting) => setting.key);
      expect([recipe.name, ...required]).toEqual(recipe.name === "rlvr" ? ["rlvr", "model"] : [recipe.name]);
    }
  });

  test("resolves, plans, and refuses unknown keys by their nearest", () => {
    for (const recipe of recipes) {
      const given = recipe.name === "rlvr" ? { model: "m" } : {};
      const config = resolveSettings(recipe.name, recipe.schema, given);
      expect(recipe.plan(config).length).toBeGreaterThan(2);
      expect(() => resolveSettings(recipe.name, recipe.schema, { ...given, sede: 1 })).toThrow(/"sede".*seed/s);
    }
  });
});

describe("quickstart", () => {
  const small: Settings = {
    model: { maxPositions: 64 },
    sft: { steps: 3, tokensPerStep: 100 },
    grpo: { steps: 2, prompts: 2, samplesPerPrompt: 2, sampling: { maxTokens: 12 } },
    evaluation: { problems: 6, minimumPass: 0 },
  };

  async function run(change: Settings = {}, host = testHost()) {
    const source = new FakeSource();
    const recipe = makeQuickstart(source);
    const config = resolveSettings("quickstart", recipe.schema, { ...small, ...change });
    const summary = await recipe.run(config, host);
    return { host, source, summary };
  }

  test("the default model is the trial's", () => {
    const { model } = resolveSettings("quickstart", makeQuickstart(new FakeSource()).schema, {});
    const { width: d, layers, mlp } = model;
    expect(layers * (4 * d * d + 3 * d * mlp + 2 * d) + 2 * TRIAL_VOCAB_SIZE * d + d).toBe(355_680);
  });

  test("runs its parts in order and frees every engine", async () => {
    const { host, source } = await run();
    expect(phases(host)).toEqual(["sft", "evaluate-sft", "grpo", "evaluate-grpo"]);
    expect(source.made).toHaveLength(2);
    for (const engine of source.made) expect(engine.calls.at(-1)).toBe("dispose");
  });

  test("leaves recipe, metrics, rollouts, summary and both models with their tokenizers", async () => {
    const { host, summary } = await run({ seed: 4 });
    const recipe = JSON.parse(readFileSync(join(host.out, "recipe.json"), "utf8"));
    expect(recipe).toMatchObject({
      recipe: "quickstart",
      config: { seed: 4, grpo: { prompts: 2, loss: { clipLow: 0.2 } } },
    });
    expect(readLines(host.out, "metrics.jsonl")).toHaveLength(3 + 2 + 2 + 2);
    expect(readLines(host.out, "rollouts.jsonl")).toHaveLength(2 * 2 * 2);
    for (const model of ["model-sft", "model"]) {
      for (const name of ["table.json", "tokenizer.json", "tokenizer_config.json"]) {
        expect(existsSync(join(host.out, model, name))).toBe(true);
      }
    }
    expect(summaryOf(host)).toEqual(JSON.parse(JSON.stringify(summary)));
  });

  test("the summary has the figures of both arms", async () => {
    const { host } = await run();
    const summary = summaryOf(host);
    expect(Object.keys(summary.arms)).toEqual(["sft", "grpo"]);
    for (const arm of [summary.arms.sft, summary.arms.grpo]) {
      expect(arm.train).toMatchObject({ seconds: expect.any(Number), tokensPerSecond: expect.any(Number) });
      for (const how of [arm.sampled, arm.greedy]) {
        expect(how).toMatchObject({ attempts: expect.any(Number), thoughtTokens: expect.any(Number) });
        expect(how.pass).toMatchObject({
          n: 6,
          correct: expect.any(Number),
          interval: [expect.any(Number), expect.any(Number)],
        });
      }
    }
    expect(summary).toMatchObject({ seed: 0, learnt: expect.any(String), model: join(host.out, "model") });
  });

  test("ends with the table, one problem before and after, what was learnt, and the folder", async () => {
    const { host } = await run();
    const [table] = eventsOf(host, "table");
    expect(table!.columns.slice(2, 6)).toEqual(["pass@1", "interval", "attempts", "thought"]);
    expect(table!.rows.map((row) => row.slice(0, 2))).toEqual([
      ["SFT", "sampled"],
      ["", "greedy"],
      ["SFT, then GRPO", "sampled"],
      ["", "greedy"],
    ]);
    const shown = eventsOf(host, "rollout").filter((event) => event.phase === "evaluate-grpo");
    expect(shown.map((event) => event.label)).toEqual(["Before (SFT)", "After (SFT, then GRPO)"]);
    expect(notes(host).at(-2)).toMatch(/^pass@1 did not change: sampled, the same 0 of 6/); // a table cannot count
    expect(notes(host).at(-1)).toMatch(/zazen generate --model \S+\/model \\\n +--prompt '<q> [\d ]+ -> \d+ <think>'/);
  });

  test("begins with the size of the model, and names what each evaluation step measured", async () => {
    const { host, source } = await run();
    expect(host.events[0]).toMatchObject({
      type: "note",
      text: `parameters: ${source.made[0]!.parameters.toLocaleString("en-US")}`,
    });
    const evaluations = eventsOf(host, "step").filter((event) => event.phase.startsWith("evaluate"));
    expect(evaluations.map((event) => event.label)).toEqual(["sampled", "greedy", "sampled", "greedy"]);
  });

  test("fails with its figures kept, and does not start GRPO, when SFT is too weak", async () => {
    const host = testHost();
    await expect(run({ evaluation: { problems: 6, minimumPass: 0.15 } }, host)).rejects.toMatchObject({
      name: "TrainError",
      code: "SFT_TOO_WEAK",
      message: expect.stringMatching(/^\[quickstart\] expected .* at least 15\.0% .*, got 0\.0%; .*sft\.steps/),
    });
    expect(phases(host)).toEqual(["sft", "evaluate-sft"]);
    expect(eventsOf(host, "table")).toHaveLength(1);
    expect(summaryOf(host)).toMatchObject({ learnt: null, example: null, model: join(host.out, "model-sft") });
    expect(Object.keys(summaryOf(host).arms)).toEqual(["sft"]);
  });

  test("controls add their arms, each from the warm start or from scratch", async () => {
    const { host, source } = await run({ controls: true });
    expect(Object.keys(summaryOf(host).arms)).toEqual([
      "sft",
      "grpo",
      "sftContinued",
      "noGivingUp",
      "noThinkingSft",
      "noThinkingGrpo",
    ]);
    expect(phases(host).slice(4)).toEqual([
      "sft-continued",
      "evaluate-sft-continued",
      "no-giving-up",
      "no-thinking-sft",
      "evaluate-no-thinking-sft",
      "no-thinking-grpo",
      "evaluate-no-thinking-grpo",
    ]);
    const { sftContinued, noGivingUp } = summaryOf(host).arms;
    expect(noGivingUp.train).toBeNull();
    expect(sftContinued.train.steps).toBeGreaterThan(0);
    for (const engine of source.made) expect(engine.calls.at(-1)).toBe("dispose");
    const unthinking = source.made[4]!.batches[0]!.batch;
    expect([...unthinking.ids]).not.toContain(106); // <think>
  });

  test("the same seed gives the same figures", async () => {
    const figures = async (seed: number) => {
      const { host } = await run({ seed });
      return readLines(host.out, "metrics.jsonl").map(({ loss, lr, "reward/mean": reward, "pass@1": pass }) => [
        loss,
        lr,
        reward,
        pass,
      ]);
    };
    expect(await figures(3)).toEqual(await figures(3));
    expect(await figures(4)).not.toEqual(await figures(3));
  });
});

describe("sft", () => {
  async function run(settings: Settings, host = testHost()) {
    const source = new FakeSource();
    const recipe = makeSft(source);
    const config = resolveSettings("sft", recipe.schema, { sft: { steps: 2, tokensPerStep: 40 }, ...settings });
    const summary = await recipe.run(config, host);
    return { host, source, summary };
  }

  test("trains a model from scratch on the built-in trial", async () => {
    const { host, source, summary } = await run({});
    expect(source.made[0]!.spec).toMatchObject({ vocabSize: TRIAL_VOCAB_SIZE, eosTokenIds: [eos] });
    expect(summary).toMatchObject({ recipe: "sft", model: join(host.out, "model"), train: { steps: 2 } });
    expect(notes(host)[0]).toMatch(/^parameters: [\d,]+$/);
    expect(notes(host).at(-1)).toMatch(/generate --model \S+\/model .*\n.*'<q> .* <think>'/);
    expect(existsSync(join(host.out, "model", "tokenizer.json"))).toBe(true);
  });

  test("trains a model folder on texts, completions ended and prompts not counted", async () => {
    const data = jsonl({ prompt: "<q> 3 2", completion: "3 + 2 </answer>" });
    const { source } = await run({ model: await modelFolder(), data });
    const { batch } = source.made[0]!.batches[0]!;
    expect([...batch.ids.subarray(0, 8)]).toEqual([104, 3, 2, 3, 110, 2, 109, eos]);
    expect([...batch.weights.subarray(0, 8)].map((weight) => weight > 0)).toEqual([
      false,
      false,
      false,
      true,
      true,
      true,
      true,
      true,
    ]);
    expect(batch.cuSeqlens).toHaveLength(6); // five of eight tokens fit in 40
  });

  test("trains on the last message of conversations through the chat template", async () => {
    const model = await modelFolder();
    const template =
      "{% for m in messages %}{{ m.role == 'user' and '<q> ' or '<answer> ' }}{{ m.content }} {% endfor %}{% if add_generation_prompt %}<answer> {% endif %}";
    writeFileSync(join(model, "chat_template.jinja"), template);
    const messages = [
      { role: "user", content: "3 2" },
      { role: "assistant", content: "5 </answer>" },
    ];
    const { source } = await run({ model, data: jsonl({ messages }) });
    const { batch } = source.made[0]!.batches[0]!;
    expect([...batch.ids.subarray(0, 7)]).toEqual([104, 3, 2, 108, 5, 109, eos]);
    expect([...batch.weights.subarray(0, 7)].map((weight) => weight > 0)).toEqual([
      false,
      false,
      false,
      false,
      true,
      true,
      true,
    ]);
  });

  test.each([
    [
      "another shape",
      [{ prompt: "1", completion: "2" }, { text: "3" }],
      "JSONL_LINE",
      /data\.jsonl:2\] expected \{prompt, completion\}.*keys text/,
    ],
    [
      "messages that end with the user's",
      [
        {
          messages: [
            { role: "assistant", content: "1" },
            { role: "user", content: "2" },
          ],
        },
      ],
      "JSONL_LINE",
      /:1\]/,
    ],
    [
      "messages without a chat template",
      [
        {
          messages: [
            { role: "user", content: "1" },
            { role: "assistant", content: "2" },
          ],
        },
      ],
      "CHAT_TEMPLATE_MISSING",
      /:1\]/,
    ],
    [
      "too many tokens",
      [{ prompt: "1", completion: "2 ".repeat(600) }],
      "DATA_LENGTH",
      /:1\] expected 1 to 512 tokens/,
    ],
    ["no records", [], "JSONL_EMPTY", /data\.jsonl\]/],
  ])("%s is an error that names the place", async (_, records, code, message) => {
    const host = testHost();
    const running = run({ model: await modelFolder(), data: jsonl(...records) }, host);
    await expect(running).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(readdirSync(host.out)).toEqual([]); // the corrected command may use it
  });

  test("a model from scratch on a file needs a tokenizer", async () => {
    await expect(run({ data: jsonl({ prompt: "1", completion: "2" }) })).rejects.toMatchObject({
      code: "RECIPE_VALUE",
      message: expect.stringContaining("tokenizer"),
    });
    const { source } = await run({ data: jsonl({ prompt: "1", completion: "2" }), tokenizer: await modelFolder() });
    expect(source.made[0]!.spec.vocabSize).toBe(TRIAL_VOCAB_SIZE);
  });
});

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
    ["no data", {}, "RECIPE_VALUE", /data: expected a JSONL file/],
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
