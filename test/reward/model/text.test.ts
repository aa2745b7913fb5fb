// What a reward model reads: its own template and ids, cut on the right; and texts that cannot be written or spelt.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { InputError } from "../../../src/errors.js";
import { eachOf, type ModelInput, RewardText } from "../../../src/reward/model/text.js";
import { fixture, folderOf } from "../../helpers/files.js";
import { expected, modelReward, rewardFolder } from "../../helpers/reward-models.js";

const open: RewardText[] = [];
afterEach(() => {
  for (const text of open.splice(0)) text[Symbol.dispose]();
});

const ask = (answer: string, content = "Hi"): ModelInput => ({ messages: [{ role: "user", content }], answer });

async function reader(
  folder: string,
  change: Parameters<typeof modelReward>[1] = {},
  maxTokens = 256,
): Promise<RewardText> {
  const text = await RewardText.load(modelReward(folder, change), { folder, maxTokens, where: "reward model" });
  open.push(text);
  return text;
}

const lists = (ids: Awaited<ReturnType<RewardText["read"]>>["ids"]) =>
  ids.map((own) => (own instanceof Int32Array ? [...own] : own.code));
const wanted = expected.cases.map(({ ids }) => [...ids]);

describe("texts", () => {
  test("are those of transformers, and their ids", async () => {
    const { ids, truncated } = await (await reader(fixture("reward/llama"))).read(expected.cases, 0);
    expect(lists(ids)).toEqual(wanted);
    expect(truncated).toBe(0);
  });

  test("are cut on the right, and counted", async () => {
    const { ids, truncated } = await (await reader(fixture("reward/llama"), {}, 30)).read(expected.cases, 0);
    expect(lists(ids)).toEqual(wanted.map((own) => own.slice(0, 30)));
    expect(truncated).toBe(wanted.filter(({ length }) => length > 30).length);
  });

  test("have one begin token: the template's", async () => {
    const bos = 1;
    for (const { ids } of expected.cases) expect(ids.filter((id) => id === bos)).toEqual([bos]);
    const folder = rewardFolder({});
    const tokenizer = JSON.parse(readFileSync(join(folder, "tokenizer.json"), "utf8"));
    const single = [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }];
    const added = { "<s>": { id: "<s>", ids: [bos], tokens: ["<s>"] } };
    const adding = { type: "TemplateProcessing", single, pair: [...single, single[1]], special_tokens: added };
    writeFileSync(join(folder, "tokenizer.json"), JSON.stringify({ ...tokenizer, post_processor: adding }));
    const { ids } = await (await reader(folder)).read(expected.cases, 0);
    expect(lists(ids)).toEqual(wanted);
  });

  test("may be written by a template of the user's own, with its variables and date", async () => {
    const template = join(rewardFolder({}), "own.jinja");
    const source = "{{ bos_token }}{{ strftime_now('%Y') }}{{ style }}{{ messages[-1].content }}";
    writeFileSync(template, source);
    const folder = rewardFolder({ template: false });
    const change = { template, kwargs: { style: "!" }, date: "1999-12-31" };
    const { ids } = await (await reader(folder, change)).read([ask("A")], 0);
    const byte = (text: string) => [...text].map((letter) => 3 + letter.charCodeAt(0) - 33); // "!" is the first of the bytes that show
    expect(lists(ids)).toEqual([[1, ...byte("1999!A")]]);
  });

  test("that the template refuses, or that have no tokens, cost their own sample", async () => {
    const template = join(rewardFolder({}), "own.jinja");
    const refuse =
      "{% if messages[-1].content == 'bad' %}{{ raise_exception('never') }}{% endif %}{{ messages[-1].content }}";
    writeFileSync(template, refuse);
    const text = await reader(rewardFolder({}), { template });
    const read = await text.read(
      ["a", "bad", "b", "", "c"].map((answer) => ask(answer)),
      2,
    );
    expect(lists(read.ids)).toEqual([[67], "CHAT_TEMPLATE_FAILED", [68], "REWARD_TEXT", [69]]);
    const many = ["bad", "a", "bad"].map((answer) => ask(answer));
    await expect(text.read(many, 1)).rejects.toMatchObject({ code: "CHAT_TEMPLATE_FAILED" });
  });

  test("without the answer are refused when the template is loaded", async () => {
    const template = join(rewardFolder({}), "own.jinja");
    writeFileSync(template, "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}");
    const message = expect.stringMatching(/writes the assistant's turn, got the same text for two answers: "1 \+ 1\?"/);
    await expect(reader(rewardFolder({}), { template })).rejects.toMatchObject({
      code: "CHAT_TEMPLATE_ANSWER",
      message,
    });
  });

  test("that the vocabulary cannot spell cost their own sample", async () => {
    const vocab = [..."▁ab"].map((letter, at) => [letter, -1 - at]);
    const model = { type: "Unigram", unk_id: -1, vocab };
    const tokenizer = { version: "1.0", added_tokens: [], normalizer: null, pre_tokenizer: null, model };
    const parts = { post_processor: null, decoder: null, truncation: null, padding: null };
    const folder = folderOf({
      "tokenizer.json": JSON.stringify({ ...tokenizer, ...parts }),
      "tokenizer_config.json": JSON.stringify({ chat_template: "{{ messages[-1].content }}" }),
    });
    const { ids } = await (await reader(folder)).read([ask("ab"), ask("xy"), ask("b")], 1);
    expect(lists(ids).map((own) => (typeof own === "string" ? own : "ids"))).toEqual(["ids", "TOKENIZER_TEXT", "ids"]);
  });
});

describe("each of many", () => {
  const odd = async (items: readonly number[]): Promise<number[]> => {
    const wrong = items.find((item) => item % 2 === 1);
    if (wrong !== undefined) throw new InputError("TOKENIZER_TEXT", `no ${wrong}`);
    return items.map((item) => 10 * item);
  };

  test("has its result or its error, wherever those are", async () => {
    for (const items of [[], [2], [3], [2, 4, 6], [1, 2, 4, 7, 8], [2, 4, 5]]) {
      const results = await eachOf(items, odd, { left: 9 });
      const shown = results.map((result) => (result instanceof Error ? result.message : result));
      expect(shown).toEqual(items.map((item) => (item % 2 === 1 ? `no ${item}` : 10 * item)));
    }
  });

  test("no more errors than allowed, and none of another kind", async () => {
    await expect(eachOf([1, 2, 3], odd, { left: 1 })).rejects.toThrow("no 3");
    const broken = () => Promise.reject(new InputError("TOKENIZER_INVALID", "gone"));
    await expect(eachOf([1, 2, 3], broken, { left: 9 })).rejects.toThrow("gone");
  });
});
