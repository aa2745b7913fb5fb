// The warm start: rows to demonstrations in each of the paper's four settings, filters that are counted, epochs of a fixed batch.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import type { Row } from "../../src/data/rows.js";
import { makeWarmStart } from "../../src/methods/rlmt-warm-start.js";
import { epochSteps } from "../../src/methods/settings.js";
import { type WarmStartRules, warmStartShape } from "../../src/methods/warm-start-rows.js";
import { THINKING_FORMATS } from "../../src/prompt/thinking.js";
import { languageDetector, STRAY_TAGS } from "../../src/prompt/warm-start.js";
import { FakeSource } from "../helpers/fake-engine.js";
import { eos, jsonl, modelFolder, summaryOf } from "../helpers/recipes.js";
import { readLines, testHost } from "../helpers/run-host.js";

const row = (value: unknown): Row => ({ value, place: "data.jsonl:1", code: "JSONL_LINE" });
const newReport = () => ({
  source: "data.jsonl",
  rows: 0,
  dropped: {} as Record<string, number>,
  truncated: 0,
  sha256: "",
});
const rules: WarmStartRules = {
  ...{ oneTurn: true, wellFormed: true, uniquePrompts: true },
  strayTags: STRAY_TAGS,
  languageOf: null,
};

function shaped(
  values: readonly unknown[],
  change: Partial<WarmStartRules> = {},
  name: keyof typeof THINKING_FORMATS = "warm-thinking",
) {
  const report = newReport();
  const shape = warmStartShape(THINKING_FORMATS[name], { ...rules, ...change });
  const rows = values.flatMap((value) => shape(row(value), report)?.value ?? []);
  return { rows, dropped: report.dropped };
}

const columns = { prompt: "Why?", thinking: " First. \n", response: "\nBecause. " };
const asked = [{ role: "user", content: "Why?" }];
const tagged = "<think>First.</think>\n<response>Because.</response>";

describe("a row becomes a demonstration", () => {
  test.each([
    ["warm-thinking", asked, "<think>\nFirst.\n</think>\n\nBecause."],
    ["warm-plain", asked, "Because."],
    [
      "zero-thinking",
      /between <think> and <\/think>.*User: <query>Why\?<\/query>\nAssistant:$/s,
      " <think> First. </think> <response> Because. </response>",
    ],
    ["zero-plain", /^(?!.*think).*User: <query>Why\?<\/query>\nAssistant:$/s, " <response> Because. </response>"],
  ] as const)("%s", (name, prompt, completion) => {
    const expected = { prompt: prompt instanceof RegExp ? expect.stringMatching(prompt) : prompt, completion };
    const forms = [
      columns,
      { ...columns, prompt: asked },
      { prompt: "Why?", completion: tagged },
      { prompt: asked, completion: [{ role: "assistant", content: tagged }] },
      { messages: [...asked, { role: "assistant", content: tagged }] },
    ];
    for (const form of forms) expect(shaped([form], {}, name)).toEqual({ rows: [expected], dropped: {} });
  });

  test.each([
    [
      "no columns that are known",
      { question: "Why?", text: tagged },
      /expected \{prompt, thinking, response\}.*got keys question, text/,
    ],
    ["a prompt that is empty", { ...columns, prompt: "" }, /got keys prompt, thinking, response/],
    ["messages that end with the user's", { messages: [...asked, ...asked] }, /got keys messages/],
    ["a response that is no text", { prompt: "Why?", response: 7 }, /got keys prompt, response/],
  ])("%s: an error that names the row", (_, value, message) => {
    expect(() => shaped([value])).toThrow(message);
    expect(() => shaped([value])).toThrow(/^\[data\.jsonl:1\]/);
  });
});

describe("filters are counted", () => {
  const turns = [{ role: "assistant", content: "Hello." }, ...asked];
  const text = (completion: string) => ({ prompt: "Why?", completion });
  test.each([
    ["several turns", { ...columns, prompt: turns }, "more than one turn"],
    ["a system message", { ...columns, prompt: [{ role: "system", content: "Be." }, ...asked] }, "more than one turn"],
    ["a text that does not start with a thought", text(`So: ${tagged}`), "no thinking first"],
    ["two thoughts", text(`<think>a</think>${tagged}`), "not one thinking block"],
    ["no response", text("<think>a</think> b"), "no response block"],
    ["a tag in the thought", { ...columns, thinking: "a <response> b" }, "stray tags"],
    ["a tag in the response", { ...columns, response: "a </think> b" }, "stray tags"],
    ["no thought", { ...columns, thinking: " " }, "empty thinking"],
    ["an empty answer", { ...columns, response: "\n" }, "empty response"],
  ])("%s", (_, value, reason) => {
    for (const name of ["warm-thinking", "warm-plain"] as const) {
      expect(shaped([value, columns], {}, name)).toMatchObject({ rows: [expect.anything()], dropped: { [reason]: 1 } });
    }
  });

  test("a prompt that comes again, the first row of it stays", () => {
    const other = { ...columns, response: "Otherwise." };
    expect(shaped([columns, other])).toMatchObject({
      rows: [{ completion: expect.stringContaining("Because") }],
      dropped: { "prompt seen before": 1 },
    });
    expect(shaped([columns, other], { uniquePrompts: false }).rows).toHaveLength(2);
  });

  test("another language than English", async () => {
    const languageOf = await languageDetector();
    const german = {
      prompt: "Warum ist der Himmel blau?",
      thinking: "Ich überlege, wie das Licht gestreut wird.",
      response: "Weil die Luft das blaue Licht stärker streut als das rote.",
    };
    const english = {
      prompt: "Why is the sky blue?",
      thinking: "I think about how light is scattered.",
      response: "Because the air scatters blue light more than red light.",
    };
    expect(shaped([german, english], { languageOf })).toMatchObject({
      rows: [{ prompt: [{ content: english.prompt }] }],
      dropped: { "another language": 1 },
    });
    expect(shaped([german, english]).rows).toHaveLength(2);
  });

  test("those that are off let rows through", () => {
    expect(shaped([{ ...columns, prompt: turns }], { oneTurn: false }).rows).toEqual([
      { prompt: turns, completion: expect.any(String) },
    ]);
    expect(shaped([text("So: <think>a</think> b")], { wellFormed: false }).rows[0]).toMatchObject({
      completion: "<think>\na\n</think>\n\nb",
    });
    expect(shaped([text("no marks")], { wellFormed: false }).dropped).toEqual({ "no thinking block": 1 });
    expect(shaped([{ ...columns, response: "a <answer> b" }], { strayTags: ["<x>"] }).rows).toHaveLength(1);
    expect(() => shaped([{ ...columns, prompt: turns }], { oneTurn: false }, "zero-plain")).toThrow(
      /one user message .*got 2/,
    );
  });
});

describe("the recipe", () => {
  const template =
    "{% for m in messages %}{{ m.role == 'user' and '<q> ' or '-> ' }}{{ m.content }} {% endfor %}{% if add_generation_prompt %}-> {% endif %}";
  const rows = Array.from({ length: 7 }, (_, i) => ({ prompt: `${i}`, thinking: `${i + 10}`, response: `${i + 20}` }));
  let model: string;
  beforeAll(async () => {
    model = await modelFolder();
    writeFileSync(join(model, "chat_template.jinja"), template);
  });

  async function run(settings: Settings) {
    const host = testHost();
    const source = new FakeSource();
    const recipe = makeWarmStart(source);
    const filters = { english: false };
    const config = resolveSettings(recipe.name, recipe.schema, { model, data: jsonl(...rows), filters, ...settings });
    await recipe.run(config, host);
    return { host, batches: source.made[0]!.batches.map(({ batch }) => batch), summary: summaryOf(host) };
  }

  test("defaults are the paper's", () => {
    const { sft, filters } = resolveSettings("rlmt-warm-start", makeWarmStart(new FakeSource()).schema, { model: "m" });
    expect(sft).toMatchObject({ epochs: 2, batch: 16, warmupShare: 0.1 });
    expect(sft.optimizer).toMatchObject({
      learningRate: 4e-6,
      schedule: "cosine",
      weightDecay: 1e-4,
      beta1: 0.9,
      beta2: 0.95,
    });
    expect(filters).toMatchObject({ oneTurn: true, wellFormed: true, english: true, uniquePrompts: true });
    // 6,003 prompts, twice, in steps of 16, of which a tenth warms up
    expect(epochSteps(sft, 6003)).toMatchObject({
      steps: 751,
      sequences: { perStep: 16, total: 12_006 },
      optimizer: { warmupSteps: 76 },
    });
  });

  test("goes through all rows so many times in steps of a fixed batch, the last with what is left", async () => {
    const { host, batches, summary } = await run({ sft: { epochs: 2, batch: 4 } });
    expect(batches.map(({ cuSeqlens }) => cuSeqlens.length - 1)).toEqual([4, 4, 4, 2]);
    expect(summary).toMatchObject({ recipe: "rlmt-warm-start", train: { steps: 4 }, data: [{ rows: 7, dropped: {} }] });
    const seen = batches.flatMap(({ ids, cuSeqlens }) =>
      Array.from({ length: cuSeqlens.length - 1 }, (_, s) => ids[cuSeqlens[s]! + 1]!),
    );
    expect(seen.slice(0, 7).sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(seen.slice(7).sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
    const rates = readLines(host.out, "metrics.jsonl").map(({ lr }) => lr as number);
    expect(rates[0]).toBe(4e-6); // one step of warm-up
    expect(rates[3]).toBeLessThan(rates[1]!);
  });

  test("both arms: the same rows in the same order, trained on the assistant's tokens and the end", async () => {
    const [think, plain] = [await run({}), await run({ thinking: false })];
    const trained = ({ batches }: typeof think) =>
      batches.map(({ ids, weights, cuSeqlens }) => {
        const own = Array.from(ids, (id, t) => (weights[t]! > 0 ? id : null));
        return Array.from({ length: cuSeqlens.length - 1 }, (_, s) =>
          own.slice(cuSeqlens[s], cuSeqlens[s + 1]).filter((id) => id !== null),
        );
      });
    const [first, other] = [trained(think)[0]!, trained(plain)[0]!];
    expect(other.map((ids) => ids)).toEqual(first.map((ids) => [ids.at(-2), eos]));
    for (const ids of first) expect(ids).toEqual([106, ids[1], 107, ids[1]! + 10, eos]); // <think> z </think> y
  });

  test("a zero start ends with the end of turn that the vocabulary has", async () => {
    const { batches } = await run({ start: "zero", format: { endOfTurn: ["<nothing>", "stop"] }, thinking: false });
    const { ids, cuSeqlens } = batches[0]!;
    expect(ids[cuSeqlens[1]! - 1]).toBe(119);
  });

  test("the loss of held-out rows is watched", async () => {
    const { host, summary } = await run({ evaluation: { every: 1, data: jsonl({ ...rows[0], prompt: "50" }) } });
    expect(readLines(host.out, "metrics.jsonl").filter((line) => line["eval/loss"] !== undefined)).toHaveLength(1);
    expect(summary.data).toHaveLength(2);
  });

  test.each([
    ["no data", { data: "" }, "RECIPE_VALUE", /data: expected rows/],
    [
      "a row of another form",
      { data: jsonl({ text: "1" }) },
      "JSONL_LINE",
      /:1\] expected \{prompt, thinking, response\}/,
    ],
    [
      "nothing that passes the filters",
      { data: jsonl({ ...rows[0], thinking: "" }) },
      "DATA_EMPTY",
      /1 left out: empty thinking/,
    ],
    [
      "too many tokens",
      { data: jsonl({ ...rows[0], thinking: "2 ".repeat(600) }) },
      "DATA_LENGTH",
      /:1\] expected 1 to 512/,
    ],
  ])("%s is an error by name", async (_, settings, code, message) => {
    await expect(run(settings)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });

  test("a template that drops the thought is an error by name", async () => {
    const cutting = await modelFolder();
    writeFileSync(
      join(cutting, "chat_template.jinja"),
      "{% for m in messages %}{{ m.content.split('</think>')[-1] }} {% endfor %}",
    );
    await expect(run({ model: cutting })).rejects.toMatchObject({
      code: "CHAT_TEMPLATE_CONTENT",
      message: expect.stringMatching(/as it is/),
    });
    expect((await run({ model: cutting, thinking: false }).catch((error) => error)).code).not.toBe(
      "CHAT_TEMPLATE_CONTENT",
    );
  });

  test("a model without a chat template is one", async () => {
    const base = await modelFolder();
    const refused = { code: "CHAT_TEMPLATE_MISSING", message: expect.stringMatching(/start: .*set start=zero/) };
    await expect(run({ model: base })).rejects.toMatchObject(refused);
    const { check, schema } = makeWarmStart(new FakeSource());
    const dry = (settings: Settings) =>
      check!(resolveSettings("rlmt-warm-start", schema, { model: base, ...settings }));
    await expect(dry({})).rejects.toMatchObject(refused);
    await dry({ start: "zero" });
  });
});
