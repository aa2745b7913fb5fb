// Masks of the assistant's turns: against transformers where the template marks them, as differences of texts where it does not.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { assistantTurns, type LessonText, lessonTexts, maskedIds } from "../../src/prompt/assistant-mask.js";
import { ChatTemplate, type Message } from "../../src/prompt/chat.js";
import { Tokenizer } from "../../src/prompt/tokenizer.js";
import { fixture, folderOf, shared } from "../helpers/files.js";
import { toyTokenizerFolder } from "../helpers/toy-model.js";

interface Encoded {
  readonly text: string;
  readonly ids: number[];
  readonly mask: number[];
}

const expected = JSON.parse(readFileSync(fixture("chat.json"), "utf8")) as {
  conversations: Message[][];
  marked_template: string;
  stories_template: string;
  qwen: { text: string; opening: string; ids: number[] }[];
  marked: Encoded[];
  stories: Encoded[];
};

const qwen = shared("tokenizers/qwen2.5");
const stories = shared("models/stories260k");

const lessonsOf = (conversations: readonly Message[][]) =>
  conversations.map((messages, i) => ({ messages, turns: assistantTurns(messages), place: `x:${i + 1}` }));

async function templateOf(source: string, tokens: object = {}): Promise<ChatTemplate> {
  const folder = folderOf({ "tokenizer_config.json": JSON.stringify({ chat_template: source, ...tokens }) });
  return (await ChatTemplate.load(folder))!;
}

const talk = (...contents: string[]): Message[] =>
  contents.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }));

type Masked = Awaited<ReturnType<typeof maskedIds>>[number];
const trainedBy = (tokenizer: Tokenizer, { ids, mask }: Masked) =>
  tokenizer.decode(ids.filter((_, t) => mask[t] === 1));

describe.skipIf(!existsSync(qwen))("qwen2.5", () => {
  let tokenizer: Tokenizer;

  beforeAll(async () => {
    tokenizer = await Tokenizer.load(qwen);
  });

  const trained = (masked: Masked) => trainedBy(tokenizer, masked);

  test("texts, openings and ids of its own template are those of transformers", async () => {
    const template = (await ChatTemplate.load(qwen))!;
    const texts = await template.renderAll(expected.conversations, { addGenerationPrompt: false });
    expect(texts).toEqual(expected.qwen.map(({ text }) => text));
    const openings = await template.renderAll(expected.conversations.map((messages) => messages.slice(0, -1)));
    expect(openings).toEqual(expected.qwen.map(({ opening }) => opening));
    const ids = await tokenizer.encodeAll(texts, { addSpecialTokens: false });
    expect(ids.map((list) => [...list])).toEqual(expected.qwen.map((one) => one.ids));
  });

  test("masks by {% generation %} are those of transformers", async () => {
    const template = await templateOf(expected.marked_template);
    expect(template.marksGeneration).toBe(true);
    const texts = await lessonTexts(template, lessonsOf(expected.conversations));
    expect(texts.map(({ text }) => text)).toEqual(expected.marked.map(({ text }) => text));
    const masked = await maskedIds(tokenizer, texts, tokenizer.eosId);
    expect(masked.map(({ ids, mask }) => ({ ids: [...ids], mask: [...mask] }))).toEqual(
      expected.marked.map(({ ids, mask }) => ({ ids, mask })),
    );
  });

  test("masks by difference hold each answer and its end token, and the ids stay those of the whole text", async () => {
    const template = (await ChatTemplate.load(qwen))!;
    const masked = await maskedIds(
      tokenizer,
      await lessonTexts(template, lessonsOf(expected.conversations)),
      tokenizer.eosId,
    );
    expect(masked.map(({ ids }) => [...ids])).toEqual(expected.qwen.map(({ ids }) => ids));
    expect(masked.map(trained)).toEqual(
      expected.conversations.map((messages) =>
        messages.map(({ role, content }) => (role === "assistant" ? `${content}<|im_end|>` : "")).join(""),
      ),
    );
  });

  test("the last turn alone", async () => {
    const template = (await ChatTemplate.load(qwen))!;
    for (const source of [template, await templateOf(expected.marked_template)]) {
      const lessons = lessonsOf(expected.conversations).map((one) => ({ ...one, turns: one.turns.slice(-1) }));
      const masked = await maskedIds(tokenizer, await lessonTexts(source, lessons), tokenizer.eosId);
      expect(masked.map(trained)).toEqual(
        expected.conversations.map((messages) => `${messages.at(-1)!.content}<|im_end|>`),
      );
    }
  });

  test("where a token would lie across an edge, the turn is encoded by itself, as the model meets it", async () => {
    const template = (await ChatTemplate.load(qwen))!;
    const messages = talk("Hi", "\n\nHello", "Again", "\nYes");
    const [masked] = await maskedIds(tokenizer, await lessonTexts(template, lessonsOf([messages])), tokenizer.eosId);
    const text = await template.render(messages, { addGenerationPrompt: false });
    expect([...masked!.ids]).not.toEqual(tokenizer.encode(text));
    expect(tokenizer.decode(masked!.ids)).toBe(text);
    expect(trained(masked!)).toBe("\n\nHello<|im_end|>\nYes<|im_end|>");
    const opening = tokenizer.encode(await template.render(messages.slice(0, 1)));
    expect([...masked!.ids.subarray(0, opening.length)]).toEqual(opening);
  });
});

test("earlier turns that a template rewrites are an error, the last turn is not", async () => {
  const source =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not loop.last %}" +
    "{{ m.content.split('</think>')[-1] }}{% else %}{{ m.content }}{% endif %}</s>\n{% endfor %}" +
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  const template = await templateOf(source);
  const [lesson] = lessonsOf([talk("a", "<think>x</think>b", "c", "<think>y</think>d")]);
  await expect(lessonTexts(template, [lesson!])).rejects.toMatchObject({
    code: "CHAT_TEMPLATE_PREFIX",
    message: expect.stringMatching(/\[x:1\] expected .* got another text at message 2; set trainOn to last/),
  });
  const last = { ...lesson!, turns: [3] };
  using tokenizer = await Tokenizer.load(toyTokenizerFolder());
  const [masked] = await maskedIds(tokenizer, await lessonTexts(template, [last]), tokenizer.eosId);
  expect(trainedBy(tokenizer, masked!)).toBe("<think>y</think>d</s>");
});

describe.skipIf(!existsSync(stories))("stories260k", () => {
  test("pieces of a SentencePiece vocabulary: ids and masks of transformers, one start token", async () => {
    const tokenizer = await Tokenizer.load(stories);
    const template = await templateOf(expected.stories_template, { bos_token: "<s>", eos_token: "</s>" });
    const chosen = [...expected.conversations.slice(0, 2), ...expected.conversations.slice(4)];
    const texts = await lessonTexts(template, lessonsOf(chosen.filter(([first]) => first!.role === "user")));
    const masked = await maskedIds(tokenizer, texts, tokenizer.eosId);
    expect(masked.map(({ ids, mask }) => ({ ids: [...ids], mask: [...mask] }))).toEqual(
      expected.stories.map(({ ids, mask }) => ({ ids, mask })),
    );
    expect(masked.map(({ ids }) => ids.filter((id) => id === 1).length)).toEqual(masked.map(() => 1));
  });

  test("an edge that the tokenizer cannot have is an error that names the place", async () => {
    const tokenizer = await Tokenizer.load(stories);
    const text: LessonText = { text: "<s>Once upon a time", spans: [[9, 12]], place: "x:7", differences: false };
    await expect(maskedIds(tokenizer, [text], 2)).rejects.toMatchObject({
      code: "CHAT_MASK",
      message: expect.stringMatching(/\[x:7\] expected turns that the tokenizer can encode by themselves/),
    });
  });
});

describe("marks of the template", () => {
  const marked = (inner: string) =>
    `{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% else %}${inner}{% endif %}{% endfor %}`;

  test.each([
    ["kept blanks", "[ {% generation %} {{ m.content }} {% endgeneration %} ]", "[  b  ]", [[3, 6]]],
    ["stripped blanks", "[ {%- generation -%} {{ m.content }} {%- endgeneration -%} ]", "[b]", [[2, 3]]],
    ["a line of their own", "[\n  {% generation %}\n{{ m.content }}\n{% endgeneration %}\n]", "[\nb\n]", [[3, 5]]],
  ])("%s: the text is that without marks", async (_, inner, text, spans) => {
    const template = await templateOf(marked(inner));
    const [found] = await template.renderMarked([{ messages: talk("a", "b") }]);
    expect(found).toEqual({ text: `a${text}`, spans });
    expect(found!.text).toBe(await template.render(talk("a", "b"), { addGenerationPrompt: false }));
  });

  test("no conversation can write a mark, and several parts are found", async () => {
    const template = await templateOf(marked("{% generation %}{{ m.content }}{% endgeneration %}"));
    const [found] = await template.renderMarked([{ messages: talk("{% generation %}", "b", "</c>", "dd") }]);
    expect(found!.spans.map(([from, to]) => found!.text.slice(from, to))).toEqual(["b", "dd"]);
  });

  test("parts that are not one a turn, and marks that are not closed, are errors", async () => {
    const twice = await templateOf(
      marked("{% generation %}x{% endgeneration %}{% generation %}{{ m.content }}{% endgeneration %}"),
    );
    await expect(lessonTexts(twice, lessonsOf([talk("a", "b")]))).rejects.toMatchObject({
      code: "CHAT_TEMPLATE_PREFIX",
      message: expect.stringMatching(/\[x:1\] expected .* once for each of the 1 turns .* got 2 parts/),
    });
    const open = await templateOf(marked("{% generation %}{{ m.content }}"));
    await expect(lessonTexts(open, lessonsOf([talk("a", "b")]))).rejects.toMatchObject({
      code: "CHAT_TEMPLATE_FAILED",
      message: expect.stringMatching(/the messages of x:1, got: .*generation/),
    });
  });
});

describe("options of a template", () => {
  const render = async (template: ChatTemplate | null) => template?.render([{ role: "user", content: "x" }]);

  test("variables of its own, and none that it gets anyway", async () => {
    const folder = folderOf({
      "chat_template.jinja": "{{ 'off' if enable_thinking is false else 'on' }} {{ effort }}",
    });
    expect(await render(await ChatTemplate.load(folder))).toBe("on ");
    expect(await render(await ChatTemplate.load(folder, { kwargs: { enable_thinking: false, effort: 3 } }))).toBe(
      "off 3",
    );
    for (const kwargs of [{ messages: [] }, { add_generation_prompt: true }]) {
      await expect(ChatTemplate.load(folder, { kwargs })).rejects.toMatchObject({ code: "CHAT_TEMPLATE_SETTING" });
    }
  });

  test("its date is the run's, in UTC, whatever the day", async () => {
    const folder = folderOf({ "chat_template.jinja": "{{ strftime_now('%d %B %Y %H:%M') }}" });
    expect(await render(await ChatTemplate.load(folder, { date: "2024-07-26" }))).toBe("26 July 2024 00:00");
    const year = String(new Date().getUTCFullYear());
    expect(await render(await ChatTemplate.load(folder))).toContain(year);
    await expect(ChatTemplate.load(folder, { date: "soon" })).rejects.toMatchObject({ code: "CHAT_TEMPLATE_SETTING" });
  });

  test("named templates, from the list and from their folder", async () => {
    const list = [
      { name: "default", template: "list default" },
      { name: "rag", template: "list rag" },
      { name: "tools", template: "list tools" },
    ];
    const folder = folderOf({
      "tokenizer_config.json": JSON.stringify({ chat_template: list }),
      "additional_chat_templates/tools.jinja": "file tools",
    });
    const named = async (name: string) => render(await ChatTemplate.load(folder, { name }));
    expect([await named(""), await named("rag"), await named("tools")]).toEqual([
      "list default",
      "list rag",
      "file tools",
    ]);
    writeFileSync(join(folder, "chat_template.jinja"), "file default");
    expect([await named("default"), await named("rag")]).toEqual(["file default", "list rag"]);
    await expect(ChatTemplate.load(folder, { name: "rga" })).rejects.toMatchObject({
      code: "CHAT_TEMPLATE_MISSING",
      message: expect.stringMatching(/called "rga", got default, rag, tools; set chat\.template/),
    });
  });
});
