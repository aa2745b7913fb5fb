// Demonstrations from rows: forms, masks, limits, mixtures, and what is said and counted.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { resolveSettings, type Settings } from "../../src/config/resolve.js";
import { makeSft, type SftConfig } from "../../src/methods/sft.js";
import { openDemonstrations, reportLine } from "../../src/methods/sft-data.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { TRIAL_VOCAB_SIZE } from "../../src/tasks/countdown-trial.js";
import { type Demonstration, packDemonstrations } from "../../src/train/sft.js";
import { FakeSource, fakeSpec } from "../helpers/fake-engine.js";
import { fixture } from "../helpers/files.js";
import { eos, jsonl, modelFolder, notes, summaryOf } from "../helpers/recipes.js";
import { testHost } from "../helpers/run-host.js";
import { TOY_BOS, TOY_EOS, toyTokenizerFolder } from "../helpers/toy-model.js";

const QUESTION = 104; // <q>
const ANSWER = 108; // <answer>
const template =
  "{{ mark }}{% for m in messages %}{{ m.role == 'user' and '<q> ' or '<answer> ' }}{{ m.content }} {% endfor %}" +
  "{% if add_generation_prompt %}<answer> {% endif %}";

let folder: string;
let tokenizer: Tokenizer;

beforeAll(async () => {
  folder = await modelFolder();
  writeFileSync(join(folder, "chat_template.jinja"), template);
  tokenizer = await Tokenizer.load(folder);
});

function open(settings: Settings, host = testHost(), spec = fakeSpec(TRIAL_VOCAB_SIZE, eos)) {
  const config = resolveSettings<SftConfig>("sft", makeSft(new FakeSource()).schema, settings);
  return openDemonstrations(config, { folder, tokenizer, spec }, host);
}

/** The ids of a demonstration, and the indices of those that are trained on. */
function shown({ prompt, completion, mask }: Demonstration): { ids: number[]; trained: number[] } {
  const ids = [...Array.from(prompt), ...Array.from(completion)];
  const own = Array.from(completion, (_, t) => t).filter((t) => mask === undefined || mask[t] === 1);
  return { ids, trained: own.map((t) => t + prompt.length) };
}

async function first(row: unknown, settings: Settings = {}) {
  using source = await open({ data: jsonl(row), ...settings });
  return shown(source.next());
}

const talk = (...contents: string[]) =>
  contents.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }));

/** Any hash. */
const sha256 = expect.stringMatching(/^[0-9a-f]{64}$/) as string;

describe("what is trained on", () => {
  const row = { messages: talk("1", "2", "3", "4") };
  const ids = [QUESTION, 1, ANSWER, 2, QUESTION, 3, ANSWER, 4, eos];

  test("all turns of the assistant, or the last, or every token", async () => {
    expect(await first(row)).toEqual({ ids, trained: [3, 7, 8] });
    expect(await first(row, { examples: { trainOn: "last" } })).toEqual({ ids, trained: [7, 8] });
    expect(await first(row, { examples: { trainOn: "all" } })).toEqual({ ids, trained: [1, 2, 3, 4, 5, 6, 7, 8] });
  });

  test("a prompt and a completion of messages: turns of the prompt are not", async () => {
    const turns = talk("1", "2", "3", "4");
    expect(await first({ prompt: turns.slice(0, 3), completion: turns.slice(3) })).toEqual({ ids, trained: [7, 8] });
    expect(await first({ prompt: turns.slice(0, 3), completion: "4" })).toEqual({ ids, trained: [7, 8] });
    expect(await first({ prompt: turns.slice(0, 1), completion: turns.slice(1) })).toEqual({ ids, trained: [3, 7, 8] });
  });

  test("texts", async () => {
    const texts = { prompt: "<q> 1", completion: "2" };
    expect(await first(texts)).toEqual({ ids: [QUESTION, 1, 2, eos], trained: [2, 3] });
    expect(await first(texts, { examples: { trainOn: "all" } })).toEqual({
      ids: [QUESTION, 1, 2, eos],
      trained: [1, 2, 3],
    });
  });

  test("weights of a batch are one over its trained tokens, with turns of others between", async () => {
    using source = await open({ data: jsonl(row) });
    const { weights } = packDemonstrations([source.next(), source.next()]);
    const each = [0, 0, 0, 1, 0, 0, 0, 1, 1].map((one) => Math.fround(one / 6));
    expect([...weights]).toEqual([...each, ...each]);
  });

  test("variables of the template", async () => {
    const { ids: marked } = await first(row, { chat: { kwargs: { mark: "9 " } } });
    expect(marked).toEqual([9, ...ids]);
  });
});

describe("rows of any source", () => {
  test("Parquet, with columns renamed from inside of a struct", async () => {
    const data = [
      {
        source: fixture("parquet/zstd.parquet"),
        columns: { prompt: "info.split", completion: "info.split" },
        where: { ok: true },
      },
    ];
    using source = await open({ data });
    expect(source.reports).toEqual([
      { source: data[0]!.source, rows: 23, dropped: { where: 15 }, truncated: 0, sha256 },
    ]);
    expect(shown(source.next()).trained.length).toBe(2);
  });

  test("a mixture by weight, its place saved and restored", async () => {
    const data = [
      { source: jsonl({ prompt: "1", completion: "1" }, { prompt: "1", completion: "2" }), weight: 1 },
      { source: jsonl({ prompt: "2", completion: "1" }), weight: 3 },
    ];
    using source = await open({ data, seed: 3 });
    const draw = (from: typeof source, count: number) => Array.from({ length: count }, () => shown(from.next()).ids);
    const share = draw(source, 1_000).filter(([prompt]) => prompt === 2).length / 1_000;
    expect(share).toBeGreaterThan(0.7);
    expect(share).toBeLessThan(0.8);
    const place = JSON.parse(JSON.stringify(source.save()));
    using resumed = await open({ data, seed: 3 });
    resumed.restore(place);
    expect(draw(resumed, 50)).toEqual(draw(source, 50));
  });

  test("several batches of rows, plain and chat mixed, keep their order", async () => {
    const rows = Array.from({ length: 1_300 }, (_, i) => {
      const answer = String((i % 90) + 1);
      return i % 3 === 0 ? { messages: talk("1", answer) } : { prompt: "<q> 1 <answer>", completion: answer };
    });
    using source = await open({ data: [{ source: jsonl(...rows) }] });
    const counts = new Map<number, number>();
    for (let n = 0; n < rows.length; n++) {
      const { ids, trained } = shown(source.next());
      expect([ids.slice(0, 3), ids[4], trained]).toEqual([[QUESTION, 1, ANSWER], eos, [3, 4]]);
      counts.set(ids[3]!, (counts.get(ids[3]!) ?? 0) + 1);
    }
    expect([...counts.values()].reduce((sum, one) => sum + one)).toBe(1_300);
    expect(counts.get(1)).toBe(15);
  });
});

describe("long examples", () => {
  const rows = [
    { prompt: "1", completion: "2" },
    { prompt: "1", completion: "2 ".repeat(20) },
    { prompt: "1 ".repeat(20), completion: "2" },
  ];

  test("stop the run, lose their end, or are left out; each is counted", async () => {
    const data = jsonl(...rows);
    await expect(open({ data, examples: { maxTokens: 8 } })).rejects.toMatchObject({
      code: "DATA_LENGTH",
      message: expect.stringMatching(/data\.jsonl:2\] expected 1 to 8 tokens, got 22; .* set examples\.tooLong/),
    });
    using dropped = await open({ data, examples: { maxTokens: 8, tooLong: "drop" } });
    expect(dropped.reports[0]).toEqual({
      source: data,
      rows: 3,
      dropped: { "longer than 8 tokens": 2 },
      truncated: 0,
      sha256,
    });
    using cut = await open({ data, examples: { maxTokens: 8, tooLong: "truncate" } });
    const nothing = "nothing to train on in the first 8 tokens";
    expect(cut.reports[0]).toEqual({ source: data, rows: 3, dropped: { [nothing]: 1 }, truncated: 1, sha256 });
    expect(reportLine(cut.reports[0]!)).toBe(`${data}: 3 rows, 1 left out (${nothing} 1), 1 truncated`);
    const lengths = [cut.next(), cut.next()].map((one) => shown(one).ids.length);
    expect(lengths.sort()).toEqual([3, 8]);
  });

  test("the limit is at most the model's positions", async () => {
    const data = jsonl({ prompt: "1", completion: "2 ".repeat(600) });
    await expect(open({ data, examples: { maxTokens: 4_096 } })).rejects.toThrow(/expected 1 to 512 tokens, got 602/);
  });

  test("none that is left is an error that says why", async () => {
    const data = jsonl(rows[1]);
    await expect(open({ data, examples: { maxTokens: 8, tooLong: "drop" } })).rejects.toMatchObject({
      code: "DATA_EMPTY",
      message: expect.stringMatching(/got none of 1 rows, 1 left out: longer than 8 tokens;/),
    });
  });
});

describe("bad input names file and row", () => {
  test.each([
    [
      "messages of another role",
      {
        messages: [
          { role: "tool", content: "1" },
          { role: "assistant", content: "2" },
        ],
      },
      /:2\] expected \{prompt, completion\}/,
    ],
    [
      "content that is no text",
      {
        messages: [
          { role: "user", content: 1 },
          { role: "assistant", content: "2" },
        ],
      },
      /:2\]/,
    ],
    [
      "a completion that ends with the user",
      { prompt: talk("1"), completion: [{ role: "user", content: "2" }] },
      /:2\]/,
    ],
    [
      "other columns",
      { question: "1", answer: "2" },
      /:2\] .* got keys question, answer; correct the row, or set columns/,
    ],
  ])("%s", async (_, row, message) => {
    const data = jsonl({ prompt: "1", completion: "2" }, row);
    await expect(open({ data })).rejects.toMatchObject({ code: "JSONL_LINE", message: expect.stringMatching(message) });
  });

  test("a template that refuses a conversation", async () => {
    const source = `{% if messages[0].content == '3' %}{{ raise_exception('no threes') }}{% endif %}${template}`;
    writeFileSync(join(folder, "chat_template.jinja"), source);
    const data = jsonl({ messages: talk("1", "2") }, { messages: talk("3", "2") });
    const running = open({ data });
    await expect(running).rejects.toMatchObject({
      code: "CHAT_TEMPLATE_FAILED",
      message: expect.stringMatching(/renders the messages of .*data\.jsonl:2, got: no threes/),
    });
    writeFileSync(join(folder, "chat_template.jinja"), template);
  });

  test("ids that the model has not", async () => {
    const data = jsonl({ prompt: "1", completion: "</answer>" });
    await expect(open({ data }, testHost(), fakeSpec(100, eos))).rejects.toMatchObject({
      code: "DATA_VOCABULARY",
      message: expect.stringMatching(/:1\] expected ids of the model's 100 tokens, got 109/),
    });
  });
});

test("the run keeps date, variables and counts", async () => {
  const host = testHost();
  const recipe = makeSft(new FakeSource());
  const data = jsonl({ messages: talk("1", "2") }, { prompt: "1", completion: "2 ".repeat(20) });
  const settings = {
    model: folder,
    data,
    sft: { steps: 1, tokensPerStep: 8 },
    examples: { maxTokens: 8, tooLong: "drop" },
  };
  const config = resolveSettings("sft", recipe.schema, settings);
  await recipe.run(config, host);
  expect(config).toMatchObject({ chat: { date: new Date().toISOString().slice(0, 10), kwargs: {} } });
  expect(summaryOf(host).data).toEqual([
    { source: data, rows: 2, dropped: { "longer than 8 tokens": 1 }, truncated: 0, sha256 },
  ]);
  expect(notes(host)).toContain(`${data}: 2 rows, 1 left out (longer than 8 tokens 1)`);
});

test("a prompt that begins with the start token gets no second one", async () => {
  const model = toyTokenizerFolder();
  const toy = await Tokenizer.load(model);
  const learner = { folder: model, tokenizer: toy, spec: fakeSpec(toy.vocabSize, TOY_EOS) };
  const of = async (prompt: string) => {
    const settings = { data: jsonl({ prompt, completion: "the end" }) };
    const config = resolveSettings<SftConfig>("sft", makeSft(new FakeSource()).schema, settings);
    using source = await openDemonstrations(config, learner, testHost());
    return shown(source.next()).ids.filter((id) => id === TOY_BOS).length;
  };
  expect([await of("Once"), await of("<s>Once")]).toEqual([1, 1]);
});
