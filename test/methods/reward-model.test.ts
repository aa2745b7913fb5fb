// The reward-model recipe from rows to a saved classifier, on the engine: what becomes of rows, what is learnt and said, and a run that is
// stopped and resumed.
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { Engine } from "../../src/engine/engine.js";
import { openPairs } from "../../src/methods/pair-data.js";
import { pairCodec } from "../../src/methods/pair-rows.js";
import { makeRewardModel, type RewardModelConfig } from "../../src/methods/reward-model.js";
import { llamaSpec } from "../../src/methods/settings.js";
import type { Learner } from "../../src/methods/sft-data.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { RewardText } from "../../src/reward/model/text.js";
import { TRIAL_VOCAB_SIZE, trialTokenizerFiles } from "../../src/tasks/countdown-trial.js";
import { judgePairs, packPairs } from "../../src/train/reward-model.js";
import { mortalDisk, PowerCut, remains, resuming } from "../helpers/crash.js";
import { fakeSpec } from "../helpers/fake-engine.js";
import { eos, jsonl, notes, summaryOf, tempFolder } from "../helpers/recipes.js";
import { readLines, testHost } from "../helpers/run-host.js";

const QUESTION = 104; // <q>
const ANSWER = 108; // <answer>
const template =
  "{% for m in messages %}{{ m.role == 'user' and '<q> ' or '<answer> ' }}{{ m.content }} {% endfor %}" +
  "{% if add_generation_prompt %}<answer> {% endif %}";
const recipe = makeRewardModel(Engine);
const resolve = (settings: Settings) => resolveSettings<RewardModelConfig>("reward-model", recipe.schema, settings);

let model: string; // a language model with the trial's tokenizer
let chat: string; // the same with a chat template
beforeAll(async () => {
  const spec = llamaSpec({
    vocabSize: TRIAL_VOCAB_SIZE,
    width: 32,
    layers: 1,
    heads: 2,
    mlp: 48,
    maxPositions: 64,
    eosTokenId: eos,
  });
  await using engine = await Engine.create(spec, { seed: 1 }, { trainable: false });
  const save = async () => {
    const folder = join(tempFolder(), "model");
    mkdirSync(folder);
    await engine.save(folder);
    for (const [name, text] of Object.entries(trialTokenizerFiles(64))) writeFileSync(join(folder, name), text);
    return folder;
  };
  model = await save();
  chat = await save();
  writeFileSync(join(chat, "chat_template.jinja"), template);
});

/** The better answer is the larger number. */
const preferences = (count: number, from = 0, mark = "") =>
  Array.from({ length: count }, (_, i) => {
    const small = 1 + ((from + 5 * i) % 15);
    const large = small + 1 + ((from + 7 * i) % (16 - small));
    return { prompt: `${mark}${1 + (i % 16)} `, chosen: `${large}`, rejected: `${small}` };
  });

describe("rows", () => {
  const turns = (...contents: string[]) =>
    contents.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }));

  async function open(settings: Settings, folder = chat) {
    using tokenizer = await Tokenizer.load(folder);
    const learner: Learner = { folder, tokenizer, spec: fakeSpec(TRIAL_VOCAB_SIZE, eos) };
    return await openPairs(resolve(settings), learner, testHost());
  }

  async function first(row: unknown, settings: Settings = {}, folder = chat) {
    using pairs = await open({ data: jsonl(row), ...settings }, folder);
    const [{ chosen, rejected, margin }] = pairs.next(1) as [ReturnType<typeof pairs.next>[number]];
    return { chosen: [...chosen], rejected: [...rejected], margin };
  }

  const wanted = { chosen: [QUESTION, 3, ANSWER, 3], rejected: [QUESTION, 3, ANSWER, 4], margin: 0 };

  test.each<[string, object]>([
    ["texts", { prompt: "3", chosen: "3", rejected: "4" }],
    ["a text and messages", { prompt: "3", chosen: [{ role: "assistant", content: "3" }], rejected: "4" }],
    ["messages and texts", { prompt: turns("3"), chosen: "3", rejected: "4" }],
    ["whole conversations", { chosen: turns("3", "3"), rejected: turns("3", "4") }],
    ["whole conversations beside their prompt", { prompt: "3", chosen: turns("3", "3"), rejected: turns("3", "4") }],
  ])("%s go through the chat template", async (_, row) => expect(await first(row)).toEqual(wanted));

  test("conversations of several turns, and a margin", async () => {
    const row = { prompt: turns("1", "2", "3"), chosen: "3", rejected: "4", margin: 0.5 };
    const before = [QUESTION, 1, ANSWER, 2, QUESTION, 3, ANSWER];
    expect(await first(row)).toEqual({ chosen: [...before, 3], rejected: [...before, 4], margin: 0.5 });
  });

  test("texts end to end, ended, where there is no template or none is wanted", async () => {
    const row = { prompt: "<q> 3 ", chosen: "3", rejected: "4" };
    const plain = { chosen: [QUESTION, 3, 3, eos], rejected: [QUESTION, 3, 4, eos], margin: 0 };
    expect(await first(row, {}, model)).toEqual(plain);
    expect(await first(row, { pairs: { asChat: false } })).toEqual(plain);
    expect(await first({ chosen: "<q> 3", rejected: "<q> 4" })).toEqual({
      chosen: [QUESTION, 3, eos],
      rejected: [QUESTION, 4, eos],
      margin: 0,
    });
  });

  test("columns of other names", async () => {
    const row = { question: "3", better: "3", worse: "4", gap: 2 };
    const columns = { prompt: "question", chosen: "better", rejected: "worse", margin: "gap" };
    using pairs = await open({ data: [{ source: jsonl(row), columns }] });
    expect(pairs.next(1)[0]).toMatchObject({ margin: 2 });
  });

  test("longer ones lose their end or their beginning, or their pair is left out; all are counted", async () => {
    const rows = [
      { prompt: "1", chosen: "2 3 4 5 6", rejected: "7" },
      { prompt: "1", chosen: "2", rejected: "3" },
    ];
    const cut = async (tooLong: string) => {
      using pairs = await open({ data: jsonl(...rows), pairs: { maxTokens: 5, tooLong } });
      return { chosen: [...pairs.first(1)[0]!.chosen], longest: pairs.longest, report: pairs.reports[0]! };
    };
    expect(await cut("right")).toMatchObject({
      chosen: [QUESTION, 1, ANSWER, 2, 3],
      longest: 5,
      report: { truncated: 1 },
    });
    expect(await cut("left")).toMatchObject({ chosen: [2, 3, 4, 5, 6], report: { truncated: 1, dropped: {} } });
    expect(await cut("drop")).toMatchObject({
      chosen: [QUESTION, 1, ANSWER, 2],
      report: { truncated: 0, dropped: { "longer than 5 tokens": 1 } },
    });
    await expect(cut("error")).rejects.toMatchObject({
      code: "DATA_LENGTH",
      message: expect.stringMatching(/:1\] expected 1 to 5 tokens, got 8; .*pairs\.tooLong/),
    });
  });

  test("pairs that are alike, or become so, are left out and counted", async () => {
    const rows = [
      { prompt: "1", chosen: "2", rejected: "2" },
      { prompt: "1", chosen: "2 3 4", rejected: "2 3 5" },
      { prompt: "1", chosen: "2", rejected: "3" },
    ];
    using pairs = await open({ data: jsonl(...rows), pairs: { maxTokens: 5, tooLong: "right" } });
    expect(pairs.reports[0]!.dropped).toEqual({ "chosen and rejected alike": 2 });
    const alike = open({ data: jsonl(rows[0]) });
    await expect(alike).rejects.toMatchObject({ code: "DATA_EMPTY", message: expect.stringContaining("alike") });
  });

  test("an empty answer stops the run, or is counted", async () => {
    const rows = [
      { prompt: "1", chosen: " ", rejected: "2" },
      { prompt: "1", chosen: "2", rejected: "3" },
    ];
    await expect(open({ data: jsonl(...rows) })).rejects.toMatchObject({
      code: "JSONL_LINE",
      message: expect.stringMatching(/:1\] expected answers with text, got an empty one as chosen.*pairs\.empty/),
    });
    using pairs = await open({ data: jsonl(...rows), pairs: { empty: "drop" } });
    expect(pairs.reports[0]!.dropped).toEqual({ "an empty answer": 1 });
  });

  test.each<[string, object, RegExp]>([
    ["no rejected answer", { prompt: "1", chosen: "2" }, /expected \{prompt, chosen, rejected\}.*keys prompt, chosen/],
    ["a margin that is no number", { prompt: "1", chosen: "2", rejected: "3", margin: "1" }, /a number as margin/],
    ["an answer of messages without a prompt", { chosen: turns("", "2").slice(1), rejected: "3" }, /expected a prompt/],
    ["an answer that ends with the user's turn", { chosen: turns("1"), rejected: turns("1", "2") }, /got user's/],
    [
      "a role of its own",
      { prompt: "1", chosen: [{ role: "tool", content: "2" }], rejected: "3" },
      /expected \{prompt/,
    ],
  ])("%s is refused by its place", async (_, row, message) => {
    await expect(open({ data: jsonl(row) })).rejects.toMatchObject({
      code: "JSONL_LINE",
      message: expect.stringMatching(new RegExp(`data\\.jsonl:1\\] .*${message.source}`)),
    });
  });

  test("messages without a chat template", async () => {
    const opened = open({ data: jsonl({ chosen: turns("1", "2"), rejected: turns("1", "3") }) }, model);
    await expect(opened).rejects.toMatchObject({ code: "CHAT_TEMPLATE_MISSING" });
  });

  test("a pair becomes bytes and comes back", () => {
    const pair = { chosen: Int32Array.of(1, 2, 3), rejected: Int32Array.of(7), margin: 0.25 };
    expect(pairCodec.decode(pairCodec.encode(pair))).toEqual(pair);
    expect(packPairs([pair, { ...pair, margin: 1 }])).toMatchObject({
      cuSeqlens: Int32Array.of(0, 3, 4, 7, 8),
      pairWeights: Float32Array.of(0.5, 0.5),
      margins: Float32Array.of(0.25, 1),
    });
  });
});

describe("the recipe", { timeout: 60_000 }, () => {
  const learning = (): Settings => ({
    model: chat,
    data: jsonl(...preferences(240)),
    reward: { steps: 150, pairsPerStep: 16, optimizer: { learningRate: 5e-3, warmupSteps: 0 } },
    evaluation: { data: jsonl(...preferences(64, 7)), every: 50 },
    checkpoint: { every: 20 },
  });

  async function run(settings: Settings, host = testHost()) {
    const summary = await recipe.run(resolve(settings), host);
    return { host, summary: summary as Record<string, never> };
  }

  test("learns the order of pairs, says so, and saves a classifier that gives the same scores", async () => {
    const { host } = await run(learning());
    const summary = summaryOf(host);
    expect(summary.heldOut.accuracy).toMatchObject({ n: 64, interval: [expect.any(Number), expect.any(Number)] });
    expect(summary.heldOut.accuracy.rate).toBeGreaterThan(0.8);
    expect(notes(host).join("\n")).toMatch(/held-out pairs in the right order: \d+\.\d \[\d+\.\d, \d+\.\d\] % of 64/);
    const steps = readLines(host.out, "metrics.jsonl").filter((line) => "loss" in line);
    expect(steps).toHaveLength(150);
    expect(Object.keys(steps[0]!)).toEqual(
      expect.arrayContaining(["accuracy", "margin", "reward/mean", "reward/chosen", "grad_norm", "lr"]),
    );
    expect(steps.at(-1)!.loss).toBeLessThan(0.7 * (steps[0]!.loss as number));
    expect(steps.at(-1)!.accuracy).toBeGreaterThan(0.8);
    const config = JSON.parse(readFileSync(join(summary.model, "config.json"), "utf8"));
    expect(config.architectures).toEqual(["LlamaForSequenceClassification"]);
    expect(readdirSync(summary.model)).toEqual(expect.arrayContaining(["tokenizer.json", "chat_template.jinja"]));
    await using engine = await Engine.load(summary.model, { trainable: false });
    using tokenizer = await Tokenizer.load(summary.model);
    const learner = { folder: summary.model, tokenizer, spec: engine.spec };
    const { evaluation } = resolve(learning());
    using held = await openPairs(resolve({ data: evaluation.data as string }), learner, testHost());
    const judged = await judgePairs(engine, held.first(64), new AbortController().signal);
    expect(JSON.parse(JSON.stringify(judged))).toEqual(summary.heldOut);
  });

  /** Ids of an answer as reinforcement learning has the reward model read it, and those of the pair that it was trained on. */
  async function bothReadings(folder: string, settings: Settings, learnerFolder: string) {
    const { template, maxTokens } = { template: "", maxTokens: 64 };
    using read = await RewardText.load(
      { template, kwargs: {}, date: "2025-01-31" },
      { folder, maxTokens, where: "test" },
    );
    using tokenizer = await Tokenizer.load(learnerFolder);
    const learner = { folder: learnerFolder, tokenizer, spec: fakeSpec(TRIAL_VOCAB_SIZE, eos) };
    using pairs = await openPairs(resolve(settings), learner, testHost());
    const { ids } = await read.read([{ messages: [{ role: "user", content: "<q> 3 " }], answer: "5" }], 0);
    return [ids[0], pairs.first(1)[0]!.chosen] as const;
  }

  const few = { steps: 2, pairsPerStep: 4 };

  test("of texts without a chat template, the reward model gets one that writes what it was trained on", async () => {
    const settings = { model, data: jsonl({ prompt: "<q> 3 ", chosen: "5", rejected: "4" }), reward: few };
    const { host } = await run(settings);
    const [read, trained] = await bothReadings(summaryOf(host).model, settings, model);
    expect(read).toEqual(trained);
    expect([...trained]).toEqual([QUESTION, 3, 5, eos]);
    const told = notes(host).join("\n");
    expect(told).toMatch(/written end to end; chat_template\.jinja/);
    expect(told).toMatch(/npx zazen train rlmt[\s\S]*reward\.model=\S+model[\s\S]*start=zero/);
  });

  test("of several chat templates the reward model gets the one that it was trained by; the next command has its variables", async () => {
    const folder = join(tempFolder(), "model");
    cpSync(model, folder, { recursive: true });
    mkdirSync(join(folder, "additional_chat_templates"));
    const marked = "{% for m in messages %}{{ m.content }} {{ mark }} {% endfor %}";
    writeFileSync(join(folder, "additional_chat_templates", "marked.jinja"), marked);
    writeFileSync(join(folder, "chat_template.jinja"), template);
    const chat = { template: "marked", kwargs: { mark: "<answer>" } };
    const { host } = await run({ model: folder, data: jsonl(...preferences(8)), chat, reward: few });
    expect(readFileSync(join(summaryOf(host).model, "chat_template.jinja"), "utf8")).toBe(marked);
    expect(notes(host).join("\n")).toContain(`'reward.kwargs={"mark":"<answer>"}'`);
  });

  test("rows of both forms are told apart", async () => {
    const rows = [
      { prompt: "3 ", chosen: "5", rejected: "4" },
      { prompt: [{ role: "user", content: "3 " }], chosen: "5", rejected: "4" },
    ];
    const { host } = await run({ model: chat, data: jsonl(...rows), pairs: { asChat: false }, reward: few });
    expect(notes(host).join("\n")).toMatch(
      /1 row of plain texts is used as it is, while the reward model will read answers by the model's chat/,
    );
  });

  test("without data for it a tenth is held out, whole prompts, and its accuracy said; or none, which is said too", async () => {
    const data = jsonl(...preferences(160));
    const { host } = await run({ model: chat, data, reward: few });
    const told = notes(host).join("\n");
    expect(told).toContain("10 pairs of data are held out, whole prompts"); // ten to a prompt
    expect(told).toMatch(/held-out pairs in the right order: .* % of 10/);
    const none = await run({ model: chat, data, reward: few, evaluation: { pairs: 0 } });
    expect(summaryOf(none.host).heldOut).toBeNull();
    expect(notes(none.host).join("\n")).toMatch(/no held-out pairs: .*set evaluation\.data/);
  });

  test("pairs that are held out are not trained on", async () => {
    using tokenizer = await Tokenizer.load(chat);
    const learner: Learner = { folder: chat, tokenizer, spec: fakeSpec(TRIAL_VOCAB_SIZE, eos) };
    using pairs = await openPairs(resolve({ data: jsonl(...preferences(160)) }), learner, testHost(), 1000);
    const promptOf = ({ chosen }: { readonly chosen: Int32Array }) => chosen[1];
    const held = new Set(pairs.heldOut.map(promptOf));
    expect([pairs.heldOut.length, held.size]).toEqual([10, 1]);
    const trained = new Set(pairs.next(150).map(promptOf));
    expect(trained.size).toBe(15);
    expect([...trained].filter((prompt) => held.has(prompt))).toEqual([]);
  });

  test("goes on from a classifier, and from scratch with a tokenizer", async () => {
    const data = jsonl(...preferences(20, 0, "<q> "));
    const { summary } = await run({ model, data, reward: few });
    const again = await run({ model: summary.model, data, reward: few });
    expect(summaryOf(again.host)).toMatchObject({ heldOut: { accuracy: { n: 2 } }, parameters: summary.parameters });
    const scratch = { width: 16, layers: 1, heads: 2, mlp: 24, maxPositions: 64 };
    const { host } = await run({ tokenizer: model, scratch, data, reward: few });
    const config = JSON.parse(readFileSync(join(host.out, "model", "config.json"), "utf8"));
    expect(config).toMatchObject({ architectures: ["LlamaForSequenceClassification"], hidden_size: 16 });
  });

  test("trains adapters, and the folder is one of peft", async () => {
    const data = jsonl(...preferences(20, 0, "<q> "));
    const lora = { rank: 2, alpha: 4 };
    const { host } = await run({ model, data, lora, reward: { steps: 3, pairsPerStep: 4 } });
    const config = JSON.parse(readFileSync(join(host.out, "model", "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({ task_type: "SEQ_CLS", modules_to_save: ["score"] });
    await using engine = await Engine.load(join(host.out, "model"), { trainable: false });
    expect(engine.spec.head).toBe("scalar");
  });

  test("centring holds scores around zero", async () => {
    const settings = learning();
    const offset = async (centerCoefficient: number) => {
      const { host } = await run({ ...settings, reward: { ...(settings.reward as object), centerCoefficient } });
      const steps = readLines(host.out, "metrics.jsonl").filter((line) => "loss" in line);
      return steps.slice(-10).reduce((sum, line) => sum + Math.abs(line["reward/mean"] as number), 0) / 10;
    };
    expect(await offset(0.5)).toBeLessThan(0.2);
  });

  test("stopped and resumed, it leaves what it leaves without the stop", async () => {
    const data = jsonl(...preferences(30, 0, "<q> "));
    const settings: Settings = {
      model,
      data,
      reward: { steps: 6, pairsPerStep: 3, optimizer: { learningRate: 1e-3 } },
      evaluation: { data, every: 2, pairs: 10 },
      checkpoint: { every: 2, keep: 1 },
    };
    const whole = testHost();
    const counted = mortalDisk(null);
    await run(settings, { ...whole, disk: counted } as never);
    const left = remains(whole.out);
    for (let at = 7; at < counted.writes.length; at += Math.floor(counted.writes.length / 4)) {
      const host = testHost();
      const running = run(settings, { ...host, disk: mortalDisk({ at, half: true }) } as never);
      await expect(running).rejects.toBeInstanceOf(PowerCut);
      await recipe.run(resolve(settings), await resuming(host));
      expect(remains(host.out)).toEqual(left);
    }
  });

  test("is planned without data, with its memory", async () => {
    const config = resolve({ model, data: "pairs.jsonl", pairs: { maxTokens: 32 } });
    expect(recipe.plan(config).join("\n")).toMatch(
      /scalar head[\s\S]*pairs\.jsonl[\s\S]*Bradley-Terry: 500 steps of 32/,
    );
    expect(await recipe.memory!(config)).toMatch(/^memory: [\d.]+ GiB .*no data were read$/);
  });

  test.each<[string, Settings, string, RegExp]>([
    ["no data", {}, "RECIPE_VALUE", /data: expected rows/],
    [
      "no held-out pairs to evaluate",
      { data: "x.jsonl", evaluation: { every: 5 } },
      "RECIPE_VALUE",
      /evaluation\.data/,
    ],
    ["no tokenizer for a model from scratch", { data: "x.jsonl", model: "" }, "RECIPE_VALUE", /tokenizer/],
    ["no such file", { data: "none.jsonl" }, "JSONL_MISSING", /none\.jsonl/],
  ])("%s is told before anything is written", async (_, settings, code, message) => {
    const host = testHost();
    const running = run({ model, ...settings }, host);
    await expect(running).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
    expect(readdirSync(host.out)).toEqual([]);
  });
});
