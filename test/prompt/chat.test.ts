import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ChatTemplate, type Message } from "../../src/prompt/chat.js";

const qwen = fileURLToPath(new URL("../../../shared/tokenizers/qwen2.5", import.meta.url));
const hello: readonly Message[] = [{ role: "user", content: "Hi {{ bos_token }}" }];
const SIMPLE =
  "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}" +
  "{% if add_generation_prompt %}<assistant>{% endif %}";

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "zazen-chat-"));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

async function withTemplate(chat_template: unknown, more: object = {}): Promise<ChatTemplate> {
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify({ chat_template, ...more }));
  return (await ChatTemplate.load(folder))!;
}

test("special tokens are strings, objects or absent; content is text, never template", async () => {
  const template = await withTemplate(SIMPLE, { bos_token: { content: "<s>" }, eos_token: "</s>" });
  expect(await template.render(hello)).toBe("<s><user>Hi {{ bos_token }}</s><assistant>");
  expect(await template.render(hello, { addGenerationPrompt: false })).toBe("<s><user>Hi {{ bos_token }}</s>");
  const bare = await withTemplate(SIMPLE);
  expect(await bare.render(hello)).toBe("<user>Hi {{ bos_token }}<assistant>");
});

test("many conversations come back in order", async () => {
  const template = await withTemplate(SIMPLE);
  const conversations = Array.from({ length: 40 }, (_, i): Message[] => [{ role: "user", content: String(i) }]);
  const texts = await template.renderAll(conversations);
  expect(texts).toEqual(conversations.map((_, i) => `<user>${i}<assistant>`));
  expect(await template.renderAll([])).toEqual([]);
});

test("texts come through to a caller that is busy while the other process ends", { timeout: 20_000 }, async () => {
  const template = await withTemplate(SIMPLE);
  const long = "x".repeat(5_000);
  const conversations = Array.from({ length: 200 }, (): Message[] => [{ role: "user", content: long }]);
  const running = template.renderAll(conversations, { deadlineMs: 15_000 });
  await new Promise((next) => setTimeout(next, 50)); // the job is sent
  for (const end = Date.now() + 1_000; Date.now() < end; );
  expect(await running).toEqual(conversations.map(() => `<user>${long}<assistant>`));
});

test("the template called default of a list; chat_template.jinja goes first", async () => {
  const named = await withTemplate([
    { name: "tool_use", template: "tools" },
    { name: "default", template: SIMPLE },
  ]);
  expect(await named.render(hello)).toContain("<user>");
  await writeFile(join(folder, "chat_template.jinja"), "from a file");
  expect(await (await ChatTemplate.load(folder))!.render(hello)).toBe("from a file");
});

test("null where there is no template", async () => {
  expect(await ChatTemplate.load(folder)).toBeNull();
  expect(await withTemplate(undefined)).toBeNull();
  expect(await withTemplate([{ name: "tool_use", template: "tools" }])).toBeNull();
});

test.skipIf(!existsSync(qwen))("qwen2.5 adds its system turn", async () => {
  const template = (await ChatTemplate.load(qwen))!;
  expect(await template.render([{ role: "user", content: "Hi" }])).toBe(
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
  );
});

describe("failures are typed and name the file", () => {
  const failed = (detail: RegExp) => ({ code: "CHAT_TEMPLATE_FAILED", message: expect.stringMatching(detail) });

  test("a template that refuses the messages", async () => {
    const template = await withTemplate("{{ raise_exception('roles must alternate') }}");
    await expect(template.render(hello)).rejects.toMatchObject(failed(/tokenizer_config\.json.*roles must alternate/));
  });

  test("a template that does not parse", async () => {
    const template = await withTemplate("{% for m in %}");
    await expect(template.render(hello)).rejects.toMatchObject(failed(/expected a chat template/));
  });

  test("a template that spins", async () => {
    const template = await withTemplate(
      "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
    );
    await expect(template.render(hello, { deadlineMs: 300 })).rejects.toMatchObject(failed(/no text within 300 ms/));
  });

  test("a template that eats the heap", { timeout: 90_000 }, async () => {
    const template = await withTemplate("{% for i in range(1000000000) %}{{ i }}{% endfor %}");
    await expect(template.render(hello, { deadlineMs: 60_000 })).rejects.toMatchObject(failed(/memory/));
  });

  test("a template that is a pipe, or megabytes long, is not read", async () => {
    const file = join(folder, "chat_template.jinja");
    execFileSync("mkfifo", [file]);
    await expect(ChatTemplate.load(folder)).rejects.toMatchObject({ code: "TOKENIZER_INVALID" });
    await rm(file);
    await writeFile(file, "x");
    await truncate(file, 2 ** 32);
    await expect(ChatTemplate.load(folder)).rejects.toMatchObject({ code: "TOKENIZER_INVALID" });
  });

  test("a tokenizer_config.json that is not JSON", async () => {
    await writeFile(join(folder, "tokenizer_config.json"), "{");
    await expect(ChatTemplate.load(folder)).rejects.toMatchObject({ code: "TOKENIZER_INVALID" });
    await writeFile(join(folder, "tokenizer_config.json"), "3");
    await expect(ChatTemplate.load(folder)).rejects.toMatchObject({ code: "TOKENIZER_INVALID" });
  });
});
